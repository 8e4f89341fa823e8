//! One run against one relay: connect, subscribe, publish to a pace, wait for the last answer and
//! delivery, then ask for every event by id. Knows what is measured, not what is good.

mod fanout;
mod publish;
mod verify;

use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde::Serialize;

use crate::account::{Accounts, Deliveries, Record};
use crate::client::{Pool, Target};
use crate::measure::{Clock, CpuTimes, Latency, resident_bytes};
use crate::notes::Notes;
use crate::schedule::{Nanos, Schedule};

/// Between everything being ready and the first event.
const LEAD: Nanos = 50_000_000;

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
    pub(crate) target: &'a Target,
    /// Where the subscribers are.
    pub(crate) heard_at: &'a Target,
    /// Whose processor time and memory are the relay's.
    pub(crate) relay_pid: Option<u32>,
    pub(crate) notes: &'a Notes,
    /// No subscription asks for notes older than this.
    pub(crate) since: u64,
    pub(crate) pacing: Pacing,
    pub(crate) connections: usize,
    pub(crate) subscribers: usize,
    /// Events intended earlier are accounted for, but are no part of the figures.
    pub(crate) warm_up: Nanos,
    /// How late the generator's p99 may be before the run is void.
    pub(crate) lag_max: Nanos,
    /// How long to wait for answers and deliveries after the last event has left.
    pub(crate) drain: Duration,
}

/// The figures of one run; latencies in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    /// Why the figures must not be used, if so.
    pub(crate) void: Option<String>,
    pub(crate) ack: Option<Latency>,
    pub(crate) first_delivery: Option<Latency>,
    pub(crate) last_delivery: Option<Latency>,
    pub(crate) acked_per_second: f64,
    pub(crate) relay_cpu_us_per_event: Option<f64>,
    pub(crate) generator_cpu_us_per_event: f64,
    /// The share of the machine that others used meanwhile.
    pub(crate) elsewhere_share: Option<f64>,
    pub(crate) relay_resident_bytes: Option<u64>,
    pub(crate) generator_lag: Option<Latency>,
    pub(crate) accounts: Accounts,
    /// The first refusal or notice.
    pub(crate) complaint: Option<String>,
}

/// What publisher and subscribers saw.
struct Observed {
    published: publish::Published,
    deliveries: Option<Deliveries>,
    cpu: CpuTimes,
}

/// Runs `plan` to its end.
pub(crate) fn run(plan: &Plan<'_>) -> Result<Outcome> {
    let observed = observe(plan)?;
    let resident = plan.relay_pid.and_then(resident_bytes);
    let records = &observed.published.records;
    let found = verify::ask_for_all(plan.target, plan.notes, records)?;
    let accounts = Accounts::settle(records, &found, observed.deliveries.as_ref());
    outcome(plan, observed, accounts, resident)
}

