//! The stages in front of the commit as one call, as a connection makes it. The commit itself is another thread's.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use towpath_ingest::{Answer, Answers, CommitLimits, Committer, Ingest, Metrics, Reply, Repute, Way};
use towpath_policy::{Policy, Principal};
use towpath_protocol::SubmittedEvent;
use towpath_runtime::{Clock, Live, ManualClock};

use super::fixture::{NOW, delivery};
use super::stored::Folder;
use super::{EVENTS, Notes, Stage};

/// Room for more events than there are.
const LIMITS: CommitLimits = CommitLimits {
    queue_events_max: 1 << 20,
    queue_bytes_max: 1 << 30,
    batch_events_max: 256,
    batch_bytes_max: 1 << 20,
    verify_parallel: 2,
    gather_max: Duration::ZERO,
};

/// Hears only that all went well.
struct Nobody;

impl Answers for Nobody {
    fn answer(&self, _: u64, answer: Answer, _: Way) {
        assert!(matches!(answer, Answer::Committed(..)), "{answer:?}");
    }
}

struct Submit {
    ingest: Ingest,
    committer: Option<Committer>,
    anyone: RwLock<Principal>,
    to: Arc<dyn Answers>,
    received: Instant,
    bursts: Vec<Vec<(SubmittedEvent, Reply)>>,
    burst_events: usize,
    _folder: Folder,
}

/// Screen, look up, verify, authorise, queue: so many that came one right behind the other.
pub(super) fn submit(burst_events: usize) -> Box<dyn Stage> {
    let folder = Folder::open();
    let clock = Arc::new(ManualClock::at(NOW * 1000));
    let (store, policy) = (Arc::new(folder.store.clone()), Live::new(Policy::default()));
    let received = clock.instant();
    let started = Committer::start(store, Arc::new(delivery()), LIMITS, policy, clock, Metrics::default());
    let (committer, ingest) = started.expect("a thread");
    let (committer, anyone, to) = (Some(committer), RwLock::new(Principal::anonymous()), Arc::new(Nobody));
    Box::new(Submit { ingest, committer, anyone, to, received, bursts: Vec::new(), burst_events, _folder: folder })
}

impl Stage for Submit {
    fn prepare(&mut self, notes: &mut Notes) {
        let reply = || Reply { to: Arc::clone(&self.to), slot: 0, received: self.received };
        let submissions: Vec<_> = notes.submitted(EVENTS).into_iter().map(|event| (event, reply())).collect();
        self.bursts = submissions.chunks(self.burst_events).map(<[_]>::to_vec).collect();
    }

    fn run(&mut self) {
        for burst in self.bursts.drain(..) {
            let mut repute = Repute::Genuine;
            let submitted = pin!(self.ingest.submit(burst, &self.anyone, &mut repute));
            // With nobody else to wait for, it never waits.
            assert_eq!(submitted.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()));
        }
    }
}

impl Drop for Submit {
    fn drop(&mut self) {
        let deadline = self.received + Duration::from_secs(3600);
        self.committer.take().into_iter().for_each(|committer| committer.finish(deadline));
    }
}
