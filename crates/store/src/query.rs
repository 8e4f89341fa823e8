//! Reading what is stored, a slice at a time.

use std::fmt;
use std::sync::Arc;

use towpath_protocol::{Event, Filter, HyperLogLog};

use crate::{Cursor, Error, Stored};

/// How many events one filter may contribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterLimit {
    /// At most so many of the newest.
    pub events_max: u64,
}

/// What to read.
#[derive(Clone)]
pub struct Query {
    /// Any of these; each with its limit.
    pub filters: Arc<[(Filter, FilterLimit)]>,
    /// Nothing committed after this; `None` for the end of the log as the scan begins.
    pub cursor: Option<Cursor>,
    /// Nothing this refuses: who reads, and what has expired.
    pub visible: Arc<dyn Fn(&Event) -> bool + Send + Sync>,
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("filters", &self.filters).field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

/// What one slice may cost: it ends with the first that runs out, after at least one step.
#[derive(Clone, Copy)]
pub struct Budget<'a> {
    /// Events returned.
    pub events_max: usize,
    /// Bytes of events returned.
    pub bytes_max: usize,
    /// Says when the slice's time is over. Asked every few dozen steps.
    pub spent: &'a dyn Fn() -> bool,
}

/// Whether the stored part was sent whole (NIP-67).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// Every visible match was returned.
    All,
    /// A limit left out at least one visible match.
    Limited,
    /// A limit was reached, and looking whether it left anything out would have cost too much.
    Unknown,
}

/// What a slice came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Call again.
    More,
    /// That was the last slice.
    Done(Completeness),
}

/// A scan between slices. Holds positions, no snapshot. After `Done` or an error no slice must be asked for.
pub trait Scan: Send {
    /// Everything the scan returns is covered by this, and everything this covers that matches is returned. Known after the first
    /// slice.
    fn cursor(&self) -> &Cursor;

    /// Appends the next events to `out`.
    fn next(&mut self, budget: Budget<'_>, out: &mut Vec<Stored>) -> Result<Progress, Error>;

    /// Counts the next events instead of returning them.
    fn count(&mut self, budget: Budget<'_>, count: &mut Count) -> Result<Progress, Error>;
}

/// What a scan matched, so far (NIP-45).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Count {
    /// How many events.
    pub events: u64,
    /// Of their authors, if asked for.
    pub authors: Option<HyperLogLog>,
}

impl Count {
    /// One more event.
    pub fn add(&mut self, event: &Event) {
        self.events += 1;
        if let Some(authors) = &mut self.authors {
            authors.add(&event.pubkey());
        }
    }
}

/// Keeps count of every filter's limit while matches come newest first. Shared by all stores, so that limits mean the same in each.
#[derive(Debug, Clone)]
pub struct Tally {
    remaining: Vec<u64>,
    left_out: bool,
    looked_ahead: u32,
}

/// What to do with a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Return it.
    Send,
    /// Every filter it matches has had its share.
    LeaveOut,
}

impl Tally {
    /// Steps past the last limit that are worth knowing whether anything was left out.
    const LOOK_AHEAD_MAX: u32 = 2_000;

    /// Nothing counted yet.
    pub fn new(filters: &[(Filter, FilterLimit)]) -> Self {
        Self {
            remaining: filters.iter().map(|(_, limit)| limit.events_max).collect(),
            left_out: false,
            looked_ahead: 0,
        }
    }

    /// Whether `filter` may still contribute.
    pub fn is_open(&self, filter: usize) -> bool {
        self.remaining.get(filter).is_some_and(|n| *n > 0)
    }

    /// Counts one visible event that the filters at these indices match.
    pub fn count(&mut self, matching: impl Iterator<Item = usize>) -> Verdict {
        let mut verdict = Verdict::LeaveOut;
        for filter in matching {
            if let Some(remaining) = self.remaining.get_mut(filter).filter(|n| **n > 0) {
                *remaining -= 1;
                verdict = Verdict::Send;
            }
        }
        self.left_out |= verdict == Verdict::LeaveOut;
        verdict
    }

    /// Call once a step: the completeness, once there is no use in going on.
    pub fn finished(&mut self) -> Option<Completeness> {
        if self.remaining.iter().any(|n| *n > 0) {
            return None;
        }
        if self.left_out {
            return Some(Completeness::Limited);
        }
        self.looked_ahead += 1;
        (self.looked_ahead > Self::LOOK_AHEAD_MAX).then_some(Completeness::Unknown)
    }

    /// The completeness when there is nothing more to read.
    pub fn at_end(&self) -> Completeness {
        if self.left_out { Completeness::Limited } else { Completeness::All }
    }
}
