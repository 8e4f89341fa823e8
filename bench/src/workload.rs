//! One run against one relay: connect, subscribe, publish to a pace, wait for the last answer and
//! delivery, then ask for every event by id. Knows what is measured, not what is good.

mod background;
mod course;
mod fanout;
mod figures;
mod publish;
mod soundness;
pub(crate) mod verify;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::account::{Accounts, Deliveries};
use crate::artifact::Outcome;
use crate::client::{Pool, Target};
use crate::counters::Counters;
use crate::launch::{Pod, RunningArm};
use crate::measure::{Clock, CpuTimes, forget_peak, peak_resident_bytes};
use crate::notes::Notes;
use crate::options::Method;
use crate::progress::Progress;
use crate::schedule::{Nanos, Schedule};
use soundness::Objections;

/// Between everything being ready and the first event.
const LEAD: Nanos = 50_000_000;
/// How often a thread that waits looks whether it should go on.
const GLANCE: Duration = Duration::from_millis(20);
/// How long the connections stay after the last answer and the last delivery, for whatever should not come.
const LINGER: Duration = Duration::from_millis(500);

/// When the next event leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pacing {
    /// Whatever the relay does; latency counts from the intended instant.
    Open(Schedule),
    /// As soon as the relay has answered one of so many, on every connection.
    Closed { in_flight: usize, duration: Nanos },
}

/// Everything a run needs to know.
pub(crate) struct Plan<'a> {
    /// Whose processor time and memory are the relay's.
    pub(crate) arm: &'a RunningArm,
    /// Connections that publish are spread over these.
    pub(crate) publishers_at: &'a [Pod],
    pub(crate) subscribers_at: &'a [Pod],
    pub(crate) notes: &'a Notes,
    /// No subscription asks for notes older than this.
    pub(crate) since: u64,
    pub(crate) pacing: Pacing,
    pub(crate) connections: usize,
    pub(crate) subscribers: usize,
    /// Whether others ask, count, come and go meanwhile.
    pub(crate) has_background: bool,
    pub(crate) method: &'a Method,
}

impl Plan<'_> {
    fn is_open_loop(&self) -> bool {
        matches!(self.pacing, Pacing::Open(_))
    }
}

/// So many connections, turn by turn over the pods.
fn spread(pods: &[Pod], connections: usize) -> impl Iterator<Item = &Target> {
    pods.iter().map(|pod| &pod.target).cycle().take(connections)
}

/// What everybody who took part saw.
struct Observed {
    published: publish::Published,
    deliveries: Option<Deliveries>,
    /// How much of its time the listening thread was at work.
    listener_busy: Option<f64>,
    background: background::Found,
    samples: Vec<course::Sample>,
    cost: Cost,
    /// Connections that the relay ended.
    cut: usize,
    /// The first refusal or notice, whoever was told it.
    complaint: Option<String>,
}

/// What the load cost, before anybody asks what became of it.
struct Cost {
    /// Since the warm-up ended; of a run that was over before, since its start.
    cpu: CpuTimes,
    /// When that was.
    since: Nanos,
    /// By pod.
    peak_resident_bytes: Vec<Option<u64>>,
}

/// Runs `plan` to its end.
pub(crate) fn run(plan: &Plan<'_>, progress: &Progress) -> Result<Outcome> {
    plan.arm.pods.iter().filter_map(|pod| pod.pid).for_each(forget_peak);
    let before = Counters::read(&plan.arm.pods);
    let observed = observe(plan, progress)?;
    let moved = Counters::read(&plan.arm.pods).moved_since(&before);
    let records = &observed.published.records;
    let acked = records.iter().filter(|record| record.accepted).count();
    let found = verify::ask_for_all(&plan.publishers_at[0].target, plan.notes, records)
        .with_context(|| format!("{acked} acknowledged events cannot be accounted for"))?;
    verify::must_refuse_a_forgery(&plan.publishers_at[0].target, plan.method.seed)?;
    let accounts = Accounts::settle(records, &found, observed.deliveries.as_ref());
    let latencies = figures::latencies(plan, &observed)?;
    let objections = Objections::to(plan, &observed, &accounts, &latencies, moved);
    Ok(Outcome {
        is_voided_by_relay: objections.blame_the_relay(),
        void: objections.into_text(),
        latencies,
        figures: figures::figures(plan, &observed),
        series: course::series(&observed.published, observed.deliveries.as_ref(), &observed.samples)?,
        accounts: Some(accounts),
        complaint: observed.complaint,
    })
}

