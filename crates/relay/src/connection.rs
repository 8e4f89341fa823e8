//! The receiving side of a connection: from each message to the piece that serves it.

use std::collections::HashMap;
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use towpath_audit::{Action, AuthFailure};
use towpath_deliver::{Outbox, Reader, Subscription};
use towpath_gateway::Peer;
use towpath_ingest::{Answers, Reply, Repute};
use towpath_policy::{AuthDenial, Source, Storage, all_private, kind_spec, names_private};
use towpath_protocol::{
    ClientMessage, Filter, Refused, Subject, SubmittedEvent, SubscriptionId, VerifiedEvent, relay_message, wire,
};
use towpath_runtime::TaskGroup;
use towpath_session::wording;
use towpath_store::Act;

use crate::answers::{ANSWER_BYTES, OrderedAnswers};
use crate::build;
use crate::limiter::{Asker, Class, counted_address, tokens_of};
use crate::node::Node;
use crate::outbound::Outbound;
use crate::scans::Scans;

/// A client that sends nonsense is not kept from saying something sensible for longer.
const REFUSAL_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Events of about so many bytes wait for what has arrived behind them: as much as the edge reads at once.
const BURST_BYTES_MAX: usize = 64 * 1024;

/// See the module. Dropping it ends the connection's subscriptions and tasks.
pub(crate) struct Inbound {
    node: Arc<Node>,
    id: u64,
    /// `None` if exempt from limits by address.
    address: Option<IpAddr>,
    outbox: Arc<Outbox>,
    answers: Arc<OrderedAnswers>,
    /// Events that came one right behind the other, not submitted yet.
    burst: Vec<(SubmittedEvent, Reply)>,
    burst_bytes: usize,
    /// Whether its events may be checked with others'.
    repute: Repute,
    subscriptions: HashMap<SubscriptionId, Arc<Subscription>>,
    scans: Scans,
    tasks: TaskGroup,
    /// The audit log has a failed proof of this connection's already.
    recorded: bool,
}

impl Inbound {
    pub(crate) fn open(node: &Arc<Node>, peer: &Peer) -> (Self, Outbound) {
        let config = node.config.get();
        let (id, outbox) = node.open.open();
        let inbound = Self {
            node: Arc::clone(node),
            id,
            address: counted_address(peer, &config.server.trusted_addresses),
            outbox: Arc::clone(&outbox),
            answers: Arc::new(OrderedAnswers::open(node, &outbox)),
            burst: Vec::new(),
            burst_bytes: 0,
            repute: Repute::default(),
            subscriptions: HashMap::new(),
            scans: Scans::new(config.limits.subscriptions_max.get()),
            tasks: node.tasks.child(),
            recorded: false,
        };
        (inbound, Outbound(outbox))
    }

    async fn room_for_event(&mut self) {
        if !self.answers.has_room(&self.node.config.get()) {
            // Room comes of what is submitted.
            self.submit().await;
            self.answers.room(&self.node.config.get()).await;
        }
    }

    /// Has `event` wait for what has arrived behind it. Whether so much waits that it must be submitted.
    fn put_off(&mut self, event: SubmittedEvent, received: Instant) -> bool {
        let slot = self.answers.reserve(event.unverified().id().to_hex());
        let ephemeral = kind_spec(event.unverified().kind()).storage == Storage::Ephemeral;
        let class = if ephemeral { Class::Ephemeral } else { Class::Publish };
        let bytes = event.unverified().json().len();
        if let Err(refusal) = self.within_rate(class, tokens_of(bytes)) {
            self.answers.send(slot, false, &refusal);
            return false;
        }
        let to = Arc::clone(&self.answers) as Arc<dyn Answers>;
        self.burst.push((event, Reply { to, slot, received }));
        self.burst_bytes += bytes;
        self.burst.len() >= self.node.ingest.burst_events_max() || self.burst_bytes >= BURST_BYTES_MAX
    }

    /// Submits what was put off.
    async fn submit(&mut self) {
        self.burst_bytes = 0;
        let burst = mem::take(&mut self.burst);
        if !burst.is_empty() {
            let principal = Arc::clone(self.answers.auth.principal());
            self.node.ingest.submit(burst, &principal, &mut self.repute).await;
        }
    }

