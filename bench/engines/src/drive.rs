//! Puts load on one engine: a producer thread sends, the committer (this thread) takes all that waits.
//!
//! Knows the trait, not the engines. An event's latency runs from the instant it was meant to be sent, so a stalled
//! engine cannot hide its stall by delaying the senders.

use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::engine::Engine;
use crate::report::{self, Histogram};
use crate::workload::{self, Event};

/// A commit takes at most this many events, as a relay's committer would.
const BATCH_EVENTS_MAX: usize = 1_024;
/// Above anything a run leaves waiting, so that the open loop never waits for room.
const QUEUE_EVENTS_MAX: usize = 1 << 16;
/// Sleeps end this close to their due time instead of the kernel's default of 50 us.
const TIMER_SLACK_NS: u64 = 1_000;

struct Submitted {
    event: Event,
    intended: Instant,
}

/// Sends `rate` events a second on an even schedule; returns the latency of each and the first number not used.
pub(crate) fn open_loop(
    engine: &mut dyn Engine,
    first: u64,
    rate: u64,
    duration: Duration,
) -> Result<(Histogram, u64)> {
    let end = first + (rate as f64 * duration.as_secs_f64()) as u64;
    let interval = Duration::from_secs(1) / u32::try_from(rate)?;
    let (sender, receiver) = mpsc::sync_channel(QUEUE_EVENTS_MAX);
    let latencies = thread::scope(|scope| {
        scope.spawn(move || send_on_schedule(&sender, first..end, interval));
        commit_all(engine, receiver, |_| {})
    })?;
    Ok((latencies, end))
}

fn send_on_schedule(sender: &SyncSender<Submitted>, numbers: std::ops::Range<u64>, interval: Duration) {
    // Best effort: without it the schedule is a little coarser, for every engine alike.
    let _ = rustix::thread::set_current_timer_slack(TIMER_SLACK_NS.try_into().ok());
    let mut intended = Instant::now();
    for number in numbers {
        let event = workload::event(number);
        intended += interval;
        thread::sleep(intended.saturating_duration_since(Instant::now()));
        if sender.send(Submitted { event, intended }).is_err() {
            return;
        }
    }
}

/// Keeps `in_flight` events unanswered for the duration; returns events a second and the first number not used.
pub(crate) fn closed_loop(
    engine: &mut dyn Engine,
    first: u64,
    in_flight: usize,
    duration: Duration,
) -> Result<(f64, u64)> {
    let (sender, receiver) = mpsc::sync_channel(in_flight);
    let (credits, granted) = mpsc::sync_channel(in_flight);
    let begun = Instant::now();
    let latencies = thread::scope(|scope| {
        scope.spawn(move || send_on_credit(&sender, first, in_flight, &granted, begun + duration));
        // The producer may have left at its deadline: a credit it no longer takes is no failure.
        commit_all(engine, receiver, move |answered| {
            let _ = credits.try_send(answered);
        })
    })?;
    Ok((latencies.len() as f64 / begun.elapsed().as_secs_f64(), first + latencies.len()))
}

fn send_on_credit(
    sender: &SyncSender<Submitted>,
    mut number: u64,
    in_flight: usize,
    granted: &Receiver<usize>,
    deadline: Instant,
) {
    let mut credit = in_flight;
    while Instant::now() < deadline {
        for _ in 0..credit {
            let event = workload::event(number);
            number += 1;
            if sender.send(Submitted { event, intended: Instant::now() }).is_err() {
                return;
            }
        }
        match granted.recv() {
            Ok(more) => credit = more,
            Err(_) => return,
        }
    }
}

/// Commits everything that waits, again and again, until the producer has gone and nothing waits. Owns its end of the
/// channels: when a commit fails they close, and the producer ends as well.
fn commit_all(
    engine: &mut dyn Engine,
    receiver: Receiver<Submitted>,
    mut answered: impl FnMut(usize),
) -> Result<Histogram> {
    let mut latencies = report::histogram()?;
    let mut events = Vec::with_capacity(BATCH_EVENTS_MAX);
    let mut intended = Vec::with_capacity(BATCH_EVENTS_MAX);
    while let Ok(first) = receiver.recv() {
        for submitted in std::iter::once(first).chain(receiver.try_iter()).take(BATCH_EVENTS_MAX) {
            events.push(submitted.event);
            intended.push(submitted.intended);
        }
        commit_fresh(engine, &events)?;
        let committed = Instant::now();
        for sent in intended.drain(..) {
            latencies.record(report::micros(committed - sent))?;
        }
        answered(events.len());
        engine.catch_up(&events)?;
        events.clear();
    }
    Ok(latencies)
}

/// Commits events in batches of a size known beforehand; returns the time the commits took, without making the events.
pub(crate) fn bulk(engine: &mut dyn Engine, numbers: std::ops::Range<u64>, batch_events: usize) -> Result<Duration> {
    let mut committing = Duration::ZERO;
    for first in numbers.clone().step_by(batch_events) {
        let last = (first + batch_events as u64).min(numbers.end);
        let events: Vec<Event> = (first..last).map(workload::event).collect();
        let begun = Instant::now();
        commit_fresh(engine, &events)?;
        engine.catch_up(&events)?;
        committing += begun.elapsed();
    }
    Ok(committing)
}

fn commit_fresh(engine: &mut dyn Engine, events: &[Event]) -> Result<()> {
    let stored = engine.commit(events)?;
    ensure!(stored == events.len(), "{stored} of {} new events were stored", events.len());
    Ok(())
}

/// Times `queries` calls of `read`, which copies the events it finds into an answer, as a relay does into its frames,
/// and returns how many there were, of the `expected`.
pub(crate) fn reads(
    queries: u64,
    expected: usize,
    read: impl Fn(u64, &mut dyn FnMut(&[u8])) -> Result<usize>,
) -> Result<Histogram> {
    let mut latencies = report::histogram()?;
    let mut answer = Vec::new();
    for query in 0..queries {
        answer.clear();
        let begun = Instant::now();
        let found = read(query, &mut |bytes| answer.extend_from_slice(bytes))?;
        latencies.record(report::micros(begun.elapsed()))?;
        ensure!(found == expected, "query {query} found {found} of {expected} events");
    }
    Ok(latencies)
}
