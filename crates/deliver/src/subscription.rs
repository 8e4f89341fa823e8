//! One subscription between its REQ and its end.
//!
//! Invariant (`ExactHandover`): it is in the live index before its scan's cursor is taken; live events are held until the scan
//! is done and those the cursor covers are dropped then, because the scan has sent them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use towpath_policy::{Audience, Policy, Principal, has_expired, may_read};
use towpath_protocol::{Event, Filter, SubscriptionId, relay_message};
use towpath_runtime::Live;
use towpath_store::Cursor;

use crate::outbox::{Commit, Full, Origin, Outbox};

/// About how much of an answer is sent by whoever found it. What a socket takes at once, which is most answers, needs no other thread.
const ANSWER_BYTES: usize = 64 * 1024;

/// On whose behalf events are read. Keys proven later count at once.
#[derive(Debug, Clone)]
pub struct Reader {
    /// The connection's principal.
    pub principal: Arc<RwLock<Principal>>,
    /// The rules.
    pub policy: Live<Policy>,
}

impl Reader {
    /// Whether it may be sent `event`.
    pub fn may_read(&self, event: &Event) -> bool {
        may_read(event, &self.principal.read(), &self.policy.get())
    }

    /// The same, of the event that `audience` is of.
    pub(crate) fn are_all(&self, audience: &Audience<'_>) -> bool {
        audience.is_everybody(&self.policy.get())
    }

    pub(crate) fn is_among(&self, audience: &Audience<'_>) -> bool {
        audience.includes(&self.principal.read(), &self.policy.get())
    }
}

#[derive(Debug)]
struct Held {
    event: Event,
    /// None of an ephemeral event.
    origin: Option<Origin>,
}

#[derive(Debug)]
enum Phase {
    /// The stored part is being sent; live events wait.
    Stored { held: Vec<Held> },
    /// Live events go straight out, but for those that the scan has sent: delivery may come to them later than the scan did.
    Live { sent: Cursor },
}

/// See the module.
#[derive(Debug)]
pub struct Subscription {
    id: SubscriptionId,
    head: Box<str>,
    filters: Box<[Filter]>,
    reader: Reader,
    outbox: Arc<Outbox>,
    phase: Mutex<Phase>,
    closed: AtomicBool,
    /// By the client, who may use its name for another by now.
    abandoned: AtomicBool,
    /// Its place in the live index, once it has one.
    pub(crate) slot: OnceLock<u32>,
}

impl Subscription {
    /// A new subscription in its stored phase.
    pub fn new(id: SubscriptionId, filters: Vec<Filter>, reader: Reader, outbox: Arc<Outbox>) -> Self {
        let head = relay_message::event_head(id.as_str()).into();
        Self {
            id,
            head,
            filters: filters.into(),
            reader,
            outbox,
            phase: Mutex::new(Phase::Stored { held: Vec::new() }),
            closed: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            slot: OnceLock::new(),
        }
    }

    /// Its id.
    pub fn id(&self) -> &SubscriptionId {
        &self.id
    }

    /// `["EVENT",id,`
    pub fn head(&self) -> &str {
        &self.head
    }

    /// Its filters.
    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// On whose behalf it reads.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The socket it goes to.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Whether it has ended; its queued events are not sent any more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether the client ended it: nothing more is said of it.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Ends it without a word: the client asked, or replaced it. Nothing that still waits is said of it, not even that it was refused
    /// before. True if it had not ended yet.
    pub(crate) fn abandon(self: &Arc<Self>) -> bool {
        self.abandoned.store(true, Ordering::Release);
        let first = self.end();
        if !first {
            self.outbox.purge(self);
        }
        first
    }

    fn end(self: &Arc<Self>) -> bool {
        let first = !self.closed.swap(true, Ordering::AcqRel);
        if first {
            self.leave_stored(&mut self.phase.lock(), Cursor::start());
            self.outbox.purge(self);
        }
        first
    }

    /// Ends it from the relay's side: CLOSED with a reason.
    pub(crate) fn refuse(self: &Arc<Self>, reason: &str) -> bool {
        let first = self.end();
        if first {
            self.outbox.queue_word(self, relay_message::closed(self.id.as_str(), reason));
            self.outbox.wake();
        }
        first
    }

    /// Queues a live event that matches, unless there is no room: then the subscription must be refused, or room be made. The outbox
    /// is not told.
    pub(crate) fn offer(self: &Arc<Self>, event: &Event, origin: Option<Origin>) -> Result<(), Full> {
        let mut phase = self.phase.lock();
        match &mut *phase {
            Phase::Live { sent } if is_covered(sent, origin) => Ok(()),
            Phase::Live { .. } => self.outbox.queue_live(self, event, commit_of(origin)),
            Phase::Stored { held } => {
                self.outbox.hold(event.json().len())?;
                held.push(Held { event: event.clone(), origin });
                Ok(())
            }
        }
    }

    /// Sends a live event that matches at once, past everything, if that is possible. False if it must be offered.
    pub(crate) fn pass(&self, event: &Event, origin: Option<Origin>) -> bool {
        // Once it is live it stays so, and what was held is queued: the lock need not be kept.
        let is_due = matches!(&*self.phase.lock(), Phase::Live { sent } if !is_covered(sent, origin));
        is_due && self.outbox.pass(self, event, commit_of(origin))
    }

    /// The scan is done: EOSE goes behind what it found, and what was held, is not covered by the scan's `cursor` and has not expired by
    /// `now`, in seconds since 1970, behind that; then events go straight out. The calling thread sends it as far as the socket takes it.
    /// False if there was no room.
    pub fn go_live(self: &Arc<Self>, cursor: &Cursor, eose: String, now: u64) -> bool {
        let mut phase = self.phase.lock();
        if self.is_closed() {
            return true;
        }
        self.outbox.queue_word(self, eose);
        let held = self.leave_stored(&mut phase, cursor.clone());
        let is_due = |held: &Held| !is_covered(cursor, held.origin) && !has_expired(&held.event, now);
        let mut waiting = held.into_iter().filter(is_due);
        let fits = waiting.all(|Held { event, origin }| {
            let commit = commit_of(origin);
            let queued = self.outbox.queue_live(self, &event, commit);
            // The scan's last events may not have been sent yet.
            let queued = queued.or_else(|Full| {
                self.outbox.send_now(ANSWER_BYTES.max(event.json().len()));
                self.outbox.queue_live(self, &event, commit)
            });
            queued.is_ok()
        });
        // Delivery must not wait for a socket.
        drop(phase);
        self.outbox.send_now(ANSWER_BYTES);
        fits
    }

    /// Ends the stored phase; returns what was held in it.
    fn leave_stored(&self, phase: &mut Phase, sent: Cursor) -> Vec<Held> {
        let Phase::Stored { held } = std::mem::replace(phase, Phase::Live { sent }) else { return Vec::new() };
        self.outbox.release_held(held.iter().map(|held| held.event.json().len()).sum());
        held
    }
}

fn commit_of(origin: Option<Origin>) -> Option<Commit> {
    origin.map(|origin| origin.commit)
}

fn is_covered(cursor: &Cursor, origin: Option<Origin>) -> bool {
    origin.is_some_and(|origin| cursor.covers(origin.stream, origin.seq))
}
