//! What a crash, a power failure or a bad disk leaves behind, and what the next start makes of it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use towpath_policy::Write;
use towpath_protocol::EventId;
use towpath_store::{Error, EventStore, Outcome, Seq};

use super::fixture::{Folder, accept, commit, copy, copy_dir, everything, note, write};
use super::vanish::carry_out;
use crate::disk::Disk;
use crate::disk::faults::Faults;
use crate::log::record::{HEADER_BYTES, Header, MAGIC, Record, VERSION};
use crate::log::recovery::recover;
use crate::open::open_on;
use crate::{EmbeddedStore, Problem};

/// The first and last byte of each record of a log file.
pub(super) fn records(file: &Path) -> Vec<std::ops::Range<usize>> {
    let bytes = std::fs::read(file).unwrap();
    let mut at = 0;
    let mut found = Vec::new();
    while let Some(header) = Header::parse(&bytes[at..(at + HEADER_BYTES).min(bytes.len())]) {
        found.push(at..at + header.record_bytes());
        at += header.record_bytes();
    }
    found
}

pub(super) fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(file).unwrap();
    change(&mut bytes);
    std::fs::write(file, bytes).unwrap();
}

fn corruption(folder: &Folder) -> String {
    match EmbeddedStore::open(folder.config.clone()) {
        Err(Error::Corrupt(what)) => what,
        other => panic!("{other:?}"),
    }
}

/// A folder with three commits, and one with a fourth that the index does not know of.
fn three_and_four() -> (Folder, Folder) {
    three_and(&write(1, 4, 1, &[&["t", "x"]], "the last"))
}

fn three_and(fourth: &Write) -> (Folder, Folder) {
    let three = Folder::new();
    let store = three.open();
    for at in 1..=3 {
        accept(&store, &note(1, at));
    }
    drop(store);
    let four = copy(&three);
    let store = four.open();
    accept(&store, fourth);
    drop(store);
    std::fs::remove_dir_all(four.config.index_dir()).unwrap();
    copy_dir(&three.config.index_dir(), &four.config.index_dir());
    (three, four)
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    let folder = Folder::new();
    let store = folder.open();
    for at in 0..500 {
        accept(&store, &note(1, at));
    }
    store.stats().unwrap();
    let left = copy(&folder);
    let before = everything(&store);
    let store = left.open();
    assert_eq!(everything(&store), before);
    assert_eq!(
        commit(&store, vec![note(1, 1), note(1, 1_000)]).outcomes,
        [Outcome::Duplicate, Outcome::Accepted(Seq(501))]
    );
    drop(store);
    assert!(left.check().problems.is_empty());
}

#[test]
fn a_batch_torn_at_any_byte_is_dropped_whole_and_overwritten() {
    is_dropped_torn_at_any_byte(&three_and_four().1);
}

/// A deletion request whose ids, one behind the other, are a record of nothing that follows on everything.
fn deletion_that_holds_a_record() -> Write {
    let mut ids = [0; 3 * 32];
    ids[..4].copy_from_slice(&MAGIC);
    ids[4..6].copy_from_slice(&VERSION.to_le_bytes());
    ids[20..28].fill(0xFF);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&ids[..12]), &ids[16..HEADER_BYTES]);
    ids[12..16].copy_from_slice(&crc.to_le_bytes());
    let record = Record::parse(&bytes::Bytes::copy_from_slice(&ids[..HEADER_BYTES])).unwrap();
    assert_eq!(record.header.first_seq, Seq(u64::MAX));
    let ids: Vec<String> = ids.as_chunks().0.iter().map(|id| EventId::from_bytes(*id).to_hex()).collect();
    let tags: Vec<[&str; 2]> = ids.iter().map(|id| ["e", id.as_str()]).collect();
    let tags: Vec<&[&str]> = tags.iter().map(|tag| &tag[..]).collect();
    write(1, 4, 5, &tags, "")
}

/// Once, ids stood in the log as they are: a client could have a torn batch taken for damage in the middle of the log, and no start
/// succeeded.
#[test]
fn what_a_client_sent_in_a_torn_batch_is_no_record() {
    is_dropped_torn_at_any_byte(&three_and(&deletion_that_holds_a_record()).1);
}

fn is_dropped_torn_at_any_byte(four: &Folder) {
    let file = &four.log_files()[0];
    let last = records(file)[3].clone();
    let bytes = std::fs::read(file).unwrap();
    for cut in last.clone() {
        for zeroes_behind in [0, 5_000] {
            std::fs::write(file, [&bytes[..cut], &vec![0; zeroes_behind]].concat()).unwrap();
            let (_, appender) = recover(&four.config.log_dir(), Disk::new(false, 0), 64 << 10).unwrap();
            assert_eq!((appender.next_seq(), appender.end()), (Seq(4), last.start as u64), "cut at {cut}");
            let rest = std::fs::read(file).unwrap().split_off(last.start);
            assert!(rest.iter().all(|byte| *byte == 0), "cut at {cut}");
        }
    }
    let cut = last.start + 200;
    std::fs::write(file, &bytes[..cut]).unwrap();
    let store = four.open();
    accept(&store, &note(2, 9));
    drop(store);
    assert_eq!(everything(&four.open()).len(), 4);
    assert!(four.check().problems.is_empty());
}

