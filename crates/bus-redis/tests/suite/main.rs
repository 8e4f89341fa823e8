//! The contract of the bus port, on Redis as pods meet it: as it comes, guarded and behind TLS, and watched by Sentinels.

mod plain;
mod sentinel;
mod tls;

use std::sync::Arc;

use parking_lot::Mutex;
use towpath_bus::{Bus, Listener, Metrics, PodId};
use towpath_bus_redis::{RedisBus, RedisEar, Server};
use towpath_runtime::SystemClock;

/// Pods on one topic of a server.
struct Pods {
    server: Server,
    topic: String,
    ears: Mutex<Vec<RedisEar>>,
}

impl Pods {
    fn on(server: Server) -> Self {
        Self { server, topic: format!("towpath:test:{:032x}", rand::random::<u128>()), ears: Mutex::default() }
    }

    fn join(&self, pod: PodId, listener: Arc<dyn Listener>) -> Box<dyn Bus> {
        let (server, topic) = (|| self.server.clone(), || self.topic.clone());
        let (clock, metrics) = (Arc::new(SystemClock), Metrics::default());
        let ear = RedisEar::start(server(), topic(), pod, listener, clock.clone(), metrics.clone());
        self.ears.lock().push(ear.expect("a thread starts"));
        Box::new(RedisBus::new(server(), topic(), pod, clock, metrics))
    }
}

/// Has a server cut everybody off, as whoever may.
fn cut(server: &Server) {
    let mut connection = server.connect().expect("the server answers");
    for kind in ["pubsub", "normal"] {
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg(kind).exec(&mut connection).expect("clients are cut off");
    }
}
