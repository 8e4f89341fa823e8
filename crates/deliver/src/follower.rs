//! The follower: carries commits to the subscriptions that want them, in commit order (`CommitOrder`, `NothingMissed`).
//!
//! A thread of its own does, so that the committer never waits: it is handed each batch through a small queue, and when it finds a
//! gap, because the queue was full, it reads the missing entries from the log. A slow follower costs latency, never an event.
//! Batches of other processes come the same way, by the bus, which may lose some: what is lost is found by the same gap.
//!
//! But a thread that is woken may wait for a processor, and waking it costs more than most events do. While nothing waits for the
//! follower, the committer looks itself who wants a lone event, behind its ack, if few enough filters have to be looked at. It sends
//! the first frame, and the others if they are few; else they are left to the follower. With more filters, or more events, the
//! follower is woken before the acks leave, and is at work while they do.
//!
//! Whoever delivers also sends, straight to the sockets: a task a socket would have to be woken for each frame, which costs more than
//! the frame. What a socket does not take at once is left to its task. A lone event goes socket by socket, past the outbox if nothing
//! waits there, while the processor has at hand what it needs of that connection; of several events, all but the very first frame are queued
//! first, so that a socket gets its frames in one write.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use foldhash::HashMap;
use parking_lot::{Condvar, Mutex, MutexGuard};
use towpath_policy::{Audience, has_expired};
use towpath_protocol::{Event, Filter};
use towpath_runtime::{Clock, Thread};
use towpath_store::{
    Committed, Cursor, Deliverer, Delivery, Entry, Error, EventStore, Page, Run, Seq, Stored, StreamId,
};

use crate::inbox::{Inbox, Rest, Work};
use crate::index::LiveIndex;
use crate::metrics::Metrics;
use crate::outbox::{Commit, Full, Origin, Outbox};
use crate::subscription::{Reader, Subscription};

/// What the follower reads from the log at once.
const PAGE: Page = Page { entries_max: 1024, bytes_max: 4 * 1024 * 1024 };
/// The committer offers an event itself if so few filters could want it, and it is no longer than this: 0.1 ms at most.
const LOOKS_HERE_MAX: usize = 256;
const BYTES_HERE_MAX: usize = 2 * 1024;
/// It sends to so many subscriptions itself: about what it costs to have the follower do it.
const SENDS_HERE_MAX: usize = 8;
/// About how much is sent to a socket at once: by the committer, which has better things to do, and by the follower.
const COMMITTER_BYTES: usize = 2 * 1024;
const FOLLOWER_BYTES: usize = 64 * 1024;
/// Sockets that one thread sends to, one after the other. More are left to their tasks, which share the cores.
pub(crate) const SOCKETS_MAX: usize = 1_024;
/// How often one event makes room in one outbox by sending: a connection of many subscriptions must not keep the others waiting.
const RELIEFS_MAX: usize = 16;
/// So many events that wait are queued before their frames are sent.
const QUEUED_MAX: usize = 64;
/// Between two attempts to read a log that cannot be read.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Who looks whether delivery is behind does not wait longer for it.
const LOOK_MAX: Duration = Duration::from_millis(50);
const TOO_SLOW: &str = "error: this connection is too slow for its subscription; live events were not sent";

/// What one connection may use of the live index even when it is full.
const FAIR_SHARE: usize = 2_000;

/// How much of the live index may be used. A posting is one value that one filter is filed under, or just holds; some 80 bytes.
#[derive(Debug, Clone, Copy)]
pub struct IndexLimits {
    /// By all connections.
    pub postings_max: usize,
    /// By one.
    pub connection_postings_max: usize,
}

/// The live index is full, or the connection's share of it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyFilters;

/// Live delivery. Clones share it.
#[derive(Clone)]
pub struct Deliver(Arc<Shared>);

/// Locks are taken in the order of the fields.
struct Shared {
    /// How far the log has been delivered. Whoever delivers from it holds this, and so nobody else does.
    delivered: Mutex<Cursor>,
    index: Mutex<LiveIndex>,
    limits: IndexLimits,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    metrics: Metrics,
}

