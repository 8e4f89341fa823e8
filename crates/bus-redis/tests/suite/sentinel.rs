//! A guarded server that Sentinels watch. Cutting everybody off is its death, and that of the Sentinel that is asked first.

use std::sync::Arc;

use parking_lot::Mutex;
use towpath_bus::suite::Fixture;
use towpath_bus::{Bus, Listener, PodId, bus_suite};
use towpath_bus_redis::Server;
use towpath_servers::{Authority, Redis, Sentinels, Shown};

use crate::Pods;

struct Watched {
    pods: Pods,
    master: Mutex<Redis>,
    _replica: Redis,
    sentinels: Mutex<Sentinels>,
}

impl Watched {
    fn start(shown: Shown<'_>) -> Self {
        let master = Redis::guarded(shown).expect("a server");
        let replica = master.replica(shown).expect("a replica");
        let sentinels = Sentinels::watch(&master, shown).expect("sentinels");
        let (scheme, query) = match shown {
            None => ("redis", String::new()),
            Some((authority, _)) => ("rediss", format!("?sslrootcert={}", authority.root().display())),
        };
        let (user, hosts, name) = (Redis::USER, sentinels.hosts(), Sentinels::MASTER);
        let url = format!("{scheme}+sentinel://{user}@{hosts}/{name}{query}");
        let pods = Pods::on(Server::parse(&url, Some(Redis::PASSWORD)).expect("it is a URL"));
        Self { pods, master: Mutex::new(master), _replica: replica, sentinels: Mutex::new(sentinels) }
    }
}

impl Fixture for Watched {
    fn open() -> Self {
        Self::start(None)
    }

    fn join(&self, pod: PodId, listener: Arc<dyn Listener>) -> Box<dyn Bus> {
        self.pods.join(pod, listener)
    }

    fn cut(&self) {
        self.sentinels.lock().crash_first().expect("it ran");
        self.master.lock().crash().expect("it ran");
    }
}

bus_suite!(Watched);

/// The same, where servers and Sentinels speak TLS.
mod with_tls {
    use super::*;

    struct Guarded(Watched);

    impl Fixture for Guarded {
        fn open() -> Self {
            let authority = Authority::new().expect("an authority");
            // Sentinels name addresses.
            Self(Watched::start(Some((&authority, "127.0.0.1"))))
        }

        fn join(&self, pod: PodId, listener: Arc<dyn Listener>) -> Box<dyn Bus> {
            self.0.join(pod, listener)
        }

        fn cut(&self) {
            self.0.cut();
        }
    }

    bus_suite!(Guarded);
}
