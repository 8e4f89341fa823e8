//! The frames waiting for one socket.
//!
//! Two queues. *Urgent* answers (`OK`, `NOTICE`, `AUTH`, `COUNT`) overtake events, so no amount of events can starve them.
//! *Ordered* frames (`EVENT`, `EOSE`, `CLOSED`) keep the order in which they were queued. Event bytes are bounded per
//! connection and in total, from when they are queued until the socket has taken them; of a live event that goes past the queues
//! ([`Outbox::pass`]) what the socket did not take at once; the number of answers is bounded because the
//! connection stops reading requests ([`Outbox::admit`]) while too many wait.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use towpath_protocol::Event;
use towpath_store::{Seq, StreamId};

use crate::metrics::Metrics;
use crate::subscription::Subscription;

/// Event bytes that all outboxes may hold together, and each.
#[derive(Debug)]
pub struct Budget {
    /// For one connection.
    connection_bytes_max: usize,
    /// For all connections.
    total_bytes_max: usize,
    /// Frames other than events that may wait before the connection stops reading requests.
    answers_max: usize,
    /// Their bytes, likewise.
    answer_bytes_max: usize,
    /// Their gauge is what counts the bytes, so that they are counted once.
    metrics: Metrics,
}

impl Budget {
    /// Connections that hold less than this are served even when the total is used up: the slow ones pay, not everyone.
    const FAIR_SHARE_BYTES: usize = 64 * 1024;

    /// Nothing used yet. `metrics` are of no other budget.
    pub fn new(connection_bytes_max: usize, total_bytes_max: usize, answers_max: usize, metrics: Metrics) -> Self {
        // An answer is some 100 bytes; a few, such as counts with registers, are longer.
        let answer_bytes_max = answers_max * 256;
        Self { connection_bytes_max, total_bytes_max, answers_max, answer_bytes_max, metrics }
    }

    /// Whether a connection that has `bytes` may have `more`, where it may have `bytes_max`.
    fn allows(&self, bytes: usize, more: usize, bytes_max: usize) -> bool {
        // One event goes through an empty outbox whatever its size, and whatever others hold.
        if bytes == 0 {
            return true;
        }
        let after = bytes + more;
        let in_total = after <= Self::FAIR_SHARE_BYTES || self.used() + more <= self.total_bytes_max;
        after <= bytes_max && in_total
    }

    fn used(&self) -> usize {
        usize::try_from(self.metrics.queued_bytes.get()).unwrap_or(0)
    }

