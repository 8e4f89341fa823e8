//! The stages before the commit, top to bottom.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::{Semaphore, oneshot};
use towpath_policy::{Policy, Principal, Source, Write, authorise, plan, screen};
use towpath_protocol::{SubmittedEvent, VerifiedEvent, Verifier};
use towpath_runtime::{Clock, Live};
use towpath_store::{Act, Delivery, EventStore};

use crate::authors::Authors;
use crate::metrics::Metrics;
use crate::queue::{CommitQueue, Pending};
use crate::reply::{Answer, Once, Reply, Way};

/// The stages of one relay. Clones share them.
#[derive(Clone)]
pub struct Ingest {
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) authors: Arc<Authors>,
    pub(crate) cpu: Arc<Semaphore>,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) delivery: Arc<dyn Delivery>,
    pub(crate) queue: Arc<CommitQueue>,
    pub(crate) policy: Live<Policy>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
}

impl Ingest {
    /// Takes `event` through the stages. Every event is answered exactly once, at once if it is refused and at its commit if
    /// not. Events of one connection, submitted one after another, are committed in that order. Not cancel-safe: a dropped call
    /// may leave the event unanswered, which is right only when the connection is gone.
    pub async fn submit(&self, event: SubmittedEvent, principal: &RwLock<Principal>, reply: Reply) {
        let write = match self.decide(event, principal).await {
            Ok(write) => write,
            Err(refusal) => return reply.send(refusal, Way::Woken, &self.metrics, self.clock.instant()),
        };
        if write.is_ephemeral() {
            let reached = self.delivery.ephemeral(write.event());
            // Whether the recipient of a private event is here is nobody's business.
            let private = self.policy.get().private_kinds.contains(&write.event().kind());
            let reached = if private { reached.max(1) } else { reached };
            self.metrics.ephemeral.inc();
            return reply.send(Answer::Delivered(reached), Way::Woken, &self.metrics, self.clock.instant());
        }
        self.commit(write, reply);
    }

    fn commit(&self, write: Write, reply: Reply) {
        let queued = self.clock.instant();
        if let Err(reply) = self.queue.push(Pending { write, reply, queued }) {
            reply.send(Answer::Overloaded, Way::Woken, &self.metrics, queued);
        }
    }

    /// Has an event of the relay's own committed and delivered, as any other. A dropped call does not take it back.
    pub async fn publish_own(&self, event: VerifiedEvent) -> Answer {
        let (answer, answered) = oneshot::channel();
        let to = Arc::new(Once::new(answer));
        let reply = Reply { to, slot: 0, received: self.clock.instant() };
        self.commit(plan(event, Source::Relay, &self.policy.get()), reply);
        answered.await.unwrap_or(Answer::Overloaded)
    }

    /// Has the audit log say so. False if the commit queue is full: then it was not done.
    pub fn record(&self, act: Act) -> bool {
        self.queue.push_act(act)
    }

    async fn decide(&self, event: SubmittedEvent, principal: &RwLock<Principal>) -> Result<Write, Answer> {
        let policy = self.policy.get();
        let now = self.clock.unix_s();
        screen(event.unverified(), &principal.read(), &policy, now).map_err(Answer::Denied)?;
        let event = self.verify(event).await?;
        authorise(event, Source::Client, &principal.read(), &policy, now).map_err(Answer::Denied)
    }

    /// Checks that the id is not known and the signature genuine. Runs where it is, on a runtime worker, but never more at once
    /// than there are slots: the runtime has more workers than that, so that reading and writing sockets goes on.
    async fn verify(&self, event: SubmittedEvent) -> Result<VerifiedEvent, Answer> {
        let start = self.clock.instant();
        let _expected = self.queue.expect();
        let Ok(_slot) = self.cpu.acquire().await else { return Err(Answer::Overloaded) };
        if self.store.is_known(&event.unverified().id()).map_err(Answer::Failed)? {
            return Err(Answer::Known);
        }
        let verified = match self.authors.lifted(event.unverified().pubkey()) {
            Some(author) => self.verifier.verify_by(event, &author).map_err(|_| Answer::BadSignature),
            None => Err(Answer::BadSignature),
        };
        self.metrics.verify.observe(self.clock.instant().duration_since(start).as_secs_f64());
        verified
    }

    /// Brings the metrics that nothing else keeps current up to date.
    pub fn note_queue_age(&self) {
        self.metrics.queue_age.set(self.queue.age(self.clock.instant()).as_secs_f64());
    }

    /// Checks a signature outside the way of an event: AUTH. Under the same bound.
    pub async fn verify_auth(&self, event: SubmittedEvent) -> Option<VerifiedEvent> {
        let _slot = self.cpu.acquire().await.ok()?;
        self.verifier.verify(event).ok()
    }
}
