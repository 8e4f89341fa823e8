//! What the database costs, for operators.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters and gauges of the store.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Commits sent, tries included: one round trip each.
    pub commit_round_trips: Counter,
    /// Commits that had to be asked about again because the connection was lost.
    pub commit_retries: Counter,
    /// Streams this pod lost to another.
    pub leases_lost: Counter,
    /// Reads that found every connection in use.
    pub pool_waits: Counter,
    /// Slices read from the replica.
    pub replica_reads: Counter,
    /// Connections open for reading.
    pub pool_open: Gauge,
    /// Connections there may be.
    pub pool_size: Gauge,
    /// How far the database's clock is ahead of ours, in seconds.
    pub clock_ahead: Gauge<f64, AtomicU64>,
}

impl Metrics {
    /// Names them in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "postgres_commit_round_trips",
            "Commits sent to the database",
            self.commit_round_trips.clone(),
        );
        registry.register(
            "postgres_commit_retries",
            "Commits asked about again after a loss",
            self.commit_retries.clone(),
        );
        registry.register("postgres_leases_lost", "Streams lost to another pod", self.leases_lost.clone());
        registry.register("postgres_pool_waits", "Reads that waited for a connection", self.pool_waits.clone());
        registry.register("postgres_replica_reads", "Slices read from the replica", self.replica_reads.clone());
        registry.register("postgres_pool_open", "Connections open for reading", self.pool_open.clone());
        registry.register("postgres_pool_size", "Connections there may be for reading", self.pool_size.clone());
        registry.register(
            "postgres_clock_ahead_seconds",
            "The database's clock ahead of this pod's",
            self.clock_ahead.clone(),
        );
    }
}