    async fn auth(&mut self, event: SubmittedEvent) {
        self.answers.room(&self.node.config.get()).await;
        let slot = self.answers.reserve(event.unverified().id().to_hex());
        if let Err(refusal) = self.within_rate(Class::Ephemeral, 1.0) {
            return self.answers.send(slot, false, &refusal);
        }
        let Some(event) = self.node.ingest.verify_auth(event).await else {
            return self.answers.send(slot, false, wording::BAD_SIGNATURE);
        };
        match self.answers.auth.prove(&event, &self.node.policy.get(), self.node.clock.unix_s()) {
            Ok(()) => self.answers.send(slot, true, ""),
            Err(denial) if self.record(&event, denial) => {
                self.answers.send(slot, false, &wording::auth_denial(denial));
            }
            Err(_) => self.answers.send(slot, false, wording::OVERLOADED),
        }
    }

    /// Has the audit log say that a genuine proof was not meant for here, once a connection. False if it cannot.
    fn record(&mut self, event: &VerifiedEvent, denial: AuthDenial) -> bool {
        let failure = match denial {
            AuthDenial::Challenge => AuthFailure::Challenge,
            AuthDenial::Relay => AuthFailure::Relay,
            AuthDenial::Kind | AuthDenial::Time { .. } | AuthDenial::TooManyKeys { .. } => return true,
        };
        if self.recorded {
            return true;
        }
        let event = event.event();
        let act = Act {
            action: Action::AuthFailed(failure),
            source: Source::Client,
            event: Some((event.id(), event.kind())),
            actor: Some(event.pubkey()),
        };
        self.recorded = self.node.ingest.record(act);
        self.recorded
    }

    async fn req(&mut self, id: SubscriptionId, filters: Vec<Filter>, received: Instant) {
        // A request under a name in use ends the old subscription, whatever becomes of the new one.
        self.close(&id);
        if let Err(refusal) = self.may_query(&filters).and_then(|()| self.may_subscribe()) {
            return self.closed(&id, &refusal);
        }
        let Ok(admitted) = self.scans.admit(&filters, &self.node.scan_room).await else {
            return self.closed(&id, wording::TOO_MANY_SCANS);
        };
        let subscription = self.subscription(id, filters);
        if self.node.deliver.register(&subscription).is_err() {
            return self.closed(subscription.id(), wording::TOO_MANY_LIVE_FILTERS);
        }
        self.subscriptions.insert(subscription.id().clone(), Arc::clone(&subscription));
        let (node, scans) = (Arc::clone(&self.node), self.scans.clone());
        self.node.queries.spawn(&self.tasks, async move {
            let _admitted = admitted;
            if let Err(error) = scans.stored_then_live(&node, &subscription, received).await {
                tracing::error!(%error, "a scan failed");
                let reason = wording::store_error(&error);
                node.metrics.refused(reason);
                node.deliver.refuse(&subscription, reason);
            }
        });
    }

    fn subscription(&self, id: SubscriptionId, filters: Vec<Filter>) -> Arc<Subscription> {
        Arc::new(Subscription::new(id, filters, self.reader(), Arc::clone(&self.outbox)))
    }

    fn reader(&self) -> Reader {
        Reader { principal: Arc::clone(self.answers.auth.principal()), policy: self.node.policy.clone() }
    }

    async fn count(&mut self, id: SubscriptionId, filters: Vec<Filter>) {
        let config = self.node.config.get();
        if !config.protocol.count {
            return self.closed(&id, wording::COUNT_IS_OFF);
        }
        if let Err(refusal) = self.may_query(&filters) {
            return self.closed(&id, &refusal);
        }
        let Ok(admitted) = self.scans.admit(&filters, &self.node.scan_room).await else {
            return self.closed(&id, wording::TOO_MANY_SCANS);
        };
        let (node, scans, outbox, reader) =
            (Arc::clone(&self.node), self.scans.clone(), Arc::clone(&self.outbox), self.reader());
        self.node.queries.spawn(&self.tasks, async move {
            let _admitted = admitted;
            match scans.count(&node, &filters, reader).await {
                Ok((count, hll)) => {
                    outbox.queue_urgent(relay_message::count(id.as_str(), count, hll.as_ref()));
                    outbox.send_now(ANSWER_BYTES);
                }
                Err(error) => outbox.push_ordered(relay_message::closed(id.as_str(), wording::store_error(&error))),
            }
        });
    }

    /// Rates and authentication.
    fn may_query(&self, filters: &[Filter]) -> Result<(), String> {
        self.within_rate(Class::Query, 1.0)?;
        let policy = self.node.policy.get();
        if !self.answers.auth.is_authenticated() {
            if policy.auth_to_read {
                return Err(wording::AUTH_TO_READ.into());
            }
            if filters.iter().all(|filter| all_private(filter, &policy)) {
                return Err(wording::AUTH_FOR_PRIVATE.into());
            }
            if filters.iter().any(|filter| names_private(filter, &policy)) {
                self.answers.send_challenge();
            }
        }
        Ok(())
    }

