//! The contract of the bus port, on the loopback bus.

use std::sync::Arc;

use towpath_bus::suite::Fixture;
use towpath_bus::{Bus, Listener, Loopback, PodId, bus_suite};

struct InMemory(Loopback);

impl Fixture for InMemory {
    fn open() -> Self {
        Self(Loopback::new())
    }

    fn join(&self, pod: PodId, listener: Arc<dyn Listener>) -> Box<dyn Bus> {
        self.0.listen(pod, listener);
        Box::new(self.0.sender(pod))
    }

    fn cut(&self) {
        self.0.set_down(true);
        self.0.set_down(false);
    }
}

bus_suite!(InMemory);
