//! What waits for the follower.
//!
//! Owns: the bound on what waits, and how far the log has what was left out for want of room, or lost on its way here.
//! Must not know: the log itself, subscriptions, how anything is delivered.

use std::collections::VecDeque;
use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use towpath_protocol::Event;
use towpath_store::{Cursor, Run, Seq};

use crate::outbox::{Commit, Origin};
use crate::subscription::Subscription;

/// Runs, and their bytes, that may wait for the follower before it is sent to the log.
const RUNS_MAX: usize = 256;
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// A lone event of which the committer has sent the first frame, and who wants it besides.
pub(crate) struct Rest {
    pub(crate) event: Event,
    pub(crate) origin: Origin,
    /// Its run's.
    pub(crate) last: Seq,
    pub(crate) matching: Vec<Arc<Subscription>>,
}

/// What the follower does next.
pub(crate) enum Work {
    Rest(Rest),
    Run(Run, Commit),
    /// Reads the log, up to here at least.
    CatchUp(Cursor),
}

/// See the module.
pub(crate) struct Inbox {
    runs: VecDeque<(Run, Commit)>,
    bytes: usize,
    bytes_gauge: Gauge,
    /// One at most: the committer delivers nothing itself while anything is before it.
    rest: Option<Rest>,
    /// Up to here something is in the log that may never come here. Behind it, everything comes, or is missed in its turn.
    missed: Cursor,
    pub(crate) stopped: bool,
}

impl Inbox {
    /// Empty; the gauge says how many bytes wait.
    pub(crate) fn new(bytes_gauge: Gauge) -> Self {
        let (runs, rest, missed) = Default::default();
        Self { runs, bytes: 0, bytes_gauge, rest, missed, stopped: false }
    }

    /// Whether nothing of what is not `delivered` yet is before what comes next.
    pub(crate) fn is_empty(&self, delivered: &Cursor) -> bool {
        self.rest.is_none() && self.has_no_runs() && delivered.covers_all(&self.missed)
    }

    pub(crate) fn has_no_runs(&self) -> bool {
        self.runs.is_empty()
    }

    /// Takes `run`, or leaves it to the log.
    pub(crate) fn put(&mut self, run: Run, commit: Commit) {
        if self.runs.len() < RUNS_MAX && self.bytes < BYTES_MAX {
            self.note_bytes(self.bytes + run.bytes());
            self.runs.push_back((run, commit));
        } else {
            self.miss(&run.cursor());
        }
    }

    /// The log has everything up to `end`, whether or not it comes here.
    pub(crate) fn miss(&mut self, end: &Cursor) {
        end.places().for_each(|(stream, seq)| self.missed.advance(stream, seq));
    }

    /// What was missed so far, for whoever reads the log anyway.
    pub(crate) fn take_missed(&mut self) -> Cursor {
        std::mem::take(&mut self.missed)
    }

    /// Leaves it to the follower to deliver the rest of an event; only while this is empty.
    pub(crate) fn leave(&mut self, rest: Rest) {
        self.rest = Some(rest);
    }

    /// The next work, if there is any. What was missed comes last: most of it may have been `delivered` by then.
    pub(crate) fn take(&mut self, delivered: &Cursor) -> Option<Work> {
        if let Some(rest) = self.rest.take() {
            return Some(Work::Rest(rest));
        }
        if let Some((run, commit)) = self.runs.pop_front() {
            self.note_bytes(self.bytes - run.bytes());
            return Some(Work::Run(run, commit));
        }
        let missed = self.take_missed();
        (!delivered.covers_all(&missed)).then_some(Work::CatchUp(missed))
    }

    fn note_bytes(&mut self, bytes: usize) {
        self.bytes = bytes;
        self.bytes_gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
