//! One connection: from each message to the piece that serves it, and the answers back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;
use towpath_deliver::{Item, Outbox, Reader, Subscription};
use towpath_gateway::{Close, Frame, Peer};
use towpath_ingest::{Answer, Answers, Reply};
use towpath_policy::{Storage, all_private, kind_spec};
use towpath_protocol::{ClientMessage, Filter, Refused, Subject, SubmittedEvent, SubscriptionId, relay_message, wire};
use towpath_query::{QueryLimits, visible_at, with_limits};
use towpath_runtime::TaskGroup;
use towpath_session::{Acks, Auth, new_challenge, wording};
use towpath_store::{Completeness, Cursor, Error, Progress, Query};

use crate::build;
use crate::limiter::{Asker, Class};
use crate::node::Node;

/// The receiving side. Dropping it ends the connection's subscriptions and tasks.
pub(crate) struct Inbound {
    node: Arc<Node>,
    id: u64,
    /// `None` if exempt from limits by address.
    address: Option<IpAddr>,
    outbox: Arc<Outbox>,
    answers: Arc<OrderedAnswers>,
    subscriptions: HashMap<SubscriptionId, Arc<Subscription>>,
    tasks: TaskGroup,
}

/// The sending side.
pub(crate) struct Outbound {
    outbox: Arc<Outbox>,
    items: Vec<Item>,
}

/// Words answers and sends them in the order of their events.
struct OrderedAnswers {
    acks: Acks,
    auth: Auth,
    outbox: Arc<Outbox>,
    answered: Notify,
    node: Arc<Node>,
}

impl OrderedAnswers {
    fn send(&self, slot: u64, accepted: bool, text: &str) {
        if !accepted {
            self.note_refusal(text);
        }
        self.acks.answer(slot, accepted, text, |message| self.outbox.push_urgent(message));
        self.answered.notify_one();
    }

    /// Counts a refusal that is about to be sent, and sends the challenge before it if it asks for one.
    fn note_refusal(&self, text: &str) {
        self.node.metrics.refused(text);
        if wording::asks_for_auth(text) {
            self.send_challenge();
        }
    }

    fn send_challenge(&self) {
        if let Some(challenge) = self.auth.unsent_challenge() {
            self.outbox.push_urgent(relay_message::auth(challenge));
        }
    }

    /// Waits until fewer than `max` events are unanswered. Only the connection's own reader waits here.
    async fn room(&self, max: usize) {
        while self.acks.unanswered() >= max {
            self.answered.notified().await;
        }
    }
}

impl Answers for OrderedAnswers {
    fn answer(&self, slot: u64, answer: Answer) {
        match answer {
            Answer::Committed(outcome) => {
                let (accepted, text) = wording::outcome(outcome);
                self.send(slot, accepted, text);
            }
            Answer::Known => self.send(slot, true, wording::DUPLICATE),
            Answer::Delivered(0) => self.send(slot, false, wording::NOBODY_LISTENING),
            Answer::Delivered(_) => self.send(slot, true, ""),
            Answer::Denied(denial) => self.send(slot, false, &wording::denial(&denial)),
            Answer::BadSignature => self.send(slot, false, wording::BAD_SIGNATURE),
            Answer::Overloaded => self.send(slot, false, wording::OVERLOADED),
            Answer::Failed(error) => self.send(slot, false, wording::store_error(&error)),
        }
    }
}

impl Inbound {
    pub(crate) fn open(node: &Arc<Node>, peer: &Peer) -> (Self, Outbound) {
        let config = node.config.get();
        let exempt =
            peer.trusted || config.server.trusted_addresses.iter().any(|network| network.contains(peer.address));
        let outbox = Arc::new(Outbox::new(Arc::clone(&node.outboxes)));
        let answers = OrderedAnswers {
            acks: Acks::default(),
            auth: Auth::new(new_challenge(node.random.bytes())),
            outbox: Arc::clone(&outbox),
            answered: Notify::new(),
            node: Arc::clone(node),
        };
        if config.auth.challenge_on_connect {
            answers.send_challenge();
        }
        let inbound = Self {
            node: Arc::clone(node),
            id: node.open.add(&outbox),
            address: (!exempt).then(|| peer.counted_as()),
            outbox: Arc::clone(&outbox),
            answers: Arc::new(answers),
            subscriptions: HashMap::new(),
            tasks: node.tasks.child(),
        };
        (inbound, Outbound { outbox, items: Vec::new() })
    }

    async fn serve(&mut self, message: ClientMessage, received: Instant) {
        match message {
            ClientMessage::Event(event) => self.event(event, received).await,
            ClientMessage::Auth(event) => self.auth(event).await,
            ClientMessage::Req(id, filters) => self.req(id, filters, received),
            ClientMessage::Count(id, filters) => self.count(id, filters),
            ClientMessage::Close(id) => self.close(&id),
        }
    }

