//! Positions in the commit log.

use std::fmt;

use towpath_audit::LeafState;
use towpath_protocol::Event;

/// A pod's own sequence of commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId(pub u32);

/// A place in a stream: 1 for its first entry, then without a gap. 0 is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// The one after.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far each stream has been read: covers every entry up to and including the one named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor(Vec<(StreamId, Seq)>);

impl Cursor {
    /// Before everything.
    pub fn start() -> Self {
        Self::default()
    }

    /// At `seq` of `stream`.
    pub fn at(stream: StreamId, seq: Seq) -> Self {
        Self(vec![(stream, seq)])
    }

    /// How far `stream` has been read.
    pub fn seq(&self, stream: StreamId) -> Seq {
        self.0.iter().find(|(id, _)| *id == stream).map_or(Seq(0), |(_, seq)| *seq)
    }

    /// Whether the entry is covered.
    pub fn covers(&self, stream: StreamId, seq: Seq) -> bool {
        seq <= self.seq(stream)
    }

    /// Whether everything that `other` covers is covered.
    pub fn covers_all(&self, other: &Self) -> bool {
        other.0.iter().all(|(stream, seq)| self.covers(*stream, *seq))
    }

    /// How far each stream has been read, as far as it has been.
    pub fn places(&self) -> impl Iterator<Item = (StreamId, Seq)> + '_ {
        self.0.iter().copied()
    }

    /// Moves on; never back.
    pub fn advance(&mut self, stream: StreamId, seq: Seq) {
        match self.0.iter_mut().find(|(id, _)| *id == stream) {
            Some((_, at)) => *at = seq.max(*at),
            None => self.0.push((stream, seq)),
        }
    }
}

/// An event and its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Whose commit it was.
    pub stream: StreamId,
    /// Its place.
    pub seq: Seq,
    /// The event.
    pub event: Event,
}

/// A part of one stream, without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Whose commits these are.
    pub stream: StreamId,
    /// The place of the first entry, or where it would be.
    pub first: Seq,
    /// The place of the last; the one before the first if there is none.
    pub last: Seq,
    /// The events among them, in order.
    pub stored: Vec<Stored>,
}

impl Run {
    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.last < self.first
    }

    /// Covers it, and what is before it.
    pub fn cursor(&self) -> Cursor {
        Cursor::at(self.stream, self.last)
    }

    /// Of its events.
    pub fn bytes(&self) -> usize {
        self.stored.iter().map(|stored| stored.event.json().len()).sum()
    }
}

/// What one log entry records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An event was accepted, removing the entries named.
    Event {
        /// The event.
        event: Event,
        /// What it superseded or deleted.
        removed: Vec<(StreamId, Seq)>,
    },
    /// An event was accepted here and has since been erased.
    Erased {
        /// What it had superseded or deleted.
        removed: Vec<(StreamId, Seq)>,
    },
    /// Events expired.
    Expired {
        /// Which.
        removed: Vec<(StreamId, Seq)>,
    },
    /// Something that is no event.
    Act,
}

impl Record {
    /// The event, while it is there.
    pub fn event(&self) -> Option<&Event> {
        match self {
            Self::Event { event, .. } => Some(event),
            Self::Erased { .. } | Self::Expired { .. } | Self::Act => None,
        }
    }

    /// The entries that it removed.
    pub fn removed(&self) -> &[(StreamId, Seq)] {
        match self {
            Self::Event { removed, .. } | Self::Erased { removed } | Self::Expired { removed } => removed,
            Self::Act => &[],
        }
    }
}

/// One entry of the commit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its place.
    pub seq: Seq,
    /// When it was committed, in milliseconds since 1970 by the committer's clock.
    pub committed_at_ms: u64,
    /// What it records.
    pub record: Record,
    /// What the audit tree has of it.
    pub leaf: LeafState,
}

/// How much to read at once: whichever is reached first, but at least one entry.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Entries.
    pub entries_max: usize,
    /// Bytes of events.
    pub bytes_max: usize,
}
