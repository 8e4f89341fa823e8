//! The `OK`s of a connection, in the order of its events.

use std::sync::Arc;

use tokio::sync::Notify;
use towpath_deliver::Outbox;
use towpath_ingest::{Answer, Answers, Way};
use towpath_protocol::relay_message;
use towpath_session::{Acks, Auth, new_challenge, wording};
use towpath_store::{Outcome, StreamId};

use crate::config::Config;
use crate::node::Node;

/// About how much leaves with an answer that is sent on the answering thread.
pub(crate) const ANSWER_BYTES: usize = 2 * 1024;

/// Words them, and sends each as soon as those before it are sent.
pub(crate) struct OrderedAnswers {
    acks: Acks,
    pub(crate) auth: Auth,
    outbox: Arc<Outbox>,
    answered: Notify,
    node: Arc<Node>,
}

impl OrderedAnswers {
    /// None yet; the client is sent a challenge if it must not wait for one.
    pub(crate) fn open(node: &Arc<Node>, outbox: &Arc<Outbox>) -> Self {
        let answers = Self {
            acks: Acks::default(),
            auth: Auth::new(new_challenge(node.random.bytes())),
            outbox: Arc::clone(outbox),
            answered: Notify::new(),
            node: Arc::clone(node),
        };
        if node.config.get().auth.challenge_on_connect {
            answers.send_challenge();
        }
        answers
    }

    /// Keeps a place for the answer to the event with this id, behind those before it.
    pub(crate) fn reserve(&self, id: String) -> u64 {
        self.acks.reserve(id)
    }

    pub(crate) fn send(&self, slot: u64, accepted: bool, text: &str) {
        self.queue(slot, accepted, text);
        self.outbox.wake();
    }

    /// As `send`, but leaves it to the caller to have it sent.
    fn queue(&self, slot: u64, accepted: bool, text: &str) {
        if !accepted {
            self.note_refusal(text);
        }
        self.acks.answer(slot, accepted, text, |message| self.outbox.queue_urgent(message));
        self.answered.notify_one();
    }

    /// Counts a refusal that is about to be sent, and sends the challenge before it if it asks for one.
    pub(crate) fn note_refusal(&self, text: &str) {
        self.node.metrics.refused(text);
        if wording::asks_for_auth(text) {
            self.send_challenge();
        }
    }

    pub(crate) fn send_challenge(&self) {
        if let Some(challenge) = self.auth.unsent_challenge() {
            self.outbox.push_urgent(relay_message::auth(challenge));
        }
    }

    /// Waits until few enough events are unanswered. Only the connection's own reader waits here.
    pub(crate) async fn room(&self, config: &Config) {
        while !self.has_room(config) {
            self.answered.notified().await;
        }
    }

    /// Whether `room` would not wait.
    pub(crate) fn has_room(&self, config: &Config) -> bool {
        self.acks.unanswered() < config.queues.in_flight_per_connection_max.get()
    }
}

impl Answers for OrderedAnswers {
    fn answer(&self, slot: u64, answer: Answer, way: Way) {
        match answer {
            Answer::Committed(StreamId(stream), Outcome::Accepted(seq))
                if self.node.config.get().audit.says_place() =>
            {
                self.queue(slot, true, &wording::audit_place(stream, seq.0 - 1));
            }
            Answer::Committed(_, outcome) => {
                let (accepted, text) = wording::outcome(outcome);
                self.queue(slot, accepted, text);
            }
            Answer::Known => self.queue(slot, true, wording::DUPLICATE),
            Answer::Delivered(0) => self.queue(slot, false, wording::NOBODY_LISTENING),
            Answer::Delivered(_) => self.queue(slot, true, ""),
            Answer::Denied(denial) => self.queue(slot, false, &wording::denial(&denial)),
            Answer::BadSignature => self.queue(slot, false, wording::BAD_SIGNATURE),
            Answer::Overloaded => self.queue(slot, false, wording::OVERLOADED),
            Answer::Failed(error) => self.queue(slot, false, wording::store_error(&error)),
        }
        match way {
            Way::Short => self.outbox.send_now(ANSWER_BYTES),
            Way::Woken => self.outbox.wake(),
        }
    }
}
