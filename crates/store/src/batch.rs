//! What is committed together, and what came of it.

use towpath_audit::{Action, Head};
use towpath_policy::{Source, Write};
use towpath_protocol::{EventId, PublicKey};

use crate::cursor::{Run, Seq};

/// One transaction.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Decided writes, in the order they were decided. None is ephemeral.
    pub writes: Vec<Write>,
    /// What the audit log shall say besides; committed behind the writes.
    pub acts: Vec<Act>,
    /// The committer's clock, in milliseconds since 1970.
    pub committed_at_ms: u64,
}

impl Batch {
    /// Without acts.
    pub fn of(writes: Vec<Write>, committed_at_ms: u64) -> Self {
        Self { writes, acts: Vec::new(), committed_at_ms }
    }
}

/// Something that is no event and that the audit log keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// What was done.
    pub action: Action,
    /// Who let the relay know.
    pub source: Source,
    /// The event it was done with, and its kind; the event itself is not kept.
    pub event: Option<(EventId, u16)>,
    /// Who did it.
    pub actor: Option<PublicKey>,
}

/// What came of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Stored, at this place.
    Accepted(Seq),
    /// It was stored already.
    Duplicate,
    /// A newer version is stored under its address.
    Superseded,
    /// Its author, or for a gift wrap its recipient, has deleted it, perhaps before it arrived (NIP-09).
    Deleted,
    /// Its author, or for a gift wrap its recipient, has vanished (NIP-62).
    Vanished,
}

/// A durable commit.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Its entries; empty if nothing was accepted.
    pub run: Run,
    /// One per write, in order.
    pub outcomes: Vec<Outcome>,
    /// The stream's audit tree with this commit's leaves; without leaves if the store is told to keep none.
    pub head: Head,
}
