//! What must go is gone from disk; everything else stays where it was.

use towpath_store::{Cursor, Entry, EventStore, Outcome, Page};

use super::fixture::{Folder, accept, commit, copy, everything, note, write};
use crate::EmbeddedStore;

/// Two hundred notes, some of which their author then deletes.
pub(super) fn with_deletions(folder: &Folder) -> EmbeddedStore {
    let store = folder.open();
    let doomed: Vec<_> = (0..200).map(|at| write(1, at, 1, &[], &format!("doomed-{at:03}"))).collect();
    for (at, doomed) in (0..).zip(&doomed) {
        accept(&store, doomed);
        accept(&store, &note(2, at));
    }
    let ids: Vec<String> = doomed.iter().map(|write| write.event().id().to_hex()).collect();
    let tags: Vec<[&str; 2]> = ids.iter().map(|id| ["e", id.as_str()]).collect();
    let tags: Vec<&[&str]> = tags.iter().map(|tag| &tag[..]).collect();
    accept(&store, &write(1, 1_000, 5, &tags, ""));
    store
}

fn on_disk(folder: &Folder, text: &str) -> bool {
    let holds = |file| memchr::memmem::find(&std::fs::read(file).unwrap(), text.as_bytes()).is_some();
    folder.log_files().into_iter().any(holds)
}

fn log(store: &EmbeddedStore) -> Vec<Entry> {
    store.since(&Cursor::start(), Page { entries_max: usize::MAX, bytes_max: usize::MAX }).unwrap()
}

fn without_events(log: &[Entry]) -> Vec<(u64, usize)> {
    log.iter().map(|entry| (entry.seq.0, entry.record.removed().len())).collect()
}

#[test]
fn deleted_events_are_gone_from_disk_in_time() {
    let folder = Folder::new();
    let store = with_deletions(&folder);
    let (events, entries) = (everything(&store), log(&store));
    while store.maintain(5).unwrap() {}
    assert!(on_disk(&folder, "doomed-150"));
    while store.maintain(20).unwrap() {}
    for at in 0..200 {
        assert!(!on_disk(&folder, &format!("doomed-{at:03}")), "{at}");
    }
    assert_eq!(everything(&store), events);
    assert_eq!(without_events(&log(&store)), without_events(&entries));
    assert_eq!(commit(&store, vec![write(1, 7, 1, &[], "doomed-007")]).outcomes, [Outcome::Deleted]);
    drop(store);
    assert!(folder.check().problems.is_empty());
    std::fs::remove_dir_all(folder.config.index_dir()).unwrap();
    let store = folder.open();
    assert_eq!(everything(&store), events);
    assert_eq!(commit(&store, vec![write(1, 7, 1, &[], "doomed-007")]).outcomes, [Outcome::Deleted]);
}

#[test]
fn superseded_versions_are_dropped_once_they_are_most_of_a_file() {
    let folder = Folder::new();
    let store = folder.open();
    for at in 0..500 {
        accept(&store, &write(1, at, 0, &[], &"a profile".repeat(50)));
    }
    let before = store.stats().unwrap();
    while store.maintain(1).unwrap() {}
    let after = store.stats().unwrap();
    assert!(after.log_bytes < before.log_bytes / 2, "{before:?} {after:?}");
    assert_eq!(after.events, 1);
    drop(store);
    assert!(folder.check().problems.is_empty());
}

#[test]
fn a_compaction_that_a_crash_cuts_short_is_finished_at_the_next_start() {
    let folder = Folder::new();
    let store = with_deletions(&folder);
    store.stats().unwrap();
    let before = copy(&folder);
    let events = everything(&store);
    while store.maintain(20).unwrap() {}
    // As if the new file had been published and nothing done since, and another had been begun.
    let rewritten = folder.log_files().into_iter().find(|file| file.to_string_lossy().ends_with(".1.seg")).unwrap();
    std::fs::copy(&rewritten, before.config.log_dir().join(rewritten.file_name().unwrap())).unwrap();
    std::fs::write(before.config.log_dir().join("00000000000000000099.1.seg.tmp"), b"half").unwrap();
    let files = before.log_files().len();
    let store = before.open();
    assert_eq!(everything(&store), events);
    assert_eq!(before.log_files().len(), files - 1);
    drop(store);
    let report = before.check();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}
