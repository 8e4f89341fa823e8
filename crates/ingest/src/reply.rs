//! Who is told what became of an event, and how.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use towpath_policy::Denial;
use towpath_store::{Error, Outcome, StreamId};

use crate::metrics::Metrics;

/// What becomes of a submitted event. Worded where it is sent.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The store decided, in the commit of this stream.
    Committed(StreamId, Outcome),
    /// It is stored already; found out before its signature was looked at.
    Known,
    /// An ephemeral event reached so many subscriptions.
    Delivered(usize),
    /// The rules refuse it.
    Denied(Denial),
    /// Its signature is not its author's.
    BadSignature,
    /// The commit queue is full.
    Overloaded,
    /// The store failed. Nothing was stored.
    Failed(Error),
}

/// Takes the answers of one connection, in any order, by slot.
pub trait Answers: Send + Sync {
    /// The event submitted under `slot` came to this. Never blocks.
    fn answer(&self, slot: u64, answer: Answer, way: Way);
}

/// How an answer gets to its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// On the answering thread, which has little else to do: nobody needs to be woken for it.
    Short,
    /// By the socket's own task.
    Woken,
}

/// Whom to answer.
#[derive(Clone)]
pub struct Reply {
    /// The connection.
    pub to: Arc<dyn Answers>,
    /// Its name for the event.
    pub slot: u64,
    /// When the event's message arrived.
    pub received: Instant,
}

impl Reply {
    pub(crate) fn send(self, answer: Answer, way: Way, metrics: &Metrics, now: Instant) {
        self.to.answer(self.slot, answer, way);
        metrics.ack.observe(now.saturating_duration_since(self.received).as_secs_f64());
    }
}

/// Takes one answer.
pub(crate) struct Once(Mutex<Option<oneshot::Sender<Answer>>>);

impl Once {
    pub(crate) fn new(waiting: oneshot::Sender<Answer>) -> Self {
        Self(Mutex::new(Some(waiting)))
    }
}

impl Answers for Once {
    fn answer(&self, _: u64, answer: Answer, _: Way) {
        if let Some(waiting) = self.0.lock().take() {
            // Whoever asked may have gone.
            let _ = waiting.send(answer);
        }
    }
}
