//! Reading what is stored, a slice at a time.

use std::fmt;
use std::sync::Arc;

use towpath_protocol::{Event, Filter, HyperLogLog, IndexedTags};

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

/// Says what a query returns, and keeps count of every filter's limit, while candidates come newest first. Shared by all stores, so that
/// filters and limits mean the same in each.
#[derive(Debug, Clone)]
pub struct Tally {
    remaining: Vec<u64>,
    left_out: bool,
    looked_ahead: u32,
    reads_tags: bool,
    /// Of the event that is looked at; kept for its memory.
    matching: Vec<usize>,
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
            reads_tags: filters.iter().any(|(filter, _)| !filter.tags.is_empty()),
            matching: Vec::new(),
        }
    }

    /// Whether `query` returns `event`: it may be seen, and a filter that it matches has not had its share, which it is counted in.
    pub fn admits(&mut self, query: &Query, event: &Event) -> bool {
        let tags = if self.reads_tags { IndexedTags::of(event) } else { IndexedTags::default() };
        let filters = query.filters.iter().enumerate();
        self.matching.clear();
        self.matching.extend(filters.filter(|(_, (filter, _))| filter.matches(event, &tags)).map(|(number, _)| number));
        if self.matching.is_empty() || !(query.visible)(event) {
            return false;
        }
        let mut admitted = false;
        for filter in &self.matching {
            if let Some(remaining) = self.remaining.get_mut(*filter).filter(|n| **n > 0) {
                *remaining -= 1;
                admitted = true;
            }
        }
        self.left_out |= !admitted;
        admitted
    }

    /// Whether nothing is gained by looking for more that `filter` matches: it has had its share, and something was left out.
    pub fn is_done(&self, filter: usize) -> bool {
        self.left_out && self.remaining.get(filter).is_none_or(|n| *n == 0)
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

/// How many events tend to share a value of a tag, in no unit: a reply names its root; a hashtag is everybody's.
pub fn spread(tag: u8) -> usize {
    match tag {
        b'e' | b'E' | b'a' | b'A' | b'q' | b'd' | b'i' | b'I' => 1,
        b'p' | b'P' | b'h' => 4,
        _ => 16,
    }
}
