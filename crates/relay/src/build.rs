//! From the configuration to wired pieces. The only place that names a concrete backend.

use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context;
use towpath_audit::NoteSigner;
use towpath_bus_redis::Server;
use towpath_deliver::{Budget, Deliver, IndexLimits};
use towpath_gateway::Tls;
use towpath_ingest::CommitLimits;
use towpath_policy::{Policy, RelayUrl};
use towpath_protocol::Verifier;
use towpath_query::Slice;
use towpath_runtime::{Clock, SystemClock};
use towpath_store::{Error, EventStore};
use towpath_store_embedded::{BackupReport, CheckReport, EmbeddedStore};
use towpath_store_postgres::{Metrics as PostgresMetrics, PodStream, PostgresStore};

use crate::config::{Audit, Config, Problem, Problems, Resolved};
use crate::handover;
use crate::identity;
use crate::metrics::Metrics;
use crate::opening::Opening;

/// Messages other than events that may wait for one client before it is not listened to.
const ANSWERS_MAX: usize = 8192;
/// What two processors check in that time fills a commit worth its sync; an event then waits for its check longer than for this.
const GATHER_MAX: Duration = Duration::from_millis(8);
/// Values in the filters of all scans in progress: some 250 MB.
pub(crate) const SCAN_VALUES_MAX: usize = 1_000_000;
/// Of the connections to a database, those that scans, which may take seconds, leave to the lease and to delivery.
const CONNECTIONS_KEPT: usize = 2;
/// The live index of one relay: 2 million postings are some 160 MiB; one connection may hold a client's usual needs many times over.
const LIVE_INDEX: IndexLimits = IndexLimits { postings_max: 2_000_000, connection_postings_max: 200_000 };

/// What only a start would find out about a configuration whose values are good: files that are not there, a bus that cannot be.
pub fn check_config(resolved: &Resolved) -> Result<(), Problems> {
    let mut problems = resolved.unreadable_files();
    if problems.is_empty()
        && let Err(error) = bus(&resolved.config)
    {
        let (place, key) = (resolved.place("cluster.bus"), Some("cluster.bus".to_owned()));
        problems.push(Problem { place, key, message: format!("{error:#}") });
    }
    problems.sort();
    if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
}

/// Opens the store the configuration names, for a tool. An embedded one is open in one process at a time.
pub fn open_store(config: &Config) -> Result<Arc<dyn EventStore>, Error> {
    match open_database(config, false, PostgresMetrics::default(), Arc::new(SystemClock))? {
        Some(store) => Ok(Arc::new(store)),
        None => Ok(Arc::new(EmbeddedStore::open(embedded(config))?)),
    }
}

/// The database the configuration names, if it does.
pub(crate) fn open_database(
    config: &Config,
    takes_stream: bool,
    metrics: PostgresMetrics,
    clock: Arc<dyn Clock>,
) -> Result<Option<PostgresStore>, Error> {
    let Some(settings) = postgres(config) else { return Ok(None) };
    let settings = towpath_store_postgres::Config { takes_stream, ..settings };
    PostgresStore::open(settings, clock, metrics).map(Some)
}

/// Brings the database's tables up to this program's version; the versions before and after, if there is a database.
pub fn migrate_database(config: &Config) -> Result<Option<(i32, i32)>, Error> {
    let now = SystemClock.unix_s();
    postgres(config).map(|settings| towpath_store_postgres::migrate(&settings, now)).transpose()
}

/// The streams of the cluster, if there is a database.
pub fn cluster_streams(config: &Config) -> Result<Option<Vec<PodStream>>, Error> {
    let store = open_database(config, false, PostgresMetrics::default(), Arc::new(SystemClock))?;
    store.map(|store| store.streams()).transpose()
}

fn postgres(config: &Config) -> Option<towpath_store_postgres::Config> {
    let settings = &config.postgres;
    Some(towpath_store_postgres::Config {
        replica_url: settings.replica_url.clone(),
        password_file: settings.password_file.clone(),
        schema: settings.schema.clone().unwrap_or_else(|| "towpath".into()),
        pod: pod_name(config),
        lease: settings.lease,
        readers: settings.readers.map(usize::from),
        statement_timeout: settings.statement_timeout,
        commit_patience: settings.commit_patience,
        pooler: settings.pooler,
        audit: config.audit.enabled,
        ..towpath_store_postgres::Config::new(config.store.url.clone()?)
    })
}

