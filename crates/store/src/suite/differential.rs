//! Random histories, on a backend and on the memory store: every outcome, every scan and the log must agree.
//!
//! Scans are compared with an oracle of their own, [`Answers`], which knows filters and limits only by their definition.
//! A failure names its seed; `TOWPATH_SEED` runs it again.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use rand::prelude::*;
use towpath_audit::Tree;
use towpath_policy::{KIND_VANISH, Write};
use towpath_protocol::{Event, EventId, Filter, IndexedTags, Set, TagFilter};

use super::Fixture;
use super::world::{ARTICLE, NOTE, PROFILE, Who, World, count, drain, id, with_limit};
use crate::memory::MemoryStore;
use crate::{Batch, Budget, Completeness, Cursor, Entry, EventStore, FilterLimit, Outcome, Query, Record, Seq};

const ROUNDS: usize = 60;
const WRITES_PER_BATCH_MAX: usize = 12;
const SCANS_PER_ROUND: usize = 6;
/// When the events were made, as their authors claim: few seconds, so that many share one.
const DATES: std::ops::RangeInclusive<u64> = 100..=140;
const TAG_VALUES: [&str; 5] = ["", "x", "y", "x:y", "\u{0}"];

/// A few histories; a new choice every time unless `TOWPATH_SEED` says which.
pub fn random_histories_agree_with_the_memory_store<F: Fixture>() {
    #[expect(clippy::disallowed_methods, reason = "a test's own setting, no part of the configuration")]
    let given = std::env::var("TOWPATH_SEED").ok().map(|seed| seed.parse().expect("TOWPATH_SEED is a number"));
    let seeds: Vec<u64> = given.map_or_else(|| (0..4).map(|_| rand::random()).collect(), |seed| vec![seed]);
    for seed in seeds {
        println!("TOWPATH_SEED={seed}");
        agrees_with_the_memory_store::<F>(seed);
    }
}

/// The history that follows from `seed`.
pub fn agrees_with_the_memory_store<F: Fixture>(seed: u64) {
    let mut run = Run::<F> {
        subject: World::empty(),
        subject_ids: HashMap::new(),
        memory: World(MemoryFixture(MemoryStore::new())),
        memory_ids: HashMap::new(),
        history: History { random: StdRng::seed_from_u64(seed), made: Vec::new() },
        snapshots: vec![(Cursor::start(), Cursor::start())],
        now: 1_000,
    };
    for _ in 0..ROUNDS {
        run.commit_a_batch();
        run.compare_scans();
        run.pass_time();
    }
    run.compare_logs();
}

struct MemoryFixture(MemoryStore);

impl Fixture for MemoryFixture {
    fn open() -> Self {
        Self(MemoryStore::new())
    }

    fn store(&self) -> &dyn EventStore {
        &self.0
    }

    fn reopen(&mut self) -> bool {
        false
    }
}

struct Run<F> {
    subject: World<F>,
    subject_ids: HashMap<Seq, EventId>,
    memory: World<MemoryFixture>,
    memory_ids: HashMap<Seq, EventId>,
    history: History,
    /// Of the memory store and of the subject, taken at the same moments.
    snapshots: Vec<(Cursor, Cursor)>,
    now: u64,
}

impl<F: Fixture> Run<F> {
    fn commit_a_batch(&mut self) {
        let count = self.history.random.random_range(1..=WRITES_PER_BATCH_MAX);
        let writes: Vec<Write> = (0..count).map(|_| self.history.next_write()).collect();
        let batch = Batch::of(writes.clone(), self.now * 1_000);
        let expected = self.memory.store().commit(batch.clone()).expect("memory commits");
        let actual = self.subject.store().commit(batch).expect("the commit succeeds");
        for ((write, expected), actual) in writes.iter().zip(&expected.outcomes).zip(&actual.outcomes) {
            let same = match (expected, actual) {
                (Outcome::Accepted(_), Outcome::Accepted(_)) => true,
                (expected, actual) => expected == actual,
            };
            assert!(same, "{expected:?} expected, not {actual:?}, for {:?}", write.event());
        }
        self.memory_ids.extend(expected.run.stored.iter().map(|stored| (stored.seq, stored.event.id())));
        self.subject_ids.extend(actual.run.stored.iter().map(|stored| (stored.seq, stored.event.id())));
        assert_eq!(actual.run.stored.len(), expected.run.stored.len());
        self.snapshots.push((expected.run.cursor(), actual.run.cursor()));
    }