/// What a process that was killed left of a commit may only be with the operating system. Once, a start took it for durable.
#[test]
fn a_log_that_cannot_be_synced_is_not_opened() {
    let (_, four) = three_and_four();
    let file = &four.log_files()[0];
    let end = records(file)[3].end;
    change(file, |bytes| bytes.truncate(end));
    let open = |fault: fn(&Faults) -> &AtomicBool| {
        let disk = Disk::new(true, 0);
        fault(&disk.faults).store(true, Ordering::SeqCst);
        recover(&four.config.log_dir(), disk, 64 << 10)
    };
    assert!(matches!(open(|faults| &faults.sync), Err(Error::Io { .. })));
    assert!(matches!(open(|faults| &faults.sync_names), Err(Error::Io { .. })));
    assert!(matches!(open(|faults| &faults.short_write), Err(Error::Full)), "the last batch is written once more");
    let (_, appender) = open(|faults| &faults.full).unwrap();
    assert_eq!(appender.next_seq(), Seq(5), "what is not filled ahead can wait");
}

/// A folder whose last log file, of a few records, has the name it was made under, as a power failure may leave it; that file, and how
/// many events there are.
pub(super) fn with_a_lost_name() -> (Folder, PathBuf, usize) {
    let folder = Folder::new();
    let store = folder.open();
    let mut times = 0..;
    let mut accept = || drop(accept(&store, &note(1, times.next().unwrap())));
    while folder.log_files().len() < 3 {
        accept();
    }
    (0..3).for_each(|_| accept());
    let events = everything(&store).len();
    drop(store);
    let last = folder.log_files().pop().unwrap();
    let unnamed = folder.config.log_dir().join("next-7.draft");
    std::fs::rename(last, &unnamed).unwrap();
    (folder, unnamed, events)
}

/// Committed to it was all that is in it, whatever its name.
#[test]
fn a_log_file_is_found_without_its_name() {
    let (folder, unnamed, before) = with_a_lost_name();
    let store = folder.open();
    assert_eq!((everything(&store).len(), folder.log_files().len()), (before, 3));
    assert!(!unnamed.exists());
    assert_eq!(commit(&store, vec![note(2, 1)]).outcomes, [Outcome::Accepted(Seq(before as u64 + 1))]);
    let events = everything(&store);
    drop(store);
    // Two of them, one behind the other; and one that has its name as well.
    let named = folder.log_files();
    let [.., before_last, last] = &named[..] else { panic!("{named:?}") };
    std::fs::rename(before_last, folder.config.log_dir().join("next-0.draft")).unwrap();
    std::fs::hard_link(last, folder.config.log_dir().join("next-1.draft")).unwrap();
    let twice = copy(&folder);
    std::fs::remove_file(twice.log_files().pop().unwrap()).unwrap();
    for folder in [folder, twice] {
        assert_eq!(everything(&folder.open()), events);
        assert_eq!(folder.log_files().len(), named.len());
        assert!(folder.check().problems.is_empty());
    }
}

/// The power failed before the first commit to it was synced, or before there was one.
#[test]
fn a_log_file_without_its_name_and_without_a_whole_batch_was_never_begun() {
    let (begun, unnamed, _) = with_a_lost_name();
    let first = records(&unnamed)[0].clone();
    let (bytes, before) = (std::fs::read(&unnamed).unwrap(), begun.log_files());
    let last = std::fs::read(before.last().unwrap()).unwrap();
    std::fs::remove_dir_all(begun.config.index_dir()).unwrap();
    for cut in [0, 1, HEADER_BYTES, first.end - 1] {
        std::fs::write(&unnamed, [&bytes[..cut], &[0; 5_000]].concat()).unwrap();
        let (_, appender) = recover(&begun.config.log_dir(), Disk::new(false, 0), 64 << 10).unwrap();
        assert_eq!(appender.end(), last.len() as u64, "cut at {cut}");
        assert!(!unnamed.exists() && begun.log_files() == before);
    }
    let store = begun.open();
    let events = everything(&store).len() + 1;
    accept(&store, &note(2, 9));
    drop(store);
    assert_eq!(everything(&begun.open()).len(), events);
    assert!(begun.check().problems.is_empty());
}

