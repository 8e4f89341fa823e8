//! The open connections of a relay: the outbox of each, and how all of them are told to leave.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use towpath_deliver::{Budget, Close, Outbox};
use towpath_runtime::{Random, TaskGroup};

const LEAVING: Close = Close { code: 1012, reason: "the relay is restarting" };

/// See the module.
pub(crate) struct Connections {
    budget: Arc<Budget>,
    next: AtomicU64,
    outboxes: Mutex<HashMap<u64, Weak<Outbox>>>,
    draining: AtomicBool,
}

impl Connections {
    /// None yet; all outboxes share `budget`.
    pub(crate) fn new(budget: Budget) -> Self {
        Self {
            budget: Arc::new(budget),
            next: AtomicU64::new(0),
            outboxes: Mutex::default(),
            draining: AtomicBool::new(false),
        }
    }

    /// One more, to be [removed](Self::remove) by its number.
    pub(crate) fn open(&self) -> (u64, Arc<Outbox>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let outbox = Arc::new(Outbox::new(Arc::clone(&self.budget)));
        self.outboxes.lock().insert(id, Arc::downgrade(&outbox));
        // Whoever comes after those that were there have been told.
        if self.is_draining() {
            outbox.close(LEAVING);
        }
        (id, outbox)
    }

    pub(crate) fn remove(&self, id: u64) {
        self.outboxes.lock().remove(&id);
    }

    /// From now on requests are not taken any more.
    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Closes every connection behind what is queued for it, spread over `window` so that not all clients return at once.
    pub(crate) fn close_all(&self, window: Duration, random: &Random, tasks: &TaskGroup) {
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let open: Vec<Arc<Outbox>> = self.outboxes.lock().values().filter_map(Weak::upgrade).collect();
        for outbox in open {
            let jitter = Duration::from_millis(random.below(window_ms));
            tasks.spawn(async move {
                tokio::time::sleep(jitter).await;
                outbox.close(LEAVING);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_when_the_others_have_been_told_to_leave_is_told_too() {
        let connections = Connections::new(Budget::new(1 << 20, 1 << 20, 100, towpath_deliver::Metrics::default()));
        let told = |outbox: Arc<Outbox>| outbox.take(usize::MAX, drop).is_some();
        assert!(!told(connections.open().1));
        connections.start_draining();
        assert!(told(connections.open().1));
    }
}
