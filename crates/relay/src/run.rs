//! Start, serve until told to stop, drain. The order matters and is written here, top to bottom.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use towpath_gateway::{Bound, Gateway, Handle};
use towpath_ingest::Committer;
use towpath_policy::Policy;
use towpath_query::Queries;
use towpath_runtime::{Clock, Live, Random, SystemClock, TaskGroup, Thread};
use towpath_store::EventStore;

use crate::config::Config;
use crate::identity::Identity;
use crate::limiter::Limiter;
use crate::metrics::Metrics;
use crate::node::{Connections, Edge, Node};
use crate::{build, handover, logging};

/// Workers beyond the cores: they keep sockets served while every core checks signatures.
const SPARE_WORKERS: usize = 2;
/// Clients are told to come back over this time at most.
const CLOSE_WINDOW_MAX: Duration = Duration::from_secs(2);
/// Pause between upkeep steps when there is nothing to do.
const UPKEEP_PAUSE: Duration = Duration::from_secs(1);

/// Reads the configuration again, for SIGHUP.
pub type Reread = Box<dyn Fn() -> anyhow::Result<Config> + Send + Sync>;

/// Serves until SIGTERM or SIGINT, then drains. Blocks; returns when everything acknowledged is safe and every client was told.
pub fn serve(config: Config, reread: Reread) -> anyhow::Result<()> {
    logging::start(&config.log);
    let random = Random::from_os();
    let identity = own_identity(&config, &random)?;
    let data = config.store.data.clone();
    let runtime = runtime(&config)?;
    let inside = runtime.enter();
    let metrics = Metrics::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // The port first: clients that come while another process still leaves the folder wait instead of being refused.
    let bound = Gateway::bind(build::gateway(&config), metrics.gateway.clone(), Arc::clone(&clock))?;
    let patience = config.server.drain_deadline;
    let opening = handover::take_over(&data, patience, clock.as_ref(), || build::open_store(&config));
    let store = runtime.block_on(opening).with_context(|| format!("cannot open the store in {}", data.display()))?;
    let parts = start(config, store, metrics, Ambient { clock, random }, &identity, &bound)?;
    let handle = bound.handle();
    runtime.block_on(run(parts, bound, handle, reread, &data))?;
    // With the runtime the last owner of the store is gone: the folder is free.
    drop(inside);
    drop(runtime);
    handover::forget_leaving(&data);
    Ok(())
}

async fn run(parts: Parts, bound: Bound, handle: Handle, reread: Reread, folder: &Path) -> anyhow::Result<()> {
    let node = Arc::clone(&parts.node);
    keep_up(&node);
    // Whoever reads the address may signal at once.
    reload_on_hangup(&node, handle, reread)?;
    let stop = stop_signal()?;
    announce(&node, &bound, folder)?;
    let edge = Arc::new(Edge(Arc::clone(&node)));
    let drained = bound.serve(edge, stop_then_drain(stop, parts)).await;
    tracing::info!(cut = drained.cut, "stopped");
    node.tasks.stop();
    node.tasks.ended().await;
    Ok(())
}

fn own_identity(config: &Config, random: &Random) -> anyhow::Result<Identity> {
    let folder = &config.store.data;
    match Identity::load(folder)? {
        Some(identity) => Ok(identity),
        None => Ok(Identity::create(folder, random.bytes())?),
    }
}

fn runtime(config: &Config) -> anyhow::Result<Runtime> {
    let workers = config.server.workers.map_or_else(|| build::cores() + SPARE_WORKERS, usize::from);
    Builder::new_multi_thread().worker_threads(workers).enable_all().build().context("cannot start the runtime")
}

/// What runs beside the runtime, in the order in which it must end.
struct Parts {
    node: Arc<Node>,
    committer: Committer,
    follower: Thread,
}

/// The world outside.
struct Ambient {
    clock: Arc<dyn Clock>,
    random: Random,
}