    fn take(&self, bytes: usize) {
        self.metrics.queued_bytes.inc_by(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn give_back(&self, bytes: usize) {
        self.metrics.queued_bytes.dec_by(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

/// One frame.
#[derive(Debug)]
pub enum Item {
    /// A message as it is sent.
    Text(String),
    /// EOSE or CLOSED: how a subscription goes on, behind its events.
    Word {
        /// Whose.
        subscription: Arc<Subscription>,
        /// The message as it is sent.
        text: String,
    },
    /// An event for a subscription.
    Event {
        /// Whose.
        subscription: Arc<Subscription>,
        /// What: the canonical bytes of the event.
        json: Bytes,
        /// Of live events.
        commit: Option<Commit>,
    },
}

/// Where a live event stands in the log.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// Whose commit it was.
    pub stream: StreamId,
    /// Its place there.
    pub seq: Seq,
    /// When and where.
    pub commit: Commit,
}

/// When and where an event was committed.
#[derive(Debug, Clone, Copy)]
pub struct Commit {
    /// By this process's steady clock.
    pub at: Instant,
    /// By this process.
    pub here: bool,
}

/// Room for answers that is kept when all are sent.
const ANSWERS_KEPT: usize = 4;

/// Why a connection ends (RFC 6455, section 7.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The close code.
    pub code: u16,
    /// For the client's log.
    pub reason: &'static str,
}

/// Of a connection that ended by itself; nobody reads it.
const GONE: Close = Close { code: 1006, reason: "" };

/// The way to an outbox's socket on the calling thread, without waiting for either.
pub trait ShortWay: Send + Sync {
    /// Hands over about so many bytes of what waits in the outbox; false if the socket's writer must be woken, because the socket did
    /// not take it or more waits.
    fn send_now(&self, bytes_max: usize) -> bool;
    /// Hands over an event for the subscription of `head` that is not in the outbox, if nothing on its way to the socket is before it
    /// and `is_next` says so of the outbox; it is asked when nothing more can leave that. False if the event is still the caller's; what the
    /// socket does not take is [`Outbox::left`].
    fn send_event(&self, head: &str, json: &[u8], commit: Option<Commit>, is_next: &dyn Fn() -> bool) -> bool;
}

/// See the module.
pub struct Outbox {
    queues: Mutex<Queues>,
    /// For the socket's writer.
    ready: Notify,
    short_way: OnceLock<Box<dyn ShortWay>>,
    /// Somebody will send what delivery has queued.
    touched: AtomicBool,
    room: Notify,
    budget: Arc<Budget>,
    /// What the connection's subscriptions use of the live index.
    pub(crate) postings: AtomicUsize,
    /// Bytes of live events that its subscriptions hold until their EOSE.
    held: AtomicUsize,
}

#[derive(Debug, Default)]
struct Queues {
    urgent: VecDeque<String>,
    ordered: VecDeque<Item>,
    /// That wait, or were taken or [`Outbox::left`] and are not [`Outbox::sent`] yet.
    event_bytes: usize,
    taken_bytes: usize,
    texts: usize,
    text_bytes: usize,
    close: Option<Close>,
    /// Somebody waits for room.
    is_awaited: bool,
}

impl Queues {
    fn count_text(&mut self, text: &str) {
        self.texts += 1;
        self.text_bytes += text.len();
    }

    fn uncount_text(&mut self, text: &str) {
        self.texts -= 1;
        self.text_bytes -= text.len();
    }

    /// An idle connection holds no buffer; that for the first few answers is smaller than what it would cost.
    fn give_back(&mut self) {
        if self.ordered.is_empty() {
            self.ordered = VecDeque::new();
        }
        if self.urgent.is_empty() {
            self.urgent.shrink_to(ANSWERS_KEPT);
        }
    }

    fn has_frames(&self) -> bool {
        !self.urgent.is_empty() || !self.ordered.is_empty()
    }
}

/// The outbox has no room for an event.
#[derive(Debug)]
pub(crate) struct Full;

impl Outbox {
    /// Empty.
    pub fn new(budget: Arc<Budget>) -> Self {
        Self {
            queues: Mutex::default(),
            ready: Notify::new(),
            short_way: OnceLock::new(),
            touched: AtomicBool::new(false),
            room: Notify::new(),
            budget,
            postings: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
        }
    }

    /// The short way to the socket, if it has one. The first call counts.
    pub fn attach(&self, short_way: Box<dyn ShortWay>) {
        let _ = self.short_way.set(short_way);
    }

    /// Queues an answer that overtakes events.
    pub fn push_urgent(&self, text: String) {
        self.queue_urgent(text);
        self.wake();
    }

    /// As [`Outbox::push_urgent`], but nobody is told: [`Outbox::wake`] or [`Outbox::send_now`] must follow.
    pub fn queue_urgent(&self, text: String) {
        let mut queues = self.queues.lock();
        if queues.close.is_none() {
            queues.count_text(&text);
            queues.urgent.push_back(text);
        }
    }

    /// Has the socket's writer see to what waits.
    pub fn wake(&self) {
        self.ready.notify_one();
    }

    /// Hands about `bytes_max` bytes of what waits to the socket on this thread if it takes them at once, and wakes the socket's writer
    /// for the rest. Never blocks; costs a system call. For a thread that would otherwise have to wake another one for it.
    pub fn send_now(&self, bytes_max: usize) {
        if !self.short_way.get().is_some_and(|way| way.send_now(bytes_max)) {
            self.wake();
        }
    }

    /// Sends a live event past the queues, if nothing waits there and the socket is at hand: most find it so, and are neither kept nor
    /// counted. False if it must be queued.
    pub(crate) fn pass(&self, subscription: &Subscription, event: &Event, commit: Option<Commit>) -> bool {
        let is_next = || {
            let queues = self.queues.lock();
            // Looked at under the lock, as in `take`: of what has ended nothing leaves.
            !queues.has_frames() && queues.close.is_none() && !subscription.is_closed()
        };
        let way = self.short_way.get();
        let passed = way.is_some_and(|way| way.send_event(subscription.head(), event.json(), commit, &is_next));
        if passed {
            self.budget.metrics.frames.inc();
        }
        passed
    }

    /// So many bytes of an event that passed wait for the socket after all: until they are [`Outbox::sent`], like what was taken.
    pub fn left(&self, bytes: usize) {
        let mut queues = self.queues.lock();
        queues.event_bytes += bytes;
        queues.taken_bytes += bytes;
        self.budget.take(bytes);
    }

    /// True if nobody has undertaken yet to send what was just queued: then the caller must, after [`Outbox::untouch`].
    pub(crate) fn touch(&self) -> bool {
        !self.touched.swap(true, Ordering::AcqRel)
    }

    /// Before sending: what is queued from now on may be too late for it.
    pub(crate) fn untouch(&self) {
        self.touched.store(false, Ordering::Release);
    }

    /// Queues a message behind everything queued so far.
    pub fn push_ordered(&self, text: String) {
        let mut queues = self.queues.lock();
        if queues.close.is_none() {
            queues.count_text(&text);
            queues.ordered.push_back(Item::Text(text));
        }
        drop(queues);
        self.wake();
    }

    /// Queues EOSE or CLOSED behind the events of `subscription`, unless the client ended it. Nobody is told.
    pub(crate) fn queue_word(&self, subscription: &Arc<Subscription>, text: String) {
        let mut queues = self.queues.lock();
        // As in `queue_stored`.
        if queues.close.is_none() && !subscription.is_abandoned() {
            queues.count_text(&text);
            queues.ordered.push_back(Item::Word { subscription: Arc::clone(subscription), text });
        }
    }

    /// Queues a live event unless there is no room. What ended meanwhile gets nothing. Nobody is told: [`Outbox::wake`] or [`Outbox::send_now`] must follow.
    pub(crate) fn queue_live(
        &self,
        subscription: &Arc<Subscription>,
        event: &Event,
        commit: Option<Commit>,
    ) -> Result<(), Full> {
        let bytes = event.json().len();
        let mut queues = self.queues.lock();
        if queues.close.is_some() || subscription.is_closed() {
            return Ok(());
        }
        if !self.budget.allows(queues.event_bytes, bytes, self.budget.connection_bytes_max) {
            return Err(Full);
        }
        self.queue_event(&mut queues, subscription, event, commit);
        Ok(())
    }

    fn queue_event(
        &self,
        queues: &mut Queues,
        subscription: &Arc<Subscription>,
        event: &Event,
        commit: Option<Commit>,
    ) {
        let json = event.json().clone();
        let bytes = json.len();
        queues.event_bytes += bytes;
        self.budget.take(bytes);
        self.budget.metrics.frames.inc();
        queues.ordered.push_back(Item::Event { subscription: Arc::clone(subscription), json, commit });
    }

    /// Queues stored events in one go; [`Outbox::room_for_stored`] was waited for before. What ended meanwhile gets nothing. Nobody is
    /// told: [`Outbox::wake`] or [`Outbox::send_now`] must follow.
    pub fn queue_stored(&self, subscription: &Arc<Subscription>, events: impl Iterator<Item = Event>) {
        let mut queues = self.queues.lock();
        // Looked at under the lock, which whoever ends it takes afterwards: what is queued before is purged.
        if queues.close.is_none() && !subscription.is_closed() {
            events.for_each(|event| self.queue_event(&mut queues, subscription, &event, None));
        }
    }

    /// Waits until at most half of the connection's bytes are used, so that stored events leave room for live ones, and until
    /// there is room in the total, unless nothing of this connection waits. Cancel-safe.
    pub async fn room_for_stored(&self) {
        let budget = &self.budget;
        self.wait_for(|queues| {
            let total = queues.event_bytes == 0 || budget.used() < budget.total_bytes_max;
            total && queues.event_bytes <= budget.connection_bytes_max / 2
        })
        .await;
    }

    /// Waits until few enough answers wait that another request may be read. Cancel-safe.
    pub async fn admit(&self) {
        self.wait_for(|queues| self.admits_with(queues)).await;
    }

    /// Whether [`Outbox::admit`] would not wait.
    pub fn admits(&self) -> bool {
        self.admits_with(&self.queues.lock())
    }

    fn admits_with(&self, queues: &Queues) -> bool {
        let few = queues.texts <= self.budget.answers_max && queues.text_bytes <= self.budget.answer_bytes_max;
        few || queues.close.is_some()
    }

    async fn wait_for(&self, condition: impl Fn(&Queues) -> bool) {
        loop {
            let room = self.room.notified();
            {
                let mut queues = self.queues.lock();
                if queues.close.is_some() || condition(&queues) {
                    return;
                }
                queues.is_awaited = true;
            }
            room.await;
        }
    }

    /// Waits until [`Outbox::take`] has something. Cancel-safe.
    pub async fn ready(&self) {
        loop {
            let ready = self.ready.notified();
            {
                let queues = self.queues.lock();
                if queues.has_frames() || queues.close.is_some() {
                    return;
                }
            }
            ready.await;
        }
    }

    /// Gives `taker` frames of about `bytes_max` bytes; [`Outbox::sent`] must follow when they have left. Returns the close that is due
    /// behind them, once nothing more will come. `taker` must not use this outbox.
    pub fn take(&self, bytes_max: usize, mut taker: impl FnMut(Item)) -> Option<Close> {
        let mut queues = self.queues.lock();
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some(text) = queues.urgent.pop_front() else { break };
            bytes += text.len();
            queues.uncount_text(&text);
            taker(Item::Text(text));
        }
        let mut dropped = 0;
        while bytes < bytes_max {
            let Some(item) = queues.ordered.pop_front() else { break };
            match &item {
                Item::Text(text) | Item::Word { text, .. } => {
                    bytes += text.len();
                    queues.uncount_text(text);
                }
                Item::Event { subscription, json, .. } => {
                    let len = json.len();
                    if subscription.is_closed() {
                        dropped += len;
                        continue;
                    }
                    queues.taken_bytes += len;
                    bytes += len;
                }
            }
            taker(item);
        }
        self.release(&mut queues, dropped);
        queues.give_back();
        if queues.has_frames() { None } else { queues.close.clone() }
    }

    /// The socket has taken so many bytes of what was taken from here, or all of it: `usize::MAX`. Whether more waits.
    pub fn sent(&self, bytes: usize) -> bool {
        let mut queues = self.queues.lock();
        let bytes = bytes.min(queues.taken_bytes);
        if bytes > 0 {
            queues.taken_bytes -= bytes;
            self.release(&mut queues, bytes);
        }
        queues.has_frames()
    }

    fn release(&self, queues: &mut Queues, bytes: usize) {
        if bytes > 0 {
            queues.event_bytes -= bytes;
            self.budget.give_back(bytes);
        }
        self.note_room(queues);
    }

    fn note_room(&self, queues: &mut Queues) {
        if std::mem::take(&mut queues.is_awaited) {
            self.room.notify_waiters();
        }
    }

    /// Makes room for a live event that has to wait for its subscription's EOSE, unless the connection, which may hold half as many as
    /// it may queue, or all of them together hold enough.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), Full> {
        let max = self.budget.connection_bytes_max / 2;
        let more = |held| self.budget.allows(held, bytes, max).then_some(held + bytes);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| Full)?;
        self.budget.take(bytes);
        Ok(())
    }

