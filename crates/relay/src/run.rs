//! Start, serve until told to stop, drain. The order matters and is written here, top to bottom.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout_at};
use towpath_gateway::Gateway;
use towpath_runtime::{Clock, Random, SystemClock};
use towpath_store::{Delivery as _, Error};
use towpath_store_postgres::PostgresStore;

use crate::config::Config;
use crate::edge::Edge;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::opening::Opening;
use crate::outlets::Outlets;
use crate::start::{Opened, Parts, Start, start};
use crate::{build, checkpoints, handover, logging};

/// Workers beyond those that can be checking signatures: they keep sockets served meanwhile.
const SPARE_WORKERS: usize = 2;
/// Clients are told to come back over this time at most.
const CLOSE_WINDOW_MAX: Duration = Duration::from_secs(2);
/// Tasks and threads that are at work when the relay ends have so long to notice, even if its time is up.
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// Reads the configuration again, for SIGHUP.
pub type Reread = Box<dyn Fn() -> anyhow::Result<Config> + Send + Sync>;

/// Serves until SIGTERM or SIGINT, then drains. Blocks; returns when everything acknowledged is safe and every client was told. An error
/// if something was still waited for at the deadline: the process has to end all the same.
pub fn serve(config: Config, reread: Reread) -> anyhow::Result<()> {
    logging::start(&config.log);
    let data = config.store.data.clone();
    let runtime = runtime(&config)?;
    let left_until = |deadline: Instant| deadline.saturating_duration_since(SystemClock.instant());
    match runtime.block_on(run(config, reread)) {
        Ok(deadline) => {
            runtime.shutdown_timeout(left_until(deadline));
            // With the runtime the last owner of the store is gone, if none was left to its fate: the folder is free.
            if !left_until(deadline).is_zero() {
                handover::have_left(&data);
            }
            Ok(())
        }
        // Such a thread may wait for something that never comes, and have the folder until the process is gone.
        Err(error) => {
            runtime.shutdown_timeout(LAST_PAUSE);
            Err(error)
        }
    }
}

fn runtime(config: &Config) -> anyhow::Result<Runtime> {
    let workers = config.server.workers.map_or_else(|| build::verify_parallel(config) + SPARE_WORKERS, usize::from);
    Builder::new_multi_thread().worker_threads(workers).enable_all().build().context("cannot start the runtime")
}

/// Returns until when threads that are still at work may be waited for.
async fn run(config: Config, reread: Reread) -> anyhow::Result<Instant> {
    let random = Random::from_os();
    let identity = own_identity(&config, &random)?;
    let metrics = Metrics::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let hangups = signal(SignalKind::hangup())?;
    let mut stop = Stop::new()?;
    // The port first: clients that come while another process still leaves the folder wait instead of being refused.
    let bound = Gateway::bind(build::gateway(&config), metrics.gateway.clone(), Arc::clone(&clock))?;
    let opening = Arc::new(Opening::default());
    let edge = Arc::new(Edge::starting(Arc::clone(&opening)));
    let (local, handle) = (bound.address(), bound.handle());

    // Completes when the relay is told to stop, so that accepting stops at once.
    let mut life = pin!(async {
        let Some(store) = open(&config, &opening, Arc::clone(&clock), &metrics, &mut stop).await? else {
            return Ok(None);
        };
        let all = Start { config, identity, metrics, clock, random, local, handle, reread, hangups };
        let parts = tokio::task::block_in_place(|| start(all, store, &edge))?;
        stop.asked().await;
        anyhow::Ok(Some(drain(parts)))
    });
    tokio::select! {
        ended = &mut life => return finish(ended?).await,
        () = opening.worth_asking() => {}
    }
    let (drained, ended) = bound.serve(Arc::clone(&edge), life).await;
    tracing::info!(cut = drained.cut, "stopped");
    finish(ended?).await
}

/// Ends what is left of a relay that drains, whether or not anybody was connected to it.
async fn finish(drain: Option<Drain>) -> anyhow::Result<Instant> {
    let Some(Drain { node, pipeline, deadline }) = drain else { return Ok(SystemClock.instant() + LAST_PAUSE) };
    let ended = timeout_at(deadline.into(), pipeline).await;
    node.tasks.stop();
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the pipeline did not end in order"),
        Err(_) => bail!("the drain was cut off at its deadline; what was not acknowledged may be lost"),
    }
    // Who took all the time there was has only just been cut off.
    let deadline = deadline.max(node.clock.instant() + LAST_PAUSE);
    // A request may be blocked in a statement of the database.
    if timeout_at(deadline.into(), node.tasks.ended()).await.is_err() {
        bail!("the drain was cut off at its deadline, in the middle of requests; what was acknowledged is safe");
    }
    Ok(deadline)
}

