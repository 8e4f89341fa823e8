//! What the suite's tests are written with: three people, their events, and a store to put them in.

use std::sync::Arc;

use towpath_policy::{KIND_DELETION, KIND_GIFT_WRAP, KIND_VANISH, Policy, Source, Write, plan};
use towpath_protocol::{Event, Filter, HyperLogLog, SecretKey, wire};

use super::Fixture;
use crate::{
    Batch, Budget, Committed, Completeness, Count, Cursor, Entry, EventStore, FilterLimit, Outcome, Page, Progress,
    Query, Scan, Stored,
};

pub(super) const NOTE: u16 = 1;
pub(super) const PROFILE: u16 = 0;
pub(super) const ARTICLE: u16 = 30_023;

/// The limit of filters that name none.
const LIMIT_DEFAULT: u64 = 100_000;

/// More slices than any scan of the suite can take.
const SLICES_MAX: usize = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Alice,
    Bob,
    Carol,
}

impl Who {
    pub(super) const ALL: [Self; 3] = [Self::Alice, Self::Bob, Self::Carol];

    fn key(self) -> SecretKey {
        let byte = 1 + self as u8;
        SecretKey::from_bytes([byte; 32]).expect("a small number is a key")
    }

    /// Their public key.
    pub(super) fn hex(self) -> String {
        self.key().public_key().to_hex()
    }

    /// Any event of theirs.
    pub(super) fn event(self, at: u64, kind: u16, tags: &[&[&str]], content: &str) -> Write {
        plan(self.key().sign(at, kind, tags, content, &[0; 32]), Source::Client, &Policy::default())
    }

    pub(super) fn note(self, at: u64, content: &str) -> Write {
        self.event(at, NOTE, &[], content)
    }

    pub(super) fn profile(self, at: u64, content: &str) -> Write {
        self.event(at, PROFILE, &[], content)
    }

    pub(super) fn article(self, at: u64, d: &str, content: &str) -> Write {
        self.event(at, ARTICLE, &[&["d", d]], content)
    }

    /// Addressed to `to`, as if its author were a throw-away key.
    pub(super) fn gift_wrap(self, at: u64, to: Self) -> Write {
        self.event(at, KIND_GIFT_WRAP, &[&["p", &to.hex()]], "sealed")
    }

    pub(super) fn delete(self, at: u64, target: &Write) -> Write {
        self.event(at, KIND_DELETION, &[&["e", &id(target)]], "")
    }

    pub(super) fn delete_address(self, at: u64, address: &str) -> Write {
        self.event(at, KIND_DELETION, &[&["a", address]], "")
    }

    pub(super) fn vanish(self, at: u64) -> Write {
        self.event(at, KIND_VANISH, &[&["relay", "ALL_RELAYS"]], "")
    }
}

/// A write's event id in hex.
pub(super) fn id(write: &Write) -> String {
    write.event().id().to_hex()
}

/// Two versions dated alike; the one with the lower id first.
pub(super) fn by_lowest_id(a: Write, b: Write) -> (Write, Write) {
    if a.event().id() < b.event().id() { (a, b) } else { (b, a) }
}

/// What a scan came to.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) stored: Vec<Stored>,
    pub(super) completeness: Completeness,
}

impl Answer {
    pub(super) fn ids(&self) -> Vec<String> {
        self.stored.iter().map(|stored| stored.event.id().to_hex()).collect()
    }
}

/// A backend under test.
pub(super) struct World<F>(pub(super) F);

impl<F: Fixture> World<F> {
    /// With nothing stored.
    pub(super) fn empty() -> Self {
        Self(F::open())
    }

