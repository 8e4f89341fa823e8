//! Writes that wait for the committer.
//!
//! Owns: their bound and their order. Must not know: the store, what they are answered.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use towpath_policy::{Removal, Write};
use towpath_store::Act;

use crate::admission::{Admission, Admitted};
use crate::metrics::Metrics;
use crate::reply::Reply;

/// So many events are worth a commit of their own, whatever else is coming.
const GATHERED: usize = 256;

/// Events between their connections and the committer: some 20 ms of what two cores take in. With fewer, commits are smaller.
const UNDER_WAY_MAX: usize = 2_048;

/// Acts of one commit.
const ACTS_MAX: usize = 1_024;

/// What the deletions of one commit name, unless there is one only: each may remove an event, and other pods wait for it.
const TARGETS_MAX: usize = 1_000;

/// Bounds of the queue and of one batch.
#[derive(Debug, Clone, Copy)]
pub struct CommitLimits {
    /// Events that may wait.
    pub queue_events_max: usize,
    /// Bytes of events that may wait.
    pub queue_bytes_max: usize,
    /// Events of one commit.
    pub batch_events_max: usize,
    /// Bytes of events of one commit.
    pub batch_bytes_max: usize,
    /// Threads that check signatures at the same time.
    pub verify_parallel: usize,
    /// How long a commit waits for events behind it while the processors cannot keep up.
    pub gather_max: Duration,
}

/// A write on its way to the committer.
pub(crate) struct Pending {
    pub(crate) write: Write,
    pub(crate) reply: Reply,
    pub(crate) queued: Instant,
    /// It has room of [`Admission`] to give back.
    pub(crate) is_admitted: bool,
}

impl Pending {
    fn bytes(&self) -> usize {
        self.write.event().json().len()
    }

    /// What it asks to be deleted.
    fn targets(&self) -> usize {
        match self.write.removal() {
            Removal::Delete(request) => request.ids.len() + request.addresses.len(),
            Removal::None | Removal::Vanish => 0,
        }
    }
}

/// Writes waiting for the committer.
pub(crate) struct CommitQueue {
    admission: Admission,
    waiting: Mutex<Waiting>,
    /// For the committer.
    arrived: Condvar,
    /// Bursts whose signatures are being checked or wait to be.
    expected: AtomicUsize,
    limits: CommitLimits,
    metrics: Metrics,
}

#[derive(Default)]
struct Waiting {
    writes: VecDeque<Pending>,
    /// Nobody waits for them.
    acts: Vec<Act>,
    bytes: usize,
    /// The committer has some and waits for more.
    gathering: bool,
    /// Nothing is taken any more, and what is not on its way to the store by then is refused.
    closed: Option<Instant>,
}

/// A burst that will be pushed unless it is refused.
pub(crate) struct Expected<'a>(&'a CommitQueue);

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.0.expected.fetch_sub(1, Ordering::Relaxed);
    }
}

impl CommitQueue {
    pub(crate) fn new(limits: CommitLimits, metrics: Metrics) -> Self {
        let (waiting, arrived, expected) = Default::default();
        Self { admission: Admission::new(UNDER_WAY_MAX), waiting, arrived, expected, limits, metrics }
    }