    async fn event(&self, event: SubmittedEvent, received: Instant) {
        let config = self.node.config.get();
        self.answers.room(config.queues.in_flight_per_connection_max.get()).await;
        let slot = self.answers.acks.reserve(event.unverified().id().to_hex());
        let ephemeral = kind_spec(event.unverified().kind()).storage == Storage::Ephemeral;
        let class = if ephemeral { Class::Ephemeral } else { Class::Publish };
        if let Err(refusal) = self.within_rate(class) {
            return self.answers.send(slot, false, &refusal);
        }
        let to = Arc::clone(&self.answers) as Arc<dyn Answers>;
        self.node.ingest.submit(event, self.answers.auth.principal(), Reply { to, slot, received }).await;
    }

    async fn auth(&self, event: SubmittedEvent) {
        let slot = self.answers.acks.reserve(event.unverified().id().to_hex());
        if let Err(refusal) = self.within_rate(Class::Ephemeral) {
            return self.answers.send(slot, false, &refusal);
        }
        let Some(event) = self.node.ingest.verify_auth(event).await else {
            return self.answers.send(slot, false, wording::BAD_SIGNATURE);
        };
        match self.answers.auth.prove(&event, &self.node.policy.get(), self.node.clock.unix_s()) {
            Ok(()) => self.answers.send(slot, true, ""),
            Err(denial) => self.answers.send(slot, false, &wording::auth_denial(denial)),
        }
    }

    fn req(&mut self, id: SubscriptionId, filters: Vec<Filter>, received: Instant) {
        // A request under a name in use ends the old subscription, whatever becomes of the new one.
        self.close(&id);
        if let Err(refusal) = self.may_query(&filters) {
            return self.closed(&id, &refusal);
        }
        let subscription = self.subscription(id, filters);
        if self.node.deliver.register(&subscription).is_err() {
            return self.closed(subscription.id(), wording::TOO_MANY_LIVE_FILTERS);
        }
        self.subscriptions.insert(subscription.id().clone(), Arc::clone(&subscription));
        let node = Arc::clone(&self.node);
        self.tasks.spawn(async move {
            if let Err(error) = stored_then_live(&node, &subscription, received).await {
                tracing::error!(%error, "a scan failed");
                let reason = wording::store_error(&error);
                node.metrics.refused(reason);
                node.deliver.refuse(&subscription, reason);
            }
        });
    }

    fn subscription(&self, id: SubscriptionId, filters: Vec<Filter>) -> Arc<Subscription> {
        let reader = Reader { principal: Arc::clone(self.answers.auth.principal()), policy: self.node.policy.clone() };
        let held_bytes_max = self.node.outboxes.connection_bytes_max / 2;
        Arc::new(Subscription::new(id, filters, reader, Arc::clone(&self.outbox), held_bytes_max))
    }

    fn count(&mut self, id: SubscriptionId, filters: Vec<Filter>) {
        let config = self.node.config.get();
        if !config.protocol.count {
            return self.closed(&id, wording::COUNT_IS_OFF);
        }
        if let Err(refusal) = self.may_query(&filters) {
            return self.closed(&id, &refusal);
        }
        let hll_offset = (filters.len() == 1).then(|| filters[0].hll_offset).flatten();
        let unlimited = QueryLimits { limit_default: u64::MAX, limit_max: u64::MAX };
        let reader = Reader { principal: Arc::clone(self.answers.auth.principal()), policy: self.node.policy.clone() };
        let query = query(&self.node, &filters, unlimited, reader, self.node.queries.snapshot());
        let (node, outbox) = (Arc::clone(&self.node), Arc::clone(&self.outbox));
        self.tasks.spawn(async move {
            match node.queries.count(query, hll_offset).await {
                Ok((count, hll)) => outbox.push_urgent(relay_message::count(id.as_str(), count, hll.as_ref())),
                Err(error) => outbox.push_ordered(relay_message::closed(id.as_str(), wording::store_error(&error))),
            }
        });
    }

    /// Rates, authentication and the number of subscriptions.
    fn may_query(&mut self, filters: &[Filter]) -> Result<(), String> {
        self.within_rate(Class::Query)?;
        let policy = self.node.policy.get();
        if !self.answers.auth.is_authenticated() {
            if policy.auth_to_read {
                return Err(wording::AUTH_TO_READ.into());
            }
            if filters.iter().all(|filter| all_private(filter, &policy)) {
                return Err(wording::AUTH_FOR_PRIVATE.into());
            }
        }
        let max = self.node.config.get().limits.subscriptions_max.get();
        if self.subscriptions.len() >= max {
            self.subscriptions.retain(|_, subscription| !subscription.is_closed());
        }
        if self.subscriptions.len() >= max {
            return Err(wording::too_many_subscriptions(max));
        }
        Ok(())
    }

