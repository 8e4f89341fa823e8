//! The commit queue and the committer: group commit.
//!
//! One thread takes everything that waits, up to a bound, commits it as one transaction, answers, hands the batch to delivery,
//! and takes what has come meanwhile. A lone event is committed at once; batches form while a commit is in flight, and while more
//! signatures are to be checked than there are slots: then a commit of one or two of them would only take the
//! processor from the rest (docs/adr/0006-gather-under-load.md).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Semaphore;
use towpath_policy::{Policy, Write};
use towpath_protocol::Verifier;
use towpath_runtime::{Clock, Live, Thread};
use towpath_store::{Act, Batch, Committed, Delivery, Error, EventStore, Outcome};

use crate::authors::Authors;
use crate::metrics::Metrics;
use crate::submit::{Answer, Ingest, Reply, Way};

/// A batch of so few is answered by the committer itself: waking a task for each costs more. With more, the next commit comes first.
const ANSWERED_HERE_MAX: usize = 4;

/// So many events are worth a commit of their own, whatever else is coming.
const GATHERED: usize = 256;

/// Acts of one commit.
const ACTS_MAX: usize = 1_024;

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
    /// Signatures checked at once.
    pub verify_parallel: usize,
    /// How long a commit waits for events behind it while the processors cannot keep up.
    pub gather_max: Duration,
}

/// A write on its way to the committer.
pub(crate) struct Pending {
    pub(crate) write: Write,
    pub(crate) reply: Reply,
    pub(crate) queued: Instant,
}

impl Pending {
    fn bytes(&self) -> usize {
        self.write.event().json().len()
    }
}

/// Writes waiting for the committer.
pub(crate) struct CommitQueue {
    waiting: Mutex<Waiting>,
    /// For the committer.
    arrived: Condvar,
    /// Events whose signatures are being checked or wait to be.
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
    closed: bool,
    /// What is not on its way to the store by then is refused.
    deadline: Option<Instant>,
}

/// An event that will be pushed unless it is refused.
pub(crate) struct Expected<'a>(&'a CommitQueue);

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.0.expected.fetch_sub(1, Ordering::Relaxed);
    }
}

impl CommitQueue {
    fn new(limits: CommitLimits, metrics: Metrics) -> Self {
        let (waiting, arrived, expected) = Default::default();
        Self { waiting, arrived, expected, limits, metrics }
    }

