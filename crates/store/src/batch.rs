//! What is committed together, and what came of it.

use towpath_policy::Write;

use crate::cursor::{Cursor, Seq, Stored, StreamId};

/// One transaction.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Decided writes, in the order they were decided. None is ephemeral.
    pub writes: Vec<Write>,
    /// The committer's clock, in milliseconds since 1970.
    pub committed_at_ms: u64,
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
    /// The stream committed to.
    pub stream: StreamId,
    /// One per write, in order.
    pub outcomes: Vec<Outcome>,
    /// The accepted events, in order of their sequence numbers.
    pub stored: Vec<Stored>,
    /// Covers this commit.
    pub cursor: Cursor,
}
