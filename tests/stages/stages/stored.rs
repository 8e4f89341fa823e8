//! The store's part: known ids, commits and scans, on local files.

use std::hint::black_box;
use std::sync::Arc;

use tempfile::TempDir;
use towpath_policy::Write;
use towpath_protocol::{Event, EventId, wire};
use towpath_store::{Batch, Budget, Committed, EventStore, FilterLimit, Progress, Query, Stored};
use towpath_store_embedded::{Config, EmbeddedStore};

use super::fixture::NOW;
use super::{EVENTS, Notes, Stage};

/// Stored before anything is counted.
const STORED: u32 = 2_048;
/// What a scan returns: one request's fill.
pub(super) const SCANNED: u32 = 500;

/// A store in a folder that goes with it. Fields are dropped in this order.
pub(super) struct Folder {
    pub(super) store: EmbeddedStore,
    _dir: TempDir,
}

impl Folder {
    pub(super) fn open() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        // Under valgrind there is little address space. What the disk does is not counted, and how fast it is shall not show.
        let config = Config { index_bytes_max: 1 << 30, sync: false, ..Config::at(dir.path()) };
        let store = EmbeddedStore::open(config).expect("a store");
        Self { store, _dir: dir }
    }

    fn filled(notes: &mut Notes) -> Self {
        let folder = Self::open();
        folder.commit(notes.writes(STORED));
        // A scan waits for the index.
        assert_eq!(folder.scan(1).len(), 1);
        folder
    }

    fn commit(&self, writes: Vec<Write>) -> Committed {
        self.store.commit(Batch::of(writes, NOW * 1000)).expect("committed")
    }

    fn scan(&self, limit: u32) -> Vec<Stored> {
        let filter = wire::filter(r#"{"kinds":[1]}"#).expect("a filter");
        let limit = FilterLimit::newest(u64::from(limit));
        let query = Query { filters: [(filter, limit)].into(), cursor: None, visible: Arc::new(|_: &Event| true) };
        let mut scan = self.store.scan(query).expect("opened");
        let mut found = Vec::new();
        let budget = Budget { events_max: usize::MAX, bytes_max: usize::MAX, spent: &|| false };
        assert!(matches!(scan.next(budget, &mut found), Ok(Progress::Done(_))));
        found
    }
}

struct Known {
    folder: Folder,
    ids: Vec<EventId>,
}

/// Whether the store has an id that it has not, as for almost every event.
pub(super) fn known(notes: &mut Notes) -> Box<dyn Stage> {
    Box::new(Known { folder: Folder::filled(notes), ids: Vec::new() })
}

impl Stage for Known {
    fn prepare(&mut self, notes: &mut Notes) {
        self.ids = notes.plain(EVENTS).iter().map(Event::id).collect();
    }

    fn run(&mut self) {
        let store: &dyn EventStore = &self.folder.store;
        assert!(self.ids.iter().all(|id| !store.is_known(id).expect("an answer")));
    }
}

struct Commit {
    folder: Folder,
    size: u32,
    batches: Vec<Vec<Write>>,
    committed: Vec<Committed>,
}

/// Commits in batches of so many, up to the ack; the index is written behind it, by another thread.
pub(super) fn commit(size: u32) -> Box<dyn Stage> {
    Box::new(Commit { folder: Folder::open(), size, batches: Vec::new(), committed: Vec::new() })
}

impl Stage for Commit {
    fn prepare(&mut self, notes: &mut Notes) {
        self.committed.clear();
        self.batches = (0..EVENTS / self.size).map(|_| notes.writes(self.size)).collect();
        self.committed.reserve(self.batches.len());
    }

    fn run(&mut self) {
        for writes in self.batches.drain(..) {
            self.committed.push(self.folder.commit(writes));
        }
    }
}

struct ScanOfMany {
    folder: Folder,
    found: Vec<Stored>,
}

/// The newest of a kind.
pub(super) fn scan(notes: &mut Notes) -> Box<dyn Stage> {
    Box::new(ScanOfMany { folder: Folder::filled(notes), found: Vec::new() })
}

impl Stage for ScanOfMany {
    fn prepare(&mut self, _: &mut Notes) {
        self.found = Vec::new();
    }

    fn run(&mut self) {
        self.found = black_box(self.folder.scan(SCANNED));
        assert_eq!(self.found.len(), SCANNED as usize);
    }
}
