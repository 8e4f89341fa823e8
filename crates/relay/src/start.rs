//! From an open store to a relay that can be reached: its pieces wired, its upkeep, its reload and its announcement.
//!
//! Must not know: how the store was opened, or how the relay ends.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use towpath_gateway::Handle;
use towpath_ingest::Committer;
use towpath_policy::Policy;
use towpath_query::Queries;
use towpath_runtime::{Clock, Live, Random, TaskGroup, Thread};
use towpath_store::{Delivery, EventStore};
use towpath_store_postgres::PostgresStore;

use crate::audit_pages::AuditPages;
use crate::build;
use crate::checkpoints::{self, Checkpoints};
use crate::cluster::{self, Join, Membership};
use crate::config::{Config, Format};
use crate::connections::Connections;
use crate::edge::Edge;
use crate::identity::Identity;
use crate::limiter::Limiter;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::outlets::Outlets;
use crate::reverify::{Findings, keep_verifying};
use crate::run::Reread;
use crate::scans::Room;

/// Pause between upkeep steps when there is nothing to do.
const UPKEEP_PAUSE: Duration = Duration::from_secs(1);

/// A store that is open.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn EventStore>,
    /// The same, if it is one that pods share.
    pub(crate) database: Option<PostgresStore>,
}

/// All of a relay but its store.
pub(crate) struct Start {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Random,
    /// Where the port is.
    pub(crate) local: SocketAddr,
    pub(crate) handle: Handle,
    pub(crate) reread: Reread,
    /// Those that came before the relay could be reached are answered then.
    pub(crate) hangups: Signal,
}

/// What runs beside the runtime, in the order in which it must end.
pub(crate) struct Parts {
    pub(crate) node: Arc<Node>,
    pub(crate) committer: Committer,
    /// Where the committer's last commit leaves, and what is committed after it.
    pub(crate) outlets: Arc<Outlets>,
    pub(crate) follower: Thread,
    pub(crate) membership: Option<Membership>,
    /// To be given up if the end takes too long.
    pub(crate) database: Option<PostgresStore>,
}

/// Makes the relay and hands it to the edge; then says where it is, because whoever reads that may connect or signal at once.
/// Blocks while it reads the store.
pub(crate) fn start(start: Start, store: Opened, edge: &Edge) -> anyhow::Result<Parts> {
    let Start { config, identity, metrics, clock, random, local, handle, reread, hangups } = start;
    let folder = config.store.data.clone();
    let parts = wire(config, store, metrics, clock, random, &identity, local)?;
    keep_up(&parts.node);
    keep_signing(&parts.node);
    parts.node.tasks.spawn(keep_verifying(Arc::clone(&parts.node)));
    reload_on_hangup(&parts.node, hangups, handle, reread);
    edge.open(Arc::clone(&parts.node));
    // Clients are served whether or not anybody reads what is printed.
    if let Err(error) = announce(&parts.node, local, &folder) {
        tracing::error!(%error, %local, "standard output does not take where the relay listens");
    }
    Ok(parts)
}

fn wire(
    config: Config,
    opened: Opened,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    random: Random,
    identity: &Identity,
    local: SocketAddr,
) -> anyhow::Result<Parts> {
    let policy = Live::new(build::policy(&config, &names(local)));
    let deliver = build::deliver(&metrics);
    let Opened { store, database } = opened;
    let follower = deliver.follow(Arc::clone(&store), Arc::clone(&clock))?;
    let joined = database.as_ref().map(|store| {
        let (bus, relay) = (build::bus(&config)?, identity.public_key());
        let (deliver, clock) = (deliver.clone(), Arc::clone(&clock));
        cluster::join(Join { store, relay, bus, deliver, clock, random: &random, metrics: &metrics })
    });
    let (others, membership) = joined.transpose()?.unzip();
    let outlets = Arc::new(Outlets { deliver: deliver.clone(), others });
    let (committer, ingest) = Committer::start(
        Arc::clone(&store),
        Arc::clone(&outlets) as Arc<dyn Delivery>,
        build::commit_limits(&config),
        policy.clone(),
        Arc::clone(&clock),
        metrics.ingest.clone(),
    )?;
    let parallel = build::scan_parallel(&config, database.as_ref().map(PostgresStore::connections));
    let (slice, waiting) = (build::slice(&config), metrics.scans_waiting.clone());
    metrics.store_synced.set(i64::from(database.as_ref().map_or(config.store.sync, PostgresStore::is_synced)));
    metrics.bus_configured.set(i64::from(config.cluster.bus.is_some()));
    let scan_room = Room::new(build::SCAN_VALUES_MAX, metrics.scan_values.clone());
    let queries = Queries::new(Arc::clone(&store), parallel, slice, Arc::clone(&clock), waiting)?;
    let (secret, notes) = (identity.secret().clone(), build::note_signer(&config.audit)?);
    let checkpoints = Checkpoints::resume(secret, notes, &*store, Arc::clone(&clock))?;
    let node = Node {
        open: Connections::new(build::outbox_budget(&config, &metrics)),
        address: config.relay.url.clone().unwrap_or_else(|| listened_at(&config, local)),
        config: Live::new(config),
        policy,
        store,
        ingest,
        deliver,
        watch: membership.as_ref().map(Membership::watch),
        queries,
        scan_room,
        limiter: Limiter::new(),
        metrics,
        clock,
        random,
        tasks: TaskGroup::new(),
        own_key: identity.public_key(),
        checkpoints,
        audit_pages: AuditPages::default(),
        findings: Findings::default(),
    };
    Ok(Parts { node: Arc::new(node), committer, outlets, follower, membership, database })
}

