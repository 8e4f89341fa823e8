//! A stored event whose bytes are not what was written: when it is to go it goes, and nothing else has to wait for it.

use std::path::{Path, PathBuf};

use towpath_policy::Write;
use towpath_protocol::{Filter, Set};
use towpath_store::{EventStore, Outcome};

use super::compaction::on_disk;
use super::crash::change;
use super::fixture::{Folder, accept, commit, copy, copy_dir, everything, key, note, query, scan, write};
use crate::{EmbeddedStore, backup};

const OTHERS: u64 = 400;

/// A profile, a note, an article, a gift wrap to the article's author, and a profile that expires.
fn doomed() -> [Write; 5] {
    [
        write(1, 10, 0, &[], "to be replaced"),
        write(2, 10, 1, &[], "to be deleted"),
        write(3, 10, 30_023, &[&["d", "x"]], "to vanish"),
        write(4, 11, 1_059, &[&["p", &key(3).to_hex()]], "sealed, to vanish as well"),
        write(5, 12, 0, &[&["expiration", "500"]], "to expire"),
    ]
}

/// With those events among the first of several log files.
fn folder() -> Folder {
    let mut folder = Folder::new();
    // What is damaged cannot be rewritten.
    folder.config.erase_after_s = 1_000_000;
    let store = folder.open();
    doomed().iter().for_each(|write| drop(accept(&store, write)));
    (0..OTHERS).for_each(|at| drop(accept(&store, &note(9, at))));
    drop(store);
    assert!(folder.log_files().len() > 1);
    folder
}

fn flip_a_bit_of_each(file: &Path, writes: &[Write]) {
    change(file, |bytes| {
        for write in writes {
            let json = write.event().json();
            let at = memchr::memmem::find(bytes, json).expect("it is in the file");
            bytes[at + json.len() / 2] ^= 1;
        }
    });
}

/// Replaces, deletes, vanishes and lets expire.
fn remove_all(store: &EmbeddedStore) {
    let note = doomed()[1].event().id().to_hex();
    let removing = vec![
        write(1, 20, 0, &[], "newer"),
        write(2, 20, 5, &[&["e", &note]], ""),
        write(3, 20, 62, &[&["relay", "ALL_RELAYS"]], ""),
    ];
    let outcomes = commit(store, removing).outcomes;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Accepted(_))), "{outcomes:?}");
    while store.maintain(500).unwrap() {}
}

/// Once, the index stopped at the first of them for good: nothing could be read any more, soon nothing written, and no start helped.
#[test]
fn a_damaged_event_goes_like_any_other() {
    let folder = folder();
    let first: PathBuf = folder.log_files().remove(0);
    flip_a_bit_of_each(&first, &doomed());
    let before = copy(&folder);
    let store = folder.open();
    remove_all(&store);
    let events = everything(&store);
    assert_eq!(events.len() as u64, OTHERS + 3);
    assert_eq!(store.stats().unwrap().events, OTHERS + 3);
    for gone in doomed() {
        assert_eq!(store.place_of(&gone.event().id()).unwrap(), None);
    }
    let theirs = Filter { authors: Some(Set::new((1..=5).map(key).collect())), ..Filter::default() };
    assert_eq!(scan(&store, query(vec![theirs], 10)).0.len(), 3, "what is left in the index leads nowhere");
    accept(&store, &write(5, 1, 0, &[], "an older version finds its address free"));
    let events = everything(&store);
    drop(store);
    assert_eq!(everything(&folder.open()), events);
    // And a start that has to do it all.
    std::fs::remove_dir_all(folder.config.index_dir()).unwrap();
    copy_dir(&before.config.index_dir(), &folder.config.index_dir());
    assert_eq!(everything(&folder.open()), events);
}

#[test]
fn a_damaged_event_is_deleted_by_its_owner_alone() {
    let folder = folder();
    let first = folder.log_files().remove(0);
    flip_a_bit_of_each(&first, &doomed());
    let store = folder.open();
    let [_, note, _, wrap, _] = doomed();
    let tags = [note, wrap].map(|write| write.event().id().to_hex());
    let tags: Vec<[&str; 2]> = tags.iter().map(|id| ["e", id.as_str()]).collect();
    let tags: Vec<&[&str]> = tags.iter().map(|tag| &tag[..]).collect();
    let events = || store.stats().unwrap().events;
    let before = events();
    accept(&store, &write(6, 20, 5, &tags, "a stranger's"));
    assert_eq!(events(), before + 1);
    accept(&store, &write(3, 20, 5, &tags, "the recipient's"));
    assert_eq!(events(), before + 1);
    accept(&store, &write(2, 20, 5, &tags, "the author's"));
    assert_eq!(events(), before + 1);
    let [profile, ..] = doomed();
    accept(&store, &write(1, 20, 5, &[&["e", &profile.event().id().to_hex()]], ""));
    accept(&store, &write(1, 9, 0, &[], "an older version finds its address free"));
}

#[test]
fn an_index_is_not_made_of_a_damaged_log_until_a_backup_has_mended_it() {
    let (folder, kept) = (folder(), tempfile::tempdir().unwrap());
    backup(folder.dir.path(), kept.path()).unwrap();
    let first = folder.log_files().remove(0);
    flip_a_bit_of_each(&first, &doomed());
    let store = folder.open();
    remove_all(&store);
    let events = everything(&store);
    drop(store);
    std::fs::remove_dir_all(folder.config.index_dir()).unwrap();
    let refusal = EmbeddedStore::open(folder.config.clone()).unwrap_err().to_string();
    let name = first.file_name().unwrap();
    assert!(refusal.contains(&*name.to_string_lossy()) && refusal.contains("backup"), "{refusal}");
    std::fs::copy(kept.path().join("log").join(name), &first).unwrap();
    assert_eq!(everything(&folder.open()), events);
    assert!(folder.check().problems.is_empty());
}

/// Once, it could not be told from one that the index had lost, and no file was rewritten until the next start.
#[test]
fn what_went_unread_is_erased_like_any_other_once_it_can_be_read() {
    let folder = folder();
    let first = folder.log_files().remove(0);
    let whole = std::fs::read(&first).unwrap();
    flip_a_bit_of_each(&first, &doomed());
    let store = folder.open();
    remove_all(&store);
    std::fs::write(&first, whole).unwrap();
    assert!(on_disk(&folder, "to be deleted"));
    let events = everything(&store);
    while store.maintain(folder.config.erase_after_s + 1_000).unwrap() {}
    for gone in ["to be replaced", "to be deleted", "to vanish", "sealed", "to expire"] {
        assert!(!on_disk(&folder, gone), "{gone}");
    }
    assert!(!first.exists());
    assert_eq!(everything(&store), events);
}
