//! Backups: taken while the store is in use, gone on with, and restored to what was committed.

use std::os::unix::fs::PermissionsExt;

use towpath_store::{Batch, EventStore, Seq};

use super::compaction::with_deletions;
use super::crash::with_a_lost_name;
use super::fixture::{Folder, accept, copy, everything, note};
use crate::open::lock;
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

/// Of files by name.
fn contents(folder: &std::path::Path) -> std::collections::BTreeMap<std::ffi::OsString, Vec<u8>> {
    let files = std::fs::read_dir(folder.join("log")).unwrap().map(|file| file.unwrap());
    files.map(|file| (file.file_name(), std::fs::read(file.path()).unwrap())).collect()
}

/// A disk was lost and the relay began anew; or an older copy was put back and went another way.
#[test]
fn a_backup_of_another_log_is_left_as_it_is() {
    let (folder, to) = (Folder::new(), tempfile::tempdir().unwrap());
    let store = folder.open();
    (0..400).for_each(|n| drop(accept(&store, &note(1, n))));
    drop(store);
    backup(&folder.config.dir, to.path()).unwrap();
    let before = contents(to.path());
    assert!(before.len() > 1, "several files");
    for events in [0, 3, 40, 900] {
        let other = Folder::new();
        let store = other.open();
        (0..events).for_each(|n| drop(accept(&store, &note(2, n))));
        drop(store);
        let refusal = backup(&other.config.dir, to.path()).expect_err("another log").to_string();
        assert!(refusal.contains("back up to another folder"), "{refusal}");
        assert_eq!(contents(to.path()), before, "{events} events");
    }
    // The same log as it was once.
    let last = folder.log_files().pop().unwrap();
    std::fs::remove_file(last).unwrap();
    backup(&folder.config.dir, to.path()).expect_err("the backup is ahead");
    assert_eq!(contents(to.path()), before);
}

/// What the operator does with a disk that came back: the copy of an hour ago goes on, longer than the backup was.
#[test]
fn a_backup_that_has_more_than_the_log_that_went_on_from_an_older_copy_is_left_as_it_is() {
    let (folder, to) = (Folder::new(), tempfile::tempdir().unwrap());
    let store = folder.open();
    (0..300).for_each(|n| drop(accept(&store, &note(1, n))));
    let older = copy(&folder);
    (300..600).for_each(|n| drop(accept(&store, &note(1, n))));
    backup(&folder.config.dir, to.path()).unwrap();
    let before = contents(to.path());
    let store = older.open();
    (0..900).for_each(|n| drop(accept(&store, &note(2, n))));
    let refusal = backup(&older.config.dir, to.path()).expect_err("another way").to_string();
    assert!(refusal.contains("the log has another commit at entry 301"), "{refusal}");
    assert_eq!(contents(to.path()), before);
}

/// Once, a relay that was told to back its data folder up to that very folder lost its next log file and what it wrote meanwhile.
#[test]
fn nothing_is_written_to_a_folder_that_is_in_use() {
    let folder = Folder::new();
    let store = folder.open();
    (0..40).for_each(|n| drop(accept(&store, &note(1, n))));
    let draft = folder.config.log_dir().join("next-99.draft");
    std::fs::write(&draft, "the next log file").unwrap();
    let before = contents(folder.dir.path());
    let refusal = backup(folder.dir.path(), folder.dir.path()).expect_err("a relay's").to_string();
    assert!(refusal.contains("is in use"), "{refusal}");
    assert_eq!(contents(folder.dir.path()), before);
    drop(store);
    let before = contents(folder.dir.path());
    let refusal = backup(folder.dir.path(), folder.dir.path()).expect_err("nobody has it").to_string();
    assert!(refusal.contains("the data folder itself"), "{refusal}");
    assert_eq!(contents(folder.dir.path()), before);

    let to = tempfile::tempdir().unwrap();
    let other_backup = lock(&to.path().join("lock")).unwrap();
    backup(folder.dir.path(), to.path()).expect_err("another backup has it");
    drop(other_backup);
    backup(folder.dir.path(), to.path()).unwrap();
    let data = tempfile::tempdir().unwrap();
    let other_restore = lock(&data.path().join("lock")).unwrap();
    let refusal = restore(to.path(), data.path()).expect_err("another restore has it").to_string();
    assert!(refusal.contains("is in use"), "{refusal}");
    drop(other_restore);
    restore(to.path(), data.path()).unwrap();
}

/// Once, what had been committed to it was not in the backup, and nobody was told.
#[test]
fn a_log_whose_last_file_has_lost_its_name_is_backed_up_once_it_was_started() {
    let ((folder, unnamed, events), to) = (with_a_lost_name(), tempfile::tempdir().unwrap());
    let refusal = backup(folder.dir.path(), to.path()).expect_err("it is not all there").to_string();
    assert!(refusal.contains(&*unnamed.to_string_lossy()), "{refusal}");
    let _store = folder.open();
    // One that is not begun yet is nothing to wait for.
    std::fs::write(&unnamed, [0; 5_000]).unwrap();
    backup(folder.dir.path(), to.path()).unwrap();
    let (_home, again) = restored(to.path());
    assert_eq!(everything(&again).len(), events);
}