/// Tells the other threads of a run that it is over.
#[derive(Default)]
struct Over(AtomicBool);

impl Over {
    fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whichever way the publisher's thread leaves, the others are told.
struct OverAtLast<'a>(&'a Over);

impl Drop for OverAtLast<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

fn observe(plan: &Plan<'_>, progress: &Progress) -> Result<Observed> {
    let clock = Clock::start();
    let (over, unheard) = (&Over::default(), &Over::default());
    thread::scope(|scope| {
        let (at_last, listened) = (OverAtLast(over), OverAtLast(unheard));
        let listening = if plan.subscribers == 0 {
            None
        } else {
            let (ready, is_ready) = sync_channel(1);
            let listening = scope.spawn(move || fanout::listen(plan, clock, unheard, progress, &ready));
            // A failure to subscribe drops the sender; joining then tells why.
            if is_ready.recv().is_err() {
                return Err(joined(listening).err().unwrap_or_else(|| anyhow!("no subscription was opened")));
            }
            Some(listening)
        };
        let pool = Pool::open(spread(plan.publishers_at, plan.connections))?;
        let background = plan.has_background.then(|| background::Background::prepare(plan)).transpose()?;
        let before = CpuTimes::of(plan.arm)?;
        let start = clock.now() + LEAD;
        let warm_up = plan.method.warm_up();
        let sampling = scope.spawn(move || course::sample(plan.arm, clock, start, warm_up, over));
        let background = background.map(|background| background.start(scope, clock, start, over));
        let mut publisher = publish::Publisher::new(plan, pool, clock, start, progress);
        publisher.run()?;
        if listening.is_some() {
            wait_for_deliveries(progress, (publisher.acked() * plan.subscribers) as u64, plan.method.drain());
        }
        let (end, after) = (clock.now(), CpuTimes::of(plan.arm)?);
        let peak_resident_bytes = plan.arm.pods.iter().map(|pod| pod.pid.and_then(peak_resident_bytes)).collect();
        drop(at_last);
        publisher.linger(LINGER)?;
        drop(listened);
        let published = publisher.finish();
        let heard = listening.map(joined).transpose()?;
        let background = background.map(background::Running::join).transpose()?.unwrap_or_default();
        let course::Sampled { samples, warm } = joined(sampling)?;
        let (since, before) = warm.filter(|(at, _)| *at < end).unwrap_or((start, before));
        let cost = Cost { cpu: after - before, since, peak_resident_bytes };
        Ok(gather(published, heard, background, samples, cost))
    })
}

fn gather(
    published: publish::Published,
    heard: Option<fanout::Heard>,
    background: background::Found,
    samples: Vec<course::Sample>,
    cost: Cost,
) -> Observed {
    let (deliveries, listener_busy, cut, complaint) = match heard {
        Some(heard) => (Some(heard.deliveries), Some(heard.busy), heard.cut, heard.complaint),
        None => (None, None, 0, None),
    };
    Observed {
        listener_busy,
        cut: published.cut + cut + background.cut,
        complaint: published.complaint.clone().or(complaint).or_else(|| background.complaint.clone()),
        published,
        deliveries,
        background,
        samples,
        cost,
    }
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(anyhow!("a generator thread panicked")))
}

/// Returns once there were so many deliveries, or after `patience`.
fn wait_for_deliveries(progress: &Progress, deliveries: u64, patience: Duration) {
    let glances = patience.as_nanos() / GLANCE.as_nanos();
    for _ in 0..glances {
        if progress.deliveries() >= deliveries {
            return;
        }
        thread::sleep(GLANCE);
    }
}

#[cfg(test)]
mod tests;
