//! A disk that is too slow: what is too much is refused at the commit queue, and what is acknowledged has its leaf.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use towpath_audit::Tree;
use towpath_ingest::{Answer, Answers, CommitLimits, Committer, Metrics, Reply, Repute, Way};
use towpath_policy::{Policy, Principal};
use towpath_protocol::{Event, EventId, SubmittedEvent};
use towpath_runtime::{Clock, Live, SystemClock};
use towpath_store::{Committed, Cursor, Deliverer, Delivery, EventStore, Outcome, Page};

use super::fixture::{Folder, note};

const LIMITS: CommitLimits = CommitLimits {
    queue_events_max: 8,
    queue_bytes_max: 1 << 20,
    batch_events_max: 4,
    batch_bytes_max: 1 << 20,
    verify_parallel: 2,
    gather_max: Duration::ZERO,
};

/// Nobody listens.
struct Silence;

impl Delivery for Silence {
    fn hand_over(&self, _: &Committed, _: Instant) -> Deliverer {
        Deliverer::Follower
    }

    fn acknowledged(&self, _: &Committed, _: Instant, _: Deliverer) {}

    fn ephemeral(&self, _: &Event) -> usize {
        0
    }
}

#[derive(Default)]
struct Answered(Mutex<Vec<(u64, Answer)>>);

impl Answers for Answered {
    fn answer(&self, slot: u64, answer: Answer, _: Way) {
        self.0.lock().push((slot, answer));
    }
}

#[tokio::test]
async fn a_slow_disk_costs_refusals_at_the_queue_and_never_a_leaf() {
    let folder = Folder::new();
    let store = folder.open();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let policy = Live::new(Policy::default());
    let metrics = Metrics::default();
    let (committer, ingest) =
        Committer::start(Arc::new(store.clone()), Arc::new(Silence), LIMITS, policy, Arc::clone(&clock), metrics)
            .unwrap();
    let (answered, principal) = (Arc::new(Answered::default()), RwLock::new(Principal::anonymous()));
    let events: Vec<Event> = (0..60).map(|at| note(1, at).event().clone()).collect();

    store.shared().log.disk.faults.stall(true);
    for (slot, event) in (0..).zip(&events) {
        let event = SubmittedEvent::from_canonical(event.clone()).unwrap();
        let reply = Reply { to: Arc::clone(&answered) as Arc<dyn Answers>, slot, received: clock.instant() };
        ingest.submit(vec![(event, reply)], &principal, &mut Repute::default()).await;
    }
    // Nothing is acknowledged; all but what the queue and the disk hold were told so.
    let refused = answered.0.lock().len();
    assert!(refused >= events.len() - LIMITS.queue_events_max - LIMITS.batch_events_max, "{refused}");
    assert!(answered.0.lock().iter().all(|(_, answer)| matches!(answer, Answer::Overloaded)));
    store.shared().log.disk.faults.stall(false);
    let enough = clock.instant() + Duration::from_secs(3600);
    tokio::task::spawn_blocking(move || committer.finish(enough)).await.unwrap();

    let answers = std::mem::take(&mut *answered.0.lock());
    assert_eq!(answers.len(), events.len(), "every event is answered once");
    let acked: HashSet<EventId> = answers
        .iter()
        .filter(|(_, answer)| matches!(answer, Answer::Committed(_, Outcome::Accepted(_))))
        .map(|(slot, _)| events[*slot as usize].id())
        .collect();
    assert_eq!(acked.len(), events.len() - refused);
    let log = store.since(&Cursor::start(), Page { entries_max: usize::MAX, bytes_max: usize::MAX }).unwrap();
    let leaves: HashSet<EventId> = log.iter().filter_map(|entry| Some(entry.leaf.leaf()?.event?.0)).collect();
    assert_eq!(leaves, acked, "leaves are what was acknowledged, no more and no less");
    let mut tree = Tree::new();
    log.iter().for_each(|entry| tree.append(entry.leaf.hash(), |_| ()));
    assert_eq!(store.heads()[0].1, tree.head());
}
