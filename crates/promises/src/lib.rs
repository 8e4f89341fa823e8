//! The named promises of the relay as predicates. `tests/operations` uses them; the cluster rounds and the models check the same in their own
//! words.
//!
//! Owns: what each promise means, as a function of plain observations: which ids were sent, acked, received and are stored,
//! and at which positions of the log.
//! Must not know: how anything was observed. No I/O, no clock, no storage.
//!
//! A predicate returns the first [`Violation`] it finds. Promises about parts that do not exist yet have none.

mod audit;
mod delivery;
mod durability;
mod log;
mod violation;

pub use audit::acked_is_audited;
pub use delivery::{commit_order, exact_handover, nothing_missed, ok_order};
pub use durability::{Holdings, acked_is_durable, delivered_is_committed};
pub use log::followers_catch_up;
pub use towpath_protocol::EventId;
pub use violation::{Fault, Promise, Violation};

#[cfg(test)]
pub(crate) fn id(number: u8) -> towpath_protocol::EventId {
    towpath_protocol::EventId::from_bytes([number; 32])
}
