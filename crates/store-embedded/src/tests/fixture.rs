//! Actors, events, and a data folder that can be opened again and again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use towpath_policy::{Policy, Source, Write, plan};
use towpath_protocol::{Event, Filter, PublicKey, SecretKey};
use towpath_store::{Batch, Budget, Committed, Completeness, EventStore, FilterLimit, Outcome, Progress, Query};

use crate::{CheckReport, Config, EmbeddedStore, check};

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
            sync: false,
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
    plan(actor(by).sign(created_at, kind, tags, content, &[0; 32]), Source::Client, &Policy::default())
}

pub(crate) fn note(by: u8, created_at: u64) -> Write {
    write(by, created_at, 1, &[], &format!("note {created_at} of {by}"))
}

pub(crate) fn commit(store: &EmbeddedStore, writes: Vec<Write>) -> Committed {
    store.commit(Batch::of(writes, 1_000)).unwrap()
}

pub(crate) fn accept(store: &EmbeddedStore, write: &Write) -> Event {
    let committed = commit(store, vec![write.clone()]);
    assert!(matches!(committed.outcomes[..], [Outcome::Accepted(_)]), "{:?}", committed.outcomes);
    write.event().clone()
}

pub(crate) fn query(filters: Vec<Filter>, events_max: u64) -> Query {
    let filters: Vec<_> = filters.into_iter().map(|filter| (filter, FilterLimit::newest(events_max))).collect();
    Query { filters: filters.into(), cursor: None, visible: Arc::new(|_| true) }
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
    scan(store, query(vec![Filter::default()], u64::MAX)).0
}

/// A copy of what is on disk, as a killed process would leave it.
pub(crate) fn copy(folder: &Folder) -> Folder {
    let mut copy = Folder::new();
    copy_dir(folder.dir.path(), copy.dir.path());
    copy.config = Config { dir: copy.dir.path().to_owned(), ..folder.config.clone() };
    copy
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

impl Folder {
    /// The log's files, oldest first.
    pub(crate) fn log_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.config.log_dir()).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "seg"));
        files.sort();
        files
    }

    /// What is said of the index, if anything.
    pub(crate) fn marker(&self) -> Option<String> {
        std::fs::read_to_string(self.config.index_dir().join("state")).ok()
    }

    /// Verifies everything; the store must be closed.
    pub(crate) fn check(&self) -> CheckReport {
        check(self.config.clone(), &mut |_, _| {}).unwrap()
    }
}
