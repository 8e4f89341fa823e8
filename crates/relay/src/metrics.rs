//! Every metric of one relay, in one registry.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use towpath_runtime::latency_histogram;
use towpath_session::wording;

/// The machine-readable prefix of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    prefix: &'static str,
}

/// The metrics of all pieces.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) gateway: towpath_gateway::Metrics,
    pub(crate) ingest: towpath_ingest::Metrics,
    pub(crate) deliver: towpath_deliver::Metrics,
    pub(crate) postgres: towpath_store_postgres::Metrics,
    pub(crate) bus: towpath_bus::Metrics,
    pub(crate) followers: towpath_followers::Metrics,
    /// Parsing one message.
    pub(crate) parse: Histogram,
    /// From a REQ to its EOSE.
    pub(crate) stored: Histogram,
    /// Slices of scans that could be read, had they a reader.
    pub(crate) scans_waiting: Gauge,
    /// Values in the filters of all scans, in progress or waiting.
    pub(crate) scan_values: Gauge,
    /// Whether an OK waits for the disk.
    pub(crate) store_synced: Gauge,
    /// Whether there is to be a bus.
    pub(crate) bus_configured: Gauge,
    refusals: Family<Reason, Counter>,
    events: Gauge,
    log_bytes: Gauge,
    index_bytes: Gauge,
    unindexed: Gauge,
    free_bytes: Gauge,
    /// Entries of the audit log that the background has verified.
    pub(crate) audit_verified: Counter,
    /// What is wrong with it.
    pub(crate) audit_problems: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("towpath"),
            gateway: towpath_gateway::Metrics::default(),
            ingest: towpath_ingest::Metrics::default(),
            deliver: towpath_deliver::Metrics::default(),
            postgres: towpath_store_postgres::Metrics::default(),
            bus: towpath_bus::Metrics::default(),
            followers: towpath_followers::Metrics::default(),
            parse: latency_histogram(),
            stored: latency_histogram(),
            scans_waiting: Gauge::default(),
            scan_values: Gauge::default(),
            store_synced: Gauge::default(),
            bus_configured: Gauge::default(),
            refusals: Family::default(),
            events: Gauge::default(),
            log_bytes: Gauge::default(),
            index_bytes: Gauge::default(),
            unindexed: Gauge::default(),
            free_bytes: Gauge::default(),
            audit_verified: Counter::default(),
            audit_problems: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        metrics.gateway.register(registry);
        metrics.ingest.register(registry);
        metrics.deliver.register(registry);
        metrics.postgres.register(registry);
        metrics.bus.register(registry);
        metrics.followers.register(registry);
        registry.register("parse_seconds", "Parsing one message", metrics.parse.clone());
        registry.register("query_stored_seconds", "From a REQ to its EOSE", metrics.stored.clone());
        registry.register("query_waiting", "Scans that wait for a reader", metrics.scans_waiting.clone());
        registry.register("query_values", "Values in the filters of scans", metrics.scan_values.clone());
        registry.register("store_synced", "1 if an OK waits for the disk, 0 if not", metrics.store_synced.clone());
        registry.register("bus_configured", "1 if a bus is configured, 0 if not", metrics.bus_configured.clone());
        registry.register("refusals", "Refusals by prefix", metrics.refusals.clone());
        registry.register("store_events", "Events stored", metrics.events.clone());
        registry.register("store_log_bytes", "Bytes of the commit log", metrics.log_bytes.clone());
        registry.register("store_index_bytes", "Bytes of the index", metrics.index_bytes.clone());
        registry.register("store_unindexed", "Committed entries that the index lacks", metrics.unindexed.clone());
        registry.register("store_free_bytes", "Bytes free where the data folder is", metrics.free_bytes.clone());
        registry.register("audit_verified", "Entries verified in the background", metrics.audit_verified.clone());
        registry.register("audit_problems", "Problems of the last verification", metrics.audit_problems.clone());
        metrics
    }

    /// Counts a refusal worded `prefix: text`.
    pub(crate) fn refused(&self, text: &str) {
        self.refusals.get_or_create(&Reason { prefix: wording::prefix(text) }).inc();
    }

    /// As it is when somebody asks.
    pub(crate) fn note_unindexed(&self, entries: u64) {
        self.unindexed.set(gauge(entries));
    }

    /// `free_bytes` if the store is a data folder.
    pub(crate) fn note_store(&self, stats: &towpath_store::Stats, free_bytes: Option<u64>) {
        self.free_bytes.set(free_bytes.map_or(0, gauge));
        self.events.set(gauge(stats.events));
        self.log_bytes.set(gauge(stats.log_bytes));
        self.index_bytes.set(gauge(stats.index_bytes));
    }

    /// The OpenMetrics text.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        if let Err(error) = text::encode(&mut out, &self.registry) {
            tracing::warn!(%error, "cannot write the metrics");
        }
        out
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
