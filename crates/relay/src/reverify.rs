//! The audit log verified again and again in the background: what was true when it was committed must still be.
//!
//! A round reads the log from its first entry to what was its end when the round began, so many entries a second, with their ids and
//! signatures; a short log no more often than one of [`ROUND_ENTRIES_MIN`]. What it finds is a metric and a warning of `/readyz`; the relay
//! goes on serving, as refusing would repair nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use towpath_audit::{Checkpoint, Head, Problem, Report, Seen, Verification};
use towpath_protocol::{BadSignature, SubmittedEvent, Verifier};
use towpath_store::{Entry, Error, EventStore, Page, Seq, StreamId};

use crate::checkpoints::{entries, own_heads};
use crate::node::Node;

/// Between two rounds, at least.
const PAUSE: Duration = Duration::from_secs(1);
/// At 250 a second, a minute: a small relay is not kept at work for what it has just found to be right. `audit.verify_per_second` names it.
const ROUND_ENTRIES_MIN: u64 = 15_000;
/// Steps a second at most: small ones, as commits share the cores. Of a database, whose queries cost more than what they return, fewer.
const STEPS_PER_SECOND: u32 = 50;
const QUERIES_PER_SECOND: u32 = 5;
const BYTES_AT_ONCE: usize = 4 << 20;
/// Of as many signatures as are checked at once, so many times are verified in a step: waking up for one, and fetching what it needs
/// into the processor's caches, costs as much as several.
const BURSTS_PER_STEP: u32 = 4;
/// Where they are checked one by one, so many are verified without giving way.
const STRETCH_MIN: usize = 5;
/// Entries read at once, but of a database, where a query costs more than what it returns.
const PAGE_ENTRIES: usize = 32;

/// What the last rounds found.
#[derive(Debug, Default)]
pub(crate) struct Findings(Mutex<Option<String>>);

impl Findings {
    /// For people, if anything is wrong.
    pub(crate) fn warning(&self) -> Option<String> {
        self.0.lock().clone()
    }
}

/// One stream's round.
struct Round {
    stream: StreamId,
    verification: Verification,
    verifier: Verifier,
    end: u64,
    /// Entries read at once.
    page_max: usize,
}

/// Goes on until the task is dropped.
pub(crate) async fn keep_verifying(node: Arc<Node>) {
    let mut late: HashMap<StreamId, Vec<Head>> = HashMap::new();
    let mut credit = 0;
    loop {
        tokio::time::sleep(PAUSE).await;
        credit = after_pause(credit, node.config.get().audit.verify_per_second);
        if credit > 0 {
            continue;
        }
        // Of a cluster each pod verifies its own.
        let own = own_heads(&*node.store);
        let size = entries(&own);
        let mut is_right = true;
        for (stream, head) in own {
            // The head in memory is what the log must still come to; what was signed, too.
            let mut known = vec![Checkpoint::of_stream(node.own_key, stream.0, head)];
            let latest = node.checkpoints.latest(&stream.0.to_string()).map(|signed| signed.checkpoint);
            // One that was signed since is of more than this round looks at.
            known.extend(latest.filter(|signed| signed.head_of(stream.0).is_some_and(|of| of.size <= head.size)));
            // What the last round could not compare any more when it came to it.
            let of_late = late.get(&stream).into_iter().flatten();
            known.extend(of_late.map(|head| Checkpoint::of_stream(node.own_key, stream.0, *head)));
            let verification = Verification::new(stream.0, node.own_key, &known);
            let page_max = if node.watch.is_some() { usize::MAX } else { PAGE_ENTRIES };
            let round = Round { stream, verification, verifier: Verifier::new(), end: head.size, page_max };
            let report = verify(&node, round).await;
            is_right &= report.as_ref().is_some_and(|report| report.problems_total == 0);
            if let Some(report) = report {
                late.insert(stream, report.late);
            }
        }
        credit = credit_of(size, is_right);
    }
}

/// Entries that a round over so many was short of the shortest. None if it found something wrong or could not be gone on with: that may
/// be repaired any time.
fn credit_of(entries: u64, is_right: bool) -> u64 {
    if is_right { ROUND_ENTRIES_MIN.saturating_sub(entries) } else { 0 }
}