    fn compare_scans(&mut self) {
        let live = self.live();
        let stats = self.subject.store().stats().expect("the store answers");
        assert!(stats.events >= live.len() as u64, "what is hidden may still have to go");
        for _ in 0..SCANS_PER_ROUND {
            let filters = self.history.filters();
            let hidden = self.history.random.random_bool(0.3).then(|| self.history.someone().hex());
            let visible = move |event: &Event| hidden.as_ref() != Some(&event.pubkey().to_hex());
            let last = self.snapshots.len() - 1;
            let random = &mut self.history.random;
            let snapshot = if random.random_bool(0.7) { last } else { random.random_range(0..=last) };
            let (memory_cursor, subject_cursor) = self.snapshots[snapshot].clone();
            let covered = live.iter().filter(|(stream, seq, _)| memory_cursor.covers(*stream, *seq));
            let events: Vec<Event> = covered.map(|(_, _, event)| event.clone()).filter(&visible).collect();
            let expected = Answers::of(&events, &filters);

            let query = Query { filters: filters.into(), cursor: Some(subject_cursor), visible: Arc::new(visible) };
            let (events_max, bytes_max) = (random.random_range(1..200), random.random_range(1..200_000));
            let time_is_over = random.random_bool(0.5);
            let budget = Budget { events_max, bytes_max, spent: &|| time_is_over };
            let actual = drain(self.subject.open_scan(query.clone()).as_mut(), budget);
            assert_eq!(actual.ids(), expected.ids, "{query:#?}");
            let counted = count(self.subject.open_scan(query.clone()).as_mut(), budget);
            assert_eq!(counted.events, expected.ids.len() as u64, "{query:#?}");
            if actual.completeness != Completeness::Unknown {
                assert_eq!(actual.completeness, expected.completeness, "{query:#?}");
            }
        }
    }

    /// What the memory store's log says is stored.
    fn live(&self) -> Vec<(crate::StreamId, Seq, Event)> {
        let event = |entry: Entry| match entry.record {
            Record::Event { event, .. } => Some((entry.stream, entry.seq, event)),
            Record::Erased { .. } | Record::Expired { .. } | Record::Act => None,
        };
        self.memory.log().into_iter().filter_map(event).collect()
    }

    fn pass_time(&mut self) {
        self.now += self.history.random.random_range(0..20);
        if self.history.random.random_bool(0.2) {
            self.memory.maintain(self.now);
            self.subject.maintain(self.now);
            let stats = self.subject.store().stats().expect("the store answers");
            assert_eq!(stats.events, self.live().len() as u64);
            self.snapshots.push((self.memory.snapshot(), self.subject.snapshot()));
        }
        if self.history.random.random_bool(0.1) {
            self.subject.reopen();
        }
    }

    fn compare_logs(&self) {
        let expected = Removals::of(self.memory.log(), &self.memory_ids);
        let actual = Removals::of(self.subject.log(), &self.subject_ids);
        assert_eq!(actual.by_event, expected.by_event);
        for (actual, expected) in actual.by_request.iter().zip(&expected.by_request) {
            assert!(actual.1.is_empty() || actual == expected, "{actual:?} is not {expected:?}");
        }
        assert_eq!(actual.by_expiry, expected.by_expiry);
        let mut tree = Tree::new();
        self.subject.log().iter().for_each(|entry| tree.append(entry.leaf.hash(), |_| ()));
        assert_eq!(self.subject.store().heads()[0].1, tree.head());
    }
}

