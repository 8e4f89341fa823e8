//! What must go is gone from disk; everything else stays where it was.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use towpath_protocol::Event;
use towpath_store::{Cursor, Entry, Error, EventStore, Outcome, Page};

use super::crash::{change, records};
use super::fixture::{Folder, accept, commit, copy, everything, note, write};
use crate::EmbeddedStore;
use crate::log::record::HEADER_BYTES;

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

pub(super) fn on_disk(folder: &Folder, text: &str) -> bool {
    let holds = |file| memchr::memmem::find(&std::fs::read(file).unwrap(), text.as_bytes()).is_some();
    folder.log_files().into_iter().any(holds)
}

pub(super) fn log(store: &EmbeddedStore) -> Vec<Entry> {
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

/// Once, only the version that was there when its time came counted as one that had to go.
#[test]
fn a_version_that_was_to_expire_is_gone_from_disk_although_another_replaced_it() {
    let folder = Folder::new();
    let store = folder.open();
    accept(&store, &write(1, 1, 0, &[&["expiration", "2000"]], "not for ever"));
    accept(&store, &write(1, 2, 0, &[], "for ever"));
    (0..20).for_each(|at| drop(accept(&store, &note(2, at))));
    while store.maintain(5).unwrap() {}
    assert!(on_disk(&folder, "not for ever"));
    store.stats().unwrap();
    let rebuilt = copy(&folder);
    std::fs::remove_dir_all(rebuilt.config.index_dir()).unwrap();
    for (folder, store) in [(&folder, store), (&rebuilt, rebuilt.open())] {
        while store.maintain(20).unwrap() {}
        assert!(!on_disk(folder, "not for ever") && on_disk(folder, "for ever"));
    }
}

/// Once, the block was taken for the end of the file, and what lay behind it was lost; and a damaged file kept all others from being
/// rewritten, and the index from being checkpointed.
#[test]
fn a_file_with_a_block_of_zeroes_stays_and_the_others_are_rewritten() {
    let folder = Folder::new();
    let store = with_deletions(&folder);
    store.stats().unwrap();
    let (events, files) = (everything(&store), folder.log_files());
    assert!(files.len() > 1, "several files");
    let record = records(&files[0])[10].clone();
    change(&files[0], |bytes| bytes[record.start..record.start + HEADER_BYTES].fill(0));
    let failure = store.maintain(20).unwrap_err();
    assert!(failure.to_string().ends_with(&format!("is damaged at byte {}", record.start)), "{failure}");
    while store.maintain(20).unwrap() {}
    assert!(files[0].exists() && !files[1].exists());
    assert_eq!(everything(&store), events);
    store.maintain(25).unwrap();
    assert!(folder.marker().unwrap().starts_with("clean "));
}

/// Of a draft it would keep the room that was wanting.
#[test]
fn a_rewrite_without_room_leaves_nothing_behind() {
    let folder = Folder::new();
    let store = with_deletions(&folder);
    store.stats().unwrap();
    let (events, files) = (everything(&store), folder.log_files());
    let faults = &store.shared().log.disk.faults;
    // So long apart that for the second nothing is passed over because of the first.
    for (fault, now) in [(&faults.full, 20), (&faults.short_write, 400)] {
        fault.store(true, Ordering::SeqCst);
        for _ in 0..2 * files.len() {
            assert!(matches!(store.maintain(now), Err(Error::Full) | Ok(false)));
        }
        fault.store(false, Ordering::SeqCst);
        assert!(folder.log_files().starts_with(&files));
        let entries = std::fs::read_dir(folder.config.log_dir()).unwrap();
        let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().ends_with(".seg.tmp")), "{names:?}");
    }
    assert!(!store.maintain(400).unwrap() && on_disk(&folder, "doomed-150"), "not at once again");
    for now in [800, 1_200] {
        while store.maintain(now).unwrap() {}
    }
    assert!(!on_disk(&folder, "doomed-150"));
    assert_eq!(everything(&store), events);
    drop(store);
    assert!(folder.check().problems.is_empty());
}

/// Once, only the newest was ever removed: the first, with all that was to be erased, stayed until a restart.
#[test]
fn a_compaction_that_fails_half_way_is_gone_on_with() {
    let folder = Folder::new();
    let store = with_deletions(&folder);
    let (events, files) = (everything(&store), folder.log_files());
    // A checkpoint, so that the index has to be marked before it is changed, and it cannot be.
    for now in [1, 6] {
        assert!(!store.maintain(now).unwrap());
    }
    let in_the_way = folder.config.index_dir().join("state.tmp");
    std::fs::create_dir(&in_the_way).unwrap();
    let failure = store.maintain(20).unwrap_err();
    assert!(failure.to_string().starts_with("mark the index"), "{failure}");
    assert_eq!(folder.log_files().len(), files.len() + 1, "two generations of a file");
    assert_eq!(everything(&store), events);
    std::fs::remove_dir(&in_the_way).unwrap();
    for _ in 0..2 {
        while store.maintain(20).unwrap() {}
    }
    assert!((0..200).all(|at| !on_disk(&folder, &format!("doomed-{at:03}"))));
    assert_eq!(everything(&store), events);
    drop(store);
    assert!(folder.check().problems.is_empty());
}

