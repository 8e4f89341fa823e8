//! The stored part of one connection's requests: a bounded number in progress, of a bounded size, one slice at a time.
//!
//! A connection's scans take turns among themselves before they compete with other connections for a reader, so that a client
//! with a thousand requests is served no more than a client with one; and a slice is read only when there is room to queue it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use towpath_deliver::{Reader, Subscription, cost_of};
use towpath_policy::{expires_at, names_private};
use towpath_protocol::{Event, Filter, HyperLogLog, relay_message};
use towpath_query::{QueryLimits, with_limits};
use towpath_runtime::Clock;
use towpath_store::{Completeness, Cursor, Error, Progress, Query};

use crate::node::Node;

/// Slices that one connection may have in the making.
const TURNS: usize = 1;

/// Values that the filters of one connection's scans in progress may have. One message may have more by itself, alone.
const CONNECTION_VALUES_MAX: u32 = 100_000;

/// Connections with a client's usual needs are served whatever the others ask.
const FAIR_SHARE: u32 = 500;

/// Room for the filters of all scans, in progress or waiting. A value costs some 250 bytes: what it says, and its place in the index that a scan
/// is at.
pub(crate) struct Room {
    values: Arc<Semaphore>,
    used: Gauge,
}

impl Room {
    /// For so many values; `used` says how many there are.
    pub(crate) fn new(values_max: usize, used: Gauge) -> Self {
        Self { values: Arc::new(Semaphore::new(values_max)), used }
    }
}

/// There is no room for filters of that size.
pub(crate) struct NoRoom;

/// A scan that may begin. Gives its room back when dropped.
pub(crate) struct Admitted {
    _held: (Held, OwnedSemaphorePermit, OwnedSemaphorePermit),
}

/// What filters take of everybody's room, from when they are read on. Gives it back when dropped.
struct Held {
    cost: u32,
    /// `None` of what is served though the room is used up.
    shared: Option<OwnedSemaphorePermit>,
    used: Gauge,
    of_connection: Arc<AtomicU32>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.used.dec_by(self.cost.into());
        self.of_connection.fetch_sub(self.cost, Ordering::Relaxed);
    }
}

/// The scans of one connection. Clones share the bounds.
#[derive(Clone)]
pub(crate) struct Scans {
    pending: Arc<Semaphore>,
    values: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    /// Values of those in progress and waiting.
    held: Arc<AtomicU32>,
}

impl Scans {
    /// At most `pending_max` in progress.
    pub(crate) fn new(pending_max: usize) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            pending: semaphore(pending_max),
            values: semaphore(CONNECTION_VALUES_MAX as usize),
            turns: semaphore(TURNS),
            held: Arc::default(),
        }
    }

    /// Waits until the connection may begin another scan: back-pressure on a client that asks faster than it is answered. What waits
    /// or is read has its filters in memory, so their size counts, too: for `room`, which is everybody's, nobody waits. Cancel-safe.
    pub(crate) async fn admit(&self, filters: &[Filter], room: &Room) -> Result<Admitted, NoRoom> {
        let cost = u32::try_from(cost_of(filters)).unwrap_or(u32::MAX).min(CONNECTION_VALUES_MAX);
        let held = self.hold(cost, room)?;
        let pending = Arc::clone(&self.pending).acquire_owned().await.map_err(|_| NoRoom)?;
        let own = Arc::clone(&self.values).acquire_many_owned(cost).await.map_err(|_| NoRoom)?;
        Ok(Admitted { _held: (held, pending, own) })
    }

    fn hold(&self, cost: u32, room: &Room) -> Result<Held, NoRoom> {
        let shared = Arc::clone(&room.values).try_acquire_many_owned(cost).ok();
        room.used.inc_by(cost.into());
        let of_connection = self.held.fetch_add(cost, Ordering::Relaxed) + cost;
        let held = Held { cost, shared, used: room.used.clone(), of_connection: Arc::clone(&self.held) };
        if held.shared.is_some() || of_connection <= FAIR_SHARE { Ok(held) } else { Err(NoRoom) }
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
        let hinted = config.protocol.eose_hints && !may_be_kept_from(node, subscription);
        let Some((completeness, cursor)) = self.stored(node, subscription, limits).await? else { return Ok(()) };
        let hint = hinted.then(|| eose_hint(completeness)).flatten();
        let eose = relay_message::eose(subscription.id().as_str(), hint);
        if !subscription.go_live(&cursor, eose, node.clock.unix_s()) {
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
        let hll_offset = if let [filter] = filters { filter.hll_offset() } else { None };
        let query = query(node, filters, unlimited, reader);
        node.queries.count(query, hll_offset, &self.turns).await
    }
}