impl Deliver {
    /// Nobody listens yet.
    pub fn new(limits: IndexLimits, metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            delivered: Mutex::default(),
            index: Mutex::new(LiveIndex::new()),
            limits,
            inbox: Mutex::new(Inbox::new(metrics.inbox_bytes.clone())),
            arrived: Condvar::new(),
            metrics,
        }))
    }

    /// Starts the follower behind what `store` holds. It ends after [`Deliver::stop`], when all that was committed is delivered.
    pub fn follow(&self, store: Arc<dyn EventStore>, clock: Arc<dyn Clock>) -> Result<Thread, Error> {
        let deliver = self.clone();
        *self.0.delivered.lock() = store.snapshot()?;
        let thread = Thread::start("deliver", move || deliver.run(&Log { store, clock }));
        thread.map_err(|error| Error::io("start delivery", error))
    }

    /// Takes what another process committed `at`. Never blocks; may come twice, late, out of order or not at all, as long as whatever is
    /// missing is noticed in the end: by a later run of the stream or by [`Deliver::look`].
    pub fn take(&self, run: Run, at: Instant) {
        self.put(run, Commit { at, here: false });
    }

    /// Has the follower read the log up to `end`, as far as it does not come otherwise; whether it is not there yet.
    pub fn look(&self, end: &Cursor) -> bool {
        // An event or a page that is being delivered is waited for: then its place counts. Not the log, which may be away.
        let delivered = self.0.delivered.try_lock_for(LOOK_MAX);
        let behind = delivered.is_none_or(|delivered| !delivered.covers_all(end));
        if behind {
            self.0.inbox.lock().miss(end);
            self.0.arrived.notify_one();
        }
        behind
    }

    /// How far the log has been delivered. Waits while delivery is under way.
    pub fn delivered(&self) -> Cursor {
        self.0.delivered.lock().clone()
    }

    /// No more commits will come.
    pub fn stop(&self) {
        self.0.inbox.lock().stopped = true;
        self.0.arrived.notify_one();
    }

    /// From now on `subscription` is offered every event that matches. Take the scan's cursor after this returned.
    pub fn register(&self, subscription: &Arc<Subscription>) -> Result<(), TooManyFilters> {
        let mut index = self.0.index.lock();
        let keys = index.keys_of(subscription.filters());
        let limits = self.0.limits;
        let cost = cost_of(subscription.filters()).max(keys.len());
        let of_connection = subscription.outbox().postings.load(Ordering::Relaxed) + cost;
        // Newcomers with a client's usual needs are let in even when the busy ones have used everything up.
        let no_room = index.cost() + cost > limits.postings_max && of_connection > FAIR_SHARE;
        if of_connection > limits.connection_postings_max || no_room {
            return Err(TooManyFilters);
        }
        subscription.outbox().postings.store(of_connection, Ordering::Relaxed);
        let slot = index.insert(subscription, keys, cost);
        self.note_filters(&index);
        let _ = subscription.slot.set(slot);
        Ok(())
    }

    /// Ends `subscription` without a word: the client asked, or replaced it. Nothing of it leaves the outbox any more.
    pub fn unregister(&self, subscription: &Arc<Subscription>) {
        if subscription.abandon() {
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
            let removed = index.remove(*slot);
            subscription.outbox().postings.fetch_sub(removed, Ordering::Relaxed);
        }
        self.note_filters(&index);
    }

    fn note_filters(&self, index: &LiveIndex) {
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.0.metrics.filters.set(gauge(index.filters()));
        self.0.metrics.postings.set(gauge(index.cost()));
    }

    /// Refuses a subscription whose client does not keep up.
    pub fn too_slow(&self, subscription: &Arc<Subscription>) {
        self.0.metrics.slow_consumers.inc();
        self.refuse(subscription, TOO_SLOW);
    }

    fn run(&self, log: &Log) {
        let mut queued = Queued::default();
        while let Some(Turn { work, mut delivered, is_last }) = self.next_turn() {
            match work {
                Work::Rest(rest) => self.rest_of(rest, &mut delivered, &mut queued, is_last),
                Work::Run(run, commit) => self.run_of(log, &run, commit, &mut delivered, &mut queued, is_last),
                Work::CatchUp(end) => {
                    self.catch_up(log, &mut delivered, &end);
                }
            }
            // The committer may deliver what is next while these are sent: they are in their outboxes, in order.
            drop(delivered);
            if is_last || queued.is_enough() {
                queued.send();
            }
        }
    }

    /// Waits for work. It is taken together with the right to deliver, so that the committer sees one of the two.
    fn next_turn(&self) -> Option<Turn<'_>> {
        loop {
            let delivered = self.0.delivered.lock();
            let mut inbox = self.0.inbox.lock();
            if let Some(work) = inbox.take(&delivered) {
                let is_last = inbox.has_no_runs();
                drop(inbox);
                return Some(Turn { work, delivered, is_last });
            }
            if inbox.stopped {
                return None;
            }
            drop(delivered);
            self.0.arrived.wait(&mut inbox);
        }
    }

    /// Whether the committer may offer it itself: a lone event that few filters could want.
    fn is_cheap(&self, run: &Run) -> bool {
        let [Stored { event, .. }] = &run.stored[..] else { return false };
        event.json().len() <= BYTES_HERE_MAX
            && self.0.index.try_lock().is_some_and(|index| index.looks(event) <= LOOKS_HERE_MAX)
    }

    /// Delivers a lone event on the committer's thread, if the follower has nothing before it; to one socket, if they are many, and
    /// leaves the others to the follower. False if not.
    fn deliver_here(&self, run: &Run, at: Instant) -> bool {
        let [Stored { stream, seq, event }] = &run.stored[..] else { return false };
        let Some(mut delivered) = self.0.delivered.try_lock() else { return false };
        if delivered.seq(*stream).next() != run.first || !self.0.inbox.lock().is_empty(&delivered) {
            return false;
        }
        let origin = Origin { stream: *stream, seq: *seq, commit: Commit { at, here: true } };
        let mut matching = self.matching(event);
        let here = if matching.len() > SENDS_HERE_MAX { 1 } else { matching.len() };
        self.send_each(&mut matching[..here], event, origin, COMMITTER_BYTES);
        matching.drain(..here);
        if matching.is_empty() {
            delivered.advance(*stream, run.last);
        } else {
            let rest = Rest { event: event.clone(), origin, last: run.last, matching };
            self.0.inbox.lock().leave(rest);
            self.0.arrived.notify_one();
        }
        true
    }

    fn rest_of(&self, rest: Rest, delivered: &mut Cursor, queued: &mut Queued, is_last: bool) {
        let Rest { event, origin, last, mut matching } = rest;
        if is_last {
            self.send_each(&mut matching, &event, origin, FOLLOWER_BYTES);
        } else {
            self.offer(&matching, &event, Some(origin), |outbox| queued.touch(outbox));
            queued.events += 1;
        }
        delivered.advance(origin.stream, last);
    }

    fn run_of(&self, log: &Log, run: &Run, commit: Commit, delivered: &mut Cursor, queued: &mut Queued, is_last: bool) {
        if run.first > delivered.seq(run.stream).next() {
            self.0.metrics.gaps.inc();
            // And what else was missed: under a load that always fills the inbox, its turn would not come.
            let mut end = self.0.inbox.lock().take_missed();
            end.advance(run.stream, Seq(run.first.0.saturating_sub(1)));
            // It may take long, if the log is away.
            queued.send();
            if !self.catch_up(log, delivered, &end) {
                return;
            }
        }
        let fresh = run.stored.iter().filter(|stored| !delivered.covers(stored.stream, stored.seq));
        let fresh: Vec<_> = fresh.collect();
        for Stored { stream, seq, event } in &fresh {
            let origin = Origin { stream: *stream, seq: *seq, commit };
            let mut matching = self.matching(event);
            // The first frame does not wait for the others, and those of a lone event not for each other.
            let at_once = match queued.events {
                0 if fresh.len() == 1 && is_last => matching.len(),
                0 => matching.len().min(1),
                _ => 0,
            };
            let (at_once, others) = matching.split_at_mut(at_once);
            self.send_each(at_once, event, origin, FOLLOWER_BYTES);
            self.offer(others, event, Some(origin), |outbox| queued.touch(outbox));
            queued.events += 1;
            delivered.advance(*stream, *seq);
            if queued.is_enough() {
                queued.send();
            }
        }
        delivered.advance(run.stream, run.last);
    }

    /// Delivers from the log up to `end`, which is what was missed: everything behind it comes by the inbox, or is missed in its turn.
    /// Reading on to the end of the log would deliver from there whatever is committed meanwhile, for as long as anything is. False if
    /// the relay stops first.
    fn catch_up(&self, log: &Log, delivered: &mut Cursor, end: &Cursor) -> bool {
        self.0.metrics.catch_ups.inc();
        end.places().all(|(stream, last)| self.catch_up_in(log, delivered, stream, last))
    }

    /// The same in one stream. A log that cannot be read is tried again until it can, or the relay stops: going on without it would lose
    /// events.
    fn catch_up_in(&self, log: &Log, delivered: &mut Cursor, stream: StreamId, last: Seq) -> bool {
        while !delivered.covers(stream, last) {
            match log.store.since_in(stream, delivered.seq(stream), PAGE) {
                Ok(entries) if entries.is_empty() => break,
                Ok(entries) => self.entries(entries, delivered, log),
                Err(error) => {
                    tracing::error!(%error, "cannot read the log for delivery");
                    if self.stops_within(RETRY_PAUSE) {
                        return false;
                    }
                }
            }
        }
        true
    }

    fn entries(&self, entries: Vec<Entry>, delivered: &mut Cursor, log: &Log) {
        let (mut queued, now) = (Queued::default(), log.clock.unix_s());
        for entry in entries {
            // It may have been committed long ago.
            if let Some(event) = entry.record.event()
                && !has_expired(event, now)
            {
                self.offer(&self.matching(event), event, Some(log.origin(&entry)), |outbox| queued.touch(outbox));
            }
            delivered.advance(entry.stream, entry.seq);
        }
        queued.send();
    }

    fn put(&self, run: Run, commit: Commit) {
        self.0.inbox.lock().put(run, commit);
        self.0.arrived.notify_one();
    }

    fn stops_within(&self, pause: Duration) -> bool {
        let mut inbox = self.0.inbox.lock();
        if !inbox.stopped {
            self.0.arrived.wait_for(&mut inbox, pause);
        }
        inbox.stopped
    }

    fn matching(&self, event: &Event) -> Vec<Arc<Subscription>> {
        let mut matching = Vec::new();
        let in_vain = self.0.index.lock().matching(event, &mut matching);
        self.0.metrics.false_candidates.inc_by(in_vain);
        matching
    }

    /// Offers `event` to those of `matching` who may read it, and names each outbox that may have a frame more. Returns how many they are.
    fn offer(
        &self,
        matching: &[Arc<Subscription>],
        event: &Event,
        origin: Option<Origin>,
        mut queued_in: impl FnMut(&Arc<Outbox>),
    ) -> usize {
        self.offer_to(matching, event, origin, &mut Readers::of(event), &mut queued_in)
    }

    /// Offers `event` as [`Deliver::offer`] does and sends, one socket after the other.
    fn send_each(&self, matching: &mut [Arc<Subscription>], event: &Event, origin: Origin, bytes_max: usize) {
        // A connection of several subscriptions is sent to once.
        matching.sort_unstable_by_key(|subscription| Arc::as_ptr(subscription.outbox()));
        let mut readers = Readers::of(event);
        let of_sockets = matching.chunk_by(|one, next| Arc::ptr_eq(one.outbox(), next.outbox()));
        for (number, of_socket) in of_sockets.enumerate() {
            if let [only] = of_socket
                && number < SOCKETS_MAX
                && readers.include(only.reader())
                && only.pass(event, Some(origin))
            {
                continue;
            }
            let mut is_queued = false;
            self.offer_to(of_socket, event, Some(origin), &mut readers, &mut |_| is_queued = true);
            let outbox = of_socket[0].outbox();
            if is_queued && number < SOCKETS_MAX {
                outbox.send_now(bytes_max);
            } else if is_queued {
                outbox.wake();
            }
        }
    }

    fn offer_to(
        &self,
        matching: &[Arc<Subscription>],
        event: &Event,
        origin: Option<Origin>,
        readers: &mut Readers<'_>,
        queued_in: &mut impl FnMut(&Arc<Outbox>),
    ) -> usize {
        let (mut reached, mut relieved) = (0, HashMap::default());
        for subscription in matching {
            if !readers.include(subscription.reader()) {
                continue;
            }
            reached += 1;
            let outbox = subscription.outbox();
            let offered = subscription.offer(event, origin).or_else(|Full| {
                // What fills it may have been queued a moment ago: only who does not take it is too slow.
                let times: &mut usize = relieved.entry(Arc::as_ptr(outbox)).or_default();
                *times += 1;
                if *times <= RELIEFS_MAX {
                    outbox.send_now(FOLLOWER_BYTES.max(event.json().len()));
                }
                subscription.offer(event, origin)
            });
            match offered {
                Ok(()) => queued_in(outbox),
                Err(Full) => self.too_slow(subscription),
            }
        }
        reached
    }
}

