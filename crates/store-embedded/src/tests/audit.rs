//! The audit tree beside the log: kept, made anew, and true to what was committed.

use std::sync::atomic::Ordering;

use towpath_audit::{Hash, Tree};
use towpath_protocol::EventId;
use towpath_store::{Batch, Cursor, Entry, Error, EventStore, Page};

use super::fixture::{Folder, accept, note, write};
use crate::log::record::{Encoder, Header, Record};
use crate::{EmbeddedStore, Problem};

fn log(store: &EmbeddedStore) -> Vec<Entry> {
    store.since(&Cursor::start(), Page { entries_max: usize::MAX, bytes_max: usize::MAX }).unwrap()
}

fn hashes(store: &EmbeddedStore) -> Vec<Hash> {
    log(store).iter().map(|entry| entry.leaf.hash()).collect()
}

fn on_disk(folder: &Folder, id: EventId) -> bool {
    let holds = |file| memchr::memmem::find(&std::fs::read(file).unwrap(), id.as_bytes()).is_some();
    folder.log_files().into_iter().any(holds)
}

/// Two authors whose first profile is gone but for its leaf; the first of them has just vanished.
fn with_one_vanished(folder: &Folder) -> (EmbeddedStore, [EventId; 2]) {
    let store = folder.open();
    let gone = [1, 2].map(|by| {
        let gone = accept(&store, &write(by, 1, 0, &[], "old")).id();
        accept(&store, &write(by, 2, 0, &[], "new"));
        gone
    });
    // Enough dead bytes for a rewrite, after which only leaves name what was superseded.
    for at in 3..300 {
        accept(&store, &write(1, at, 0, &[], &"again".repeat(99)));
    }
    while store.maintain(1).unwrap() {}
    assert!(gone.iter().all(|id| on_disk(folder, *id)));
    assert!(log(&store).iter().all(|entry| entry.leaf.leaf().is_some()));
    accept(&store, &write(1, 1_000, 62, &[&["relay", "ALL_RELAYS"]], ""));
    (store, gone)
}

fn only_hashes_are_left(folder: &Folder, store: &EmbeddedStore, [vanished, other]: [EventId; 2]) {
    let before = hashes(store);
    while store.maintain(2_000).unwrap() {}
    assert!(!on_disk(folder, vanished) && on_disk(folder, other));
    let erased: Vec<bool> = log(store).iter().map(|entry| entry.leaf.leaf().is_none()).collect();
    assert_eq!(erased[..5], [true, true, false, false, true]);
    assert_eq!(hashes(store), before);
}

#[test]
fn of_whoever_vanishes_only_hashes_stay_on_disk_even_of_what_was_gone_before() {
    let folder = Folder::new();
    let (store, gone) = with_one_vanished(&folder);
    only_hashes_are_left(&folder, &store, gone);
    let heads = store.heads();
    drop(store);
    assert!(folder.check().problems.is_empty());
    std::fs::remove_dir_all(folder.config.index_dir()).unwrap();
    assert_eq!(folder.open().heads(), heads);
}

#[test]
fn an_index_made_anew_knows_what_is_to_be_erased() {
    let folder = Folder::new();
    let (store, gone) = with_one_vanished(&folder);
    drop(store);
    std::fs::remove_dir_all(folder.config.index_dir()).unwrap();
    only_hashes_are_left(&folder, &folder.open(), gone);
}

#[test]
fn a_tree_switched_on_later_covers_the_whole_log() {
    let mut folder = Folder::new();
    let write_some = |folder: &Folder, from: u64| {
        let store = folder.open();
        for at in from..from + 300 {
            accept(&store, &note(1, at));
        }
        (store.heads(), hashes(&store))
    };
    let (with, _) = write_some(&folder, 0);
    assert_eq!(with[0].1.size, 300);
    folder.config.audit = false;
    assert_eq!(write_some(&folder, 1_000).0, []);
    folder.config.audit = true;
    let (heads, leaves) = write_some(&folder, 2_000);
    let mut tree = Tree::new();
    leaves.iter().for_each(|leaf| tree.append(*leaf, |_| ()));
    assert_eq!((heads[0].1, tree.size()), (tree.head(), 900));
    assert!(folder.check().problems.is_empty());
}

/// The checksum finds what happens to a disk; the root also what is done on purpose, once the tree is made anew.
#[test]
fn an_entry_changed_with_its_checksum_is_not_what_was_committed() {
    let folder = Folder::new();
    let store = folder.open();
    accept(&store, &note(1, 1));
    drop(store);
    let file = &folder.log_files()[0];
    let bytes = std::fs::read(file).unwrap();
    let header = Header::parse(&bytes).unwrap();
    let record = Record::parse(&bytes[..header.record_bytes()].to_vec().into()).unwrap();
    let mut forged = Encoder::start(Vec::new(), header.first_seq, header.committed_at_ms + 1, header.root);
    for entry in &record.entries {
        forged.push(entry);
    }
    let mut forged = forged.finish().unwrap();
    forged.extend_from_slice(&bytes[header.record_bytes()..]);
    std::fs::write(file, forged).unwrap();
    std::fs::remove_dir_all(folder.config.index_dir()).unwrap();
    let opened = EmbeddedStore::open(folder.config.clone());
    assert!(matches!(&opened, Err(Error::Corrupt(why)) if why.contains("audit tree")), "{opened:?}");
}

#[test]
fn a_failed_commit_leaves_no_leaf() {
    let folder = Folder::new();
    let store = folder.open();
    accept(&store, &note(1, 1));
    let heads = store.heads();
    store.shared().log.disk.faults.short_write.store(true, Ordering::SeqCst);
    assert!(store.commit(Batch::of(vec![note(1, 2)], 1)).is_err());
    assert_eq!(store.heads(), heads);
    store.shared().log.disk.faults.short_write.store(false, Ordering::SeqCst);
    accept(&store, &note(1, 3));
    let mut tree = Tree::new();
    hashes(&store).iter().for_each(|leaf| tree.append(*leaf, |_| ()));
    assert_eq!(store.heads()[0].1, tree.head());
}

#[test]
fn a_check_compares_the_kept_hashes_with_the_leaves() {
    let folder = Folder::new();
    let store = folder.open();
    for at in 0..300 {
        accept(&store, &note(1, at));
    }
    drop(store);
    let file = folder.config.tree_dir().join("1");
    let mut hashes = std::fs::read(&file).unwrap();
    hashes[0] ^= 1;
    std::fs::write(&file, hashes).unwrap();
    let report = folder.check();
    assert_eq!(report.problems, [Problem::TreeHash { level: 1, index: 0 }]);
}
