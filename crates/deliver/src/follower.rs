//! The follower thread: carries commits to the subscriptions that want them, in commit order (`CommitOrder`, `NothingMissed`).
//!
//! The committer hands each batch over through a small queue and never waits. A follower that finds a gap, because the queue was
//! full, reads the missing entries from the log; so a slow follower costs latency, never an event.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use towpath_protocol::Event;
use towpath_runtime::Thread;
use towpath_store::{Committed, Cursor, Delivery, EventStore, Page, Record, Stored};

use crate::index::LiveIndex;
use crate::metrics::Metrics;
use crate::subscription::{Place, Subscription};

/// Batches that may wait for the follower before it is sent to the log.
const BATCHES_MAX: usize = 256;
/// What it reads from the log at once.
const PAGE: Page = Page { entries_max: 1024, bytes_max: 4 * 1024 * 1024 };
const TOO_SLOW: &str = "error: this connection is too slow for its subscription; live events were not sent";

/// The live index is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyFilters;

/// Live delivery. Clones share it.
#[derive(Clone)]
pub struct Deliver(Arc<Shared>);

struct Shared {
    index: Mutex<LiveIndex>,
    filters_max: usize,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    metrics: Metrics,
}

#[derive(Default)]
struct Inbox {
    batches: VecDeque<(Vec<Stored>, Instant)>,
    /// When the newest batch that did not fit was committed.
    missed: Option<Instant>,
    stopped: bool,
}

impl Deliver {
    /// Nobody listens yet. At most `filters_max` filters will be indexed.
    pub fn new(filters_max: usize, metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            index: Mutex::new(LiveIndex::new()),
            filters_max,
            inbox: Mutex::default(),
            arrived: Condvar::new(),
            metrics,
        }))
    }

    /// Starts the follower behind what `store` holds. It ends after [`Deliver::stop`], when all that was committed is delivered.
    pub fn follow(&self, store: Arc<dyn EventStore>) -> std::io::Result<Thread> {
        let deliver = self.clone();
        let cursor = store.snapshot();
        Thread::start("deliver", move || deliver.run(store.as_ref(), cursor))
    }

    /// No more commits will come.
    pub fn stop(&self) {
        self.0.inbox.lock().stopped = true;
        self.0.arrived.notify_one();
    }

    /// From now on `subscription` is offered every event that matches. Take the scan's cursor after this returned.
    pub fn register(&self, subscription: &Arc<Subscription>) -> Result<(), TooManyFilters> {
        let mut index = self.0.index.lock();
        if index.filters() + subscription.filters().len() > self.0.filters_max {
            return Err(TooManyFilters);
        }
        let slot = index.insert(subscription);
        self.note_filters(&index);
        let _ = subscription.slot.set(slot);
        Ok(())
    }

    /// Ends `subscription` without a word; none of its events leaves the outbox any more.
    pub fn unregister(&self, subscription: &Arc<Subscription>) {
        if subscription.end() {
            self.forget(subscription);
        }
    }

    /// Ends `subscription` with CLOSED and a reason that starts with its prefix.
    pub fn refuse(&self, subscription: &Arc<Subscription>, reason: &str) {
        if subscription.refuse(reason) {
            self.forget(subscription);
        }
    }

    fn forget(&self, subscription: &Arc<Subscription>) {
        let mut index = self.0.index.lock();
        if let Some(slot) = subscription.slot.get() {
            index.remove(*slot);
        }
        self.note_filters(&index);
    }

    fn note_filters(&self, index: &LiveIndex) {
        self.0.metrics.filters.set(i64::try_from(index.filters()).unwrap_or(i64::MAX));
    }

    /// Refuses a subscription whose client does not keep up.
    pub fn too_slow(&self, subscription: &Arc<Subscription>) {
        self.0.metrics.slow_consumers.inc();
        self.refuse(subscription, TOO_SLOW);
    }

    fn run(&self, store: &dyn EventStore, mut delivered: Cursor) {
        while let Some(work) = self.next_work() {
            match work {
                Work::Batch(stored, at) => self.batch(store, &mut delivered, stored, at),
                Work::CatchUp(at) => self.catch_up(store, &mut delivered, at),
            }
        }
    }

    fn next_work(&self) -> Option<Work> {
        let mut inbox = self.0.inbox.lock();
        loop {
            if let Some((stored, at)) = inbox.batches.pop_front() {
                return Some(Work::Batch(stored, at));
            }
            if let Some(at) = inbox.missed.take() {
                return Some(Work::CatchUp(at));
            }
            if inbox.stopped {
                return None;
            }
            self.0.arrived.wait(&mut inbox);
        }
    }

    fn batch(&self, store: &dyn EventStore, delivered: &mut Cursor, stored: Vec<Stored>, at: Instant) {
        let Some(first) = stored.first() else { return };
        if first.seq > delivered.seq(first.stream).next() {
            self.catch_up(store, delivered, at);
        }
        for Stored { stream, seq, event } in &stored {
            if !delivered.covers(*stream, *seq) {
                self.deliver(Some((*stream, *seq)), event, Some(at));
                delivered.advance(*stream, *seq);
            }
        }
    }

    /// Delivers from the log until it is at the end. A log that cannot be read stops delivery there; it is tried again with the
    /// next commit.
    fn catch_up(&self, store: &dyn EventStore, delivered: &mut Cursor, at: Instant) {
        self.0.metrics.catch_ups.inc();
        loop {
            let entries = match store.since(delivered, PAGE) {
                Ok(entries) if entries.is_empty() => return,
                Ok(entries) => entries,
                Err(error) => {
                    tracing::error!(%error, "cannot read the log for delivery");
                    return;
                }
            };
            for entry in entries {
                if let Record::Event { event, .. } = &entry.record {
                    self.deliver(Some((entry.stream, entry.seq)), event, Some(at));
                }
                delivered.advance(entry.stream, entry.seq);
            }
        }
    }

    /// Offers `event` to everyone who wants and may have it; returns how many did.
    fn deliver(&self, place: Place, event: &Event, committed: Option<Instant>) -> usize {
        let mut matching = Vec::new();
        let in_vain = self.0.index.lock().matching(event, &mut matching);
        self.0.metrics.false_candidates.inc_by(in_vain);
        let mut reached = 0;
        for subscription in matching.iter().filter(|subscription| subscription.reader().may_read(event)) {
            reached += 1;
            if !subscription.offer(place, event, committed) {
                self.too_slow(subscription);
            }
        }
        reached
    }
}

enum Work {
    Batch(Vec<Stored>, Instant),
    CatchUp(Instant),
}

impl Delivery for Deliver {
    fn committed(&self, batch: &Committed, at: Instant) {
        let mut inbox = self.0.inbox.lock();
        if inbox.batches.len() < BATCHES_MAX {
            inbox.batches.push_back((batch.stored.clone(), at));
        } else {
            inbox.missed = Some(at);
        }
        drop(inbox);
        self.0.arrived.notify_one();
    }

    fn ephemeral(&self, event: &Event) -> usize {
        self.deliver(None, event, None)
    }
}
