//! What a bus tells operators.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use towpath_runtime::latency_histogram;

/// Counters and gauges of a bus.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Messages sent.
    pub sent: Counter,
    /// Bytes of them.
    pub sent_bytes: Counter,
    /// Messages that could not be sent.
    pub unsent: Counter,
    /// Messages heard from other pods.
    pub heard: Counter,
    /// Messages that were none.
    pub malformed: Counter,
    /// Times the bus came back.
    pub resumed: Counter,
    /// 1 while the bus can be heard.
    pub up: Gauge,
    /// From another pod's commit to its arrival here, by both pods' clocks.
    pub lag: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            sent: Counter::default(),
            sent_bytes: Counter::default(),
            unsent: Counter::default(),
            heard: Counter::default(),
            malformed: Counter::default(),
            resumed: Counter::default(),
            up: Gauge::default(),
            lag: latency_histogram(),
        }
    }
}

impl Metrics {
    /// Names them in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("bus_sent", "Messages sent to other pods", self.sent.clone());
        registry.register("bus_sent_bytes", "Bytes sent to other pods", self.sent_bytes.clone());
        registry.register("bus_unsent", "Messages that could not be sent", self.unsent.clone());
        registry.register("bus_heard", "Messages heard from other pods", self.heard.clone());
        registry.register("bus_malformed", "Messages that could not be understood", self.malformed.clone());
        registry.register("bus_resumed", "Times the bus could be heard again", self.resumed.clone());
        registry.register("bus_lag_seconds", "From another pod's commit to its arrival here", self.lag.clone());
        registry.register("bus_up", "1 while the bus can be heard", self.up.clone());
    }
}
