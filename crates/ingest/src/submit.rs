//! The stages before the commit, top to bottom.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::oneshot;
use towpath_policy::{Policy, Principal, Source, Storage, Write, authorise, kind_spec, plan, screen};
use towpath_protocol::{SubmittedEvent, VerifiedEvent};
use towpath_runtime::{Clock, Live};
use towpath_store::{Act, Delivery, EventStore};

use crate::checks::{Burst, Checks, Repute};
use crate::metrics::Metrics;
use crate::queue::{CommitQueue, Pending};
use crate::reply::{Answer, Once, Reply, Way};

/// The stages of one relay. Clones share them.
#[derive(Clone)]
pub struct Ingest {
    pub(crate) checks: Arc<Checks>,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) delivery: Arc<dyn Delivery>,
    pub(crate) queue: Arc<CommitQueue>,
    pub(crate) policy: Live<Policy>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
}

impl Ingest {
    /// How many events to submit at once, if so many have come: with more, the first would wait for long, and others for a slot.
    pub fn burst_events_max(&self) -> usize {
        self.checks.burst_events_max()
    }

    /// Takes a burst of events, as they came from one connection, through the stages, and keeps its `repute` up to date. Each is answered
    /// exactly once, at once if it is refused and at its commit if not. Bursts of one connection, submitted one after another, are committed in
    /// that order, and so are the events of each. Not cancel-safe: a dropped call may leave events unanswered, which is right only when the
    /// connection is gone.
    pub async fn submit(
        &self,
        burst: Vec<(SubmittedEvent, Reply)>,
        principal: &RwLock<Principal>,
        repute: &mut Repute,
    ) {
        let (policy, now) = (self.policy.get(), self.clock.unix_s());
        let screened = self.passed(burst, |event| {
            screen(event.unverified(), &principal.read(), &policy, now).map_err(Answer::Denied)?;
            Ok(event)
        });
        if screened.is_empty() {
            return;
        }
        // Ephemeral events need no room, so a store that stands still does not hold them up.
        let stored = screened.iter().filter(|(event, _)| !is_ephemeral(event)).count();
        let admitted = self.queue.admit(stored).await;
        let verified = self.verify(screened, repute).await;
        let authorised = self.passed(verified, |event| {
            authorise(event, Source::Client, &principal.read(), &policy, now).map_err(Answer::Denied)
        });
        let to_store = self.passed(authorised, |write| match write.is_ephemeral() {
            true => Err(self.deliver(&write, &policy)),
            false => Ok(write),
        });
        let admitted = admitted.passed_on(to_store.len());
        self.commit(to_store, admitted);
    }

    /// What goes on behind a stage. What does not is answered.
    fn passed<T, U>(&self, burst: Vec<(T, Reply)>, stage: impl Fn(T) -> Result<U, Answer>) -> Vec<(U, Reply)> {
        let pass = |(event, reply)| match stage(event) {
            Ok(passed) => Some((passed, reply)),
            Err(answer) => {
                self.answer(reply, answer);
                None
            }
        };
        burst.into_iter().filter_map(pass).collect()
    }

    fn answer(&self, reply: Reply, answer: Answer) {
        reply.send(answer, Way::Woken, &self.metrics, self.clock.instant());
    }

    /// Checks that the ids are not known and the signatures genuine.
    async fn verify(&self, burst: Burst, repute: &mut Repute) -> Vec<(VerifiedEvent, Reply)> {
        let start = self.clock.instant();
        let _expected = self.queue.expect();
        let checked = self.checks.check(burst, repute).await;
        self.metrics.verify.observe(self.clock.instant().duration_since(start).as_secs_f64());
        self.passed(checked, |checked| checked)
    }

    /// Delivers an ephemeral event, which is never stored.
    fn deliver(&self, write: &Write, policy: &Policy) -> Answer {
        let reached = self.delivery.ephemeral(write.event());
        // Whether the recipient of a private event is here is nobody's business.
        let private = policy.private_kinds.contains(&write.event().kind());
        self.metrics.ephemeral.inc();
        Answer::Delivered(if private { reached.max(1) } else { reached })
    }

    fn commit(&self, writes: Vec<(Write, Reply)>, admitted: usize) {
        if writes.is_empty() {
            return self.queue.nothing_came();
        }
        let queued = self.clock.instant();
        let burst = writes.into_iter().enumerate();
        let burst =
            burst.map(|(n, (write, reply))| Pending { write, reply, queued, is_admitted: n < admitted }).collect();
        for refused in self.queue.push(burst) {
            self.answer(refused, Answer::Overloaded);
        }
    }

    /// Has an event of the relay's own committed and delivered, as any other. A dropped call does not take it back.
    pub async fn publish_own(&self, event: VerifiedEvent) -> Answer {
        let (answer, answered) = oneshot::channel();
        let to = Arc::new(Once::new(answer));
        let reply = Reply { to, slot: 0, received: self.clock.instant() };
        self.commit(vec![(plan(event, Source::Relay, &self.policy.get()), reply)], 0);
        answered.await.unwrap_or(Answer::Overloaded)
    }

    /// Has the audit log say so. False if the commit queue is full: then it was not done.
    pub fn record(&self, act: Act) -> bool {
        self.queue.push_act(act)
    }

    /// Brings the metrics that nothing else keeps current up to date.
    pub fn note_state(&self) {
        self.metrics.queue_age.set(self.queue.age(self.clock.instant()).as_secs_f64());
        self.metrics.under_way.set(self.queue.under_way());
    }

    /// Checks a signature outside the way of an event: AUTH. Under the same bound. `None` if it is not genuine. Cancel-safe.
    pub async fn verify_auth(&self, event: SubmittedEvent) -> Option<VerifiedEvent> {
        self.checks.one(event).await
    }
}

fn is_ephemeral(event: &SubmittedEvent) -> bool {
    kind_spec(event.unverified().kind()).storage == Storage::Ephemeral
}