fn own_identity(config: &Config, random: &Random) -> anyhow::Result<Identity> {
    let folder = &config.store.data;
    if let Some(path) = &config.relay.key_file {
        return Identity::at(path)?
            .with_context(|| format!("{} is not there: relay.key_file names the relay's key", path.display()));
    }
    match Identity::load(folder)? {
        Some(identity) => Ok(identity),
        None => Ok(Identity::create(folder, random.bytes())?),
    }
}

/// The store, or nothing if the relay is to stop before it is open. A rebuild takes minutes, so it is no worker's business.
async fn open(
    config: &Config,
    opening: &Arc<Opening>,
    clock: Arc<dyn Clock>,
    metrics: &Metrics,
    stop: &mut Stop,
) -> anyhow::Result<Option<Opened>> {
    if config.store.url.is_some() {
        return tokio::select! {
            opened = open_database(config, clock, metrics) => opened.map(Some),
            () = stop.asked() => bail!("told to stop while the database did not answer"),
        };
    }
    let (patience, data) = (config.server.drain_deadline, config.store.data.clone());
    let mut opened = tokio::task::spawn_blocking({
        let (config, opening, data) = (config.clone(), Arc::clone(opening), data.clone());
        move || {
            let open = || match opening.is_given_up() {
                true => Err(Error::Closed("the relay was told to stop".into())),
                false => build::open_store_telling(&config, &opening),
            };
            Handle::current().block_on(handover::take_over(&data, patience, clock.as_ref(), open))
        }
    });
    let opened = tokio::select! {
        opened = &mut opened => opened,
        () = stop.asked() => {
            opening.give_up();
            // What is half-way done must let go of the folder before the process may end.
            return opened.await.map(|_| None).context("the store was not closed in order");
        }
    };
    let store = opened?.with_context(|| format!("cannot open the store in {}", data.display()))?;
    Ok(Some(Opened { store, database: None }))
}

async fn open_database(config: &Config, clock: Arc<dyn Clock>, metrics: &Metrics) -> anyhow::Result<Opened> {
    let (config, metrics) = (config.clone(), metrics.postgres.clone());
    let opened = tokio::task::spawn_blocking(move || build::open_database(&config, true, metrics, clock)).await?;
    let database = opened.context("cannot open the database")?.context("no database is configured")?;
    Ok(Opened { store: Arc::new(database.clone()), database: Some(database) })
}

/// What tells a process to end.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Has the last checkpoints cover everything, and delivers them as any event.
fn sign_the_end(node: &Node, outlets: &Outlets) {
    match checkpoints::publish_last(node) {
        Ok(Some(committed)) => outlets.committed(&committed, node.clock.instant()),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "the end of the audit log is not covered by a checkpoint"),
    }
}

/// A relay that was told to stop.
struct Drain {
    node: Arc<Node>,
    /// On a thread: it runs to its end even if nobody waits.
    pipeline: JoinHandle<()>,
    /// Nobody waits longer.
    deadline: Instant,
}

/// Begins the drain, which goes on beside the edge's: what is queued is committed, answered and delivered, then every connection is
/// closed behind its last frame.
fn drain(parts: Parts) -> Drain {
    tracing::info!("draining");
    let Parts { node, committer, outlets, follower, membership, database } = parts;
    node.open.start_draining();
    if membership.is_none() {
        handover::announce_leaving(&node.config.get().store.data);
    }
    let patience = node.config.get().server.drain_deadline;
    let window = CLOSE_WINDOW_MAX.min(patience / 4);
    let deadline = node.clock.instant() + patience;
    // Clients are told within one window, and whoever is told last has another to hear it.
    let enough = deadline - 2 * window;
    node.tasks.spawn(lose_patience(Arc::clone(&node), database, enough, window));
    let told = TellAll { node: Arc::clone(&node), window };
    let pipeline = tokio::task::spawn_blocking(move || {
        committer.finish(enough);
        sign_the_end(&told.node, &outlets);
        told.node.deliver.stop();
        follower.join();
        if let Some(membership) = membership {
            membership.leave();
        }
    });
    Drain { node, pipeline, deadline }
}

/// When it has taken long enough, the database is not waited for any more, and clients are told, whatever the pipeline waits for.
async fn lose_patience(node: Arc<Node>, database: Option<PostgresStore>, enough: Instant, window: Duration) {
    sleep_until(enough.into()).await;
    if let Some(database) = &database {
        database.give_up();
    }
    node.open.close_all(window, &node.random, &node.tasks);
}

/// Closes every connection when it is dropped: clients are told, however the pipeline ends.
struct TellAll {
    node: Arc<Node>,
    window: Duration,
}

impl Drop for TellAll {
    fn drop(&mut self) {
        let Self { node, window } = self;
        node.open.close_all(*window, &node.random, &node.tasks);
    }
}