/// Once, without `store.sync`, what had been on disk for long went before what took its place was there.
#[test]
fn a_file_stays_until_its_rewrite_is_on_disk_whatever_is_configured() {
    let folder = Folder::new();
    assert!(!folder.config.sync);
    let store = with_deletions(&folder);
    let oldest = folder.log_files().remove(0);
    let faults = &store.shared().log.disk.faults;
    faults.sync_names.store(true, Ordering::SeqCst);
    let failure = store.maintain(20).unwrap_err();
    assert!(failure.to_string().starts_with("rewrite a log file"), "{failure}");
    assert!(oldest.exists());
    faults.sync_names.store(false, Ordering::SeqCst);
    for _ in 0..2 {
        while store.maintain(20).unwrap() {}
    }
    assert!(!oldest.exists());
}

/// Once, an index that had lost an event had the event's only copy erased.
#[test]
fn what_the_index_has_lost_stays_in_the_log_and_is_found_at_the_next_start() {
    let folder = Folder::new();
    let store = with_deletions(&folder);
    store.stats().unwrap();
    let (events, files) = (everything(&store), folder.log_files());
    let index = &store.shared().index;
    let mut txn = index.write().unwrap();
    assert!(index.delete(index.events, &mut txn, &2_u64.to_be_bytes()).unwrap());
    index.commit(txn).unwrap();
    let failure = store.maintain(20).unwrap_err();
    assert!(failure.to_string().contains("the index has lost entry 2"), "{failure}");
    while store.maintain(20).unwrap() {}
    assert_eq!(folder.log_files(), files, "nothing is rewritten any more");
    drop(store);
    let store = folder.open();
    assert_eq!(everything(&store), events);
    while store.maintain(20).unwrap() {}
    assert!(!files[0].exists());
    assert_eq!(everything(&store), events);
}

/// A disk that lost pages of the index says so when it is synced.
#[test]
fn nothing_is_rewritten_by_an_index_that_could_not_be_synced() {
    let folder = Folder::new();
    let store = with_deletions(&folder);
    let files = folder.log_files();
    let faults = &store.shared().log.disk.faults;
    assert!(!store.maintain(1).unwrap());
    faults.sync.store(true, Ordering::SeqCst);
    assert!(matches!(store.maintain(6), Err(Error::Io { .. })));
    faults.sync.store(false, Ordering::SeqCst);
    assert!(!store.maintain(20).unwrap());
    assert_eq!(folder.log_files(), files);
    drop(store);
    while folder.open().maintain(20).unwrap() {}
    assert!(!files[0].exists());
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

/// A store that compaction has gone through, and what it was before.
struct Compacted {
    folder: Folder,
    before: Folder,
    events: Vec<Event>,
    /// What compaction made of a log file.
    rewritten: PathBuf,
}

fn compacted() -> Compacted {
    let folder = Folder::new();
    let store = with_deletions(&folder);
    store.stats().unwrap();
    let (before, events) = (copy(&folder), everything(&store));
    while store.maintain(20).unwrap() {}
    let rewritten = folder.log_files().into_iter().find(|file| file.to_string_lossy().ends_with(".1.seg")).unwrap();
    Compacted { folder, before, events, rewritten }
}

#[test]
fn a_compaction_that_a_crash_cuts_short_is_finished_at_the_next_start() {
    let Compacted { folder: _folder, before, events, rewritten } = compacted();
    // As if the new file had been published and nothing done since, and another had been begun.
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

/// Once, a block of zeroes in the new file was taken for its end, and with the old one what lay behind it went; other damage kept the
/// store from being opened.
#[test]
fn a_damaged_rewrite_that_a_crash_left_gives_way_to_what_it_was_made_of() {
    let Compacted { folder: _folder, before, events, rewritten } = compacted();
    let record = records(&rewritten)[10].clone();
    for (damage, is_indexed) in [(0, true), (0, false), (1, true), (1, false)] {
        let crashed = copy(&before);
        let new = crashed.config.log_dir().join(rewritten.file_name().unwrap());
        std::fs::copy(&rewritten, &new).unwrap();
        change(&new, |bytes| bytes[record.start..record.start + HEADER_BYTES].fill(damage));
        if !is_indexed {
            std::fs::remove_dir_all(crashed.config.index_dir()).unwrap();
        }
        let store = crashed.open();
        assert_eq!(everything(&store), events);
        drop(store);
        assert!(!new.exists() && crashed.log_files().len() == before.log_files().len());
        assert!(crashed.check().problems.is_empty());
    }
}
