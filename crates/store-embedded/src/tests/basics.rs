//! The plain cases.

use towpath_protocol::{Filter, Set};
use towpath_store::{Completeness, Cursor, EventStore, Outcome, Page, Seq};

use super::fixture::{Folder, accept, commit, everything, key, note, query, scan, write};
use crate::EmbeddedStore;

#[test]
fn what_is_committed_is_scanned_newest_first() {
    let folder = Folder::new();
    let store = folder.open();
    let writes = [note(1, 10), note(2, 30), note(1, 20)];
    let committed = commit(&store, writes.to_vec());
    assert_eq!(committed.outcomes, [Outcome::Accepted(Seq(1)), Outcome::Accepted(Seq(2)), Outcome::Accepted(Seq(3))]);
    let times: Vec<u64> = everything(&store).iter().map(|event| event.created_at()).collect();
    assert_eq!(times, [30, 20, 10]);
    let by_one = Filter { authors: Some(Set::new(vec![key(1)])), ..Filter::default() };
    let (events, completeness) = scan(&store, query(vec![by_one.clone()], 1));
    assert_eq!((events.len(), completeness), (1, Completeness::Limited));
    let (events, completeness) = scan(&store, query(vec![by_one], 2));
    assert_eq!((events.len(), completeness), (2, Completeness::All));
}

#[test]
fn what_the_index_lacks_is_counted() {
    let folder = Folder::new();
    let store = folder.open();
    let keeper_waits = store.shared().marker.lock();
    commit(&store, vec![note(1, 10), note(2, 30)]);
    commit(&store, vec![note(1, 20)]);
    assert_eq!(store.unindexed(), 3);
    drop(keeper_waits);
    assert_eq!(everything(&store).len(), 3);
    assert_eq!(store.unindexed(), 0, "whoever scans waits for it");
}

#[test]
fn a_reopened_store_holds_the_same() {
    let folder = Folder::new();
    let store = folder.open();
    for at in 0..300 {
        accept(&store, &note(1, at));
    }
    let before = everything(&store);
    assert_eq!(before.len(), 300);
    drop(store);
    let store = folder.open();
    assert_eq!(everything(&store), before);
    let page = Page { entries_max: 7, bytes_max: usize::MAX };
    let mut cursor = Cursor::start();
    let mut seqs = Vec::new();
    loop {
        let entries = store.since(&cursor, page).unwrap();
        let Some(last) = entries.last() else { break };
        cursor.advance(last.stream, last.seq);
        seqs.extend(entries.iter().map(|entry| entry.seq.0));
    }
    assert_eq!(seqs, (1..=300).collect::<Vec<_>>());
}

#[test]
fn a_second_process_is_refused() {
    let folder = Folder::new();
    let _store = folder.open();
    let second = EmbeddedStore::open(folder.config.clone());
    assert!(matches!(second, Err(towpath_store::Error::InUse)));
}

#[test]
fn replacement_and_deletion_follow_the_rules() {
    let folder = Folder::new();
    let store = folder.open();
    let old = write(1, 10, 0, &[], "old");
    let new = write(1, 20, 0, &[], "new");
    accept(&store, &old);
    accept(&store, &new);
    assert_eq!(commit(&store, vec![old]).outcomes, [Outcome::Superseded]);
    assert_eq!(commit(&store, vec![new.clone()]).outcomes, [Outcome::Duplicate]);
    let id = new.event().id().to_hex();
    accept(&store, &write(1, 30, 5, &[&["e", &id]], ""));
    assert_eq!(commit(&store, vec![new]).outcomes, [Outcome::Deleted]);
    assert_eq!(everything(&store).len(), 1);
    accept(&store, &note(1, 5));
    accept(&store, &write(1, 40, 62, &[&["relay", "ALL_RELAYS"]], ""));
    let kinds: Vec<u16> = everything(&store).iter().map(|event| event.kind()).collect();
    assert_eq!(kinds, [62]);
    assert_eq!(commit(&store, vec![note(1, 6), note(1, 41)]).outcomes, [Outcome::Vanished, Outcome::Accepted(Seq(6))]);
}

#[test]
fn expired_events_go() {
    let folder = Folder::new();
    let store = folder.open();
    accept(&store, &write(1, 10, 1, &[&["expiration", "50"]], "short"));
    accept(&store, &note(1, 11));
    while store.maintain(50).unwrap() {}
    assert_eq!(everything(&store).len(), 1);
    assert_eq!(store.snapshot().unwrap().seq(towpath_store::StreamId(0)), Seq(3));
}

/// They are read before commits have to wait, so one of them may be gone by then.
#[test]
fn what_goes_while_it_is_about_to_expire_goes_once() {
    let folder = Folder::new();
    let store = folder.open();
    let expiring = |by| write(by, 10, 1, &[&["expiration", "50"]], "short");
    let gone = accept(&store, &expiring(1)).id().to_hex();
    accept(&store, &expiring(2));
    store.stats().unwrap();
    let due = store.shared().due_to_expire(50).unwrap();
    assert_eq!(due.len(), 2);
    accept(&store, &write(1, 20, 5, &[&["e", &gone]], ""));
    // Whether the index has that or not.
    assert!(store.shared().expire(&due, 50).unwrap());
    assert!(!store.shared().expire(&due, 50).unwrap());
    store.stats().unwrap();
    assert!(!store.shared().expire(&due, 50).unwrap());
    let log = store.since(&Cursor::start(), Page { entries_max: 9, bytes_max: usize::MAX }).unwrap();
    let removed = log.iter().flat_map(|entry| entry.record.removed());
    assert_eq!(removed.map(|(_, seq)| seq.0).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn an_idle_store_checkpoints_its_index_and_a_busy_one_does_not() {
    let folder = Folder::new();
    let store = folder.open();
    let state = || std::fs::read_to_string(folder.config.index_dir().join("state")).unwrap();
    accept(&store, &note(1, 1));
    for now in [100, 104] {
        assert!(!store.maintain(now).unwrap());
        assert!(state().starts_with("dirty "), "{}", state());
    }
    store.maintain(105).unwrap();
    assert_eq!(state(), "clean 1\n");
    accept(&store, &note(1, 2));
    store.stats().unwrap();
    assert!(state().starts_with("dirty "));
    drop(store);
    assert_eq!(state(), "clean 2\n");
}

#[test]
fn thousands_of_authors_are_one_scan() {
    let folder = Folder::new();
    let store = folder.open();
    let writes: Vec<_> = (1..=50).flat_map(|by| (0..10).map(move |at| note(by, 1_000 + at * 7 % 10))).collect();
    commit(&store, writes);
    let mut authors: Vec<_> = (1..=50).map(key).collect();
    authors.extend((0..3_000_u32).map(|n| {
        let mut bytes = [9; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        towpath_protocol::PublicKey::from_bytes(bytes)
    }));
    let filter = Filter { authors: Some(Set::new(authors)), kinds: Some(Set::new(vec![0, 1])), ..Filter::default() };
    let (events, completeness) = scan(&store, query(vec![filter], 120));
    assert_eq!(events, everything(&store)[..120]);
    assert_eq!(completeness, Completeness::Limited);
}
