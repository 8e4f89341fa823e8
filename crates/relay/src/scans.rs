//! The stored part of one connection's requests: a bounded number in progress, one slice at a time.
//!
//! A connection's scans take turns among themselves before they compete with other connections for a reader, so that a client
//! with a thousand requests is served no more than a client with one; and a slice is read only when there is room to queue it.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use towpath_deliver::{Reader, Subscription};
use towpath_protocol::{Filter, HyperLogLog, relay_message};
use towpath_query::{QueryLimits, visible_at, with_limits};
use towpath_store::{Completeness, Cursor, Error, Progress, Query};

use crate::node::Node;

/// Slices that one connection may have in the making.
const TURNS: usize = 1;

/// The scans of one connection. Clones share the bounds.
#[derive(Clone)]
pub(crate) struct Scans {
    pending: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Scans {
    /// At most `pending_max` in progress.
    pub(crate) fn new(pending_max: usize) -> Self {
        Self { pending: Arc::new(Semaphore::new(pending_max)), turns: Arc::new(Semaphore::new(TURNS)) }
    }

    /// Waits until another scan may begin: back-pressure on a client that asks faster than it is answered. Cancel-safe.
    pub(crate) async fn admit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.pending).acquire_owned().await.ok()
    }

    /// Stored events, EOSE, then live ones. The subscription is in the live index already, so the scan's cursor splits what the scan
    /// sends from what delivery sends, with nothing between and nothing twice.
    pub(crate) async fn stored_then_live(
        &self,
        node: &Arc<Node>,
        subscription: &Arc<Subscription>,
        received: Instant,
    ) -> Result<(), Error> {
        let config = node.config.get();
        let limits = QueryLimits {
            limit_default: config.limits.limit_default.get() as u64,
            limit_max: config.limits.limit_max.get() as u64,
        };
        let Some((completeness, cursor)) = self.stored(node, subscription, limits).await? else { return Ok(()) };
        let hint = config.protocol.eose_hints.then(|| eose_hint(completeness)).flatten();
        if !subscription.go_live(&cursor, relay_message::eose(subscription.id().as_str(), hint)) {
            node.deliver.too_slow(subscription);
        }
        node.metrics.stored.observe(node.clock.instant().duration_since(received).as_secs_f64());
        Ok(())
    }

    /// `None` if the subscription ended meanwhile.
    async fn stored(
        &self,
        node: &Arc<Node>,
        subscription: &Arc<Subscription>,
        limits: QueryLimits,
    ) -> Result<Option<(Completeness, Cursor)>, Error> {
        let mut reading = None;
        loop {
            let _turn = self.turns.acquire().await;
            subscription.outbox().room_for_stored().await;
            if subscription.is_closed() {
                return Ok(None);
            }
            let reading = match &mut reading {
                Some(reading) => reading,
                none => {
                    let (filters, reader) = (subscription.filters(), subscription.reader().clone());
                    none.insert(node.queries.open(query(node, filters, limits, reader))?)
                }
            };
            let (events, progress) = reading.next().await?;
            subscription.outbox().queue_stored(subscription, events.into_iter().map(|stored| stored.event));
            if let Progress::Done(completeness) = progress {
                return Ok(Some((completeness, reading.cursor().clone())));
            }
            subscription.outbox().wake();
        }
    }

    /// How many stored events match, with the HyperLogLog of their authors if there is one filter and it has one (NIP-45).
    pub(crate) async fn count(
        &self,
        node: &Arc<Node>,
        filters: &[Filter],
        reader: Reader,
    ) -> Result<(u64, Option<HyperLogLog>), Error> {
        let unlimited = QueryLimits { limit_default: u64::MAX, limit_max: u64::MAX };
        let hll_offset = if let [filter] = filters { filter.hll_offset } else { None };
        let query = query(node, filters, unlimited, reader);
        node.queries.count(query, hll_offset, &self.turns).await
    }
}

fn eose_hint(completeness: Completeness) -> Option<relay_message::EoseHint> {
    match completeness {
        Completeness::All => Some(relay_message::EoseHint::Finish),
        Completeness::Limited => Some(relay_message::EoseHint::More),
        Completeness::Unknown => None,
    }
}

fn query(node: &Arc<Node>, filters: &[Filter], limits: QueryLimits, reader: Reader) -> Query {
    let now = node.clock.unix_s();
    Query {
        filters: with_limits(filters, limits),
        cursor: None,
        visible: Arc::new(move |event| visible_at(event, now) && reader.may_read(event)),
    }
}