#[test]
fn damage_to_a_log_file_without_its_name_is_named_and_the_file_stays() {
    let (folder, unnamed, _) = with_a_lost_name();
    let first = records(&unnamed)[0].clone();
    change(&unnamed, |bytes| bytes[first].fill(0));
    assert!(corruption(&folder).contains("next-7.draft is damaged at byte 0"));
    assert!(unnamed.exists());
}

/// Once, whatever had a name that began like theirs was taken for one that was not begun, and removed.
#[test]
fn a_file_that_is_none_of_the_logs_stays() {
    let folder = Folder::new();
    drop(folder.open());
    let others = ["next-steps.txt", "next-.draft", "next-1x.draft"].map(|name| folder.config.log_dir().join(name));
    others.iter().for_each(|file| std::fs::write(file, "mine").unwrap());
    drop(folder.open());
    assert!(others.iter().all(|file| file.exists()));
}

#[test]
fn a_batch_whose_first_block_never_reached_the_disk_is_dropped() {
    let (_, four) = three_and_four();
    let file = &four.log_files()[0];
    let last = records(file)[3].clone();
    change(file, |bytes| bytes[last.start..last.start + 100].fill(0));
    let store = four.open();
    assert_eq!(everything(&store).len(), 3);
    accept(&store, &note(2, 9));
    drop(store);
    assert!(four.check().problems.is_empty());
}

#[test]
fn a_whole_batch_that_the_index_lacks_is_indexed() {
    let (_, four) = three_and_four();
    assert_eq!(everything(&four.open()).len(), 4);
    assert!(four.check().problems.is_empty());
}

#[test]
fn damage_with_good_records_behind_it_is_named_not_cut_off() {
    let (_, four) = three_and_four();
    let file = &four.log_files()[0];
    let second = records(file)[1].clone();
    for at in [second.start, second.start + 9, second.start + 30, second.start + 100, second.end - 1] {
        let damaged = copy(&four);
        change(&damaged.log_files()[0], |bytes| bytes[at] ^= 1);
        let what = corruption(&damaged);
        assert!(what.contains(&format!("00001.0.seg is damaged at byte {}", second.start)), "{what}");
    }
    change(file, |bytes| bytes[second.clone()].fill(0));
    assert!(corruption(&four).contains("is damaged"));
}

#[test]
fn a_lost_end_that_the_index_remembers_is_named_unless_nothing_was_synced() {
    let (_, mut four) = three_and_four();
    drop(four.open());
    let file = &four.log_files()[0];
    let last = records(file)[3].clone();
    change(file, |bytes| bytes[last.start + 60] ^= 1);
    four.config.sync = true;
    assert!(corruption(&four).starts_with("the log ends with entry 3, and 4 had been committed"));
    four.config.sync = false;
    assert_eq!(everything(&four.open()).len(), 3);
    assert!(four.check().problems.is_empty());
}

#[test]
fn a_lost_log_file_is_named() {
    let folder = Folder::new();
    let store = folder.open();
    for at in 0..800 {
        accept(&store, &note(1, at));
    }
    drop(store);
    let files = folder.log_files();
    assert!(files.len() >= 3, "{files:?}");
    std::fs::remove_file(&files[1]).unwrap();
    assert!(folder.check().problems.iter().any(|problem| matches!(problem, Problem::Gap { .. })));
    std::fs::remove_dir_all(folder.config.index_dir()).unwrap();
    assert!(corruption(&folder).contains("the log has no entries from"));
    std::fs::remove_file(&files[0]).unwrap();
    assert!(corruption(&folder).contains("the log has no entries from 1 to"));
}

#[test]
fn damage_to_a_closed_file_is_found_by_reading_and_by_checking() {
    let folder = Folder::new();
    let store = folder.open();
    for at in 0..400 {
        accept(&store, &note(1, at));
    }
    drop(store);
    let file = &folder.log_files()[0];
    let second = records(file)[1].clone();
    change(file, |bytes| bytes[second.end - 20] ^= 1);
    let report = folder.check();
    assert!(report.problems[0].to_string().contains(&format!("is damaged at byte {}", second.start)), "{report:?}");
    let store = folder.open();
    let filters = [(towpath_protocol::Filter::default(), towpath_store::FilterLimit::newest(1_000))];
    let query =
        towpath_store::Query { filters: filters.to_vec().into(), cursor: None, visible: std::sync::Arc::new(|_| true) };
    let budget = towpath_store::Budget { events_max: 1_000, bytes_max: usize::MAX, spent: &|| false };
    let failure = store.scan(query).unwrap().next(budget, &mut Vec::new()).unwrap_err();
    assert!(failure.to_string().contains("entry 2 in log file"), "{failure}");
}

