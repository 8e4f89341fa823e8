//! Wire to types and back: events, filters, messages, ids and signatures (NIP-01 and the message parts of NIP-42, 45 and 67).
//!
//! Owns: the one borrowed pass that turns a client's text into types, the canonical JSON bytes of an event, its id and its
//! signature, what a filter matches, and the text of every relay message.
//! Must not know: I/O, clocks, tokio, storage, who is connected or what they may do.
//!
//! Only `parse` makes a [`SubmittedEvent`] and only a [`Verifier`] makes a [`VerifiedEvent`], so an event whose
//! signature was never checked cannot be handed to the stages behind.

mod authors;
mod event;
mod filter;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod hll;
mod ids;
mod json;
mod limits;
mod message;
mod parse;
pub mod relay_message;
mod verify;

pub use event::{Address, Event, IndexedTags, MalformedEvent, Tag, Tags};
pub use filter::{Filter, InvalidFilter, Set, TagFilter};
pub use hll::HyperLogLog;
pub use ids::{EventId, HexError, PublicKey};
pub use json::{JsonError, JsonStr, Scanner, push_json_string};
pub use limits::Limits;
pub use message::{ClientMessage, Refused, Subject, SubscriptionId};
pub use parse::{InvalidEvent, SubmittedEvent};
pub use verify::{BadSignature, SecretKey, VerifiedEvent, Verifier};

/// Parsing of a client's text: a whole message, one event, one filter.
pub mod wire {
    pub use crate::filter::parse_filter as filter;
    pub use crate::message::parse_client_message as client_message;
    pub use crate::parse::parse_event as event;
}