    /// Waits until so many events more may be under way. Cancel-safe.
    pub(crate) async fn admit(&self, events: usize) -> Admitted<'_> {
        self.admission.admit(events).await
    }

    /// As in [`Admission::under_way`].
    pub(crate) fn under_way(&self) -> i64 {
        self.admission.under_way()
    }

    /// Has the committer know of a burst on its way, until what this returns is dropped.
    pub(crate) fn expect(&self) -> Expected<'_> {
        self.expected.fetch_add(1, Ordering::Relaxed);
        Expected(self)
    }

    /// Whether more bursts are on their way than there are slots to check them in, so that processors are what they wait for.
    fn is_behind(&self) -> bool {
        self.expected.load(Ordering::Relaxed) > self.limits.verify_parallel
    }

    /// Takes a burst, in its order, and gives back the replies of those it has no room for or is closed to.
    pub(crate) fn push(&self, burst: Vec<Pending>) -> Vec<Reply> {
        let mut refused = Vec::new();
        let mut waiting = self.waiting.lock();
        for pending in burst {
            if self.has_room(&waiting, &pending) {
                waiting.bytes += pending.bytes();
                waiting.writes.push_back(pending);
            } else {
                self.admission.arrived(usize::from(pending.is_admitted));
                refused.push(pending.reply);
            }
        }
        self.note(&waiting);
        let is_enough = !waiting.gathering || waiting.writes.len() >= GATHERED || !self.is_behind();
        drop(waiting);
        if is_enough {
            self.arrived.notify_one();
        }
        refused
    }

    /// All of a burst that was expected is refused: if it was the last that a commit waits for, that goes on.
    pub(crate) fn nothing_came(&self) {
        if !self.is_behind() && self.waiting.lock().gathering {
            self.arrived.notify_one();
        }
    }

    fn has_room(&self, waiting: &Waiting, pending: &Pending) -> bool {
        let fits = waiting.bytes + pending.bytes() <= self.limits.queue_bytes_max || waiting.writes.is_empty();
        fits && waiting.writes.len() < self.limits.queue_events_max && waiting.closed.is_none()
    }

    /// False if the queue is full or closed.
    pub(crate) fn push_act(&self, act: Act) -> bool {
        let mut waiting = self.waiting.lock();
        let taken = waiting.acts.len() < ACTS_MAX && waiting.closed.is_none();
        if taken {
            waiting.acts.push(act);
            self.arrived.notify_one();
        }
        taken
    }

    /// Waits for work and takes a batch of it; `None` when the queue is closed and empty.
    pub(crate) fn take(&self) -> Option<(Vec<Pending>, Vec<Act>)> {
        let mut waiting = self.waiting.lock();
        while waiting.writes.is_empty() && waiting.acts.is_empty() {
            if waiting.closed.is_some() {
                return None;
            }
            self.arrived.wait(&mut waiting);
        }
        self.gather(&mut waiting);
        let (mut bytes, mut targets) = (0, 0);
        let fits = |pending: &&Pending| {
            bytes += pending.bytes();
            targets += pending.targets();
            bytes <= self.limits.batch_bytes_max && targets <= TARGETS_MAX
        };
        let count = waiting
            .writes
            .iter()
            .take(self.limits.batch_events_max)
            .take_while(fits)
            .count()
            .max(1)
            .min(waiting.writes.len());
        let batch: Vec<Pending> = waiting.writes.drain(..count).collect();
        waiting.bytes -= batch.iter().map(Pending::bytes).sum::<usize>();
        self.note(&waiting);
        self.admission.arrived(batch.iter().filter(|pending| pending.is_admitted).count());
        Some((batch, std::mem::take(&mut waiting.acts)))
    }

    /// Waits for more while there is sure to be more and the processors have better to do than to commit a few.
    fn gather(&self, waiting: &mut MutexGuard<'_, Waiting>) {
        waiting.gathering = true;
        let is_too_few = |waiting: &mut Waiting| {
            waiting.writes.len() < GATHERED && waiting.acts.is_empty() && waiting.closed.is_none() && self.is_behind()
        };
        self.arrived.wait_while_for(waiting, is_too_few, self.limits.gather_max);
        waiting.gathering = false;
    }

    /// How long the write at the head has waited.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        let head = self.waiting.lock().writes.front().map(|pending| pending.queued);
        head.map_or(Duration::ZERO, |queued| now.saturating_duration_since(queued))
    }

    fn note(&self, waiting: &Waiting) {
        self.metrics.queued_events.set(i64::try_from(waiting.writes.len()).unwrap_or(i64::MAX));
        self.metrics.queued_bytes.set(i64::try_from(waiting.bytes).unwrap_or(i64::MAX));
    }

    /// Lets nothing more in; for what waits it is over at the `deadline`.
    pub(crate) fn close(&self, deadline: Instant) {
        self.waiting.lock().closed = Some(deadline);
        self.arrived.notify_one();
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.waiting.lock().closed.is_some_and(|deadline| now >= deadline)
    }
}
