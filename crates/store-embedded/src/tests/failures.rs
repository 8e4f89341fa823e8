//! Disks that are full or failing.

use std::sync::atomic::{AtomicBool, Ordering};

use towpath_store::{Batch, Error, EventStore, Outcome, Seq};

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
    assert!(matches!(store.health(), Err(Error::Full)));
    drop(store);
    folder.config = Config { index_bytes_max: 1 << 30, ..folder.config };
    assert_eq!(everything(&folder.open()).len() as u64, accepted);
    assert!(folder.check().problems.is_empty());
}
