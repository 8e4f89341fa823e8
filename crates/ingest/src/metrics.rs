//! Where an event's time goes, stage by stage.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use towpath_runtime::latency_histogram;

/// Histograms of seconds, and the state of the commit queue.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Waiting for a CPU slot and checking the signatures of a burst.
    pub verify: Histogram,
    /// Events whose signatures are checked together, of one burst or several.
    pub burst_events: Histogram,
    /// From the end of authorisation to the start of the commit.
    pub queue_wait: Histogram,
    /// One commit, whole.
    pub commit: Histogram,
    /// From the arrival of the message to its answer.
    pub ack: Histogram,
    /// Events in one commit.
    pub batch_events: Histogram,
    /// Events waiting for the committer.
    pub queued_events: Gauge,
    /// Bytes of events waiting for the committer.
    pub queued_bytes: Gauge,
    /// Events between admission and the committer. Set when it is asked for.
    pub under_way: Gauge,
    /// How long the event at the head of the queue has waited, in seconds. Set when it is asked for.
    pub queue_age: Gauge<f64, AtomicU64>,
    /// Events accepted.
    pub accepted: Counter,
    /// Ephemeral events delivered.
    pub ephemeral: Counter,
    /// Commits that failed.
    pub commit_failures: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            verify: latency_histogram(),
            burst_events: Histogram::new(exponential_buckets(1.0, 2.0, 6)),
            queue_wait: latency_histogram(),
            commit: latency_histogram(),
            ack: latency_histogram(),
            batch_events: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            queued_events: Gauge::default(),
            queued_bytes: Gauge::default(),
            under_way: Gauge::default(),
            queue_age: Gauge::default(),
            accepted: Counter::default(),
            ephemeral: Counter::default(),
            commit_failures: Counter::default(),
        }
    }
}

impl Metrics {
    /// Names them in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "ingest_verify_seconds",
            "Waiting for a CPU slot and checking the signatures of a burst",
            self.verify.clone(),
        );
        registry.register(
            "ingest_burst_events",
            "Events whose signatures are checked together",
            self.burst_events.clone(),
        );
        registry.register("ingest_queue_wait_seconds", "Waiting for the committer", self.queue_wait.clone());
        registry.register("ingest_commit_seconds", "One commit", self.commit.clone());
        registry.register("ingest_ack_seconds", "From a message's arrival to its OK", self.ack.clone());
        registry.register("ingest_batch_events", "Events in one commit", self.batch_events.clone());
        registry.register("commit_queue_events", "Events waiting for the committer", self.queued_events.clone());
        registry.register("commit_queue_bytes", "Bytes of events waiting for the committer", self.queued_bytes.clone());
        registry.register(
            "ingest_under_way_events",
            "Events let in that are not at the committer yet",
            self.under_way.clone(),
        );
        registry.register("commit_queue_age_seconds", "How long the next event has waited", self.queue_age.clone());
        registry.register("ingest_accepted", "Events accepted and stored", self.accepted.clone());
        registry.register("ingest_ephemeral", "Ephemeral events delivered", self.ephemeral.clone());
        registry.register("ingest_commit_failures", "Commits that failed", self.commit_failures.clone());
    }
}
