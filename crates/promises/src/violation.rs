//! A broken promise: which one, and what shows it.

use std::fmt;

use towpath_protocol::EventId;

/// A promise, named as in `ARCHITECTURE.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Promise {
    /// `OK true` means that the event and all it changes are in one committed, synced transaction.
    AckedIsDurable,
    /// Every acked event has a leaf in the audit tree, and every leaf its event.
    AckedIsAudited,
    /// A stored event reaches a subscriber only after its commit.
    DeliveredIsCommitted,
    /// A committed event reaches every live subscription that matches, once.
    NothingMissed,
    /// Stored results, then live events: no gap, no duplicate across `EOSE`.
    ExactHandover,
    /// Commits are seen in their order, and `OK`s come in the order the events were sent.
    CommitOrder,
    /// A follower reads every entry of the log, at least once, in order.
    FollowersCatchUp,
}

/// What was observed that may not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The event should be there and is not.
    Missing(EventId),
    /// The event is there once too often.
    Twice(EventId),
    /// The event is there and should not be.
    Unexpected(EventId),
    /// The event came after one that it should have come before.
    OutOfOrder(EventId),
    /// The event is stored beside one that was to remove it in the same commit.
    NotRemoved(EventId),
    /// The entry at this position of the log was not read, or not before a later one.
    Skipped(u64),
}

/// A promise that an observation shows to be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Violation {
    /// Which promise.
    pub promise: Promise,
    /// What shows it.
    pub fault: Fault,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is broken: ", self.promise)?;
        match self.fault {
            Fault::Missing(id) => write!(f, "event {id} is missing"),
            Fault::Twice(id) => write!(f, "event {id} is there twice"),
            Fault::Unexpected(id) => write!(f, "event {id} should not be there"),
            Fault::OutOfOrder(id) => write!(f, "event {id} comes too late"),
            Fault::NotRemoved(id) => write!(f, "event {id} is stored beside one that removed it"),
            Fault::Skipped(seq) => write!(f, "entry {seq} of the log was skipped"),
        }
    }
}

impl std::error::Error for Violation {}
