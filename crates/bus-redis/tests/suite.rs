//! The contract of the bus port, on Redis. `TEST_REDIS_URL` names a server; `cargo xtask test` starts one.

use std::sync::Arc;

use parking_lot::Mutex;
use towpath_bus::suite::Fixture;
use towpath_bus::{Bus, Listener, Metrics, PodId, bus_suite};
use towpath_bus_redis::{RedisBus, RedisEar, Server};
use towpath_runtime::SystemClock;

struct Redis {
    topic: String,
    ears: Mutex<Vec<RedisEar>>,
}

fn server() -> Server {
    #[expect(clippy::disallowed_methods, reason = "a test's own setting, no part of the configuration")]
    let url = std::env::var("TEST_REDIS_URL");
    let url = url.expect("TEST_REDIS_URL names a server; `cargo xtask test` starts one");
    Server::parse(&url, None).expect("it is a URL")
}

impl Fixture for Redis {
    fn open() -> Self {
        Self { topic: format!("test:{:032x}", rand::random::<u128>()), ears: Mutex::default() }
    }

    fn join(&self, pod: PodId, listener: Arc<dyn Listener>) -> Box<dyn Bus> {
        let (clock, metrics) = (Arc::new(SystemClock), Metrics::default());
        let ear = RedisEar::start(server(), self.topic.clone(), pod, listener, clock.clone(), metrics.clone());
        self.ears.lock().push(ear.expect("a thread starts"));
        Box::new(RedisBus::new(server(), self.topic.clone(), pod, clock, metrics))
    }

    fn cut(&self) {
        let mut connection = server().connect().expect("the server answers");
        for kind in ["pubsub", "normal"] {
            redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg(kind).exec(&mut connection).expect("clients are cut off");
        }
    }
}

bus_suite!(Redis);