/// What is left of them after a pause in which so many could have been verified.
fn after_pause(credit: u64, per_second: u32) -> u64 {
    credit.saturating_sub(u64::from(per_second) * PAUSE.as_secs())
}

/// `None` if it could not be gone on with.
async fn verify(node: &Arc<Node>, mut round: Round) -> Option<Report> {
    let steps = if node.watch.is_some() { QUERIES_PER_SECOND } else { STEPS_PER_SECOND };
    while round.verification.entries() < round.end {
        let per_second = node.config.get().audit.verify_per_second;
        let entries_max = step_entries(per_second, steps, round.verifier.burst_events_max());
        let before = round.verification.entries();
        if entries_max > 0 {
            let store = Arc::clone(&node.store);
            let step = tokio::task::spawn_blocking(move || (round.step(&*store, entries_max), round)).await;
            let (result, stepped) = step.ok()?;
            round = stepped;
            if let Err(Error::Unavailable(why)) = &result {
                // That says nothing of the log; the next round begins anew.
                tracing::debug!(%why, "the audit log cannot be read for verification");
                return None;
            }
            if let Err(error) = result {
                // What it names of this machine is for the log alone.
                tracing::error!(%error, "the audit log cannot be read");
                note(node, "it cannot be read".to_owned());
                return None;
            }
            node.metrics.audit_verified.inc_by(round.verification.entries() - before);
        }
        tokio::time::sleep(pause_after(round.verification.entries() - before, per_second)).await;
    }
    let report = round.verification.finish(None);
    node.metrics.audit_problems.set(i64::try_from(report.problems_total).unwrap_or(i64::MAX));
    match report.problems.first() {
        Some(problem) => note(node, format!("{problem} ({} problems in all)", report.problems_total)),
        None => *node.findings.0.lock() = None,
    }
    Some(report)
}

/// Entries of a step: of `steps_max` a second, or of fewer with some times as many signatures as are checked `at_once`, which cost a
/// fraction each; but at least one step a second, so that a new setting is soon seen.
fn step_entries(per_second: u32, steps_max: u32, at_once: usize) -> usize {
    let at_once = u32::try_from(at_once).unwrap_or(u32::MAX);
    let cheap = if at_once > 1 { at_once.saturating_mul(BURSTS_PER_STEP) } else { 1 };
    per_second.div_ceil(steps_max).max(cheap.min(per_second)) as usize
}

/// What keeps the rate after a step of so many, which may be fewer than were asked for if they are long.
fn pause_after(entries: u64, per_second: u32) -> Duration {
    if per_second == 0 { PAUSE } else { Duration::from_secs_f64(entries as f64 / f64::from(per_second)) }
}

fn note(node: &Node, what: String) {
    tracing::error!(%what, "the audit log does not verify");
    node.metrics.audit_problems.set(node.metrics.audit_problems.get().max(1));
    *node.findings.0.lock() = Some(format!("the audit log does not verify: {what}"));
}

impl Round {
    /// Verifies the next entries. Blocks; every few entries, between reading, checking and hashing, whoever waits for this processor gets it.
    fn step(&mut self, store: &dyn EventStore, entries_max: usize) -> Result<(), Error> {
        let end = self.end.min(self.verification.entries().saturating_add(entries_max as u64));
        while self.verification.entries() < end {
            let left = usize::try_from(end - self.verification.entries()).unwrap_or(usize::MAX);
            let page = Page { entries_max: left.min(self.page_max), bytes_max: BYTES_AT_ONCE };
            let entries = store.since_in(self.stream, Seq(self.verification.entries()), page)?;
            if entries.is_empty() {
                return Err(Error::Corrupt(format!("the log ends at entry {}", self.verification.entries())));
            }
            for entries in entries.chunks(self.verifier.burst_events_max().max(STRETCH_MIN)) {
                thread::yield_now();
                let forgeries = self.forgeries(entries);
                thread::yield_now();
                entries.iter().zip(forgeries).for_each(|(entry, forgery)| self.entry(entry, forgery));
            }
            thread::yield_now();
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, forgery: Option<BadSignature>) {
        let event = entry.record.event();
        let seen = Seen { seq: entry.seq.0, committed_at_ms: entry.committed_at_ms, leaf: &entry.leaf, event };
        self.verification.entry(seen, |_| ());
        if let Some(why) = forgery {
            self.verification.add(Problem::Forged { seq: entry.seq.0, why: why.to_string() });
        }
    }

    /// What is wrong with each entry's signature. A wrong id is found by the verification itself.
    fn forgeries(&self, entries: &[Entry]) -> Vec<Option<BadSignature>> {
        let submitted = |(at, entry): (usize, &Entry)| {
            let event = entry.record.event()?;
            Some((SubmittedEvent::from_canonical(event.clone()).ok()?, at))
        };
        let events = entries.iter().enumerate().filter_map(submitted).collect();
        let mut forgeries = vec![None; entries.len()];
        for (verified, at) in self.verifier.verify_all(events) {
            forgeries[at] = verified.err();
        }
        forgeries
    }
}

#[cfg(test)]
mod tests {
    use towpath_policy::{Policy, Source, Write, plan};
    use towpath_protocol::{Limits, SecretKey, VerifiedEvent, wire};
    use towpath_store::Batch;
    use towpath_store::memory::MemoryStore;

