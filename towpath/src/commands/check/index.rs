//! The index, asked as a filter asks it: it must find what the log says, and nothing else.

use std::sync::Arc;

use towpath_protocol::{Event, Filter, IndexedTags, Set, TagFilter};
use towpath_store::{Entry, EventStore, FilterLimit, Query, Stored};

use super::log::Log;
use crate::store;

/// The ways of the index of one store.
pub(super) struct Index<'a> {
    pub(super) store: &'a dyn EventStore,
    pub(super) log: &'a Log,
}

impl Index<'_> {
    /// The ways of asking that should find `event` and do not.
    pub(super) fn ways_that_miss(&self, entry: &Entry, event: &Event) -> anyhow::Result<Vec<String>> {
        let mut problems = Vec::new();
        for (way, filter) in ways(event) {
            let mut found = false;
            self.each_match(filter, |stored| {
                found |= stored.seq == entry.seq && stored.event == *event;
                Ok(())
            })?;
            if !found {
                problems.push(format!("not found by {way}"));
            }
        }
        Ok(problems)
    }

    /// A scan of everything: in order, and nothing the log does not say.
    pub(super) fn nothing_extra(&self) -> anyhow::Result<Vec<String>> {
        let mut problems = Vec::new();
        let mut count = 0;
        let mut newer: Option<Stored> = None;
        self.each_match(Filter::default(), |stored| {
            count += 1;
            let id = stored.event.id();
            if !self.log.is_live(stored.stream, stored.seq) {
                problems.push(format!("index: event {id} was removed from the log"));
            }
            if newer.as_ref().is_some_and(|newer| !follows(newer, &stored)) {
                problems.push(format!("index: event {id} is out of order"));
            }
            newer = Some(stored);
            Ok(())
        })?;
        if count != self.log.live {
            problems.push(format!("index: {count} events by time, {} in the log", self.log.live));
        }
        Ok(problems)
    }

    fn each_match(&self, filter: Filter, take: impl FnMut(Stored) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let query = Query {
            filters: Arc::new([(filter, FilterLimit { events_max: u64::MAX })]),
            cursor: self.store.snapshot(),
            visible: Arc::new(|_| true),
        };
        store::each_match(self.store, query, take)
    }
}

/// Newest first, ties by lowest id.
fn follows(newer: &Stored, older: &Stored) -> bool {
    let (newer, older) = (&newer.event, &older.event);
    (older.created_at(), newer.id()) < (newer.created_at(), older.id())
}

/// One filter for each index an event is in, narrowed to its second.
fn ways(event: &Event) -> Vec<(String, Filter)> {
    let second = || Filter { since: event.created_at(), until: Some(event.created_at()), ..Filter::default() };
    let ids = Some(Set::new(vec![event.id()]));
    let authors = || Some(Set::new(vec![event.pubkey()]));
    let kinds = || Some(Set::new(vec![event.kind()]));
    let mut ways = vec![
        ("id".to_owned(), Filter { ids, ..second() }),
        ("author".to_owned(), Filter { authors: authors(), ..second() }),
        ("kind".to_owned(), Filter { kinds: kinds(), ..second() }),
        ("author and kind".to_owned(), Filter { authors: authors(), kinds: kinds(), ..second() }),
    ];
    for (name, value) in IndexedTags::of(event).iter() {
        let tags = vec![TagFilter { name, values: Set::new(vec![value.into()]) }];
        ways.push((format!("tag {} = {value:?}", char::from(name)), Filter { tags, ..second() }));
    }
    ways
}