    /// Has the committer know of an event on its way, until what this returns is dropped.
    pub(crate) fn expect(&self) -> Expected<'_> {
        self.expected.fetch_add(1, Ordering::Relaxed);
        Expected(self)
    }

    /// Whether events wait for a slot to be checked in.
    fn is_behind(&self) -> bool {
        self.expected.load(Ordering::Relaxed) > self.limits.verify_parallel
    }

    /// Gives the reply back if the queue is full or closed.
    pub(crate) fn push(&self, pending: Pending) -> Result<(), Reply> {
        let mut waiting = self.waiting.lock();
        let full = waiting.writes.len() >= self.limits.queue_events_max
            || waiting.bytes + pending.bytes() > self.limits.queue_bytes_max && !waiting.writes.is_empty();
        if full || waiting.closed {
            return Err(pending.reply);
        }
        waiting.bytes += pending.bytes();
        waiting.writes.push_back(pending);
        self.note(&waiting);
        let is_enough = !waiting.gathering || waiting.writes.len() >= GATHERED || !self.is_behind();
        drop(waiting);
        if is_enough {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// False if the queue is full or closed.
    pub(crate) fn push_act(&self, act: Act) -> bool {
        let mut waiting = self.waiting.lock();
        let taken = waiting.acts.len() < ACTS_MAX && !waiting.closed;
        if taken {
            waiting.acts.push(act);
            self.arrived.notify_one();
        }
        taken
    }

    /// Waits for work and takes a batch of it; `None` when the queue is closed and empty.
    fn take(&self) -> Option<(Vec<Pending>, Vec<Act>)> {
        let mut waiting = self.waiting.lock();
        while waiting.writes.is_empty() && waiting.acts.is_empty() {
            if waiting.closed {
                return None;
            }
            self.arrived.wait(&mut waiting);
        }
        self.gather(&mut waiting);
        let mut bytes = 0;
        let fits = |pending: &&Pending| {
            bytes += pending.bytes();
            bytes <= self.limits.batch_bytes_max
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
        Some((batch, std::mem::take(&mut waiting.acts)))
    }

    /// Waits for more while there is sure to be more and the processors have better to do than to commit a few.
    fn gather(&self, waiting: &mut MutexGuard<'_, Waiting>) {
        waiting.gathering = true;
        let is_too_few = |waiting: &mut Waiting| {
            waiting.writes.len() < GATHERED && waiting.acts.is_empty() && !waiting.closed && self.is_behind()
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

    fn close(&self, deadline: Option<Instant>) {
        let mut waiting = self.waiting.lock();
        (waiting.closed, waiting.deadline) = (true, deadline);
        drop(waiting);
        self.arrived.notify_one();
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.waiting.lock().deadline.is_some_and(|deadline| now >= deadline)
    }
}

/// Owns the commit thread. One per store.
pub struct Committer {
    queue: Arc<CommitQueue>,
    thread: Thread,
}

impl Committer {
    /// Starts it, and makes the stages in front of it.
    pub fn start(
        store: Arc<dyn EventStore>,
        delivery: Arc<dyn Delivery>,
        limits: CommitLimits,
        policy: Live<Policy>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> std::io::Result<(Self, Ingest)> {
        let queue = Arc::new(CommitQueue::new(limits, metrics.clone()));
        let ingest = Ingest {
            verifier: Arc::new(Verifier::new()),
            authors: Arc::new(Authors::new()),
            cpu: Arc::new(Semaphore::new(limits.verify_parallel.max(1))),
            store,
            delivery,
            queue: Arc::clone(&queue),
            policy,
            clock,
            metrics,
        };
        let stages = ingest.clone();
        let thread = Thread::start("commit", move || run(&stages))?;
        Ok((Self { queue, thread }, ingest))
    }

    /// Commits and answers everything that waits, then ends. Later submissions are answered as overload. Blocks.
    pub fn finish(self) {
        self.end(None);
    }

    /// The same, but after `deadline` the store is asked for nothing more: what still waits is answered as failed.
    pub fn finish_by(self, deadline: Instant) {
        self.end(Some(deadline));
    }

    fn end(self, deadline: Option<Instant>) {
        self.queue.close(deadline);
        self.thread.join();
    }
}

fn run(stages: &Ingest) {
    while let Some((pending, acts)) = stages.queue.take() {
        let start = stages.clock.instant();
        let (writes, replies): (Vec<Write>, Vec<Reply>) = pending
            .into_iter()
            .map(|pending| {
                stages.metrics.queue_wait.observe(start.saturating_duration_since(pending.queued).as_secs_f64());
                (pending.write, pending.reply)
            })
            .unzip();
        if stages.queue.is_over(start) {
            refuse(stages, &Error::Closed("the relay stops".into()), replies, start);
            continue;
        }
        let result = stages.store.commit(Batch { writes, acts, committed_at_ms: stages.clock.unix_ms() });
        let now = stages.clock.instant();
        stages.metrics.commit.observe(now.saturating_duration_since(start).as_secs_f64());
        stages.metrics.batch_events.observe(replies.len() as f64);
        match result {
            Ok(committed) => answer(stages, &committed, replies, now),
            Err(error) => refuse(stages, &error, replies, now),
        }
    }
}

/// Acks and delivery leave together: what another thread delivers is handed to it first, because that only wakes it, and what this one
/// delivers goes out right behind the acks.
fn answer(stages: &Ingest, committed: &Committed, replies: Vec<Reply>, now: Instant) {
    let way = if replies.len() <= ANSWERED_HERE_MAX { Way::Short } else { Way::Woken };
    // Even without events, or the followers would see a gap.
    let is_entry = committed.cursor.covers(committed.stream, committed.first);
    let handed_over = is_entry && stages.delivery.hand_over(committed, now);
    for (reply, outcome) in replies.into_iter().zip(&committed.outcomes) {
        if matches!(outcome, Outcome::Accepted(_)) {
            stages.metrics.accepted.inc();
        }
        reply.send(Answer::Committed(committed.stream, *outcome), way, &stages.metrics, now);
    }
    if is_entry {
        stages.delivery.acknowledged(committed, now, handed_over);
    }
}

fn refuse(stages: &Ingest, error: &Error, replies: Vec<Reply>, now: Instant) {
    tracing::error!(%error, events = replies.len(), "commit failed");
    stages.metrics.commit_failures.inc();
    for reply in replies {
        reply.send(Answer::Failed(error.clone()), Way::Woken, &stages.metrics, now);
    }
}
