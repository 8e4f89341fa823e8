//! Disks that are full or failing.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use towpath_store::{Batch, Error, EventStore, Outcome, Seq};

use super::compaction::{on_disk, with_deletions};
use super::crash::{change, records};
use super::fixture::{Folder, accept, commit, everything, note, write};
use crate::disk::faults::Faults;
use crate::{Config, EmbeddedStore};

fn fault(store: &EmbeddedStore, which: impl Fn(&Faults) -> &AtomicBool, on: bool) {
    which(&store.0.shared.log.disk.faults).store(on, Ordering::SeqCst);
}

fn try_commit(store: &EmbeddedStore, at: u64) -> Result<Vec<Outcome>, Error> {
    // Larger than what is zeroed ahead of it.
    let large = write(1, at, 1, &[], &"x".repeat(2 << 20));
    store.commit(Batch::of(vec![large], 1)).map(|committed| committed.outcomes)
}

#[test]
fn a_full_disk_refuses_commits_until_there_is_room() {
    let folder = Folder::new();
    let store = folder.open();
    accept(&store, &note(1, 1));
    fault(&store, |faults| &faults.full, true);
    assert!(matches!(try_commit(&store, 2), Err(Error::Full)));
    assert!(matches!(store.health(), Err(Error::Full)));
    assert_eq!(everything(&store).len(), 1);
    fault(&store, |faults| &faults.full, false);
    store.health().unwrap();
    assert_eq!(try_commit(&store, 2).unwrap(), [Outcome::Accepted(Seq(2))]);
    drop(store);
    assert!(folder.check().problems.is_empty());
}

/// Once, not even the entry that says what expired could be written, and nothing behind it in upkeep was done.
#[test]
fn a_disk_at_its_reserve_lets_events_expire_and_gets_their_room_back() {
    let mut folder = Folder::new();
    let store = folder.open();
    for at in 0..400 {
        accept(&store, &write(1, at, 1, &[&["expiration", "50"]], &format!("doomed-{at:03}")));
    }
    drop(store);
    let files = folder.log_files();
    assert!(files.len() > 1, "several files");
    // Nothing is zeroed ahead, and no disk has as much to spare as this.
    let last = &files[files.len() - 1];
    let end = records(last).pop().unwrap().end;
    change(last, |bytes| bytes.truncate(end));
    folder.config.free_bytes_min = u64::MAX;
    let store = folder.open();
    let refused = || matches!(store.commit(Batch::of(vec![note(1, 1)], 1)), Err(Error::Full));
    assert!(refused());
    while store.maintain(50).unwrap() {}
    assert!(everything(&store).is_empty());
    assert!(!on_disk(&folder, "doomed-000"));
    assert!(refused(), "the reserve is not for commits");
    drop(store);
    assert!(folder.check().problems.is_empty());
}

/// As long as the log takes no entries, for one.
#[test]
fn what_cannot_expire_keeps_upkeep_from_nothing_else() {
    let folder = Folder::new();
    let store = with_deletions(&folder);
    accept(&store, &write(3, 1, 1, &[&["expiration", "20"]], ""));
    let oldest = folder.log_files().remove(0);
    fault(&store, |faults| &faults.sync, true);
    assert!(store.commit(Batch::of(vec![note(1, 2)], 1)).is_err());
    fault(&store, |faults| &faults.sync, false);
    for now in 20..60 {
        let closed = store.maintain(now);
        assert!(matches!(closed, Err(Error::Closed(_))), "{closed:?}");
    }
    assert!(!oldest.exists());
    assert!(folder.marker().unwrap().starts_with("clean "));
}

/// It said that the disk is full, though it was not, and named no setting.
#[test]
fn a_log_that_is_not_begun_for_want_of_room_says_which_setting_asks_for_it() {
    let mut folder = Folder::new();
    folder.config.free_bytes_min = u64::MAX;
    let refused = EmbeddedStore::open(folder.config.clone()).unwrap_err().to_string();
    assert!(refused.contains("store.free_bytes_min"), "{refused}");
    folder.config.free_bytes_min = 0;
    accept(&folder.open(), &note(1, 1));
}

#[test]
fn a_write_that_stops_half_way_leaves_nothing_behind() {
    let folder = Folder::new();
    let store = folder.open();
    accept(&store, &note(1, 1));
    fault(&store, |faults| &faults.short_write, true);
    assert!(matches!(try_commit(&store, 2), Err(Error::Full)));
    fault(&store, |faults| &faults.short_write, false);
    assert_eq!(commit(&store, vec![note(1, 3)]).outcomes, [Outcome::Accepted(Seq(2))]);
    drop(store);
    assert_eq!(everything(&folder.open()).len(), 2);
    assert!(folder.check().problems.is_empty());
}

