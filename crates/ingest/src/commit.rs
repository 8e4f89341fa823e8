//! The committer: group commit.
//!
//! One thread takes everything that waits, up to a bound, commits it as one transaction, answers, hands the batch to delivery,
//! and takes what has come meanwhile. A lone event is committed at once; batches form while a commit is in flight, and while more
//! bursts are to be checked than there are slots: then a commit of one or two of them would only take the
//! processor from the rest (docs/adr/0006-gather-under-load.md).

use std::sync::Arc;
use std::time::Instant;

use towpath_policy::{Policy, Write};
use towpath_runtime::{Clock, Live, Thread};
use towpath_store::{Batch, Committed, Delivery, Error, EventStore, Outcome};

use crate::checks::Checks;
use crate::metrics::Metrics;
use crate::queue::{CommitLimits, CommitQueue};
use crate::reply::{Answer, Reply, Way};
use crate::submit::Ingest;

/// A batch of so few is answered by the committer itself: waking a task for each costs more. With more, the next commit comes first.
const ANSWERED_HERE_MAX: usize = 4;

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
            checks: Arc::new(Checks::new(limits.verify_parallel, Arc::clone(&store), metrics.clone())),
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

    /// Commits and answers everything that waits, then ends. Later submissions are answered as overload. After `deadline` the store is
    /// asked for nothing more: what still waits is answered as failed. Blocks.
    pub fn finish(self, deadline: Instant) {
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
    let deliverer = (!committed.run.is_empty()).then(|| stages.delivery.hand_over(committed, now));
    for (reply, outcome) in replies.into_iter().zip(&committed.outcomes) {
        if matches!(outcome, Outcome::Accepted(_)) {
            stages.metrics.accepted.inc();
        }
        reply.send(Answer::Committed(committed.run.stream, *outcome), way, &stages.metrics, now);
    }
    if let Some(deliverer) = deliverer {
        stages.delivery.acknowledged(committed, now, deliverer);
    }
}

fn refuse(stages: &Ingest, error: &Error, replies: Vec<Reply>, now: Instant) {
    tracing::error!(%error, events = replies.len(), "commit failed");
    stages.metrics.commit_failures.inc();
    for reply in replies {
        reply.send(Answer::Failed(error.clone()), Way::Woken, &stages.metrics, now);
    }
}
