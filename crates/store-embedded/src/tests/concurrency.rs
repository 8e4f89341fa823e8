//! Committing, scanning and compacting at once.

use std::sync::atomic::{AtomicBool, Ordering};

use rand::prelude::*;
use towpath_protocol::{Filter, Set};
use towpath_store::{Cursor, EventStore, Page};

use super::fixture::{Folder, accept, commit, everything, key, note, query, scan, write};
use crate::EmbeddedStore;

const COMMITS: u64 = 400;

/// A profile of one author and a note of another at a time; the newest of each must be there as soon as it is acknowledged.
fn publish(store: &EmbeddedStore) {
    for at in 0..COMMITS {
        let profile = write(1, at, 0, &[], &"p".repeat(500));
        commit(store, vec![profile.clone(), note(2, at)]);
        assert!(store.place_of(&profile.event().id()).unwrap().is_some());
        let newest = Filter { authors: Some(Set::new(vec![key(1)])), ..Filter::default() };
        let (events, _) = scan(store, query(vec![newest], 10));
        assert_eq!(events, [profile.event().clone()]);
    }
}

fn follow(store: &EmbeddedStore, done: &AtomicBool) {
    let mut cursor = Cursor::start();
    let mut next = 1;
    while !done.load(Ordering::Acquire) || cursor != store.snapshot().unwrap() {
        for entry in store.since(&cursor, Page { entries_max: 10, bytes_max: 10_000 }).unwrap() {
            assert_eq!(entry.seq.0, next);
            next += 1;
            cursor.advance(entry.stream, entry.seq);
        }
    }
}

#[test]
fn readers_never_notice_a_compaction() {
    let mut folder = Folder::new();
    folder.config.segment_bytes = 8 << 10;
    folder.config.dead_percent_max = 10;
    let store = folder.open();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| follow(&store, &done));
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                store.maintain(1).unwrap();
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let times: Vec<u64> = everything(&store).iter().map(|event| event.created_at()).collect();
                    assert!(times.is_sorted_by(|a, b| a >= b));
                }
            });
        }
        publish(&store);
        done.store(true, Ordering::Release);
    });
    assert_eq!(everything(&store).len() as u64, COMMITS + 1);
    drop(store);
    let report = folder.check();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

#[test]
fn copies_taken_at_random_moments_hold_what_was_acknowledged_before() {
    let folder = Folder::new();
    let store = folder.open();
    let mut random = StdRng::seed_from_u64(1);
    for at in 0..30 {
        for n in 0..random.random_range(1..20) {
            accept(&store, &note(1, at * 100 + n));
        }
        let acknowledged = store.snapshot().unwrap();
        let left = super::fixture::copy(&folder);
        // The copy is not taken in one instant, so its index may be torn: only the log counts.
        std::fs::remove_dir_all(left.config.index_dir()).unwrap();
        let reopened = left.open();
        assert_eq!(reopened.snapshot().unwrap(), acknowledged);
        assert_eq!(everything(&reopened), everything(&store));
    }
}

/// Once, a log file was taken into use while the next was being prepared under the same temporary name, and both were one file.
#[test]
fn log_files_change_hands_while_the_next_is_being_prepared() {
    let mut folder = Folder::new();
    folder.config.segment_bytes = 1 << 10;
    let store = folder.open();
    for at in 0..2_000 {
        accept(&store, &write(1, at, 0, &[], "profile"));
    }
    drop(store);
    let report = folder.check();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}