    use super::*;

    fn note(at: u64) -> VerifiedEvent {
        SecretKey::from_bytes([1 + (at % 3) as u8; 32]).unwrap().sign(at, 1, &[], "a note", &[0; 32])
    }

    /// With the signature of another.
    fn forged(at: u64) -> VerifiedEvent {
        let (event, other) = (note(at), note(at + 3));
        let (event, other) = (event.event().as_str(), other.event().as_str());
        // 128 digits, a quotation mark and a brace.
        let json = event[..event.len() - 130].to_owned() + &other[other.len() - 130..];
        VerifiedEvent::trusted(wire::event(&json, &Limits::default()).unwrap())
    }

    #[test]
    fn a_short_log_is_verified_as_often_as_one_of_the_shortest_and_what_is_wrong_at_once() {
        let pauses = |entries, is_right, per_second: u32| {
            let mut credit = credit_of(entries, is_right);
            (1..).find(|_| {
                credit = after_pause(credit, per_second);
                credit == 0
            })
        };
        assert_eq!(pauses(0, true, 250), Some(60));
        assert_eq!(pauses(7_500, true, 250), Some(30), "which took half a minute itself");
        assert_eq!(pauses(15_000, true, 250), Some(1));
        assert_eq!(pauses(1_000_000, true, 250), Some(1));
        assert_eq!(pauses(0, true, 1_000_000), Some(1));
        assert_eq!(pauses(0, false, 250), Some(1));
        assert_eq!(after_pause(15_000, 0), 15_000, "switched off");
    }

    #[test]
    fn a_step_is_of_several_bursts_and_the_rate_is_what_was_asked_for() {
        assert_eq!(step_entries(250, 50, 32), 128, "as waking up for them costs as much as several");
        assert_eq!(step_entries(250, 50, 1), 5, "one by one, in small steps");
        assert_eq!(step_entries(10_000, 50, 32), 200);
        assert_eq!(step_entries(3, 50, 32), 3, "at least a step a second");
        assert_eq!((step_entries(0, 50, 32), pause_after(0, 0)), (0, PAUSE), "switched off, and asked again");
        assert_eq!(pause_after(128, 250), Duration::from_millis(512));
        assert_eq!(pause_after(3, 3), Duration::from_secs(1));
    }

    #[test]
    fn of_signatures_checked_at_once_the_wrong_ones_are_named_in_the_order_of_the_log() {
        let (store, wrong) = (MemoryStore::new(), [3, 70, 71, 150]);
        let event = |at| if wrong.contains(&at) { forged(at) } else { note(at) };
        let writes: Vec<Write> = (1..=150).map(|at| plan(event(at), Source::Client, &Policy::default())).collect();
        store.commit(Batch::of(writes, 1_000)).unwrap();
        let (stream, head) = store.heads()[0];
        let verification = Verification::new(stream.0, note(0).event().pubkey(), &[]);
        let mut round = Round { stream, verification, verifier: Verifier::new(), end: head.size, page_max: 70 };
        while round.verification.entries() < round.end {
            // More than are checked at once.
            round.step(&store, 100).unwrap();
        }
        let problems = wrong.map(|seq| Problem::Forged { seq, why: "bad signature".to_owned() });
        assert_eq!(round.verification.finish(Some(head)).problems, problems);
    }
}