#[test]
fn an_index_that_a_power_failure_may_have_torn_is_rebuilt() {
    let folder = Folder::new();
    let store = folder.open();
    for at in 0..200 {
        accept(&store, &note(1, at));
        accept(&store, &write(2, at, 0, &[], ""));
    }
    let id = note(1, 7).event().id().to_hex();
    accept(&store, &write(1, 900, 5, &[&["e", &id]], ""));
    accept(&store, &write(2, 100, 62, &[&["relay", "ALL_RELAYS"]], ""));
    accept(&store, &write(3, 901, 1, &[&["expiration", "2000"]], ""));
    carry_out(&store);
    let before = (everything(&store), store.stats().unwrap());
    drop(store);
    change(&folder.config.index_dir().join("data.mdb"), |bytes| {
        let half = bytes.len() / 2;
        bytes[8192..half].fill(0xA5);
    });
    std::fs::write(folder.config.index_dir().join("state"), "dirty another-boot\n").unwrap();
    let store = folder.open();
    let after = (everything(&store), store.stats().unwrap());
    assert_eq!(after.0, before.0);
    assert_eq!(
        (after.1.events, after.1.last_seq, after.1.live_bytes),
        (before.1.events, before.1.last_seq, before.1.live_bytes)
    );
    assert_eq!(
        commit(&store, vec![note(1, 7), write(2, 99, 1, &[], "late")]).outcomes,
        [Outcome::Deleted, Outcome::Vanished]
    );
    drop(store);
    let report = folder.check();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

/// Once, what was left of it was taken for a whole index, whose hashes were missing.
#[test]
fn an_old_index_whose_removal_was_cut_short_is_rebuilt() {
    let folder = Folder::new();
    let store = folder.open();
    (0..300).for_each(|at| drop(accept(&store, &note(1, at))));
    let heads = store.heads();
    let last = accept(&store, &note(1, 300));
    drop(store);
    // An index ahead of the log, which is made anew.
    let file = folder.log_files().pop().unwrap();
    let torn = records(&file).pop().unwrap();
    change(&file, |bytes| bytes[torn.end - 1] ^= 1);
    let disk = Disk::new(false, 0);
    disk.faults.removal.store(true, Ordering::SeqCst);
    let failure = open_on(disk, folder.config.clone(), &mut |_, _| ControlFlow::Continue(())).unwrap_err();
    assert!(failure.to_string().starts_with("remove the old index"), "{failure}");
    let store = folder.open();
    assert_eq!(store.heads(), heads);
    assert!(store.place_of(&last.id()).unwrap().is_none());
    drop(store);
    assert!(folder.check().problems.is_empty());
}

#[test]
fn a_rebuild_tells_how_far_it_is_and_ends_when_told_to() {
    let folder = Folder::new();
    let store = folder.open();
    for at in 0..100 {
        accept(&store, &note(1, at));
    }
    drop(store);
    let open = |progress: &mut crate::Progress<'_>| EmbeddedStore::open_reporting(folder.config.clone(), progress);
    let nothing_to_tell = open(&mut |done, of| panic!("{done} of {of} of a whole index"));
    drop(nothing_to_tell.unwrap());
    std::fs::remove_file(folder.config.index_dir().join("state")).unwrap();
    let ended = open(&mut |done, _| if done < 150 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) });
    assert!(matches!(ended, Err(Error::Closed(_))), "{ended:?}");
    let mut told = Vec::new();
    let store = open(&mut |done, of| {
        told.push((done, of));
        ControlFlow::Continue(())
    });
    assert_eq!(told, (1..=200).map(|done| (done, 200)).collect::<Vec<_>>());
    assert_eq!(everything(&store.unwrap()).len(), 100);
}

#[test]
fn an_index_that_cannot_be_opened_is_rebuilt() {
    let folder = Folder::new();
    let store = folder.open();
    accept(&store, &note(1, 1));
    drop(store);
    std::fs::write(folder.config.index_dir().join("data.mdb"), b"no database").unwrap();
    assert_eq!(everything(&folder.open()).len(), 1);
}

#[test]
fn a_check_finds_what_the_index_has_lost_or_made_up() {
    let folder = Folder::new();
    let store = folder.open();
    accept(&store, &note(1, 1));
    accept(&store, &note(1, 2));
    store.stats().unwrap();
    let index = &store.0.shared.index;
    let mut txn = index.write().unwrap();
    index.delete(index.ids, &mut txn, note(1, 1).event().id().as_bytes()).unwrap();
    index.put(index.expiry, &mut txn, &[0; 16], &[]).unwrap();
    index.commit(txn).unwrap();
    drop(store);
    let report = folder.check();
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "entry 1 is not, or wrongly, in the index table ids",
            "the index table ids holds 1 entries where the log accounts for 2",
            "the index table expiry holds 1 entries where the log accounts for 0",
        ]
    );
}
