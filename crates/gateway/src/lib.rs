//! The edge: WebSocket and HTTP on one port, TLS, client addresses.
//!
//! It owns sockets, the WebSocket wire format (RFC 6455 and permessage-deflate, RFC 7692), who may connect and how
//! often, pings, write time-outs and the HTTP pages of the relay. It moves whole text messages in and frames out.
//! It must not know what a message says: no Nostr messages, subscriptions or rules.
//!
//! The way of a socket: [`Gateway::bind`] → accept → admission → (TLS) → HTTP → upgrade → a reading and a writing
//! task, which meet the relay through [`Inbound`] and [`Outbound`].

mod address;
mod admission;
mod config;
mod connection;
mod decode;
mod deflate;
mod encode;
mod handshake;
mod http;
mod liveness;
#[cfg(feature = "measuring")]
pub mod measuring;
mod metrics;
mod ramp;
mod relay;
mod server;
mod socket;
mod tls;
mod unfinished;
mod wire;

pub use address::{Network, NetworkError, Peer};
pub use config::{Config, Tls};
pub use metrics::Metrics;
pub use relay::{Close, Frame, Inbound, Origin, Outbound, Refused, Relay, Resource, ResourceRequest, SendNow};
pub use server::{Bound, Drained, Error, Gateway, Handle, raise_descriptors};
