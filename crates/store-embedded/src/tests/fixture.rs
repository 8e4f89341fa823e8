//! Actors, events, and a data folder that can be opened again and again.

use std::sync::Arc;

use tempfile::TempDir;
use towpath_policy::{Policy, Write, plan};
use towpath_protocol::{Event, Filter, PublicKey, SecretKey};
use towpath_store::{Batch, Budget, Committed, Completeness, EventStore, FilterLimit, Outcome, Progress, Query};

use crate::{Config, EmbeddedStore};

/// A folder and how to open it.
pub(crate) struct Folder {
    pub(crate) dir: TempDir,
    pub(crate) config: Config,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            segment_bytes: 64 << 10,
            index_bytes_max: 1 << 30,
            free_bytes_min: 0,
            erase_after_s: 10,
            ..Config::at(dir.path())
        };
        Self { dir, config }
    }

    pub(crate) fn open(&self) -> EmbeddedStore {
        EmbeddedStore::open(self.config.clone()).unwrap()
    }
}

pub(crate) fn actor(n: u8) -> SecretKey {
    SecretKey::from_bytes([n; 32]).unwrap()
}

pub(crate) fn key(n: u8) -> PublicKey {
    actor(n).public_key()
}

pub(crate) fn write(by: u8, created_at: u64, kind: u16, tags: &[&[&str]], content: &str) -> Write {
    plan(actor(by).sign(created_at, kind, tags, content, &[0; 32]), &Policy::default())
}

pub(crate) fn note(by: u8, created_at: u64) -> Write {
    write(by, created_at, 1, &[], &format!("note {created_at} of {by}"))
}

pub(crate) fn commit(store: &EmbeddedStore, writes: Vec<Write>) -> Committed {
    store.commit(Batch { writes, committed_at_ms: 1_000 }).unwrap()
}

pub(crate) fn accept(store: &EmbeddedStore, write: &Write) -> Event {
    let committed = commit(store, vec![write.clone()]);
    assert!(matches!(committed.outcomes[..], [Outcome::Accepted(_)]), "{:?}", committed.outcomes);
    write.event().clone()
}

pub(crate) fn query(filters: Vec<Filter>, events_max: u64, store: &EmbeddedStore) -> Query {
    let filters: Vec<_> = filters.into_iter().map(|filter| (filter, FilterLimit { events_max })).collect();
    Query { filters: filters.into(), cursor: store.snapshot(), visible: Arc::new(|_| true) }
}

/// Everything a query returns, in slices of one event.
pub(crate) fn scan(store: &EmbeddedStore, query: Query) -> (Vec<Event>, Completeness) {
    let mut scan = store.scan(query).unwrap();
    let mut out = Vec::new();
    let budget = Budget { events_max: 1, bytes_max: usize::MAX, spent: &|| true };
    loop {
        if let Progress::Done(completeness) = scan.next(budget, &mut out).unwrap() {
            return (out.into_iter().map(|stored| stored.event).collect(), completeness);
        }
    }
}

/// All events, newest first.
pub(crate) fn everything(store: &EmbeddedStore) -> Vec<Event> {
    scan(store, query(vec![Filter::default()], u64::MAX, store)).0
}
