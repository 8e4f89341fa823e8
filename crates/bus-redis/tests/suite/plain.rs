//! A server that lets everybody in.

use std::sync::Arc;

use towpath_bus::suite::Fixture;
use towpath_bus::{Bus, Listener, PodId, bus_suite};
use towpath_bus_redis::Server;
use towpath_servers::Redis;

use crate::{Pods, cut};

/// Of its own: whoever else used it would be cut off, too.
struct Plain {
    pods: Pods,
    _redis: Redis,
}

impl Fixture for Plain {
    fn open() -> Self {
        let redis = Redis::start().expect("a server");
        Self { pods: Pods::on(Server::parse(&redis.url(), None).expect("it is a URL")), _redis: redis }
    }

    fn join(&self, pod: PodId, listener: Arc<dyn Listener>) -> Box<dyn Bus> {
        self.pods.join(pod, listener)
    }

    fn cut(&self) {
        cut(&self.pods.server);
    }
}

bus_suite!(Plain);
