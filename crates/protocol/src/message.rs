//! What a client may say: EVENT, REQ, CLOSE (NIP-01), AUTH (NIP-42), COUNT (NIP-45).
//!
//! A text that cannot be understood comes back with as much of an address as it gave ([`Subject`]), so that the refusal can
//! be an `OK` or `CLOSED` that the client can tell apart, and a `NOTICE` only where nothing can be named.

use std::fmt;
use std::sync::Arc;

use crate::filter::{Filter, InvalidFilter, scan_filter};
use crate::json::{JsonError, Scanner};
use crate::limits::{Limits, shorten};
use crate::parse::{SubmittedEvent, scan_event};

/// A client's name for one of its subscriptions: 1 to 64 characters, unique within its connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SubscriptionId(Arc<str>);

impl SubscriptionId {
    /// The text as the client chose it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SubscriptionId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One message of a client.
#[derive(Debug, Clone)]
pub enum ClientMessage {
    /// Publish this.
    Event(SubmittedEvent),
    /// Send what is stored and what comes.
    Req(SubscriptionId, Vec<Filter>),
    /// Say how many are stored.
    Count(SubscriptionId, Vec<Filter>),
    /// Stop sending.
    Close(SubscriptionId),
    /// Prove a key.
    Auth(SubmittedEvent),
}

/// What a refused message was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An event, by the id text it came with; answered with `OK false`.
    Event(String),
    /// A REQ, by its subscription id; answered with `CLOSED`, and the end of an open subscription of that id.
    Req(String),
    /// A COUNT, by its id; answered with `CLOSED`.
    Count(String),
    /// Nothing that has a name; answered with `NOTICE`.
    Message,
}

/// A message that was not understood: about what, and why. The reason starts with its machine-readable prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Whom the answer is addressed to.
    pub subject: Subject,
    /// `prefix: text`.
    pub reason: String,
}

impl Refused {
    fn invalid(subject: Subject, reason: impl fmt::Display) -> Self {
        Self { subject, reason: format!("invalid: {reason}") }
    }

    fn message(reason: impl fmt::Display) -> Self {
        Self::invalid(Subject::Message, reason)
    }
}

impl From<JsonError> for Refused {
    fn from(error: JsonError) -> Self {
        Self::message(error)
    }
}

/// Parses one text message. Its length in bytes was bounded before.
pub fn parse_client_message(text: &str, limits: &Limits) -> Result<ClientMessage, Refused> {
    let mut scanner = Scanner::new(text);
    scanner.expect(b'[').map_err(|_| Refused::message("a message is a JSON array"))?;
    let verb = scanner.string().and_then(|verb| verb.decode());
    let verb = verb.map_err(|_| Refused::message("a message starts with its type as a string"))?;
    match verb.as_ref() {
        "EVENT" => event(&mut scanner, limits).map(ClientMessage::Event),
        "AUTH" => event(&mut scanner, limits).map(ClientMessage::Auth),
        "REQ" => filters(&mut scanner, limits, Subject::Req).map(|(id, filters)| ClientMessage::Req(id, filters)),
        "COUNT" => filters(&mut scanner, limits, Subject::Count).map(|(id, filters)| ClientMessage::Count(id, filters)),
        "CLOSE" => close(&mut scanner, limits),
        other => Err(Refused::message(format_args!("unknown message type {:?}", shorten(other)))),
    }
}

fn event(scanner: &mut Scanner<'_>, limits: &Limits) -> Result<SubmittedEvent, Refused> {
    scanner.expect(b',')?;
    let start = scanner.rest();
    scan_event(scanner, limits).and_then(|event| finish(scanner).map(|()| event).map_err(Into::into)).map_err(|error| {
        match claimed_id(start) {
            Some(id) => Refused::invalid(Subject::Event(id), error),
            None => Refused::message(error),
        }
    })
}

/// The id text of an event that could not be parsed, found by a second look that understands no more than quotes, escapes and
/// brackets: what was wrong with the event must not keep its refusal from being addressed.
fn claimed_id(text: &str) -> Option<String> {
    let mut depth = 0u32;
    let mut rest = text;
    while let Some(at) = rest.find(['"', '{', '}', '[', ']']) {
        let found = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        match found {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {
                let (string, behind) = raw_string(rest)?;
                rest = behind;
                if let ("id", 1, Some(value)) = (string, depth, behind.trim_start().strip_prefix(':')) {
                    let (raw, _) = raw_string(value.trim_start().strip_prefix('"')?)?;
                    let id = Scanner::new(value).string().and_then(|id| id.decode()).unwrap_or(raw.into());
                    return Some(shorten(&id).to_owned());
                }
            }
        }
    }
    None
}

/// The text up to the closing quote, and what is behind it.
fn raw_string(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })?;
    Some((&text[..end], &text[end + 1..]))
}

/// Four times what 64 characters of four bytes take.
const ECHOED_ID_BYTES_MAX: usize = 1024;

fn subscription_id(
    scanner: &mut Scanner<'_>,
    limits: &Limits,
    subject: fn(String) -> Subject,
) -> Result<SubscriptionId, Refused> {
    scanner.expect(b',')?;
    if scanner.peek() != Some(b'"') {
        return Err(Refused::message("a subscription id is a string"));
    }
    let id = scanner.string()?.decode()?;
    let chars = id.chars().count();
    if chars == 0 || chars > limits.subscription_id_chars_max {
        let max = limits.subscription_id_chars_max;
        // Echoed whole or not at all: a part of it may be the name of another subscription.
        let subject = if id.len() <= ECHOED_ID_BYTES_MAX { subject(id.into_owned()) } else { Subject::Message };
        return Err(Refused::invalid(subject, format_args!("a subscription id has 1 to {max} characters")));
    }
    Ok(id.as_ref().into())
}

fn filters(
    scanner: &mut Scanner<'_>,
    limits: &Limits,
    subject: fn(String) -> Subject,
) -> Result<(SubscriptionId, Vec<Filter>), Refused> {
    let id = subscription_id(scanner, limits, subject)?;
    let subject = || subject(id.as_str().to_owned());
    let mut filters = Vec::new();
    while scanner.accept(b',') {
        if filters.len() == limits.filters_max {
            return Err(Refused::invalid(subject(), format_args!("more than {} filters", limits.filters_max)));
        }
        filters.push(scan_filter(scanner).map_err(|error| match error {
            InvalidFilter::Unknown(_) => Refused { subject: subject(), reason: format!("unsupported: {error}") },
            _ => Refused::invalid(subject(), error),
        })?);
    }
    if filters.is_empty() {
        return Err(Refused::invalid(subject(), "at least one filter is needed"));
    }
    finish(scanner).map_err(|error| Refused::invalid(subject(), error))?;
    Ok((id, filters))
}

fn close(scanner: &mut Scanner<'_>, limits: &Limits) -> Result<ClientMessage, Refused> {
    // A CLOSE is never answered with CLOSED.
    let id = subscription_id(scanner, limits, |_| Subject::Message)?;
    finish(scanner)?;
    Ok(ClientMessage::Close(id))
}

fn finish(scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
    scanner.expect(b']')?;
    scanner.end()
}
