//! A guarded server that Sentinels watch. Cutting everybody off is its death, and that of the Sentinel that is asked first.

use std::sync::Arc;

use parking_lot::Mutex;
use towpath_bus::suite::{Ear, Fixture};
use towpath_bus::{Bus, Listener, Message, PodId, bus_suite};
use towpath_bus_redis::Server;
use towpath_servers::{Authority, Redis, Sentinels, Shown};
use towpath_store::{Seq, StreamId};

use crate::Pods;

struct Watched {
    pods: Pods,
    master: Mutex<Redis>,
    replica: Redis,
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
        Self { pods, master: Mutex::new(master), replica, sentinels: Mutex::new(sentinels) }
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

/// A master that was given up and does not know it answers as before: what is said there reaches nobody who came later.
#[test]
fn both_ends_leave_a_server_that_is_the_master_no_more_though_it_answers() {
    let bus = Watched::open();
    let joined = |pod: u8| {
        let ear = Arc::new(Ear::default());
        (bus.join([pod; 16], Arc::clone(&ear) as Arc<dyn Listener>), ear)
    };
    let (mut early, early_ear) = joined(1);
    early_ear.wait("the first master is heard", |_, resumed| resumed == 1);
    early.send(&place(1)).expect("it is there");
    bus.replica.promote().expect("it obeys");
    bus.sentinels.lock().point_to(&bus.replica).expect("they obey");

    early_ear.wait("the second master is heard", |_, resumed| resumed == 2);
    let (mut late, late_ear) = joined(2);
    late_ear.wait("it is heard by who came later", |_, resumed| resumed == 1);
    late.send(&place(2)).expect("it is there");
    early.send(&place(3)).expect("it is there");
    early_ear.wait("what is said on the second", |heard, _| heard == [place(2)]);
    late_ear.wait("what is said on the second", |heard, _| heard == [place(3)]);
}

fn place(last: u64) -> Message {
    Message::Place { stream: StreamId(1), last: Seq(last) }
}

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