/// What the follower does next.
struct Turn<'a> {
    work: Work,
    delivered: MutexGuard<'a, Cursor>,
    /// No run waits behind it.
    is_last: bool,
}

/// Events that were queued in outboxes and not sent yet.
#[derive(Default)]
struct Queued {
    events: usize,
    outboxes: Vec<Arc<Outbox>>,
}

impl Queued {
    /// Something was queued in `outbox`, which somebody else may have undertaken to send.
    fn touch(&mut self, outbox: &Arc<Outbox>) {
        if outbox.touch() {
            self.outboxes.push(Arc::clone(outbox));
        }
    }

    fn is_enough(&self) -> bool {
        self.events >= QUEUED_MAX
    }

    /// On this thread as far as it takes no more than its share of the work.
    fn send(&mut self) {
        for (number, outbox) in self.outboxes.drain(..).enumerate() {
            outbox.untouch();
            if number < SOCKETS_MAX {
                outbox.send_now(FOLLOWER_BYTES);
            } else {
                outbox.wake();
            }
        }
        self.events = 0;
    }

    /// By the sockets' own tasks.
    fn wake(self) {
        for outbox in self.outboxes {
            outbox.untouch();
            outbox.wake();
        }
    }
}

/// Who may read one event: all, as nearly always, or else decided once a connection however many of its subscriptions match.
struct Readers<'a> {
    audience: Audience<'a>,
    all: Option<bool>,
    decided: HashMap<usize, bool>,
}