fn observe(plan: &Plan<'_>) -> Result<Observed> {
    let clock = Clock::start();
    let watch = fanout::Watch::default();
    thread::scope(|scope| {
        let listening = if plan.subscribers == 0 {
            None
        } else {
            let (ready, is_ready) = sync_channel(1);
            let watch = &watch;
            let listening = scope.spawn(move || fanout::listen(plan, clock, watch, &ready));
            // A failure to subscribe drops the sender; joining then tells why.
            if is_ready.recv().is_err() {
                return Err(joined(listening).err().unwrap_or_else(|| anyhow!("no subscription was opened")));
            }
            Some(listening)
        };
        let published = publish_measured(plan, clock, &watch, listening.is_some());
        watch.stop();
        let deliveries = listening.map(joined).transpose()?;
        let (published, cpu) = published?;
        Ok(Observed { published, deliveries, cpu })
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(anyhow!("a generator thread panicked")))
}

fn publish_measured(
    plan: &Plan<'_>,
    clock: Clock,
    watch: &fanout::Watch,
    is_watched: bool,
) -> Result<(publish::Published, CpuTimes)> {
    let pool = Pool::open(plan.target, plan.connections)?;
    let before = CpuTimes::read(plan.relay_pid)?;
    let published = publish::Publisher::new(plan, pool, clock, clock.now() + LEAD).run()?;
    if is_watched {
        let acked = published.records.iter().filter(|record| record.accepted).count();
        watch.wait_for((acked * plan.subscribers) as u64, plan.drain);
    }
    Ok((published, CpuTimes::read(plan.relay_pid)? - before))
}

fn outcome(plan: &Plan<'_>, observed: Observed, accounts: Accounts, resident: Option<u64>) -> Result<Outcome> {
    let Observed { published, deliveries, cpu } = observed;
    let counted_from = published.start + plan.warm_up;
    let counted = |record: &&Record| record.sent.is_some() && record.intended >= counted_from;
    let delivered = |instant: fn(&crate::account::Delivery) -> Nanos, needed: usize| {
        let events = deliveries.iter().flat_map(|deliveries| &deliveries.events);
        let pairs = published.records.iter().zip(events);
        Latency::of(
            pairs
                .filter(|(record, delivery)| counted(record) && delivery.subscribers >= needed)
                .map(|(record, delivery)| instant(delivery).saturating_sub(record.intended)),
        )
    };
    let is_open_loop = matches!(plan.pacing, Pacing::Open(_));
    let lag = Latency::of(
        published
            .records
            .iter()
            .filter(counted)
            .filter_map(|record| record.sent.map(|sent| sent.saturating_sub(record.intended))),
    )?
    .filter(|_| is_open_loop);
    let per_event = |seconds: f64| seconds * 1e6 / accounts.acked.max(1) as f64;
    Ok(Outcome {
        void: void(plan, lag, &accounts),
        ack: Latency::of(published.records.iter().filter(counted).filter_map(Record::ack_latency))?,
        first_delivery: delivered(|delivery| delivery.first, 1)?,
        last_delivery: delivered(|delivery| delivery.last, plan.subscribers.max(1))?,
        acked_per_second: rate(&published.records, counted_from, is_open_loop),
        relay_cpu_us_per_event: cpu.relay.map(per_event),
        generator_cpu_us_per_event: per_event(cpu.generator),
        elsewhere_share: cpu.elsewhere_share(),
        relay_resident_bytes: resident,
        generator_lag: lag,
        accounts,
        complaint: published.complaint,
    })
}

/// A generator that could not keep its own schedule, or a relay that hung up, measured nothing.
fn void(plan: &Plan<'_>, lag: Option<Latency>, accounts: &Accounts) -> Option<String> {
    let lag_max = plan.lag_max as f64 / 1e3;
    if let Some(lag) = lag.filter(|lag| lag.p99 > lag_max) {
        return Some(format!("the generator was {:.0} us late at p99, more than {lag_max:.0} us", lag.p99));
    }
    let is_open_loop = matches!(plan.pacing, Pacing::Open(_));
    if accounts.acked == 0 {
        return Some("nothing was acknowledged".into());
    }
    (is_open_loop && accounts.sent < accounts.planned)
        .then(|| format!("the relay closed connections: {} of {} sent", accounts.sent, accounts.planned))
}

/// Acknowledgements a second while there was load: from the warm-up's end to the last event sent
/// (closed loop), or to the last answer, so that an overloaded relay is not flattered (open loop).
fn rate(records: &[Record], from: Nanos, is_open_loop: bool) -> f64 {
    let last_sent = records.iter().filter_map(|record| record.sent).max();
    let last_answer = records.iter().filter_map(|record| record.answered).max();
    let until = if is_open_loop { last_answer.max(last_sent) } else { last_sent }.unwrap_or(from);
    let in_window = |record: &&Record| {
        record.accepted && record.answered.is_some_and(|answered| (from..=until).contains(&answered))
    };
    let seconds = until.saturating_sub(from) as f64 / 1e9;
    if seconds > 0.0 { records.iter().filter(in_window).count() as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests;
