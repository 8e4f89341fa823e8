//! What delivery tells operators.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters and gauges of delivery.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Event frames queued for subscribers, or sent past the queue.
    pub frames: Counter,
    /// Subscriptions closed because their client did not keep up.
    pub slow_consumers: Counter,
    /// Times the follower fell behind the committer and read the log instead.
    pub catch_ups: Counter,
    /// Times a batch came whose predecessors had not.
    pub gaps: Counter,
    /// Filters in the live index.
    pub filters: Gauge,
    /// What they cost, in postings; see the limits of the index.
    pub postings: Gauge,
    /// Bytes of events handed over and not delivered yet.
    pub inbox_bytes: Gauge,
    /// Bytes of events queued in all outboxes, or held for them.
    pub queued_bytes: Gauge<i64>,
    /// Candidates the index proposed that the full match refused.
    pub false_candidates: Counter<u64, AtomicU64>,
}

impl Metrics {
    /// Names them in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "deliver_frames",
            "Event frames queued for subscribers, or sent past the queue",
            self.frames.clone(),
        );
        registry.register(
            "deliver_slow_consumers",
            "Subscriptions closed for not keeping up",
            self.slow_consumers.clone(),
        );
        registry.register(
            "deliver_catch_ups",
            "Times delivery read the log because it fell behind",
            self.catch_ups.clone(),
        );
        registry.register("deliver_gaps", "Batches whose predecessors had to be read from the log", self.gaps.clone());
        registry.register("live_filters", "Filters in the live index", self.filters.clone());
        registry.register("live_postings", "What the filters cost in the live index", self.postings.clone());
        registry.register("deliver_inbox_bytes", "Bytes of events not delivered yet", self.inbox_bytes.clone());
        registry.register(
            "outbox_queued_bytes",
            "Bytes of events queued in all outboxes or held for them",
            self.queued_bytes.clone(),
        );
        registry.register(
            "live_false_candidates",
            "Filters looked at that did not match",
            self.false_candidates.clone(),
        );
    }
}
