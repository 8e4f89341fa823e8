//! The store while it is being opened: how far a rebuild of its index is, and whether to give it up.
//!
//! The thread that opens the store tells; the edge and whoever waits for the relay ask. Must not know: sockets, or how an index
//! is rebuilt.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// A store that is being opened.
#[derive(Default)]
pub(crate) struct Opening {
    done: AtomicU64,
    of: AtomicU64,
    worth_asking: Notify,
    given_up: AtomicBool,
}

impl Opening {
    /// So many entries of so many have been read. Breaks once the store is not wanted any more.
    pub(crate) fn note(&self, done: u64, of: u64) -> ControlFlow<()> {
        self.done.store(done, Ordering::Relaxed);
        if self.of.swap(of, Ordering::Relaxed) == 0 {
            self.worth_asking.notify_one();
        }
        if self.is_given_up() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// The store is there.
    pub(crate) fn done(&self) {
        self.worth_asking.notify_one();
    }

    /// Completes when clients can be told something: a rebuild is under way, or the store is there. Until then they are better
    /// off waiting. For one waiter.
    pub(crate) async fn worth_asking(&self) {
        self.worth_asking.notified().await;
    }

    /// The store is not wanted any more.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// For people.
    pub(crate) fn progress(&self) -> String {
        let (done, of) = (self.done.load(Ordering::Relaxed), self.of.load(Ordering::Relaxed));
        let percent = done.saturating_mul(100).checked_div(of).unwrap_or(0);
        format!("the index is being rebuilt from the log: {done} of {of} entries read, {percent}%")
    }
}