    /// Gives back what was held.
    pub(crate) fn release_held(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.give_back(bytes);
    }

    /// Drops the queued events of `subscription`, which is closed, and what is to be said of it: nothing of it follows what is already
    /// on the wire. Its name may be another's by now, whose answer an old EOSE would end.
    pub(crate) fn purge(&self, subscription: &Arc<Subscription>) {
        let mut queues = self.queues.lock();
        let mut freed = 0;
        let mut ordered = std::mem::take(&mut queues.ordered);
        ordered.retain(|item| match item {
            Item::Event { subscription: of, json, .. } if Arc::ptr_eq(of, subscription) => {
                freed += json.len();
                false
            }
            Item::Word { subscription: of, text } if Arc::ptr_eq(of, subscription) => {
                queues.uncount_text(text);
                false
            }
            _ => true,
        });
        queues.ordered = ordered;
        self.release(&mut queues, freed);
    }

    /// The socket is gone: drops all that waits, which holds subscriptions, and they this outbox.
    pub fn discard(&self) {
        let mut queues = self.queues.lock();
        queues.close.get_or_insert(GONE);
        let dropped = std::mem::take(&mut queues.ordered);
        queues.urgent.clear();
        (queues.texts, queues.text_bytes, queues.taken_bytes) = (0, 0, 0);
        let bytes = std::mem::take(&mut queues.event_bytes);
        self.budget.give_back(bytes);
        self.note_room(&mut queues);
        drop(queues);
        drop(dropped);
    }

    /// Lets what is queued go out, takes nothing more, then closes the connection. The first call counts.
    pub fn close(&self, close: Close) {
        let mut queues = self.queues.lock();
        queues.close.get_or_insert(close);
        self.note_room(&mut queues);
        drop(queues);
        self.ready.notify_one();
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("queues", &self.queues).finish_non_exhaustive()
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.budget.give_back(self.queues.get_mut().event_bytes);
    }
}