    /// With each of these committed on its own, which must succeed.
    pub(super) fn with(writes: &[&Write]) -> Self {
        let world = Self::empty();
        for write in writes {
            let outcome = world.publish(write);
            assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?} for {:?}", write.event());
        }
        world
    }

    pub(super) fn store(&self) -> &dyn EventStore {
        self.0.store()
    }

    /// False if the backend's data does not outlast it.
    pub(super) fn reopen(&mut self) -> bool {
        self.0.reopen()
    }

    /// The end of the log.
    pub(super) fn snapshot(&self) -> Cursor {
        self.store().snapshot().expect("the store answers")
    }

    pub(super) fn commit(&self, writes: &[&Write]) -> Committed {
        self.commit_at(1_000, writes)
    }

    /// At a time in milliseconds.
    pub(super) fn commit_at(&self, committed_at_ms: u64, writes: &[&Write]) -> Committed {
        let writes: Vec<Write> = writes.iter().map(|write| (*write).clone()).collect();
        self.store().commit(Batch::of(writes, committed_at_ms)).expect("the commit succeeds")
    }

    pub(super) fn publish(&self, write: &Write) -> Outcome {
        self.commit(&[write]).outcomes[0]
    }

    /// Publishes and says whether that was accepted.
    pub(super) fn accepts(&self, write: &Write) -> bool {
        matches!(self.publish(write), Outcome::Accepted(_))
    }

    pub(super) fn has(&self, write: &Write) -> bool {
        let id = write.event().id();
        let known = self.store().place_of(&id).expect("the store answers").is_some();
        let found = self.read(&[&format!(r#"{{"ids":["{id}"]}}"#)]).stored.len() == 1;
        assert_eq!(known, found, "place_of() and scan() agree on {id}");
        known
    }

    /// Exactly these are stored, in this order.
    pub(super) fn holds(&self, expected: &[&Write]) {
        let expected: Vec<String> = expected.iter().map(|write| id(write)).collect();
        assert_eq!(self.read(&["{}"]).ids(), expected);
    }

    /// All that matches any of these filters now, in one slice.
    pub(super) fn read(&self, filters: &[&str]) -> Answer {
        let mut scan = self.open_scan(query(filters, self.snapshot()));
        drain(scan.as_mut(), unbounded())
    }

    pub(super) fn open_scan(&self, query: Query) -> Box<dyn Scan> {
        self.store().scan(query).expect("the scan opens")
    }

    /// The whole log.
    pub(super) fn log(&self) -> Vec<Entry> {
        self.log_behind(&Cursor::start(), Page { entries_max: usize::MAX, bytes_max: usize::MAX })
    }

    /// The log behind `cursor`, read a page at a time.
    pub(super) fn log_behind(&self, cursor: &Cursor, page: Page) -> Vec<Entry> {
        let mut cursor = cursor.clone();
        let mut log = Vec::new();
        loop {
            let entries = self.store().since(&cursor, page).expect("the log is read");
            let Some(last) = entries.last() else { return log };
            cursor.advance(last.stream, last.seq);
            log.extend(entries);
        }
    }

    /// Does all upkeep due at `now`.
    pub(super) fn maintain(&self, now: u64) {
        let steps = (0..10_000).take_while(|_| self.store().maintain(now).expect("upkeep succeeds")).count();
        assert!(steps < 10_000, "upkeep comes to an end");
    }
}

/// A query for everything visible that any of these filters, in their JSON form, matches.
pub(super) fn query(filters: &[&str], cursor: Cursor) -> Query {
    let parse = |text: &&str| wire::filter(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let filters = filters.iter().map(parse).map(with_limit).collect();
    Query { filters, cursor: Some(cursor), visible: Arc::new(|_: &Event| true) }
}

/// A filter and the limit it names.
pub(super) fn with_limit(filter: Filter) -> (Filter, FilterLimit) {
    let limit = FilterLimit::newest(filter.limit.unwrap_or(LIMIT_DEFAULT));
    (filter, limit)
}

/// One slice takes all.
pub(super) fn unbounded() -> Budget<'static> {
    Budget { events_max: usize::MAX, bytes_max: usize::MAX, spent: &|| false }
}

/// Runs a scan to its end in slices of `budget`.
pub(super) fn drain(scan: &mut dyn Scan, budget: Budget<'_>) -> Answer {
    let mut stored = Vec::new();
    for _ in 0..SLICES_MAX {
        match scan.next(budget, &mut stored).expect("the slice succeeds") {
            Progress::More => {}
            Progress::Done(completeness) => return Answer { stored, completeness },
        }
    }
    panic!("the scan does not end");
}

/// Counts to the end.
pub(super) fn count(scan: &mut dyn Scan, budget: Budget<'_>) -> Count {
    let mut count = Count { events: 0, authors: Some(HyperLogLog::new(16)) };
    for _ in 0..SLICES_MAX {
        match scan.count(budget, &mut count).expect("the slice succeeds") {
            Progress::More => {}
            Progress::Done(_) => return count,
        }
    }
    panic!("the count does not end");
}
