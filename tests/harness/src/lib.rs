//! Starts relays, speaks to them and builds events for the tests.
//!
//! The harness is a second, independent reading of the protocol: it computes ids, signatures and
//! JSON by itself and shares no code with the relay, so that a mistake in the relay's own types
//! cannot hide in its tests. It must not know how a relay works inside.
//!
//! - [`Relay`]: a relay in a child process on a free port with its own data folder.
//! - [`Client`]: a raw WebSocket client; every wait is on a condition, with one deadline.
//! - [`note`] and [`Event`]: events, right ones and broken ones.
//! - [`alice`], [`bob`], [`carol`]: the actors.
//! - [`http`]: plain HTTP requests and handshakes, byte by byte if need be.

mod actors;
mod client;
mod event;
pub mod http;
mod relay;
mod wait;

pub use actors::{Keys, alice, bob, carol};
pub use client::{Ack, Answer, Client, CloseFrame, End, is_about};
pub use event::{Controls, Event, EventBuilder, note, now};
pub use relay::{Relay, RelayBuilder, command};
pub use serde_json::{Value, from_value, json};
pub use tokio_tungstenite::tungstenite;
pub use wait::{DEADLINE, eventually, within};
