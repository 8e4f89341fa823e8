//! From a commit to the bytes of a socket: answers, the live index, outboxes, frames.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use towpath_deliver::{Commit, Deliver, Item, Outbox, ShortWay, Subscription};
use towpath_gateway::{Frame, Origin, measuring};
use towpath_protocol::{Event, EventId};
use towpath_session::Acks;
use towpath_store::memory::MemoryStore;
use towpath_store::{Batch, Committed, Delivery, EventStore};

use super::fixture::{delivery, drain, listen, outbox};
use super::{EVENTS, Notes, Stage};

/// Takes about `bytes_max` bytes as the relay does; returns how many frames they are.
fn take(outbox: &Outbox, bytes_max: usize, out: &mut Vec<u8>) -> usize {
    let mut items = Vec::new();
    outbox.take(bytes_max, |item| items.push(item));
    for item in &items {
        let frame = match item {
            Item::Text(text) | Item::Word { text, .. } => Frame::Text(text),
            Item::Event { subscription, json, commit } => event(subscription.head(), json, *commit),
        };
        measuring::encode(&frame, out);
    }
    items.len()
}

fn event<'a>(head: &'a str, json: &'a [u8], commit: Option<Commit>) -> Frame<'a> {
    let origin = commit.map(|Commit { at, here }| Origin { at, here });
    Frame::Event { head: head.as_bytes(), json, origin }
}

/// Takes `frames` at a time and encodes them into a buffer that is used again.
fn flush(outbox: &Outbox, frames: usize, event_bytes: usize, bytes: &mut Vec<u8>) {
    // Every event is as long as the next; a take ends with the frame that reaches its bound.
    assert_eq!(take(outbox, frames * event_bytes, bytes), frames);
    outbox.sent(usize::MAX);
    black_box(&mut *bytes).clear();
}

struct Ack {
    acks: Acks,
    outbox: Arc<Outbox>,
    ids: Vec<EventId>,
    bytes: Vec<u8>,
}

/// An `OK`, from the event's id to its frame.
pub(super) fn ack() -> Box<dyn Stage> {
    Box::new(Ack { acks: Acks::default(), outbox: outbox(), ids: Vec::new(), bytes: Vec::with_capacity(1 << 16) })
}

impl Stage for Ack {
    fn prepare(&mut self, notes: &mut Notes) {
        self.ids = notes.plain(EVENTS).iter().map(Event::id).collect();
    }

    fn run(&mut self) {
        for id in self.ids.drain(..) {
            let slot = self.acks.reserve(id.to_hex());
            self.acks.answer(slot, true, "", |text| self.outbox.queue_urgent(text));
            take(&self.outbox, 1, &mut self.bytes);
            assert!(self.bytes.len() > 70);
            black_box(&mut self.bytes).clear();
        }
    }
}

/// Events on their way to those who listen.
struct Live {
    deliver: Deliver,
    listeners: Vec<Arc<Subscription>>,
    events: Vec<Event>,
    /// How many each event reaches.
    reached: usize,
}

fn live(listeners: usize, filter: impl Fn(usize) -> String, reached: usize) -> Live {
    let deliver = delivery();
    let listeners = (0..listeners).map(|n| listen(&deliver, &outbox(), &filter(n))).collect();
    Live { deliver, listeners, events: Vec::new(), reached }
}

/// Among subscriptions that want the notes of others.
pub(super) fn matching(others: usize) -> Box<dyn Stage> {
    Box::new(live(others, |n| format!(r#"{{"kinds":[1],"authors":["{n:064x}"]}}"#), 0))
}

/// To so many who want every note.
pub(super) fn deliver(listeners: usize) -> Box<dyn Stage> {
    Box::new(live(listeners, |_| r#"{"kinds":[1]}"#.into(), listeners))
}

impl Stage for Live {
    fn prepare(&mut self, notes: &mut Notes) {
        self.listeners.iter().for_each(|listener| drain(listener.outbox()));
        self.events = notes.plain(EVENTS);
    }

    fn run(&mut self) {
        for event in &self.events {
            // The same way as after a commit, on the calling thread.
            assert_eq!(self.deliver.ephemeral(event), self.reached);
        }
    }
}

/// A socket that takes everything, and has nothing waiting.
struct Socket(Mutex<Vec<u8>>);

impl ShortWay for Socket {
    fn send_now(&self, _: usize) -> bool {
        false
    }

    fn send_event(&self, head: &str, json: &[u8], commit: Option<Commit>, is_next: &dyn Fn() -> bool) -> bool {
        let mut bytes = self.0.lock();
        if !is_next() {
            return false;
        }
        measuring::encode(&event(head, json, commit), &mut bytes);
        black_box(&mut *bytes).clear();
        true
    }
}

struct Pass {
    live: Live,
    store: MemoryStore,
    commits: Vec<Committed>,
}

/// Lone events to so many who want every note, past their outboxes.
pub(super) fn passing(listeners: usize) -> Box<dyn Stage> {
    let live = live(listeners, |_| r#"{"kinds":[1]}"#.into(), listeners);
    for listener in &live.listeners {
        listener.outbox().attach(Box::new(Socket(Mutex::new(Vec::with_capacity(1 << 10)))));
    }
    Box::new(Pass { live, store: MemoryStore::new(), commits: Vec::new() })
}

impl Stage for Pass {
    fn prepare(&mut self, notes: &mut Notes) {
        let commit = |write| self.store.commit(Batch::of(vec![write], 0)).expect("memory");
        self.commits = notes.writes(EVENTS).into_iter().map(commit).collect();
    }

    fn run(&mut self) {
        let at = Instant::now();
        self.commits.iter().for_each(|commit| self.live.deliver.committed(commit, at));
        assert!(self.live.listeners.iter().all(|listener| listener.outbox().take(1, |_| panic!("queued")).is_none()));
    }
}

struct Flush {
    live: Live,
    frames: usize,
    bytes: Vec<u8>,
}

/// What waits for one socket, so many frames at a time.
pub(super) fn flushing(frames: usize) -> Box<dyn Stage> {
    let live = live(1, |_| r#"{"kinds":[1]}"#.into(), 1);
    Box::new(Flush { live, frames, bytes: Vec::with_capacity(1 << 17) })
}

impl Stage for Flush {
    fn prepare(&mut self, notes: &mut Notes) {
        self.live.prepare(notes);
        self.live.run();
    }

    fn run(&mut self) {
        let event_bytes = self.live.events[0].json().len();
        for _ in 0..EVENTS as usize / self.frames {
            flush(self.live.listeners[0].outbox(), self.frames, event_bytes, &mut self.bytes);
        }
    }
}