/// As configured, or where and as what it runs.
pub(crate) fn pod_name(config: &Config) -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "pod".into());
    config.cluster.pod.clone().unwrap_or_else(|| format!("{}-{}", host().trim_end(), std::process::id()))
}

/// The bus the configuration names, if it does.
pub(crate) fn bus(config: &Config) -> anyhow::Result<Option<Server>> {
    let Some(url) = &config.cluster.bus else { return Ok(None) };
    let password = match &config.cluster.bus_password_file {
        Some(path) => Some(std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?),
        None => None,
    };
    let password = password.as_deref().map(|text| text.trim_end_matches(['\r', '\n']));
    Ok(Some(Server::parse(url, password)?))
}

/// The same, telling `opening` of a rebuild.
pub(crate) fn open_store_telling(config: &Config, opening: &Opening) -> Result<Arc<dyn EventStore>, Error> {
    let store = EmbeddedStore::open_reporting(embedded(config), &mut |done, of| opening.note(done, of))?;
    Ok(Arc::new(store))
}

/// Brings the backup in `to` up to the embedded store the configuration names, which a running relay may have open; the relay's key
/// goes with it.
pub fn backup_store(config: &Config, to: &Path) -> anyhow::Result<BackupReport> {
    // With another key there it is another relay's backup.
    identity::ensure_one(&config.store.data, to)?;
    let report = towpath_store_embedded::backup(&config.store.data, to)?;
    identity::copy(&config.store.data, to)?;
    Ok(report)
}

/// Makes the data folder the configuration names from a backup.
pub fn restore_store(config: &Config, from: &Path) -> anyhow::Result<BackupReport> {
    // The key first: without it, what is restored would be served under a new one.
    identity::copy(from, &config.store.data)?;
    Ok(towpath_store_embedded::restore(from, &config.store.data)?)
}

