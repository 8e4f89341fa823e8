//! The bus port: how pods of one cluster hear of each other's commits without waiting for the store.
//!
//! A message is a hint that carries what it hints at. Whatever is lost is found by the gap it leaves and read from the store, so a
//! bus may drop, repeat, delay and reorder messages; all that costs is time. Only ephemeral events have no second way: they are
//! delivered at most once.
//!
//! Owns: the trait, the messages and their one encoding, the loopback bus. Must not know: Redis, the store's engine, subscriptions.

mod loopback;
mod message;
mod metrics;
#[cfg(feature = "suite")]
pub mod suite;

pub use loopback::Loopback;
pub use message::{MESSAGE_BYTES_MAX, Malformed, Message, PodId};
pub use metrics::Metrics;

use std::sync::Arc;

/// A bus as a pod uses it.
///
/// # Contract
/// 1. What one pod sends while the bus is up MUST reach every other pod that listens, unless it is lost; and never the sender.
/// 2. A listener MUST be told ([`Listener::resumed`]) whenever messages may have been lost before those it gets next, and after it can
///    hear again.
/// 3. What is received MUST be what was sent, or nothing.
pub trait Bus: Send {
    /// Sends `message` to all other pods. Blocks for a bounded time; an error says that it may not have been sent.
    fn send(&mut self, message: &Message) -> Result<(), Unreachable>;
}

/// The bus cannot be reached. For the log and for operators; events go another way.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the bus cannot be reached: {0}")]
pub struct Unreachable(pub String);

/// Hears what other pods send. Calls must return soon.
pub trait Listener: Send + Sync {
    /// A message arrived.
    fn heard(&self, message: Message);

    /// From now on messages are heard; before, some may have been lost.
    fn resumed(&self);

    /// Nothing is heard until [`Listener::resumed`].
    fn lost(&self, why: &Unreachable);
}

impl<L: Listener + ?Sized> Listener for Arc<L> {
    fn heard(&self, message: Message) {
        (**self).heard(message);
    }

    fn resumed(&self) {
        (**self).resumed();
    }

    fn lost(&self, why: &Unreachable) {
        (**self).lost(why);
    }
}