#[test]
fn a_backup_goes_on_though_the_log_is_empty_and_though_somebody_looked_into_it() {
    let (folder, to) = (Folder::new(), tempfile::tempdir().unwrap());
    let store = folder.open();
    for _ in 0..2 {
        assert_eq!(backup(&folder.config.dir, to.path()).unwrap().last, Seq(0));
    }
    (0..40).for_each(|n| drop(accept(&store, &note(1, n))));
    backup(&folder.config.dir, to.path()).unwrap();
    // Whoever opens it has its file filled with zeroes, and an index made.
    let looking = Config { segment_bytes: 1 << 20, ..Config::at(to.path()) };
    assert_eq!(everything(&EmbeddedStore::open(looking).unwrap()).len(), 40);
    std::fs::write(to.path().join("log/00000000000000000001.0.tmp"), "a draft").unwrap();
    (40..60).for_each(|n| drop(accept(&store, &note(1, n))));
    assert_eq!(backup(&folder.config.dir, to.path()).unwrap().last, Seq(60));
    assert!(contents(to.path()).keys().all(|name| !name.to_string_lossy().ends_with("tmp")));
    let (_home, again) = restored(to.path());
    assert_eq!(everything(&again), everything(&store));
}

#[test]
fn what_is_erased_goes_from_the_backup_too_and_an_older_copy_does_not_bring_it_back() {
    let (folder, to) = (Folder::new(), tempfile::tempdir().unwrap());
    let store = with_deletions(&folder);
    let older = copy(&folder);
    backup(&folder.config.dir, to.path()).unwrap();
    let holds =
        |text: &str| contents(to.path()).values().any(|file| memchr::memmem::find(file, text.as_bytes()).is_some());
    assert!(holds("doomed-150"));
    while store.maintain(20).unwrap() {}
    for _ in 0..2 {
        backup(&folder.config.dir, to.path()).unwrap();
        assert!(!holds("doomed-150"));
        let (_home, again) = restored(to.path());
        assert_eq!(everything(&again), everything(&store));
    }
    let refusal = backup(&older.config.dir, to.path()).expect_err("an older state").to_string();
    assert!(refusal.contains("an older state of this file"), "{refusal}");
    assert!(!holds("doomed-150"));
}

/// The machine died while the backup was brought up to date: all but the half record is there.
#[test]
fn a_backup_that_was_cut_short_is_restored_up_to_its_last_whole_record() {
    let (folder, to) = (Folder::new(), tempfile::tempdir().unwrap());
    let store = folder.open();
    (0..40).for_each(|n| drop(accept(&store, &note(1, n))));
    backup(&folder.config.dir, to.path()).unwrap();
    let file = std::fs::read_dir(to.path().join("log")).unwrap().next().unwrap().unwrap().path();
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(file.metadata().unwrap().len() - 100).unwrap();
    let (_home, again) = restored(to.path());
    assert_eq!(everything(&again).len(), 39);
}

#[test]
fn a_restore_that_was_cut_short_is_done_again_and_damage_is_named() {
    let (folder, to) = (Folder::new(), tempfile::tempdir().unwrap());
    let store = folder.open();
    (0..40).for_each(|n| drop(accept(&store, &note(1, n))));
    backup(&folder.config.dir, to.path()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    std::fs::create_dir_all(data.join("log.restoring")).unwrap();
    std::fs::write(data.join("log.restoring/00000000000000000001.0.seg"), "half").unwrap();
    assert_eq!(restore(to.path(), &data).unwrap().last, Seq(40));
    assert_eq!(everything(&EmbeddedStore::open(Config::at(&data)).unwrap()).len(), 40);

    std::fs::remove_dir_all(data.join("log")).unwrap();
    let refusal = restore(to.path(), &data).expect_err("an old index is there").to_string();
    assert!(refusal.contains("index is there already"), "{refusal}");
    let file = std::fs::read_dir(to.path().join("log")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[500] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let refusal = restore(to.path(), &home.path().join("other")).expect_err("damaged").to_string();
    assert!(refusal.contains("is damaged at byte"), "{refusal}");
    assert!(!home.path().join("other/log").exists());
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

/// Every user of the machine could read what was in the log and in its backup, private messages included.
#[test]
fn a_data_folder_and_its_backup_are_for_their_owner_alone() {
    let home = tempfile::tempdir().unwrap();
    let (data, to) = (home.path().join("data"), home.path().join("backup"));
    let config = Config { segment_bytes: 1 << 20, index_bytes_max: 1 << 30, free_bytes_min: 0, ..Config::at(&data) };
    let store = EmbeddedStore::open(config).unwrap();
    accept(&store, &note(1, 1));
    backup(&data, &to).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for folder in [data, to] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for file in std::fs::read_dir(folder.join("log")).unwrap() {
            let file = file.unwrap().path();
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    }
}