impl<'a> Readers<'a> {
    fn of(event: &'a Event) -> Self {
        Self { audience: Audience::of(event), all: None, decided: HashMap::default() }
    }

    fn include(&mut self, reader: &Reader) -> bool {
        let Self { audience, all, decided } = self;
        if *all.get_or_insert_with(|| reader.are_all(audience)) {
            return true;
        }
        let connection = Arc::as_ptr(&reader.principal) as usize;
        *decided.entry(connection).or_insert_with(|| reader.is_among(audience))
    }
}

/// Values in all conditions: what filters cost to keep, wherever they are filed.
pub fn cost_of(filters: &[Filter]) -> usize {
    let len = |filter: &Filter| {
        let tags: usize = filter.tags.iter().map(|tag| tag.values.len()).sum();
        let listed = [filter.ids.as_deref().map_or(0, <[_]>::len), filter.authors.as_deref().map_or(0, <[_]>::len)];
        1 + tags + listed.iter().sum::<usize>() + filter.kinds.as_deref().map_or(0, <[_]>::len)
    };
    filters.iter().map(len).sum()
}

/// What the follower reads when it was not handed it.
struct Log {
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
}

impl Log {
    fn origin(&self, entry: &Entry) -> Origin {
        let at = self.clock.instant_at(entry.committed_at_ms.saturating_mul(1000));
        let commit = Commit { at, here: self.store.own_stream() == Some(entry.stream) };
        Origin { stream: entry.stream, seq: entry.seq, commit }
    }
}

impl Delivery for Deliver {
    fn hand_over(&self, batch: &Committed, at: Instant) -> Deliverer {
        if self.is_cheap(&batch.run) {
            return Deliverer::Committer;
        }
        self.put(batch.run.clone(), Commit { at, here: true });
        Deliverer::Follower
    }

    fn acknowledged(&self, batch: &Committed, at: Instant, deliverer: Deliverer) {
        if deliverer == Deliverer::Committer && !self.deliver_here(&batch.run, at) {
            self.put(batch.run.clone(), Commit { at, here: true });
        }
    }

    /// On the publisher's own task, which must not be kept: the sockets' tasks send.
    fn ephemeral(&self, event: &Event) -> usize {
        let mut queued = Queued::default();
        let reached = self.offer(&self.matching(event), event, None, |outbox| queued.touch(outbox));
        queued.wake();
        reached
    }
}
