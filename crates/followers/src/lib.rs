//! What runs behind the commit: every consumer of the log that is not live delivery.
//!
//! ```text
//! commit ─▶ inbox (bounded) ─▶ take(run) ─▶ cursor kept in the store, now and then
//!              │ full, or the process was new?
//!              └─ reads the log from its cursor
//! ```
//! A follower gets every entry at least once and in the order of its stream, may be as slow as it likes without anyone waiting for it,
//! and after a crash goes on from the cursor it last kept.
//!
//! Owns: the inbox, the thread, the cursor. Must not know: what a follower does.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use towpath_runtime::{Clock, Thread};
use towpath_store::{Cursor, Entry, Error, EventStore, Page, Record, Run, Seq, Stored, StreamId};

/// Runs, and their bytes, that may wait for a follower before it is sent to the log.
const RUNS_MAX: usize = 256;
const BYTES_MAX: usize = 16 << 20;
const PAGE: Page = Page { entries_max: 512, bytes_max: 2 << 20 };
/// A follower that is told to stop still reads so much of the log.
const PAGES_AFTER_STOP: usize = 16;
/// Between two attempts of something that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The cursor is kept this often: what came since is done again after a crash.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// A consumer of the log.
pub trait Follow: Send + 'static {
    /// Takes the next run of a stream, which was committed `at`. At least once: after a crash what was taken last may come again. On an
    /// error the same comes again after a pause.
    fn take(&mut self, run: &Run, at: Instant) -> Result<(), Error>;

    /// Nothing has come for [`Follow::idle_after`].
    fn idle(&mut self) {}

    /// How long nothing must come before [`Follow::idle`] is called, once.
    fn idle_after(&self) -> Duration {
        KEEP_EVERY
    }
}

/// By follower.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Name {
    follower: String,
}

/// Counters and gauges of all followers.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    lag: Family<Name, Gauge>,
    taken: Family<Name, Counter>,
    catch_ups: Family<Name, Counter>,
    failures: Family<Name, Counter>,
}

impl Metrics {
    /// Names them in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("follower_lag", "Entries that wait for the follower", self.lag.clone());
        registry.register("follower_taken", "Entries it is done with", self.taken.clone());
        registry.register(
            "follower_catch_ups",
            "Times it read the log because it had fallen behind",
            self.catch_ups.clone(),
        );
        registry.register("follower_failures", "Times it failed and was tried again", self.failures.clone());
    }
}

/// Hands commits to one follower. Clones are the same.
#[derive(Clone)]
pub struct Follower(Arc<Shared>);

struct Shared {
    name: Name,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    metrics: Metrics,
}

#[derive(Default)]
struct Inbox {
    runs: VecDeque<(Run, Instant)>,
    bytes: usize,
    /// Runs were left out: the log has them.
    missed: bool,
    /// The last place of the stream that was handed over, and whose it is.
    end: Option<(StreamId, u64)>,
    stopped: bool,
}

/// Which entries a follower gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Those of these streams, until another is handed over here: then of that one.
    Streams(Vec<StreamId>),
    /// All.
    Everything,
}

impl Follower {
    /// Starts the follower called `name` where it last was, or at the end of the log if it is new. The thread ends after
    /// [`Follower::stop`], when it has taken all that was handed over.
    pub fn start(
        name: &str,
        scope: Scope,
        store: Arc<dyn EventStore>,
        follow: impl Follow,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<(Self, Thread), Error> {
        let cursor = match store.follower(name)? {
            Some(cursor) => cursor,
            None => store.snapshot()?,
        };
        let label = Name { follower: name.to_owned() };
        let shared = Arc::new(Shared { name: label, inbox: Mutex::default(), arrived: Condvar::new(), metrics });
        // What was committed while nobody followed is in the log.
        shared.inbox.lock().missed = true;
        let (kept_at, kept) = (clock.instant(), cursor.clone());
        let mut runner = Runner {
            shared: Arc::clone(&shared),
            name: name.to_owned(),
            scope,
            store,
            follow,
            cursor,
            kept,
            kept_at,
            clock,
        };
        let thread = Thread::start("follower", move || runner.run());
        Ok((Self(shared), thread.map_err(|error| Error::io("start a follower", error))?))
    }

    /// Hands over what was committed `at`. Never blocks.
    pub fn offer(&self, run: Run, at: Instant) {
        let mut inbox = self.0.inbox.lock();
        inbox.end = Some((run.stream, run.last.0));
        if inbox.runs.len() < RUNS_MAX && inbox.bytes < BYTES_MAX {
            inbox.bytes += run.bytes();
            inbox.runs.push_back((run, at));
        } else {
            inbox.missed = true;
        }
        drop(inbox);
        self.0.arrived.notify_one();
    }

    /// Nothing more will come.
    pub fn stop(&self) {
        self.0.inbox.lock().stopped = true;
        self.0.arrived.notify_one();
    }
}

enum Work {
    Run(Run, Instant),
    CatchUp,
    Idle,
}

struct Runner<F> {
    shared: Arc<Shared>,
    name: String,
    scope: Scope,
    store: Arc<dyn EventStore>,
    follow: F,
    /// All that is done.
    cursor: Cursor,
    kept: Cursor,
    kept_at: Instant,
    clock: Arc<dyn Clock>,
}

impl<F: Follow> Runner<F> {
    fn run(&mut self) {
        let mut was_idle = false;
        while let Some(work) = self.next_work(was_idle) {
            was_idle = matches!(work, Work::Idle);
            match work {
                Work::Run(run, at) => {
                    self.adopt(&run);
                    let gap = run.first > self.cursor.seq(run.stream).next();
                    let done = if gap { self.catch_up() } else { self.take(&run, at) };
                    if !done {
                        break;
                    }
                }
                Work::CatchUp => {
                    if !self.catch_up() {
                        break;
                    }
                }
                Work::Idle => self.follow.idle(),
            }
            self.note_lag();
            if was_idle || self.clock.instant().saturating_duration_since(self.kept_at) >= KEEP_EVERY {
                self.keep();
            }
        }
        self.keep();
    }