/// What a log says went, and why. Sequence numbers may differ by how upkeep was cut into steps, so it is told in ids.
#[derive(Default)]
struct Removals {
    by_event: Vec<(EventId, BTreeSet<EventId>)>,
    /// To vanish: a store need not name what it removes.
    by_request: Vec<(EventId, BTreeSet<EventId>)>,
    by_expiry: BTreeSet<EventId>,
}

impl Removals {
    fn of(log: Vec<Entry>, ids: &HashMap<Seq, EventId>) -> Self {
        let mut all = Self::default();
        for (entry, seq) in log.into_iter().zip(1..) {
            assert_eq!(entry.seq, Seq(seq), "the log has no gap");
            let names = entry.record.removed().iter().map(|(_, seq)| ids[seq]);
            match &entry.record {
                Record::Event { event, .. } if event.kind() == KIND_VANISH => {
                    all.by_request.push((event.id(), names.collect()));
                }
                Record::Event { .. } | Record::Erased { .. } => all.by_event.push((ids[&entry.seq], names.collect())),
                Record::Expired { .. } => all.by_expiry.extend(names),
                Record::Act => {}
            }
        }
        all
    }
}

/// What filters come to, by definition: of each the newest so many, all together once and in order.
struct Answers {
    ids: Vec<String>,
    completeness: Completeness,
}

impl Answers {
    fn of(events: &[Event], filters: &[(Filter, FilterLimit)]) -> Self {
        let mut order: Vec<&Event> = events.iter().collect();
        order.sort_by_key(|event| (Reverse(event.created_at()), event.id()));
        let (mut matching, mut returned) = (BTreeSet::<usize>::new(), BTreeSet::<usize>::new());
        for (filter, limit) in filters {
            let matches = |index: &usize| filter.matches(order[*index], &IndexedTags::of(order[*index]));
            let of_filter: Vec<usize> = (0..order.len()).filter(matches).collect();
            let newest = of_filter.len().min(usize::try_from(limit.events_max).unwrap_or(usize::MAX));
            let (newest, rest) = of_filter.split_at(newest);
            let date = |index: &usize| order[*index].created_at();
            let ties = rest.iter().take_while(|index| newest.last().map(date) == Some(date(index)));
            returned.extend(newest.iter().chain(ties.take(usize::try_from(limit.ties_max).unwrap_or(usize::MAX))));
            matching.extend(&of_filter);
        }
        let completeness = if returned == matching { Completeness::All } else { Completeness::Limited };
        Self { ids: returned.iter().map(|index| order[*index].id().to_hex()).collect(), completeness }
    }
}

/// Makes events that get in each other's way.
struct History {
    random: StdRng,
    /// All so far. Some were never committed, so that they can be deleted before they come.
    made: Vec<(Who, Write)>,
}

impl History {
    fn next_write(&mut self) -> Write {
        if !self.made.is_empty() && self.random.random_bool(0.15) {
            return self.earlier().1;
        }
        while self.random.random_bool(0.1) {
            self.make();
        }
        self.make()
    }

    fn make(&mut self) -> Write {
        let who = self.someone();
        let at = self.random.random_range(DATES);
        let write = match self.random.random_range(0..100) {
            0..12 if !self.made.is_empty() => self.deletion(at),
            12..18 => self.address_deletion(who, at),
            18 => who.vanish(self.random.random_range(*DATES.start()..*DATES.end() - 20)),
            19..27 => {
                let to = self.someone();
                who.gift_wrap(at, to)
            }
            _ => self.event(who, at),
        };
        self.made.push((who, write.clone()));
        write
    }

