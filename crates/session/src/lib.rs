//! One connection's protocol state, without I/O: which keys it proved, the order of its `OK`s, and the wording of every refusal.
//!
//! Must not know: sockets, tasks, storage, how events are found or delivered.

mod acks;
mod auth;
pub mod wording;

pub use acks::Acks;
pub use auth::{Auth, new_challenge};