#[test]
fn a_failed_write_that_cannot_be_undone_closes_the_store() {
    let folder = Folder::new();
    let store = folder.open();
    accept(&store, &note(1, 1));
    store.stats().unwrap();
    fault(&store, |faults| &faults.short_write, true);
    fault(&store, |faults| &faults.no_undo, true);
    assert!(store.commit(Batch::of(vec![note(1, 2)], 1)).is_err());
    fault(&store, |faults| &faults.short_write, false);
    fault(&store, |faults| &faults.no_undo, false);
    let closed = store.commit(Batch::of(vec![note(1, 2)], 1));
    assert!(matches!(closed, Err(Error::Closed(_))), "{closed:?}");
    assert!(matches!(store.health(), Err(Error::Closed(_))));
    assert_eq!(everything(&store).len(), 1);
    drop(store);
    let store = folder.open();
    accept(&store, &note(1, 2));
    assert_eq!(everything(&store).len(), 2);
}

#[test]
fn a_failed_sync_closes_the_store_because_a_second_one_may_lie() {
    let folder = Folder::new();
    let store = folder.open();
    accept(&store, &note(1, 1));
    fault(&store, |faults| &faults.sync, true);
    assert!(matches!(store.commit(Batch::of(vec![note(1, 2)], 1)), Err(Error::Io { .. })));
    fault(&store, |faults| &faults.sync, false);
    let closed = store.commit(Batch::of(vec![note(1, 2)], 1));
    assert!(matches!(closed, Err(Error::Closed(_))), "{closed:?}");
    assert_eq!(everything(&store).len(), 1);
    drop(store);
    assert_eq!(everything(&folder.open()).len(), 1);
}

/// Once, the index was taken for marked dirty when it was marked clean.
#[test]
fn an_index_that_may_have_been_marked_clean_is_marked_before_it_is_written_to() {
    let folder = Folder::new();
    let store = folder.open();
    accept(&store, &note(1, 1));
    assert!(!store.maintain(100).unwrap());
    fault(&store, |faults| &faults.sync_names, true);
    assert!(matches!(store.maintain(105), Err(Error::Io { .. })));
    assert_eq!(folder.marker().unwrap(), "clean 1\n");
    fault(&store, |faults| &faults.sync_names, false);
    accept(&store, &note(1, 2));
    store.stats().unwrap();
    assert!(folder.marker().unwrap().starts_with("dirty "));
    assert!(!store.maintain(110).unwrap());
    store.maintain(115).unwrap();
    assert_eq!(folder.marker().unwrap(), "clean 2\n");
}

/// Once, the index was marked clean by the next checkpoint, whose sync no longer had the pages that were lost.
#[test]
fn an_index_that_could_not_be_synced_is_made_anew_at_the_next_start() {
    let folder = Folder::new();
    let store = folder.open();
    accept(&store, &note(1, 1));
    assert!(!store.maintain(100).unwrap());
    fault(&store, |faults| &faults.sync, true);
    assert!(matches!(store.maintain(105), Err(Error::Io { .. })));
    fault(&store, |faults| &faults.sync, false);
    assert_eq!(folder.marker(), None);
    store.maintain(110).unwrap();
    accept(&store, &note(1, 2));
    store.stats().unwrap();
    drop(store);
    assert_eq!(folder.marker(), None);
    let mut told = 0;
    let store = EmbeddedStore::open_reporting(folder.config.clone(), &mut |_, _| {
        told += 1;
        ControlFlow::Continue(())
    });
    assert_eq!(everything(&store.unwrap()).len(), 2);
    assert!(told > 0, "it is made anew");
    assert_eq!(folder.marker().unwrap(), "clean 2\n");
}

/// Once, for the seconds that it takes after a burst, nothing could be indexed, and so nothing read.
#[test]
fn the_index_can_be_written_to_while_it_is_synced() {
    let folder = Folder::new();
    let store = folder.open();
    accept(&store, &note(1, 1));
    store.stats().unwrap();
    let shared = store.shared();
    let faults = &shared.log.disk.faults;
    let before = faults.syncs.load(Ordering::SeqCst);
    faults.stall(true);
    let is_free = std::thread::scope(|scope| {
        let checkpoint = scope.spawn(|| shared.checkpoint());
        while faults.syncs.load(Ordering::SeqCst) == before {
            std::thread::yield_now();
        }
        let is_free = shared.marker.try_lock().is_some();
        faults.stall(false);
        checkpoint.join().unwrap().unwrap();
        is_free
    });
    assert!(is_free);
    assert_eq!(folder.marker().unwrap(), "clean 1\n");
}

#[test]
fn an_index_without_room_refuses_commits_and_loses_none() {
    let mut folder = Folder::new();
    folder.config.index_bytes_max = 512 << 10;
    let store = folder.open();
    let mut accepted = 0;
    let failure = loop {
        match store.commit(Batch::of(vec![note(1, accepted)], 1)) {
            Ok(_) => accepted += 1,
            Err(failure) => break failure,
        }
        assert!(accepted < 100_000);
    };
    assert!(matches!(failure, Error::Full), "{failure}");
    assert!(matches!(store.health(), Err(Error::Unavailable(_))), "nothing can be read, whatever room the disk has");
    drop(store);
    folder.config = Config { index_bytes_max: 1 << 30, ..folder.config };
    assert_eq!(everything(&folder.open()).len() as u64, accepted);
    assert!(folder.check().problems.is_empty());
}
