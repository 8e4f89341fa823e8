//! Backups: taken while the store is in use, gone on with, and restored to what was committed.

use towpath_store::{Batch, EventStore, Seq};

use super::fixture::{Folder, accept, everything, note};
use crate::{Config, EmbeddedStore, backup, check, restore};

fn restored(from: &std::path::Path) -> (tempfile::TempDir, EmbeddedStore) {
    let home = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 1 << 20, ..Config::at(home.path().join("data")) };
    restore(from, &config.dir).unwrap();
    let report = check(config.clone(), &mut |_, _| ()).unwrap();
    assert_eq!(report.problems_total, 0, "{:?}", report.problems);
    let store = EmbeddedStore::open(config).unwrap();
    (home, store)
}

#[test]
fn a_backup_of_a_store_in_use_restores_to_what_was_committed_and_grows_by_what_came_since() {
    let (folder, to) = (Folder::new(), tempfile::tempdir().unwrap());
    let store = folder.open();
    let mut copied = Vec::new();
    for round in 0..3_u64 {
        (0..40).for_each(|n| drop(accept(&store, &note(1, round * 1_000 + n))));
        let report = backup(&folder.config.dir, to.path()).unwrap();
        assert_eq!(report.last, Seq((round + 1) * 40));
        copied.push(report.copied_bytes);
        let (_home, again) = restored(to.path());
        assert_eq!(everything(&again), everything(&store));
        assert_eq!(again.heads(), store.heads());
    }
    assert!(copied[2] < copied.iter().sum::<u64>() / 2, "only what is new is copied: {copied:?}");
    assert_eq!(backup(&folder.config.dir, to.path()).unwrap().copied_bytes, 0);
}

#[test]
fn a_copy_cut_short_is_gone_on_with() {
    let (folder, to) = (Folder::new(), tempfile::tempdir().unwrap());
    let store = folder.open();
    (0..40).for_each(|n| drop(accept(&store, &note(1, n))));
    backup(&folder.config.dir, to.path()).unwrap();
    for file in std::fs::read_dir(to.path().join("log")).unwrap() {
        let file = std::fs::OpenOptions::new().write(true).open(file.unwrap().path()).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(100)).unwrap();
    }
    backup(&folder.config.dir, to.path()).unwrap();
    let (_home, again) = restored(to.path());
    assert_eq!(everything(&again), everything(&store));
}

#[test]
fn nothing_is_restored_over_a_store_or_from_nothing() {
    let (folder, to) = (Folder::new(), tempfile::tempdir().unwrap());
    let store = folder.open();
    store.commit(Batch::of(vec![note(1, 1)], 1)).unwrap();
    backup(&folder.config.dir, to.path()).unwrap();
    assert!(restore(to.path(), &folder.config.dir).is_err());
    let empty = tempfile::tempdir().unwrap();
    assert!(restore(empty.path(), &empty.path().join("data")).is_err());
}