    /// Whether there may be one more.
    fn may_subscribe(&mut self) -> Result<(), String> {
        let max = self.node.config.get().limits.subscriptions_max.get();
        if self.subscriptions.len() >= max {
            // One of which something is still to be said may be asked for again under its name.
            self.subscriptions
                .retain(|_, subscription| !subscription.is_closed() || Arc::strong_count(subscription) > 1);
        }
        if self.subscriptions.len() >= max {
            return Err(wording::too_many_subscriptions(max));
        }
        Ok(())
    }

    fn within_rate(&self, class: Class, tokens: f64) -> Result<(), String> {
        self.take(class, tokens).map_err(|wait| wording::rate_limited(class.noun(), wait))
    }

    fn take(&self, class: Class, tokens: f64) -> Result<(), Duration> {
        let principal = self.answers.auth.principal().read();
        let asker = Asker { connection: Some(self.id), address: self.address, keys: principal.keys() };
        let (rates, now) = (&self.node.config.get().rates, self.node.clock.instant());
        self.node.limiter.take(class, tokens, &asker, rates, now)
    }

    fn close(&mut self, id: &SubscriptionId) {
        if let Some(subscription) = self.subscriptions.remove(id) {
            self.node.deliver.unregister(&subscription);
        }
    }

    fn closed(&self, id: &SubscriptionId, reason: &str) {
        self.answers.note_refusal(reason);
        self.outbox.push_ordered(relay_message::closed(id.as_str(), reason));
    }

    /// Answers what could not be understood, as precisely as it can be addressed. Whoever sends nothing else is read no faster
    /// than the rate of queries.
    async fn refuse(&mut self, Refused { subject, reason }: Refused) {
        if let Err(wait) = self.take(Class::Query, 1.0) {
            tokio::time::sleep(wait.min(REFUSAL_PAUSE_MAX)).await;
        }
        self.answers.room(&self.node.config.get()).await;
        match subject {
            Subject::Event(id) => {
                let slot = self.answers.reserve(id);
                self.answers.send(slot, false, &reason);
            }
            Subject::Req(id) => {
                let id = SubscriptionId::from(id.as_str());
                self.close(&id);
                self.closed(&id, &reason);
            }
            Subject::Count(id) => self.closed(&id.as_str().into(), &reason),
            Subject::Message => {
                self.answers.note_refusal(&reason);
                self.outbox.push_urgent(relay_message::notice(&reason));
            }
        }
    }
}

impl towpath_gateway::Inbound for Inbound {
    async fn message(&mut self, text: &str) {
        if self.node.open.is_draining() {
            return;
        }
        let received = self.node.clock.instant();
        let parsed = wire::client_message(text, &build::message_limits(&self.node.config.get()));
        self.node.metrics.parse.observe(self.node.clock.instant().duration_since(received).as_secs_f64());
        if !matches!(parsed, Ok(ClientMessage::Event(_))) {
            // Whatever else a client asks comes behind the events it sent before.
            self.submit().await;
        }
        match parsed {
            Ok(ClientMessage::Event(event)) => {
                self.room_for_event().await;
                if self.put_off(event, received) {
                    self.submit().await;
                    // There may be many more behind it, and others wait for this thread.
                    tokio::task::yield_now().await;
                }
            }
            // Seldom, and longer than all others, which are served in less memory without it.
            Ok(ClientMessage::Auth(event)) => Box::pin(self.auth(event)).await,
            Ok(ClientMessage::Req(id, filters)) => self.req(id, filters, received).await,
            Ok(ClientMessage::Count(id, filters)) => self.count(id, filters).await,
            Ok(ClientMessage::Close(id)) => self.close(&id),
            Err(refused) => self.refuse(refused).await,
        }
        if !self.outbox.admits() {
            // What was put off need not wait for the client to read.
            self.submit().await;
            self.outbox.admit().await;
        }
    }

    async fn caught_up(&mut self) {
        self.submit().await;
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.tasks.stop();
        for (_, subscription) in self.subscriptions.drain().filter(|(_, subscription)| !subscription.is_closed()) {
            self.node.deliver.unregister(&subscription);
        }
        self.node.open.remove(self.id);
    }
}
