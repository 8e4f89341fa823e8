//! One running relay: its pieces, its open connections, its end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use towpath_deliver::{Budget, Close, Deliver, Outbox};
use towpath_ingest::Ingest;
use towpath_policy::Policy;
use towpath_protocol::PublicKey;
use towpath_query::Queries;
use towpath_runtime::{Clock, Live, Random, TaskGroup};
use towpath_store::EventStore;

use crate::audit_pages::AuditPages;
use crate::checkpoints::Checkpoints;
use crate::cluster::Watch;
use crate::config::Config;
use crate::limiter::Limiter;
use crate::metrics::Metrics;
use crate::outlets::Outlets;
use crate::reverify::Findings;
use crate::scans::Room;

/// What all connections of a relay share.
pub(crate) struct Node {
    pub(crate) config: Live<Config>,
    pub(crate) policy: Live<Policy>,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) ingest: Ingest,
    pub(crate) deliver: Deliver,
    /// The same, and the other pods.
    pub(crate) outlets: Arc<Outlets>,
    /// `None` for a relay of one pod.
    pub(crate) watch: Option<Arc<Watch>>,
    pub(crate) queries: Queries,
    pub(crate) scan_room: Room,
    pub(crate) limiter: Limiter,
    pub(crate) outboxes: Arc<Budget>,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Random,
    pub(crate) tasks: TaskGroup,
    pub(crate) own_key: PublicKey,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) audit_pages: AuditPages,
    pub(crate) findings: Findings,
    /// Where clients connect, for the landing page.
    pub(crate) address: String,
    pub(crate) open: Connections,
}

/// The open connections, so that a drain reaches them.
#[derive(Default)]
pub(crate) struct Connections {
    next: AtomicU64,
    outboxes: Mutex<HashMap<u64, Weak<Outbox>>>,
    draining: AtomicBool,
}

impl Connections {
    pub(crate) fn add(&self, outbox: &Arc<Outbox>) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.outboxes.lock().insert(id, Arc::downgrade(outbox));
        id
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

    fn all(&self) -> Vec<Arc<Outbox>> {
        self.outboxes.lock().values().filter_map(Weak::upgrade).collect()
    }
}

impl Node {
    /// Closes every connection behind what is queued for it, spread over `window` so that not all clients return at once.
    pub(crate) fn close_connections(self: &Arc<Self>, window: Duration) {
        for outbox in self.open.all() {
            let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
            let jitter = Duration::from_millis(self.random.below(window_ms));
            self.tasks.spawn(async move {
                tokio::time::sleep(jitter).await;
                outbox.close(Close { code: 1012, reason: "the relay is restarting" });
            });
        }
    }
}