/// Whether there may be more for this client once it has proven a key. By its filters alone: what is stored says nothing here.
fn may_be_kept_from(node: &Node, subscription: &Subscription) -> bool {
    let policy = node.policy.get();
    !subscription.reader().principal.read().is_authenticated()
        && subscription.filters().iter().any(|filter| names_private(filter, &policy))
}

fn eose_hint(completeness: Completeness) -> Option<relay_message::EoseHint> {
    match completeness {
        Completeness::All => Some(relay_message::EoseHint::Finish),
        Completeness::Limited => Some(relay_message::EoseHint::More),
        Completeness::Unknown => None,
    }
}

fn query(node: &Arc<Node>, filters: &[Filter], limits: QueryLimits, reader: Reader) -> Query {
    let visible = Arc::new(visible(Arc::clone(&node.clock), reader));
    Query { filters: with_limits(filters, limits), cursor: None, visible }
}

/// What may be sent as it is read: a long scan leaves out what expired since it began.
fn visible(clock: Arc<dyn Clock>, reader: Reader) -> impl Fn(&Event) -> bool {
    move |event| expires_at(event).is_none_or(|at| at > clock.unix_s()) && reader.may_read(event)
}

#[cfg(test)]
mod tests {
    use std::task::Poll;
    use std::time::Duration;

    use futures_util::poll;
    use towpath_policy::Policy;
    use towpath_protocol::{SecretKey, wire};
    use towpath_runtime::{Live, ManualClock};

    use super::*;

    /// That asks for so many things.
    fn filter(values: usize) -> Vec<Filter> {
        let topics: Vec<String> = (1..values).map(|topic| format!("\"{topic}\"")).collect();
        vec![wire::filter(&format!(r##"{{"#t":[{}]}}"##, topics.join(","))).expect("a filter")]
    }

    #[tokio::test]
    async fn what_waits_is_bounded_by_its_size_and_gives_its_room_back() {
        let (used, scans) = (Gauge::default(), Scans::new(1_024));
        let room = Room::new(1_000_000, used.clone());
        let first = scans.admit(&filter(60_000), &room).await.ok().expect("room");
        assert_eq!(used.get(), 60_000);
        let large = filter(60_000);
        let mut second = std::pin::pin!(scans.admit(&large, &room));
        assert!(poll!(&mut second).is_pending(), "the connection has as much as it may");
        assert_eq!(used.get(), 120_000, "what waits is in memory, too");
        drop(first);
        let second = second.await.ok().expect("room again");
        assert_eq!(used.get(), 60_000);
        drop(second);
        assert!(scans.admit(&filter(150_000), &room).await.is_ok(), "one alone may be of any size");
        assert_eq!(used.get(), 0);
    }

    #[tokio::test]
    async fn when_everybodys_room_is_used_up_usual_questions_are_served_all_the_same() {
        let room = Room::new(1_000, Gauge::default());
        let (busy, other) = (Scans::new(1_024), Scans::new(1_024));
        let _held = busy.admit(&filter(900), &room).await.ok().expect("room");
        assert!(other.admit(&filter(600), &room).await.is_err());
        let usual = other.admit(&filter(400), &room).await.ok();
        assert!(usual.is_some());
        assert!(other.admit(&filter(200), &room).await.is_err(), "but no more than a share of them");
        assert!(busy.admit(&filter(100), &room).await.is_ok());
    }

    #[tokio::test]
    async fn what_waits_takes_everybodys_room_and_what_finds_none_does_not_wait() {
        let room = Room::new(1_000, Gauge::default());
        let (one, other) = (Scans::new(1), Scans::new(1));
        let _first = one.admit(&filter(300), &room).await.ok().expect("room");
        let (second, third) = (filter(600), filter(200));
        let mut second = std::pin::pin!(one.admit(&second, &room));
        assert!(poll!(&mut second).is_pending());
        assert!(other.admit(&filter(600), &room).await.is_err());
        let mut third = std::pin::pin!(one.admit(&third, &room));
        assert!(matches!(poll!(&mut third), Poll::Ready(Err(NoRoom))));
    }

    #[test]
    fn what_expires_while_a_scan_runs_is_not_sent() {
        let clock = Arc::new(ManualClock::at(1_000_000));
        let reader = Reader { principal: Arc::default(), policy: Live::new(Policy::default()) };
        let visible = visible(Arc::clone(&clock) as Arc<dyn Clock>, reader);
        let key = SecretKey::from_bytes([1; 32]).expect("a key");
        let event = key.sign(900, 1, &[&["expiration", "1001"]], "", &[0; 32]).into_event();
        assert!(visible(&event));
        clock.advance(Duration::from_secs(1));
        assert!(!visible(&event));
    }
}
