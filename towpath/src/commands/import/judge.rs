//! Decides for each line whether it is an event this relay may hold. Pure but for one look-up of the id.

use towpath_policy::{Denial, Policy, Principal, RelayUrl, Source, Storage, Write, kind_spec, plan, screen};
use towpath_protocol::{BadSignature, InvalidEvent, Limits, SubmittedEvent, VerifiedEvent, Verifier, wire};
use towpath_relay::config::Config;
use towpath_store::EventStore;

use super::chunk::{Chunk, Content, Line, Position};

/// Why a line does not become a stored event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// Longer than a message may be.
    TooLong,
    /// Not JSON, or not an event.
    NotAnEvent,
    /// The id is not the event's.
    WrongId,
    /// The signature is not the author's.
    WrongSignature,
    /// The relay's rules refuse it.
    Refused,
    /// Its time has passed.
    Expired,
    /// Never stored by any relay.
    Ephemeral,
    /// Stored already.
    Duplicate,
    /// A newer version is stored.
    Superseded,
    /// Deleted by its author.
    Deleted,
    /// Its author has vanished.
    Vanished,
}

impl Reason {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TooLong => "longer than a message may be",
            Self::NotAnEvent => "not an event",
            Self::WrongId => "wrong id",
            Self::WrongSignature => "wrong signature",
            Self::Refused => "against the relay's rules",
            Self::Expired => "expired",
            Self::Ephemeral => "ephemeral",
            Self::Duplicate => "stored already",
            Self::Superseded => "a newer version is stored",
            Self::Deleted => "deleted by its author",
            Self::Vanished => "its author has vanished",
        }
    }

    /// Whether the input is at fault, rather than the event being of no use here.
    pub(super) fn is_fault(self) -> bool {
        matches!(self, Self::TooLong | Self::NotAnEvent | Self::WrongId | Self::WrongSignature | Self::Refused)
    }
}

/// And what there is to say about it.
type Refusal = (Reason, String);

/// A line that was left out.
#[derive(Debug)]
pub(super) struct LeftOut {
    pub(super) line: u64,
    pub(super) reason: Reason,
    pub(super) detail: String,
}

/// A chunk after every line was looked at.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) end: Position,
    /// What is to be committed, with the line it came from.
    pub(super) writes: Vec<(u64, Write)>,
    /// In no order.
    pub(super) left_out: Vec<LeftOut>,
}

impl Judged {
    fn leave_out(&mut self, line: u64, (reason, detail): Refusal) {
        self.left_out.push(LeftOut { line, reason, detail });
    }
}

/// The rules for imported events. Shared by all threads.
pub(super) struct Judge<'a> {
    store: &'a dyn EventStore,
    /// `None` if signatures are taken on trust.
    verifier: Option<Verifier>,
    policy: Policy,
    limits: Limits,
    now: u64,
}

impl<'a> Judge<'a> {
    pub(super) fn new(config: &Config, store: &'a dyn EventStore, verify: bool, now: u64) -> Self {
        let limits = Limits {
            event_tags_max: config.limits.event_tags_max.get(),
            content_chars_max: config.limits.content_chars_max.get(),
            ..Limits::default()
        };
        Self { store, verifier: verify.then(Verifier::new), policy: policy(config), limits, now }
    }

    pub(super) fn judge(&self, chunk: Chunk) -> anyhow::Result<Judged> {
        let Chunk { lines, end } = chunk;
        let mut judged = Judged { end, writes: Vec::new(), left_out: Vec::new() };
        let mut events = Vec::new();
        // Each line goes as soon as it was read: the chunk is not in memory twice.
        for Line { number, content } in lines {
            match self.read(&content)? {
                Ok(event) => events.push((event, number)),
                Err(refusal) => judged.leave_out(number, refusal),
            }
        }
        for (verified, number) in self.verify(events) {
            let verified = verified.map_err(|error| (Reason::WrongSignature, error.to_string()));
            match verified.and_then(|event| self.admit(event)) {
                Ok(write) => judged.writes.push((number, write)),
                Err(refusal) => judged.leave_out(number, refusal),
            }
        }
        Ok(judged)
    }

    /// An event that might be stored. Its signature is unchecked.
    fn read(&self, content: &Content) -> anyhow::Result<Result<SubmittedEvent, Refusal>> {
        let event = match self.parse(content) {
            Ok(event) => event,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // Before the signature: importing a dump again costs next to nothing.
        if self.store.place_of(&event.unverified().id())?.is_some() {
            return Ok(Err((Reason::Duplicate, String::new())));
        }
        if kind_spec(event.unverified().kind()).storage == Storage::Ephemeral {
            return Ok(Err((Reason::Ephemeral, String::new())));
        }
        Ok(Ok(event))
    }

    fn parse(&self, content: &Content) -> Result<SubmittedEvent, Refusal> {
        let Content::Bytes(bytes) = content else {
            return Err((Reason::TooLong, String::new()));
        };
        let text = std::str::from_utf8(bytes).map_err(|error| (Reason::NotAnEvent, error.to_string()))?;
        wire::event(text.trim(), &self.limits).map_err(|error| {
            let reason = if error == InvalidEvent::WrongId { Reason::WrongId } else { Reason::NotAnEvent };
            (reason, error.to_string())
        })
    }

    /// In their order.
    fn verify(&self, events: Vec<(SubmittedEvent, u64)>) -> Vec<(Result<VerifiedEvent, BadSignature>, u64)> {
        match &self.verifier {
            Some(verifier) => verifier.verify_all(events),
            None => events.into_iter().map(|(event, number)| (Ok(VerifiedEvent::trusted(event)), number)).collect(),
        }
    }

    fn admit(&self, event: VerifiedEvent) -> Result<Write, Refusal> {
        // The operator answers for what is imported, so a protected event counts as brought by its author.
        let mut principal = Principal::anonymous();
        principal.add(event.event().pubkey());
        match screen(event.event(), &principal, &self.policy, self.now) {
            Ok(()) => Ok(plan(event, Source::Import, &self.policy)),
            Err(Denial::Expired) => Err((Reason::Expired, String::new())),
            Err(denial) => Err((Reason::Refused, describe(&denial).to_owned())),
        }
    }
}

/// History is welcome: only what concerns the event itself is asked of it, no authentication and no work.
fn policy(config: &Config) -> Policy {
    Policy {
        auth_to_write: false,
        pow_bits_min: 0,
        created_at_ahead_max_s: config.limits.created_at_ahead_max.as_secs(),
        created_at_behind_max_s: None,
        vanish: config.protocol.vanish,
        urls: config.relay.url.as_deref().and_then(RelayUrl::parse).into_iter().collect(),
        ..Policy::default()
    }
}

fn describe(denial: &Denial) -> &'static str {
    match denial {
        Denial::Unpublishable => "a kind that is never stored",
        Denial::TooFarAhead { .. } => "dated too far in the future",
        Denial::MalformedExpiration => "its expiration is not a time",
        Denial::RepostOfProtected => "a repost of a protected event",
        Denial::VanishWithoutRelay | Denial::VanishElsewhere => "a request to vanish from other relays",
        _ => "refused",
    }
}