    /// A stream that is handed over here is wanted in place of the one before, from now on: what it had until then is somebody else's.
    fn adopt(&mut self, run: &Run) {
        if let Scope::Streams(streams) = &mut self.scope
            && !streams.contains(&run.stream)
        {
            *streams = vec![run.stream];
            self.cursor.advance(run.stream, Seq(run.first.0.saturating_sub(1)));
        }
    }

    fn next_work(&self, was_idle: bool) -> Option<Work> {
        let mut inbox = self.shared.inbox.lock();
        loop {
            if let Some((run, at)) = inbox.runs.pop_front() {
                inbox.bytes -= run.bytes();
                return Some(Work::Run(run, at));
            }
            if std::mem::take(&mut inbox.missed) {
                return Some(Work::CatchUp);
            }
            if inbox.stopped {
                return None;
            }
            if was_idle {
                self.shared.arrived.wait(&mut inbox);
            } else if self.shared.arrived.wait_for(&mut inbox, self.follow.idle_after()).timed_out() {
                return Some(Work::Idle);
            }
        }
    }

    /// Takes a run, as often as it needs; false if the follower is stopped before it succeeds.
    fn take(&mut self, run: &Run, at: Instant) -> bool {
        if self.cursor.covers(run.stream, run.last) {
            return true;
        }
        while let Err(error) = self.follow.take(run, at) {
            self.shared.metrics.failures.get_or_create(&self.shared.name).inc();
            tracing::warn!(follower = self.name, %error, "a follower failed; it goes on from where it was");
            if self.stops_within(RETRY_PAUSE) {
                return false;
            }
        }
        let before = self.cursor.seq(run.stream).0;
        self.cursor.advance(run.stream, run.last);
        self.shared.metrics.taken.get_or_create(&self.shared.name).inc_by(run.last.0.saturating_sub(before));
        true
    }

    /// Of the streams that are wanted, and no other: theirs may be far longer.
    fn next_page(&self) -> Result<Vec<Entry>, Error> {
        let Scope::Streams(streams) = &self.scope else { return self.store.since(&self.cursor, PAGE) };
        for stream in streams {
            let entries = self.store.since_in(*stream, self.cursor.seq(*stream), PAGE)?;
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
        Ok(Vec::new())
    }

    /// Takes what the log has behind the cursor; false if the follower is stopped meanwhile.
    fn catch_up(&mut self) -> bool {
        self.shared.metrics.catch_ups.get_or_create(&self.shared.name).inc();
        let mut pages_left = PAGES_AFTER_STOP;
        loop {
            // There may be hours of it. What is left is taken by the next process.
            if self.shared.inbox.lock().stopped {
                match pages_left.checked_sub(1) {
                    Some(left) => pages_left = left,
                    None => return false,
                }
            }
            match self.next_page() {
                Ok(entries) if entries.is_empty() => return true,
                Ok(entries) => {
                    for (run, committed_at_ms) in runs_of(entries) {
                        if !self.take(&run, self.clock.instant_at(committed_at_ms.saturating_mul(1000))) {
                            return false;
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(follower = self.name, %error, "a follower cannot read the log");
                    if self.stops_within(RETRY_PAUSE) {
                        return false;
                    }
                }
            }
        }
    }

    fn keep(&mut self) {
        self.kept_at = self.clock.instant();
        if self.kept == self.cursor {
            return;
        }
        match self.store.keep_follower(&self.name, &self.cursor) {
            Ok(()) => self.kept = self.cursor.clone(),
            Err(error) => tracing::warn!(follower = self.name, %error, "a follower's place was not kept"),
        }
    }

    fn note_lag(&self) {
        let end = self.shared.inbox.lock().end;
        let lag = end.map_or(0, |(stream, last)| last.saturating_sub(self.cursor.seq(stream).0));
        self.shared.metrics.lag.get_or_create(&self.shared.name).set(i64::try_from(lag).unwrap_or(i64::MAX));
    }

    fn stops_within(&self, pause: Duration) -> bool {
        let mut inbox = self.shared.inbox.lock();
        if !inbox.stopped {
            self.shared.arrived.wait_for(&mut inbox, pause);
        }
        inbox.stopped
    }
}

/// Entries in order, as runs with the time in ms of their first entry: one for each change of stream.
fn runs_of(entries: Vec<Entry>) -> Vec<(Run, u64)> {
    let mut runs: Vec<(Run, u64)> = Vec::new();
    for Entry { stream, seq, committed_at_ms, record, .. } in entries {
        let run = match runs.last_mut() {
            Some((run, _)) if run.stream == stream => run,
            _ => {
                runs.push((Run { stream, first: seq, last: seq, stored: Vec::new() }, committed_at_ms));
                let newest = runs.len() - 1;
                &mut runs[newest].0
            }
        };
        run.last = seq;
        if let Record::Event { event, .. } = record {
            run.stored.push(Stored { stream, seq, event });
        }
    }
    runs
}