fn listened_at(config: &Config, local: SocketAddr) -> String {
    let scheme = if config.server.tls_certificate.is_some() { "wss" } else { "ws" };
    format!("{scheme}://{local}")
}

/// What this relay may be called when the configuration gives it no URL: only names that cannot be somebody else's.
fn names(address: SocketAddr) -> Vec<String> {
    let port = address.port();
    ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .map(|host| format!("ws://{host}:{port}"))
        .chain([format!("ws://{address}")])
        .collect()
}

/// On standard output, for people and for scripts that wait for the address; in the log, if that is for machines.
fn announce(node: &Node, local: SocketAddr, folder: &Path) -> std::io::Result<()> {
    let config = node.config.get();
    let listened_at = listened_at(&config, local);
    let (what, place) = match &config.store.url {
        Some(_) => ("pod        ", build::pod_name(&config)),
        None => ("data folder", folder.display().to_string()),
    };
    if config.relay.url.is_none() && !local.ip().is_loopback() {
        tracing::warn!("relay.url is not set: only clients on this machine can authenticate or ask to vanish");
    }
    let signatures = match node.ingest.burst_events_max() {
        1 => "checked one by one: the processor has no AVX-512 IFMA".to_owned(),
        many => format!("checked up to {many} at once"),
    };
    // Even if nothing else is logged, the address is told.
    if config.log.format == Format::Json && tracing::enabled!(tracing::Level::INFO) {
        tracing::info!(%place, relay_key = %node.own_key, %signatures, "listening on {listened_at}");
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on {listened_at}")?;
    writeln!(out, "{what}  {place}")?;
    writeln!(out, "relay key    {}", node.own_key)?;
    writeln!(out, "signatures   {signatures}")?;
    let public = &node.address;
    let page = public.replacen("ws", "http", 1);
    writeln!(out, "try next     open {page} in a browser, or point any Nostr client at {public}")?;
    out.flush()
}

/// Upkeep of the store, a bounded step at a time, off the runtime's workers.
fn keep_up(node: &Arc<Node>) {
    let node = Arc::clone(node);
    node.tasks.clone().spawn(async move {
        loop {
            let (store, config, now) = (Arc::clone(&node.store), node.config.get(), node.clock.unix_s());
            let step = move || (store.maintain(now), store.stats(), build::free_bytes(&config));
            let more = match tokio::task::spawn_blocking(step).await {
                Ok((more, stats, free_bytes)) => {
                    if let Ok(stats) = stats {
                        node.metrics.note_store(&stats, free_bytes);
                    }
                    more.unwrap_or_else(|error| {
                        tracing::error!(%error, "upkeep failed");
                        false
                    })
                }
                Err(_) => false,
            };
            if !more {
                tokio::time::sleep(UPKEEP_PAUSE).await;
            }
        }
    });
}

/// Checkpoints of the audit log, as they become due.
fn keep_signing(node: &Arc<Node>) {
    let node = Arc::clone(node);
    node.tasks.clone().spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP_PAUSE).await;
            checkpoints::publish_due(&node).await;
        }
    });
}

fn reload_on_hangup(node: &Arc<Node>, mut hangups: Signal, handle: Handle, reread: Reread) {
    let node = Arc::clone(node);
    node.tasks.clone().spawn(async move {
        while hangups.recv().await.is_some() {
            match reread() {
                Ok(config) => reload(&node, &config),
                Err(error) => tracing::error!(%error, "the configuration is not reloaded"),
            }
            if let Err(error) = handle.reload_tls() {
                tracing::error!(%error, "the certificate is not reloaded");
            }
        }
    });
}

fn reload(node: &Node, new: &Config) {
    let old = node.config.get();
    let difference = Config::reloadable_difference(&old, new);
    let merged = match old.with_live_values_of(new) {
        Ok(merged) => merged,
        Err(error) => {
            tracing::error!(%error, "the configuration is not reloaded");
            return;
        }
    };
    // The relay's names are those found at the start.
    let urls = node.policy.get().urls.clone();
    node.policy.set(Policy { urls, ..build::policy(&merged, &[]) });
    node.config.set(merged);
    tracing::info!(changed = ?difference.live, needs_restart = ?difference.restart, "configuration reloaded");
}