    fn within_rate(&self, class: Class) -> Result<(), String> {
        let principal = self.answers.auth.principal().read();
        let asker = Asker { connection: self.id, address: self.address, keys: principal.keys() };
        let taken = self.node.limiter.take(class, &asker, &self.node.config.get().rates, self.node.clock.instant());
        taken.map_err(|wait| wording::rate_limited(class.noun(), wait))
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

    /// Answers what could not be understood, as precisely as it can be addressed.
    fn refuse(&mut self, Refused { subject, reason }: Refused) {
        match subject {
            Subject::Event(id) => {
                let slot = self.answers.acks.reserve(id);
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
    async fn message(&mut self, text: &str) -> ControlFlow<Close> {
        if self.node.open.is_draining() {
            return ControlFlow::Continue(());
        }
        let received = self.node.clock.instant();
        let parsed = wire::client_message(text, &build::message_limits(&self.node.config.get()));
        self.node.metrics.parse.observe(self.node.clock.instant().duration_since(received).as_secs_f64());
        match parsed {
            Ok(message) => self.serve(message, received).await,
            Err(refused) => self.refuse(refused),
        }
        self.outbox.admit().await;
        ControlFlow::Continue(())
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.tasks.stop();
        for (_, subscription) in self.subscriptions.drain() {
            self.node.deliver.unregister(&subscription);
        }
        self.node.open.remove(self.id);
    }
}

impl towpath_gateway::Outbound for Outbound {
    async fn take(&mut self, into: &mut Vec<Frame>, bytes_max: usize) -> towpath_gateway::Taken {
        let taken = self.outbox.take(&mut self.items, bytes_max).await;
        into.extend(self.items.drain(..).map(frame));
        match taken {
            towpath_deliver::Taken::Frames => towpath_gateway::Taken::Frames,
            towpath_deliver::Taken::Close(close) => towpath_gateway::Taken::Close(Close::new(close.code, close.reason)),
        }
    }

    fn written(&mut self, _: &mut Vec<Frame>) {}
}

fn frame(item: Item) -> Frame {
    match item {
        Item::Text(text) => Frame::Text(text),
        Item::Event { subscription, event, committed } => {
            Frame::Event { head: subscription.head().clone(), json: event.json().clone(), committed_at: committed }
        }
    }
}

/// Stored events, EOSE, then live ones. The subscription is in the live index already, so the cursor taken here splits what the
/// scan sends from what delivery sends, with nothing between and nothing twice.
async fn stored_then_live(node: &Arc<Node>, subscription: &Arc<Subscription>, received: Instant) -> Result<(), Error> {
    let config = node.config.get();
    let cursor = node.queries.snapshot();
    let limits = QueryLimits {
        limit_default: config.limits.limit_default.get() as u64,
        limit_max: config.limits.limit_max.get() as u64,
    };
    let query = query(node, subscription.filters(), limits, subscription.reader().clone(), cursor.clone());
    let mut reading = node.queries.open(query)?;
    let completeness = loop {
        subscription.outbox().room_for_stored().await;
        if subscription.is_closed() {
            return Ok(());
        }
        let (events, progress) = reading.next().await?;
        subscription.outbox().push_stored(subscription, events.into_iter().map(|stored| stored.event));
        if let Progress::Done(completeness) = progress {
            break completeness;
        }
    };
    let hint = config.protocol.eose_hints.then(|| eose_hint(completeness)).flatten();
    let eose = relay_message::eose(subscription.id().as_str(), hint);
    if !subscription.go_live(&cursor, eose) {
        node.deliver.too_slow(subscription);
    }
    node.metrics.stored.observe(node.clock.instant().duration_since(received).as_secs_f64());
    Ok(())
}

fn eose_hint(completeness: Completeness) -> Option<relay_message::EoseHint> {
    match completeness {
        Completeness::All => Some(relay_message::EoseHint::Finish),
        Completeness::Limited => Some(relay_message::EoseHint::More),
        Completeness::Unknown => None,
    }
}

fn query(node: &Arc<Node>, filters: &[Filter], limits: QueryLimits, reader: Reader, cursor: Cursor) -> Query {
    let now = node.clock.unix_s();
    Query {
        filters: with_limits(filters, limits),
        cursor,
        visible: Arc::new(move |event| visible_at(event, now) && reader.may_read(event)),
    }
}
