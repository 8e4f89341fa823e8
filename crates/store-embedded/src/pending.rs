//! Batches that are durable and not yet indexed: the hand-over from the committer to the keeper thread.
//!
//! Bounded: with [`EVENTS_MAX`] waiting, the next commit waits too, and a little before that, so that it seldom has to. The keeper takes
//! what waits as one transaction, and lets it gather a little unless somebody needs it: writing the index costs by the page touched, so
//! that many events at once cost much less than as many one by one, and nobody waits for it but scans.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use towpath_audit::Node;
use towpath_protocol::{EventId, PublicKey};
use towpath_store::{Error, Seq};

use crate::log::record::Record;
use crate::log::segment::Segment;
use crate::overlay::Overlay;

/// Entries being indexed or waiting, and the bytes of their records: a second of 100 000 events a second, so that runs gather
/// while one is indexed.
const EVENTS_MAX: usize = 98_304;
const BYTES_MAX: usize = 64 << 20;
/// From this part of that on, commits slow down. All of it comes free only with the end of a run, for which a commit would stand still
/// for a tenth of a second or two, and behind it everybody who publishes.
const SLOWER_FROM: f64 = 0.5;
/// What a commit waits for each of its events when nearly all of it is used; in between as much less as there is room left. Twice what an
/// event costs the index of a million, so that commits come to its pace before there is no room.
const SLOWEST: Duration = Duration::from_micros(20);
/// So many begin a run, long before a commit has to wait; of events over 512 bytes it is the bytes. It takes all that waits then. Until it
/// is written every page its keys went to is in memory: of notes one to three each, and 512 MB at most, as LMDB writes the oldest
/// before it holds more; it keeps the memory for the next.
const EVENTS_ENOUGH: usize = 16_384;
const BYTES_ENOUGH: usize = BYTES_MAX / 8;
/// How long batches may gather: a scan that comes then waits for them to be indexed, which takes less time.
const GATHER_TIME: Duration = Duration::from_millis(250);

/// A durable batch.
#[derive(Debug)]
pub(crate) struct Unindexed {
    pub(crate) segment: Arc<Segment>,
    pub(crate) at: u32,
    pub(crate) record: Record,
    /// What its leaves completed in the audit tree.
    pub(crate) nodes: Vec<Node>,
}

/// What the keeper is asked to do next.
#[derive(Debug)]
pub(crate) enum Job {
    Index {
        /// In this order.
        batches: Vec<Arc<Unindexed>>,
        /// Somebody waits for it, or will soon.
        wanted: bool,
    },
    Stop,
}

/// What batches say of an event.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Where it is stored, if at all; nothing, if they do not touch it.
    pub(crate) place: Option<Option<Seq>>,
    /// Who has vanished with them, up to when: everybody, whether the event is theirs or not.
    pub(crate) vanished: Vec<(PublicKey, u64)>,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Arc<Unindexed>>,
    events: usize,
    bytes: usize,
    /// The effects of the batches the keeper is at, and of those behind them: two to look in, however many batches wait.
    taken: Option<Arc<Overlay>>,
    fresh: Arc<Overlay>,
    /// Why the oldest could not be indexed. It is tried again when somebody needs it.
    failure: Option<Error>,
    /// Somebody waits for the index, or for the keeper's other work.
    wanted: bool,
    /// The keeper waits for a batch, without a limit. Else it looks by itself after [`GATHER_TIME`].
    asleep: bool,
    stopping: bool,
}

impl State {
    fn add(&mut self, batch: &Unindexed) {
        self.events += batch.record.entries.len();
        self.bytes += batch.record.header.record_bytes();
    }

    fn remove_oldest(&mut self) {
        let Some(batch) = self.batches.pop_front() else { return };
        self.events -= batch.record.entries.len();
        self.bytes -= batch.record.header.record_bytes();
    }

    /// What a commit of `events` waits for the keeper's sake.
    fn delay(&self, events: usize) -> Duration {
        let used = (self.events as f64 / EVENTS_MAX as f64).max(self.bytes as f64 / BYTES_MAX as f64);
        let slowness = ((used - SLOWER_FROM) / (1.0 - SLOWER_FROM)).clamp(0.0, 1.0);
        SLOWEST.mul_f64(slowness * events as f64)
    }

    fn is_due(&self) -> bool {
        self.wanted || self.events >= EVENTS_ENOUGH || self.bytes >= BYTES_ENOUGH
    }
}

/// The queue and how far the index is.
#[derive(Debug)]
pub(crate) struct Pending {
    state: Mutex<State>,
    /// For those who wait for the index.
    changed: Condvar,
    /// For the keeper.
    work: Condvar,
    applied: AtomicU64,
}