/// Verifies the whole store the configuration names: every log entry, signature and index entry. `progress` is told entries done
/// and in all. One process at a time.
pub fn check_store(config: &Config, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport, Error> {
    towpath_store_embedded::check(embedded(config), progress)
}

/// What is free where the data folder is, if the events are in it.
pub(crate) fn free_bytes(config: &Config) -> Option<u64> {
    let folder = config.store.url.is_none().then_some(&config.store.data)?;
    towpath_store_embedded::free_bytes(folder).ok()
}

fn embedded(config: &Config) -> towpath_store_embedded::Config {
    let store = &config.store;
    towpath_store_embedded::Config {
        segment_bytes: store.segment_bytes,
        index_bytes_max: store.index_bytes_max,
        sync: store.sync,
        free_bytes_min: store.free_bytes_min,
        erase_after_s: store.erase_after.as_secs(),
        dead_percent_max: u8::try_from(store.dead_percent_max).unwrap_or(100),
        audit: config.audit.enabled,
        checkpoint_idle_s: store.checkpoint_idle.as_secs(),
        ..towpath_store_embedded::Config::at(&store.data)
    }
}

/// The signer of notes, if a key is configured.
pub(crate) fn note_signer(audit: &Audit) -> anyhow::Result<Option<NoteSigner>> {
    let Some(path) = &audit.note_key_file else { return Ok(None) };
    let seed = identity::read_secret(path)?.with_context(|| format!("{} is not there", path.display()))?;
    NoteSigner::from_seed(&seed).map(Some).with_context(|| format!("{} holds no Ed25519 key", path.display()))
}

fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Scans at one time, of a database with so many `connections` if it is one.
pub(crate) fn scan_parallel(config: &Config, connections: Option<usize>) -> usize {
    let wanted = config.queues.scan_parallel.map_or_else(cores, usize::from);
    connections.map_or(wanted, |connections| wanted.min(connections.saturating_sub(CONNECTIONS_KEPT)).max(1))
}

/// Threads that check signatures at one time. Where they are checked one by one, a slot goes to whoever waited longest, and stands empty until
/// that task has a turn: as many slots as cores leave cores idle. Where many are checked at once, whoever has a slot takes what waits in front,
/// and more threads than cores only have the committer wait for its turn.
pub(crate) fn verify_parallel(config: &Config) -> usize {
    let spare = if Verifier::has_lanes() { 0 } else { 2 };
    config.queues.verify_parallel.map_or_else(|| cores() + spare, usize::from)
}

pub(crate) fn commit_limits(config: &Config) -> CommitLimits {
    let queues = &config.queues;
    CommitLimits {
        queue_events_max: queues.commit_events_max.get(),
        queue_bytes_max: queues.commit_bytes_max,
        batch_events_max: queues.batch_events_max.get(),
        batch_bytes_max: queues.batch_bytes_max,
        verify_parallel: verify_parallel(config),
        gather_max: GATHER_MAX,
    }
}

pub(crate) fn slice(config: &Config) -> Slice {
    // A slice fills at most a quarter of an outbox, so that a scan and live events share it.
    Slice { time_max: config.queues.scan_slice, events_max: 512, bytes_max: config.queues.outbox_bytes_max / 4 }
}

pub(crate) fn outbox_budget(config: &Config, metrics: &Metrics) -> Budget {
    let queues = &config.queues;
    Budget::new(queues.outbox_bytes_max, queues.outbox_total_bytes_max, ANSWERS_MAX, metrics.deliver.clone())
}

pub(crate) fn deliver(metrics: &Metrics) -> Deliver {
    Deliver::new(LIVE_INDEX, metrics.deliver.clone())
}

/// The rules, for a relay that goes by `urls` unless the configuration names it.
pub(crate) fn policy(config: &Config, urls: &[String]) -> Policy {
    let named = config.relay.url.as_slice();
    let urls = if named.is_empty() { urls } else { named };
    Policy {
        auth_to_write: config.auth.to_write,
        auth_to_read: config.auth.to_read,
        private_kinds: config.auth.private_kinds.iter().copied().collect(),
        pow_bits_min: u8::try_from(config.limits.pow_bits_min).unwrap_or(u8::MAX),
        created_at_ahead_max_s: config.limits.created_at_ahead_max.as_secs(),
        created_at_behind_max_s: config.limits.created_at_behind_max.map(|age| age.as_secs()),
        auth_skew_max_s: config.auth.clock_skew_max.as_secs(),
        vanish: config.protocol.vanish,
        urls: urls.iter().filter_map(|url| RelayUrl::parse(url)).collect(),
    }
}

pub(crate) fn message_limits(config: &Config) -> towpath_protocol::Limits {
    let limits = &config.limits;
    towpath_protocol::Limits {
        filters_max: limits.filters_max.get(),
        subscription_id_chars_max: limits.subid_chars_max.get(),
        event_tags_max: limits.event_tags_max.get(),
        content_chars_max: limits.content_chars_max.get(),
    }
}

pub(crate) fn gateway(config: &Config) -> towpath_gateway::Config {
    let server = &config.server;
    let tls = server.tls_certificate.clone().zip(server.tls_key.clone());
    towpath_gateway::Config {
        listen: server.listen,
        // Pods of a cluster do not take a folder over.
        share_port: config.store.url.is_none() && handover::is_being_left(&config.store.data),
        message_bytes_max: config.limits.message_bytes_max,
        inbound_total_bytes_max: config.queues.inbound_total_bytes_max,
        connections_max: server.connections_max.get(),
        connections_per_address_max: server.connections_per_address_max.get(),
        upgrades_per_second: u32::try_from(server.upgrades_per_second.get()).unwrap_or(u32::MAX),
        ping_interval: server.ping_interval,
        pong_timeout: server.pong_timeout,
        write_timeout: server.write_timeout,
        handshake_timeout: server.handshake_timeout,
        compression: server.compression,
        tls: tls.map(|(certificate, key)| Tls { certificate, key }),
        trusted_proxies: server.trusted_proxies.clone(),
        trusted_addresses: server.trusted_addresses.clone(),
        drain_timeout: server.drain_deadline,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_leave_connections_to_the_lease_and_to_delivery_however_many_are_wanted() {
        let mut config = Config::default();
        config.queues.scan_parallel = std::num::NonZeroUsize::new(16);
        let parallel = |connections| scan_parallel(&config, connections);
        assert_eq!([Some(10), Some(3), Some(1), Some(100), None].map(parallel), [8, 1, 1, 16, 16]);
    }
}