fn start(
    config: Config,
    store: Arc<dyn EventStore>,
    metrics: Metrics,
    Ambient { clock, random }: Ambient,
    identity: &Identity,
    bound: &Bound,
) -> anyhow::Result<Parts> {
    let policy = Live::new(build::policy(&config, &names(bound)));
    let deliver = build::deliver(&metrics);
    let follower = deliver.follow(Arc::clone(&store))?;
    let (committer, ingest) = Committer::start(
        Arc::clone(&store),
        Arc::new(deliver.clone()),
        build::commit_limits(&config),
        policy.clone(),
        Arc::clone(&clock),
        metrics.ingest.clone(),
    )?;
    let parallel = config.queues.scan_parallel.map_or_else(build::cores, usize::from);
    let queries = Queries::new(Arc::clone(&store), parallel, build::slice(&config), Arc::clone(&clock));
    let scheme = if config.server.tls_certificate.is_some() { "wss" } else { "ws" };
    let node = Node {
        outboxes: Arc::new(build::outbox_budget(&config, &metrics)),
        address: config.relay.url.clone().unwrap_or_else(|| format!("{scheme}://{}", bound.address())),
        config: Live::new(config),
        policy,
        store,
        ingest,
        deliver,
        queries,
        limiter: Limiter::new(),
        metrics,
        clock,
        random,
        tasks: TaskGroup::new(),
        own_key: identity.public_key(),
        open: Connections::default(),
    };
    Ok(Parts { node: Arc::new(node), committer, follower })
}

/// What this relay may be called when the configuration gives it no URL: only names that cannot be somebody else's.
fn names(bound: &Bound) -> Vec<String> {
    let address = bound.address();
    let port = address.port();
    ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .map(|host| format!("ws://{host}:{port}"))
        .chain([format!("ws://{address}")])
        .collect()
}

/// On standard output, for people and for scripts that wait for the address.
fn announce(node: &Node, bound: &Bound, folder: &Path) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let (public, local) = (&node.address, bound.address());
    let scheme = if node.config.get().server.tls_certificate.is_some() { "wss" } else { "ws" };
    writeln!(out, "listening on {scheme}://{local}")?;
    writeln!(out, "data folder  {}", folder.display())?;
    writeln!(out, "relay key    {}", node.own_key)?;
    if node.config.get().relay.url.is_none() && !local.ip().is_loopback() {
        tracing::warn!("relay.url is not set: only clients on this machine can authenticate or ask to vanish");
    }
    let page = public.replacen("ws", "http", 1);
    writeln!(out, "try next     open {page} in a browser, or point any Nostr client at {public}")?;
    out.flush()
}

/// Upkeep of the store, a bounded step at a time, off the runtime's workers.
fn keep_up(node: &Arc<Node>) {
    let node = Arc::clone(node);
    node.tasks.clone().spawn(async move {
        loop {
            let (store, now) = (Arc::clone(&node.store), node.clock.unix_s());
            let step = tokio::task::spawn_blocking(move || (store.maintain(now), store.stats()));
            let more = match step.await {
                Ok((more, stats)) => {
                    if let Ok(stats) = stats {
                        node.metrics.note_store(&stats);
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

fn reload_on_hangup(node: &Arc<Node>, handle: Handle, reread: Reread) -> anyhow::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
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
    Ok(())
}

fn reload(node: &Node, new: &Config) {
    let old = node.config.get();
    let difference = Config::reloadable_difference(&old, new);
    let merged = old.with_live_values_of(new);
    // The relay's names are those found at the start.
    let urls = node.policy.get().urls.clone();
    node.policy.set(Policy { urls, ..build::policy(&merged, &[]) });
    node.config.set(merged);
    tracing::info!(changed = ?difference.live, needs_restart = ?difference.restart, "configuration reloaded");
}

fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Completes at the signal, so that accepting stops at once; the rest of the drain goes on beside it: what is queued is
/// committed, answered and delivered, then every connection is closed behind its last frame.
async fn stop_then_drain(stop: impl Future<Output = ()>, parts: Parts) {
    stop.await;
    tracing::info!("draining");
    let Parts { node, committer, follower } = parts;
    node.open.start_draining();
    handover::announce_leaving(&node.config.get().store.data);
    let window = CLOSE_WINDOW_MAX.min(node.config.get().server.drain_deadline / 4);
    node.tasks.clone().spawn(async move {
        let deliver = node.deliver.clone();
        let finished = tokio::task::spawn_blocking(move || {
            committer.finish();
            deliver.stop();
            follower.join();
        });
        if let Err(error) = finished.await {
            tracing::error!(%error, "the pipeline did not end in order");
        }
        node.close_connections(window);
    });
}