    /// By the author, mostly; of anything, deletions included.
    fn deletion(&mut self, at: u64) -> Write {
        let (author, first) = self.earlier();
        let (_, second) = self.earlier();
        let by = if self.random.random_bool(0.7) { author } else { self.someone() };
        by.event(at, 5, &[&["e", &id(&first)], &["e", &id(&second)]], "")
    }

    fn address_deletion(&mut self, who: Who, at: u64) -> Write {
        let whose = if self.random.random_bool(0.8) { who } else { self.someone() };
        let (kind, d) = (*[PROFILE, ARTICLE].choose(&mut self.random).expect("not empty"), self.value());
        who.delete_address(at, &format!("{kind}:{}:{d}", whose.hex()))
    }

    fn event(&mut self, who: Who, at: u64) -> Write {
        let kind = self.kind();
        let (d, t, u, p) = (self.value(), self.value(), self.value(), self.someone().hex());
        let expires_at = self.random.random_range(1_000..3_000_u64).to_string();
        let tags: [&[&str]; 6] =
            [&["d", d], &["t", t], &["t", u, "more"], &["p", &p], &["expiration", &expires_at], &["title", "none"]];
        let chance = [0.8, 0.5, 0.3, 0.3, 0.1, 0.1];
        let tags: Vec<&[&str]> = (0..6).filter(|i| self.random.random_bool(chance[*i])).map(|i| tags[i]).collect();
        let content = self.random.random_range(0..1_000_000).to_string();
        who.event(at, kind, &tags, &content)
    }

    fn filters(&mut self) -> Vec<(Filter, FilterLimit)> {
        let count = if self.random.random_bool(0.6) { 1 } else { self.random.random_range(2..5) };
        (0..count)
            .map(|_| {
                let (filter, limit) = with_limit(self.filter());
                (filter, FilterLimit { ties_max: self.random.random_range(0..4), ..limit })
            })
            .collect()
    }

    fn filter(&mut self) -> Filter {
        let mut filter = Filter::default();
        if self.random.random_bool(0.15) {
            filter.ids = Some(Set::new(self.some(4, |it| it.earlier().1.event().id())));
        }
        if self.random.random_bool(0.35) {
            filter.authors = Some(Set::new(self.some(2, |it| it.earlier().1.event().pubkey())));
        }
        if self.random.random_bool(0.4) {
            filter.kinds = Some(Set::new(self.some(3, Self::kind)));
        }
        for (name, chance) in [(b't', 0.3), (b'd', 0.1), (b'p', 0.1)] {
            if self.random.random_bool(chance) {
                let values = self.some(2, |it| if name == b'p' { it.someone().hex() } else { it.value().to_owned() });
                let values = values.into_iter().map(String::into_boxed_str).collect();
                filter.tags.push(TagFilter { name, values: Set::new(values) });
            }
        }
        if self.random.random_bool(0.2) {
            filter.since = self.random.random_range(DATES);
        }
        if self.random.random_bool(0.2) {
            filter.until = self.random.random_bool(0.95).then(|| self.random.random_range(DATES));
        }
        if self.random.random_bool(0.5) {
            filter.limit = Some(self.random.random_range(0..15));
        }
        filter
    }

    /// Up to `max`, rarely none.
    fn some<T>(&mut self, max: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = if self.random.random_bool(0.03) { 0 } else { self.random.random_range(1..=max) };
        (0..count).map(|_| one(self)).collect()
    }

    fn earlier(&mut self) -> (Who, Write) {
        self.made.choose(&mut self.random).expect("something was made").clone()
    }

    fn someone(&mut self) -> Who {
        *Who::ALL.choose(&mut self.random).expect("not empty")
    }

    fn value(&mut self) -> &'static str {
        TAG_VALUES.choose(&mut self.random).expect("not empty")
    }

    fn kind(&mut self) -> u16 {
        *[NOTE, NOTE, 7, PROFILE, ARTICLE, ARTICLE, 1059].choose(&mut self.random).expect("not empty")
    }
}
