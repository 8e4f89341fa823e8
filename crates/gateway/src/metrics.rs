//! What the edge counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// From here up close codes are whatever a client likes, and each would be a series of its own.
const PRIVATE_CODES: u16 = 3000;

/// The edge's metrics. A clone counts into the same numbers.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// WebSocket connections open now.
    pub connections: Gauge,
    /// Upgrades that wait for their turn.
    pub upgrades_waiting: Gauge,
    /// Text messages received.
    pub frames_in: Counter,
    /// Bytes of WebSocket traffic received, as on the wire (inside TLS).
    pub bytes_in: Counter,
    /// Bytes held of messages that have not come in full.
    pub unfinished_bytes: Gauge,
    /// Text messages sent.
    pub frames_out: Counter,
    /// Bytes of WebSocket traffic sent, as on the wire (inside TLS).
    pub bytes_out: Counter,
    /// Writes to sockets; `frames_out` by this is how well frames share writes.
    pub writes: Counter,
    /// Ended connections.
    pub closes: Family<Closed, Counter>,
    /// Upgrades that were refused.
    pub refusals: Family<RefusedFor, Counter>,
    /// From the commit of an event to its bytes being handed to a socket.
    pub delivery: Delivery,
}

/// What deliveries took, by whose commits they were.
#[derive(Debug, Clone)]
pub struct Delivery {
    all: Family<CommittedBy, Histogram>,
    // Theirs among `all`: looking one up costs more than counting.
    this_pod: Histogram,
    other_pod: Histogram,
}

/// Who committed what was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommittedBy {
    /// `this_pod` or `other_pod`.
    committed_by: &'static str,
}

impl Default for Delivery {
    fn default() -> Self {
        let all = Family::<_, Histogram>::new_with_constructor(towpath_runtime::latency_histogram);
        let of = |committed_by| all.get_or_create(&CommittedBy { committed_by }).clone();
        Self { this_pod: of("this_pod"), other_pod: of("other_pod"), all }
    }
}

impl Delivery {
    pub(crate) fn took(&self, time: Duration, is_own: bool) {
        let histogram = if is_own { &self.this_pod } else { &self.other_pod };
        histogram.observe(time.as_secs_f64());
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Closed {
    /// The close code: ours if we closed, else the client's; 1006 if the socket just ended, 3000 for all from there up.
    pub code: u16,
    /// `client`, `relay` (with 1013 for too many unfinished messages), `protocol`, `lost`, `silent` (no pong) or `stuck` (took no bytes).
    pub by: &'static str,
}

/// Why an upgrade was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusedFor {
    /// `full`, `address`, `herd`, `relay`, `draining` or `handshake`.
    pub reason: &'static str,
}

impl Metrics {
    /// Makes the metrics visible under `gateway_…`, delivery under `delivery_…`.
    pub fn register(&self, registry: &mut Registry) {
        let gateway = registry.sub_registry_with_prefix("gateway");
        gateway.register("connections", "WebSocket connections open now", self.connections.clone());
        gateway.register("upgrades_waiting", "Upgrades that wait for their turn", self.upgrades_waiting.clone());
        gateway.register("frames_in", "Text messages received", self.frames_in.clone());
        gateway.register_with_unit("in", "Bytes received", Unit::Bytes, self.bytes_in.clone());
        let help = "Bytes held of messages that have not come in full";
        gateway.register_with_unit("unfinished", help, Unit::Bytes, self.unfinished_bytes.clone());
        gateway.register("frames_out", "Text messages sent", self.frames_out.clone());
        gateway.register_with_unit("out", "Bytes sent", Unit::Bytes, self.bytes_out.clone());
        gateway.register("writes", "Writes to sockets", self.writes.clone());
        gateway.register("closes", "Ended connections by close code and by whom", self.closes.clone());
        gateway.register("refusals", "Refused upgrades by reason", self.refusals.clone());
        let help = "From the commit of an event to its bytes handed to a socket, by who committed it";
        registry.register_with_unit("delivery", help, Unit::Seconds, self.delivery.all.clone());
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&RefusedFor { reason }).inc();
    }

    pub(crate) fn closed(&self, code: u16, by: &'static str) {
        self.closes.get_or_create(&Closed { code: code.min(PRIVATE_CODES), by }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_cannot_choose_how_many_series_there_are() {
        let (metrics, mut registry, mut text) = (Metrics::default(), Registry::default(), String::new());
        (3000..5000).for_each(|code| metrics.closed(code, "client"));
        metrics.closed(1000, "client");
        metrics.register(&mut registry);
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        let mut series: Vec<&str> = text.lines().filter(|line| line.starts_with("gateway_closes_total")).collect();
        series.sort_unstable();
        let expected = [
            "gateway_closes_total{code=\"1000\",by=\"client\"} 1",
            "gateway_closes_total{code=\"3000\",by=\"client\"} 2000",
        ];
        assert_eq!(series, expected);
    }
}
