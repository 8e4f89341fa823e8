//! Signed notes that no run before has seen, and the pieces that stages share.

use std::hint::black_box;
use std::sync::Arc;

use parking_lot::RwLock;
use towpath_deliver::{Budget, Deliver, IndexLimits, Metrics, Outbox, Reader, Subscription};
use towpath_policy::{Policy, Principal, Source, Write, authorise};
use towpath_protocol::{ClientMessage, Event, Limits, SecretKey, SubmittedEvent, Verifier, relay_message, wire};
use towpath_runtime::Live;
use towpath_store::Cursor;

/// The clock of every stage, a little behind which notes are dated.
pub(super) const NOW: u64 = 1_700_000_000;

/// Signs notes: of one author, with 200 bytes of content, each its own.
pub(crate) struct Notes {
    author: SecretKey,
    signed: u64,
}

impl Notes {
    /// Of a fixed author.
    pub(crate) fn new() -> Self {
        Self { author: SecretKey::from_bytes([7; 32]).expect("a small number is a key"), signed: 0 }
    }

    /// New ones.
    pub(super) fn sign(&mut self, count: u32, tags: &[&[&str]]) -> Vec<Event> {
        let numbers = self.signed..self.signed + u64::from(count);
        self.signed = numbers.end;
        let note = |number| {
            let content = format!("{number:<200}");
            self.author.sign(NOW - 60, 1, tags, &content, &[0; 32]).into_event()
        };
        numbers.map(note).collect()
    }

    pub(super) fn plain(&mut self, count: u32) -> Vec<Event> {
        self.sign(count, &[])
    }

    pub(super) fn submitted(&mut self, count: u32) -> Vec<SubmittedEvent> {
        self.plain(count).iter().map(|event| parsed(&message(event))).collect()
    }

    pub(super) fn writes(&mut self, count: u32) -> Vec<Write> {
        let (verifier, policy, anyone) = (Verifier::new(), Policy::default(), Principal::anonymous());
        let write = |event| {
            let genuine = verifier.verify(event).expect("genuine");
            authorise(genuine, Source::Client, &anyone, &policy, NOW).expect("welcome")
        };
        self.submitted(count).into_iter().map(write).collect()
    }
}

/// As a client publishes it.
pub(super) fn message(event: &Event) -> String {
    format!(r#"["EVENT",{}]"#, event.as_str())
}

pub(super) fn parsed(message: &str) -> SubmittedEvent {
    match wire::client_message(message, &Limits::default()) {
        Ok(ClientMessage::Event(event)) => event,
        other => panic!("not an event: {other:?}"),
    }
}

const ROOMY: usize = 1 << 30;

/// An outbox that nothing overflows.
pub(super) fn outbox() -> Arc<Outbox> {
    Arc::new(Outbox::new(Arc::new(Budget::new(ROOMY, ROOMY, ROOMY, Metrics::default()))))
}

pub(super) fn delivery() -> Deliver {
    Deliver::new(IndexLimits { postings_max: ROOMY, connection_postings_max: ROOMY }, Metrics::default())
}

/// Listens to what `filter` matches, past its EOSE.
pub(super) fn listen(deliver: &Deliver, outbox: &Arc<Outbox>, filter: &str) -> Arc<Subscription> {
    let reader =
        Reader { principal: Arc::new(RwLock::new(Principal::anonymous())), policy: Live::new(Policy::default()) };
    let filters = vec![wire::filter(filter).expect("a filter")];
    let subscription = Arc::new(Subscription::new("feed".into(), filters, reader, Arc::clone(outbox)));
    deliver.register(&subscription).expect("room");
    assert!(subscription.go_live(&Cursor::start(), relay_message::eose("feed", None), NOW));
    drain(outbox);
    subscription
}

/// Throws away what waits.
pub(super) fn drain(outbox: &Outbox) {
    black_box(outbox.take(usize::MAX, drop));
    outbox.sent(usize::MAX);
}
