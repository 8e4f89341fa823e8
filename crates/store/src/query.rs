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
    /// Past those, at most so many that are dated like the last of them: whoever pages by date would not get past them.
    pub ties_max: u64,
}

impl FilterLimit {
    /// The newest so many and no more.
    pub const fn newest(events_max: u64) -> Self {
        Self { events_max, ties_max: 0 }
    }
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

/// What is left of a filter's limit.
#[derive(Debug, Clone)]
struct Share {
    events: u64,
    ties: u64,
    /// The date of the last event that was taken; later than any before the first.
    last: u64,
}

impl Share {
    /// Takes an event of this date if there is room for it.
    fn take(&mut self, created_at: u64) -> bool {
        let left = match self.events {
            0 if self.last == created_at => &mut self.ties,
            _ => &mut self.events,
        };
        let has_room = *left > 0;
        if has_room {
            *left -= 1;
            self.last = created_at;
        }
        has_room
    }

    /// Whether it takes nothing more, now that candidates are of this date.
    fn is_over(&self, date: u64) -> bool {
        self.events == 0 && (self.ties == 0 || date < self.last)
    }
}

/// Says what a query returns, and keeps count of every filter's limit, while candidates come newest first. Shared by all stores, so that
/// filters and limits mean the same in each.
#[derive(Debug, Clone)]
pub struct Tally {
    shares: Vec<Share>,
    /// Of the last candidate.
    date: u64,
    left_out: bool,
    /// Candidates in vain since the last that was admitted.
    looked_ahead: u32,
    reads_tags: bool,
    /// Of the event that is looked at; kept for its memory.
    matching: Vec<usize>,
}

impl Tally {
    /// Candidates past the last limit that are worth knowing whether anything was left out. Only those count that the reader may see:
    /// whether the bound is reached shows, and must not say how much is hidden.
    pub(crate) const LOOK_AHEAD_MAX: u32 = 2_000;

    /// Nothing counted yet.
    pub fn new(filters: &[(Filter, FilterLimit)]) -> Self {
        let share = |limit: &FilterLimit| Share { events: limit.events_max, ties: limit.ties_max, last: u64::MAX };
        Self {
            shares: filters.iter().map(|(_, limit)| share(limit)).collect(),
            date: u64::MAX,
            left_out: false,
            looked_ahead: 0,
            reads_tags: filters.iter().any(|(filter, _)| !filter.tags.is_empty()),
            matching: Vec::new(),
        }
    }

    /// Whether `query` returns `event`: it may be seen, and a filter that it matches has not had its share, which it is counted in.
    pub fn admits(&mut self, query: &Query, event: &Event) -> bool {
        self.date = event.created_at();
        let tags = if self.reads_tags { IndexedTags::of(event) } else { IndexedTags::default() };
        let filters = query.filters.iter().enumerate();
        self.matching.clear();
        self.matching.extend(filters.filter(|(_, (filter, _))| filter.matches(event, &tags)).map(|(number, _)| number));
        let matches = !self.matching.is_empty();
        if !(matches || self.looks_ahead()) || !(query.visible)(event) {
            return false;
        }
        let mut admitted = false;
        for filter in &self.matching {
            admitted |= self.shares.get_mut(*filter).is_some_and(|share| share.take(self.date));
        }
        self.left_out |= matches && !admitted;
        self.looked_ahead = if admitted { 0 } else { self.looked_ahead + 1 };
        admitted
    }

    /// Whether nothing is wanted any more but to know what was left out, and what is dated like the last.
    fn looks_ahead(&self) -> bool {
        self.shares.iter().all(|share| share.events == 0)
    }

    /// Whether nothing is gained by looking for more that `filter` matches: it has had its share, and something was left out.
    pub fn is_done(&self, filter: usize) -> bool {
        self.left_out && self.shares.get(filter).is_none_or(|share| share.is_over(self.date))
    }

    /// The completeness, once there is no use in going on.
    pub fn finished(&self) -> Option<Completeness> {
        if !self.looks_ahead() {
            return None;
        }
        let is_over = self.left_out && self.shares.iter().all(|share| share.is_over(self.date));
        let completeness = if self.left_out { Completeness::Limited } else { Completeness::Unknown };
        (is_over || self.looked_ahead > Self::LOOK_AHEAD_MAX).then_some(completeness)
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
