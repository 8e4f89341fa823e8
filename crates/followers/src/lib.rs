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
    waiting: VecDeque<Work>,
    bytes: usize,
    /// Runs were left out: the log has them.
    missed: bool,
    /// The stream that was handed over last, and its last place: nothing behind it is wanted of the log.
    end: (StreamId, Seq),
    stopped: bool,
}

impl Follower {
    /// Starts the follower of `stream` called `name` where it last was, or at the end of the log if it is new. When another stream is
    /// handed over, it follows that one. The thread ends after [`Follower::stop`], when it has taken all that was handed over.
    pub fn start(
        name: &str,
        stream: StreamId,
        store: Arc<dyn EventStore>,
        follow: impl Follow,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<(Self, Thread), Error> {
        let log = store.snapshot()?;
        let end = (stream, log.seq(stream));
        let cursor = store.follower(name)?.unwrap_or(log);
        let label = Name { follower: name.to_owned() };
        // What was committed while nobody followed is in the log.
        let inbox = Mutex::new(Inbox { end, missed: true, ..Inbox::default() });
        let shared = Arc::new(Shared { name: label, inbox, arrived: Condvar::new(), metrics });
        let (kept_at, kept) = (clock.instant(), cursor.clone());
        let mut runner = Runner {
            shared: Arc::clone(&shared),
            name: name.to_owned(),
            stream,
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
        let (stream, end) = std::mem::replace(&mut inbox.end, (run.stream, run.last));
        if run.stream != stream {
            // However full it is: the log does not say which part of a stream was handed over here.
            inbox.waiting.push_back(Work::Turn { end, stream: run.stream, first: run.first });
        }
        if inbox.waiting.len() < RUNS_MAX && inbox.bytes < BYTES_MAX {
            inbox.bytes += run.bytes();
            inbox.waiting.push_back(Work::Run(run, at));
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
    /// The stream so far was handed over up to its `end`; from its `first` entry on it is another's turn.
    Turn {
        end: Seq,
        stream: StreamId,
        first: Seq,
    },
    /// Up to this place at least.
    CatchUp(Seq),
    Idle,
}

struct Runner<F> {
    shared: Arc<Shared>,
    name: String,
    stream: StreamId,
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
        let (mut was_idle, mut goes_on) = (false, true);
        while goes_on && let Some(work) = self.next_work(was_idle) {
            was_idle = matches!(work, Work::Idle);
            goes_on = match work {
                Work::Run(run, _) if run.first > self.cursor.seq(run.stream).next() => self.catch_up(run.last),
                Work::Run(run, at) => self.take(&run, at),
                Work::Turn { end, stream, first } => self.turn(end, stream, first),
                Work::CatchUp(end) => self.catch_up(end),
                Work::Idle => {
                    self.follow.idle();
                    true
                }
            };
            self.note_lag();
            if was_idle || self.clock.instant().saturating_duration_since(self.kept_at) >= KEEP_EVERY {
                self.keep();
            }
        }
        self.keep();
    }

    /// Follows another stream from now on: what it had until then is somebody else's, as is what the one before gets from now on. False
    /// if the follower is stopped before it has what that one had.
    fn turn(&mut self, end: Seq, stream: StreamId, first: Seq) -> bool {
        let goes_on = self.cursor.covers(self.stream, end) || self.catch_up(end);
        if goes_on {
            self.stream = stream;
            self.cursor.advance(stream, Seq(first.0.saturating_sub(1)));
        }
        goes_on
    }

    fn next_work(&self, was_idle: bool) -> Option<Work> {
        let mut inbox = self.shared.inbox.lock();
        loop {
            if let Some(work) = inbox.waiting.pop_front() {
                if let Work::Run(run, _) = &work {
                    inbox.bytes -= run.bytes();
                }
                return Some(work);
            }
            if std::mem::take(&mut inbox.missed) {
                return Some(Work::CatchUp(inbox.end.1));
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

    /// Takes what the log has of the stream behind the cursor, up to `end` at least: there is no end to look for when the stream is
    /// another pod's by now. False if the follower is stopped meanwhile.
    fn catch_up(&mut self, end: Seq) -> bool {
        self.shared.metrics.catch_ups.get_or_create(&self.shared.name).inc();
        let mut pages_left = PAGES_AFTER_STOP;
        while !self.cursor.covers(self.stream, end) {
            // There may be hours of it. What is left is taken by the next process.
            if self.shared.inbox.lock().stopped {
                match pages_left.checked_sub(1) {
                    Some(left) => pages_left = left,
                    None => return false,
                }
            }
            match self.store.since_in(self.stream, self.cursor.seq(self.stream), PAGE).map(run_of) {
                Ok(None) => return true,
                Ok(Some((run, committed_at_ms))) => {
                    if !self.take(&run, self.clock.instant_at(committed_at_ms.saturating_mul(1000))) {
                        return false;
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
        true
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
        let (stream, last) = self.shared.inbox.lock().end;
        let lag = last.0.saturating_sub(self.cursor.seq(stream).0);
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

/// Entries of one stream, as a run with the time in ms of its first; `None` if there are none.
fn run_of(entries: Vec<Entry>) -> Option<(Run, u64)> {
    let (first, last) = (entries.first()?, entries.last()?);
    let committed_at_ms = first.committed_at_ms;
    let mut run = Run { stream: first.stream, first: first.seq, last: last.seq, stored: Vec::new() };
    for Entry { stream, seq, record, .. } in entries {
        if let Record::Event { event, .. } = record {
            run.stored.push(Stored { stream, seq, event });
        }
    }
    Some((run, committed_at_ms))
}
