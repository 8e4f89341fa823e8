//! Live delivery: which subscriptions want an event, and the queue of frames in front of each socket.
//!
//! ```text
//! commit ─▶ follower thread ─▶ live index ─▶ subscription (held until EOSE) ─▶ outbox ─▶ socket writer
//!              │ fell behind?                                  │ full?
//!              └─ reads the log                                └─ CLOSED, then the socket
//! ```
//!
//! Owns: the live index, subscriptions between REQ and CLOSE, outboxes and their bounds.
//! Must not know: sockets, how events are stored or found, parsing. Who may read is asked of `policy`.

mod follower;
mod inbox;
mod index;
mod metrics;
mod outbox;
mod subscription;
#[cfg(test)]
mod tests;

pub use follower::{Deliver, IndexLimits, TooManyFilters, cost_of};
pub use metrics::Metrics;
pub use outbox::{Budget, Close, Commit, Item, Origin, Outbox, ShortWay};
pub use subscription::{Reader, Subscription};