impl Pending {
    pub(crate) fn new(applied: Seq) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            work: Condvar::new(),
            applied: AtomicU64::new(applied.0),
        }
    }

    pub(crate) fn applied(&self) -> Seq {
        Seq(self.applied.load(Ordering::Acquire))
    }

    /// Hands a batch and its effects over; an `urgent` one is not let gather.
    pub(crate) fn push(&self, batch: Unindexed, effects: Overlay, urgent: bool) {
        let mut state = self.state.lock();
        let was_due = state.is_due();
        state.wanted |= urgent;
        state.add(&batch);
        state.batches.push_back(Arc::new(batch));
        // Nobody else looks at it just now: there is one committer, and it has decided. So nothing is copied.
        Arc::make_mut(&mut state.fresh).merge(effects);
        // Waking the keeper for every batch would be most of its cost, and the committer would pay for it before the ack.
        if state.asleep || state.is_due() && !was_due {
            state.asleep = false;
            self.work.notify_one();
        }
    }

    /// Waits until another batch, of so many `events`, may be handed over; returns the effects of those that the index may lack, oldest
    /// first. They are to be dropped before the hand-over.
    pub(crate) fn wait_for_room(&self, events: usize) -> Result<Vec<Arc<Overlay>>, Error> {
        let mut state = self.wait_until(|state| state.events < EVENTS_MAX && state.bytes < BYTES_MAX)?;
        let delay = state.delay(events);
        if !delay.is_zero() {
            // The end of a run ends it early.
            self.changed.wait_for(&mut state, delay);
        }
        Ok(state.taken.iter().chain([&state.fresh]).cloned().collect())
    }

    /// Waits until the index has `seq`.
    pub(crate) fn wait_until_applied(&self, seq: Seq) -> Result<(), Error> {
        if self.applied() >= seq {
            return Ok(());
        }
        self.wait_until(|_| self.applied() >= seq).map(drop)
    }

    /// What the batches that the index may lack say of the event.
    pub(crate) fn said_of(&self, id: &EventId) -> Said {
        let state = self.state.lock();
        let overlays = [Some(&state.fresh), state.taken.as_ref()].into_iter().flatten();
        let placed = overlays.clone().find_map(|overlay| overlay.events.get(id));
        Said {
            place: placed.map(|placed| placed.as_ref().map(|placed| placed.seq)),
            vanished: overlays.flat_map(|overlay| overlay.vanished.iter().map(|(who, until)| (*who, *until))).collect(),
        }
    }

    fn wait_until(&self, mut reached: impl FnMut(&State) -> bool) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.state.lock();
        if !reached(&state) {
            state.failure = None;
        }
        while !reached(&state) {
            state.wanted = true;
            self.work.notify_one();
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if state.stopping {
                return Err(Error::Closed("it is shutting down".into()));
            }
            self.changed.wait(&mut state);
        }
        Ok(state)
    }

    /// For the keeper: waits for something to do. After stopping, what is left is still handed out.
    pub(crate) fn next_job(&self) -> Job {
        let mut state = self.state.lock();
        let mut gathered = false;
        let wanted = loop {
            let idle = state.batches.is_empty() || state.failure.is_some();
            if idle && state.stopping {
                return Job::Stop;
            }
            let wanted = state.stopping || state.is_due();
            if !idle && (gathered || wanted) {
                break wanted;
            }
            if idle && gathered {
                // Nothing came for a while: the next batch has to wake us.
                state.asleep = true;
                self.work.wait(&mut state);
                (state.asleep, gathered) = (false, false);
            } else {
                gathered = self.work.wait_for(&mut state, GATHER_TIME).timed_out();
            }
        };
        state.wanted = false;
        let fresh = std::mem::take(&mut state.fresh);
        match &mut state.taken {
            // What was taken before could not be indexed, and comes again.
            Some(taken) => Arc::make_mut(taken).merge(Arc::unwrap_or_clone(fresh)),
            none => *none = Some(fresh),
        }
        Job::Index { batches: state.batches.iter().cloned().collect(), wanted }
    }

    /// For the keeper: the oldest `batches` are in the index.
    pub(crate) fn done(&self, batches: usize, applied: Seq) {
        let mut state = self.state.lock();
        for _ in 0..batches {
            state.remove_oldest();
        }
        let indexed = state.taken.take();
        self.applied.store(applied.0, Ordering::Release);
        drop(state);
        self.changed.notify_all();
        // It may take a while, in which nobody has to wait.
        drop(indexed);
    }

    /// For the keeper: the oldest batch could not be indexed.
    pub(crate) fn fail(&self, failure: Error) {
        self.state.lock().failure = Some(failure);
        self.changed.notify_all();
    }

    /// Ends the keeper once it has nothing left that it can do.
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.work.notify_one();
        self.changed.notify_all();
    }

    /// Why the index is behind, if it cannot follow.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.state.lock().failure.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;
    use std::thread::yield_now;

    use super::*;

    #[test]
    fn commits_slow_down_before_there_is_no_room() {
        let with = |events, bytes| State { events, bytes, ..State::default() };
        let delay = |state: State| state.delay(100).as_micros();
        assert_eq!(delay(with(EVENTS_MAX / 2, BYTES_MAX / 2)), 0);
        assert_eq!(delay(with(EVENTS_MAX / 4 * 3, 0)), 1_000, "half-way, for each of them");
        assert_eq!(delay(with(0, BYTES_MAX)), 2_000, "bytes count as well");
        assert_eq!(with(EVENTS_MAX, 0).delay(1), SLOWEST);
    }

    /// With so many events it would wait for months.
    #[test]
    fn a_commit_that_is_slowed_down_goes_on_with_the_end_of_a_run() {
        let pending = Pending::new(Seq(0));
        pending.state.lock().events = EVENTS_MAX / 4 * 3;
        let (begun, ended) = (Barrier::new(2), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let commit = scope.spawn(|| {
                begun.wait();
                pending.wait_for_room(1 << 40).map(|_| ended.load(Ordering::SeqCst))
            });
            begun.wait();
            (0..1_000).for_each(|_| yield_now());
            ended.store(true, Ordering::SeqCst);
            while !commit.is_finished() {
                pending.done(0, Seq(0));
                yield_now();
            }
            assert!(commit.join().unwrap().unwrap(), "it did not wait");
        });
    }
}
