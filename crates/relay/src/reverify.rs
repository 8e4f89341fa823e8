//! The audit log verified again and again in the background: what was true when it was committed must still be.
//!
//! A round reads the log from its first entry to what was its end when the round began, so many entries a second, with their ids and
//! signatures. What it finds is a metric and a warning of `/readyz`; the relay goes on serving, as refusing would repair nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use towpath_audit::{Checkpoint, Head, Problem, Report, Seen, Verification};
use towpath_protocol::{Event, SubmittedEvent, Verifier};
use towpath_store::{Entry, Error, EventStore, Page, Seq, StreamId};

use crate::checkpoints::own_heads;
use crate::node::Node;

/// Between two rounds.
const PAUSE: Duration = Duration::from_secs(1);
/// Steps a second: small ones, as commits share the cores. Of a database, whose queries cost more than what they return, fewer.
const STEPS_PER_SECOND: u32 = 50;
const QUERIES_PER_SECOND: u32 = 5;
const BYTES_AT_ONCE: usize = 4 << 20;

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
}

/// Goes on until the task is dropped.
pub(crate) async fn keep_verifying(node: Arc<Node>) {
    let mut late: HashMap<StreamId, Vec<Head>> = HashMap::new();
    loop {
        tokio::time::sleep(PAUSE).await;
        // Of a cluster each pod verifies its own.
        for (stream, head) in own_heads(&*node.store) {
            // The head in memory is what the log must still come to; what was signed, too.
            let mut known = vec![Checkpoint::of_stream(node.own_key, stream.0, head)];
            let latest = node.checkpoints.latest(&stream.0.to_string()).map(|signed| signed.checkpoint);
            // One that was signed since is of more than this round looks at.
            known.extend(latest.filter(|signed| signed.head_of(stream.0).is_some_and(|of| of.size <= head.size)));
            // What the last round could not compare any more when it came to it.
            let of_late = late.get(&stream).into_iter().flatten();
            known.extend(of_late.map(|head| Checkpoint::of_stream(node.own_key, stream.0, *head)));
            let verification = Verification::new(stream.0, node.own_key, &known);
            let round = Round { stream, verification, verifier: Verifier::new(), end: head.size };
            if let Some(report) = verify(&node, round).await {
                late.insert(stream, report.late);
            }
        }
    }
}

/// `None` if it could not be gone on with.
async fn verify(node: &Arc<Node>, mut round: Round) -> Option<Report> {
    let steps = if node.watch.is_some() { QUERIES_PER_SECOND } else { STEPS_PER_SECOND };
    while round.verification.entries() < round.end {
        let per_second = node.config.get().audit.verify_per_second;
        let entries_max = per_second.div_ceil(steps) as usize;
        if entries_max > 0 {
            let store = Arc::clone(&node.store);
            let before = round.verification.entries();
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
        tokio::time::sleep(PAUSE / per_second.clamp(1, steps)).await;
    }
    let report = round.verification.finish(None);
    node.metrics.audit_problems.set(i64::try_from(report.problems_total).unwrap_or(i64::MAX));
    match report.problems.first() {
        Some(problem) => note(node, format!("{problem} ({} problems in all)", report.problems_total)),
        None => *node.findings.0.lock() = None,
    }
    Some(report)
}

fn note(node: &Node, what: String) {
    tracing::error!(%what, "the audit log does not verify");
    node.metrics.audit_problems.set(node.metrics.audit_problems.get().max(1));
    *node.findings.0.lock() = Some(format!("the audit log does not verify: {what}"));
}

impl Round {
    /// Verifies the next entries. Blocks.
    fn step(&mut self, store: &dyn EventStore, entries_max: usize) -> Result<(), Error> {
        let before = Seq(self.verification.entries());
        let left = usize::try_from(self.end - self.verification.entries()).unwrap_or(usize::MAX);
        let page = Page { entries_max: entries_max.min(left), bytes_max: BYTES_AT_ONCE };
        let entries = store.since_in(self.stream, before, page)?;
        if entries.is_empty() {
            return Err(Error::Corrupt(format!("the log ends at entry {}", self.verification.entries())));
        }
        entries.iter().for_each(|entry| self.entry(entry));
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) {
        let event = entry.record.event();
        let seen = Seen { seq: entry.seq.0, committed_at_ms: entry.committed_at_ms, leaf: &entry.leaf, event };
        self.verification.entry(seen, |_| ());
        if let Some(why) = event.and_then(|event| self.forgery(event)) {
            self.verification.add(Problem::Forged { seq: entry.seq.0, why });
        }
    }

    /// A wrong id is found by the verification itself.
    fn forgery(&self, event: &Event) -> Option<String> {
        let event = SubmittedEvent::from_canonical(event.clone()).ok()?;
        self.verifier.verify(event).err().map(|error| error.to_string())
    }
}
