//! A guarded server that Sentinels watch. Cutting everybody off is its death, and that of the Sentinel that is asked first.

use std::sync::Arc;

use parking_lot::Mutex;
use towpath_bus::suite::Fixture;
use towpath_bus::{Bus, Listener, PodId, bus_suite};
use towpath_bus_redis::Server;
use towpath_servers::{Redis, Sentinels};

use crate::Pods;

struct Watched {
    pods: Pods,
    master: Mutex<Redis>,
    _replica: Redis,
    sentinels: Mutex<Sentinels>,
}

impl Fixture for Watched {
    fn open() -> Self {
        let master = Redis::guarded().expect("a server");
        let replica = master.replica().expect("a replica");
        let sentinels = Sentinels::watch(&master).expect("sentinels");
        let url = format!("redis+sentinel://{}@{}/{}", Redis::USER, sentinels.hosts(), Sentinels::MASTER);
        let pods = Pods::on(Server::parse(&url, Some(Redis::PASSWORD)).expect("it is a URL"));
        Self { pods, master: Mutex::new(master), _replica: replica, sentinels: Mutex::new(sentinels) }
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
