//! Batches that are durable and not yet indexed: the hand-over from the committer to the keeper thread.
//!
//! Bounded: with [`BATCHES_MAX`] waiting, the next commit waits too. The keeper takes what waits as one transaction, and lets it
//! gather a little unless somebody needs it: writing the index costs by the transaction, and nobody waits for it but scans.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use towpath_audit::Node;
use towpath_protocol::EventId;
use towpath_store::{Error, Seq};

use crate::log::record::Record;
use crate::log::segment::Segment;
use crate::overlay::Overlay;

/// Being indexed or waiting.
const BATCHES_MAX: usize = 64;
/// So many waiting are indexed at once, before a commit has to wait.
const BATCHES_ENOUGH: usize = 32;
/// How long batches may gather.
const GATHER_TIME: Duration = Duration::from_millis(20);

/// A durable batch.
#[derive(Debug)]
pub(crate) struct Unindexed {
    pub(crate) segment: Arc<Segment>,
    pub(crate) at: u32,
    pub(crate) record: Record,
    /// What its leaves completed in the audit tree.
    pub(crate) nodes: Vec<Node>,
    pub(crate) overlay: Arc<Overlay>,
}

/// What the keeper is asked to do next.
#[derive(Debug)]
pub(crate) enum Job {
    /// In this order.
    Index(Vec<Arc<Unindexed>>),
    Stop,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Arc<Unindexed>>,
    /// Why the oldest could not be indexed. It is tried again when somebody needs it.
    failure: Option<Error>,
    /// Somebody waits for the index.
    wanted: bool,
    /// The keeper waits for a batch, without a limit. Else it looks by itself after [`GATHER_TIME`].
    asleep: bool,
    stopping: bool,
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

    /// Hands a batch over.
    pub(crate) fn push(&self, batch: Unindexed) {
        let mut state = self.state.lock();
        state.batches.push_back(Arc::new(batch));
        // Waking the keeper for every batch would be most of its cost, and the committer would pay for it before the ack.
        if state.asleep || state.batches.len() == BATCHES_ENOUGH {
            state.asleep = false;
            self.work.notify_one();
        }
    }

    /// Waits until another batch may be handed over; returns the effects of those that the index may lack.
    pub(crate) fn wait_for_room(&self) -> Result<Vec<Arc<Overlay>>, Error> {
        let state = self.wait_until(|state| state.batches.len() < BATCHES_MAX)?;
        Ok(state.batches.iter().map(|batch| Arc::clone(&batch.overlay)).collect())
    }

    /// Waits until the index has everything.
    pub(crate) fn wait_until_empty(&self) -> Result<(), Error> {
        self.wait_until(|state| state.batches.is_empty()).map(drop)
    }

    /// Waits until the index has `seq`.
    pub(crate) fn wait_until_applied(&self, seq: Seq) -> Result<(), Error> {
        if self.applied() >= seq {
            return Ok(());
        }
        self.wait_until(|_| self.applied() >= seq).map(drop)
    }

    /// Where the event is stored, if at all, as far as the batches that the index may lack say anything of it.
    pub(crate) fn place_of(&self, id: &EventId) -> Option<Option<Seq>> {
        let state = self.state.lock();
        let placed = state.batches.iter().rev().find_map(|batch| batch.overlay.events.get(id))?;
        Some(placed.as_ref().map(|placed| placed.seq))
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
        loop {
            let idle = state.batches.is_empty() || state.failure.is_some();
            if idle && state.stopping {
                return Job::Stop;
            }
            let due = gathered || state.wanted || state.stopping || state.batches.len() >= BATCHES_ENOUGH;
            if !idle && due {
                break;
            }
            if idle && gathered {
                // Nothing came for a while: the next batch has to wake us.
                state.asleep = true;
                self.work.wait(&mut state);
                (state.asleep, gathered) = (false, false);
            } else {
                gathered = self.work.wait_for(&mut state, GATHER_TIME).timed_out();
            }
        }
        state.wanted = false;
        Job::Index(state.batches.iter().cloned().collect())
    }

    /// For the keeper: the oldest `batches` are in the index.
    pub(crate) fn done(&self, batches: usize, applied: Seq) {
        let mut state = self.state.lock();
        state.batches.drain(..batches);
        self.applied.store(applied.0, Ordering::Release);
        drop(state);
        self.changed.notify_all();
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
