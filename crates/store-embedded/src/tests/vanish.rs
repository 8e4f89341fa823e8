//! Who vanishes with more events than go at once is gone from every answer with the commit; upkeep takes out in steps what is hidden.

use towpath_audit::Tree;
use towpath_policy::Write;
use towpath_protocol::{Event, Filter, Set};
use towpath_store::{EventStore, Outcome};

use super::compaction::log;
use super::fixture::{Folder, accept, commit, copy, everything, key, note, query, scan, write};
use crate::EmbeddedStore;

const NOTES: u64 = 1_200;
/// Up to here the first vanishes.
const UNTIL: u64 = 3_000;
/// The notes, a profile, two gift wraps and a note that expires.
const HIDDEN: u64 = NOTES + 4;

fn profile(at: u64) -> Write {
    write(1, at, 0, &[], "profile")
}

fn wrap(at: u64) -> Write {
    write(2, at, 1_059, &[&["p", &key(1).to_hex()]], "sealed")
}

fn vanish(at: u64) -> Write {
    write(1, at, 62, &[&["relay", "ALL_RELAYS"]], "")
}

fn delete(by: u8, at: u64, target: &Write) -> Write {
    write(by, at, 5, &[&["e", &target.event().id().to_hex()]], "")
}

/// The first has just vanished. There is a note of the second, and one of the first that is dated later.
fn that_the_first_left(folder: &Folder) -> EmbeddedStore {
    let store = folder.open();
    let notes: Vec<Write> = (1..=NOTES).map(|at| note(1, at)).collect();
    notes.chunks(400).for_each(|notes| drop(commit(&store, notes.to_vec())));
    commit(&store, (1..=20).map(profile).collect());
    let expiring = write(1, 12, 1, &[&["expiration", "500"]], "");
    commit(&store, vec![wrap(7), wrap(8), expiring, note(2, 13), note(1, UNTIL + 1)]);
    accept(&store, &vanish(UNTIL));
    store
}

fn dates(store: &EmbeddedStore) -> Vec<u64> {
    everything(store).iter().map(Event::created_at).collect()
}

fn held(store: &EmbeddedStore) -> u64 {
    store.stats().unwrap().events
}

/// How many steps it takes.
pub(super) fn carry_out(store: &EmbeddedStore) -> usize {
    store.stats().unwrap();
    let steps = (0..1_000).take_while(|_| store.shared().vanish_some().unwrap()).count();
    assert!(steps < 1_000, "it comes to an end");
    steps
}

#[test]
fn what_is_hidden_is_gone_from_every_answer() {
    let folder = Folder::new();
    let store = that_the_first_left(&folder);
    // Before the index has it, and after.
    for _ in 0..2 {
        for gone in [note(1, 7), profile(20), wrap(7)] {
            assert_eq!(store.place_of(&gone.event().id()).unwrap(), None);
        }
        assert!(store.place_of(&note(1, UNTIL + 1).event().id()).unwrap().is_some());
        assert_eq!(held(&store), 3 + HIDDEN);
    }
    assert_eq!(dates(&store), [UNTIL + 1, UNTIL, 13]);
    let of_first = Filter { authors: Some(Set::new(vec![key(1)])), ..Filter::default() };
    assert_eq!(scan(&store, query(vec![of_first], 10)).0.len(), 2);
    let ids = vec![note(1, 7).event().id(), wrap(7).event().id()];
    assert!(scan(&store, query(vec![Filter { ids: Some(Set::new(ids)), ..Filter::default() }], 10)).0.is_empty());
    assert!(log(&store).last().unwrap().record.removed().is_empty(), "it is too much to be named");
}

#[test]
fn what_is_hidden_is_no_duplicate_no_version_and_no_target() {
    let folder = Folder::new();
    let store = that_the_first_left(&folder);
    let before = log(&store).len();
    for _ in 0..2 {
        assert_eq!(commit(&store, vec![note(1, 7), wrap(7), profile(20)]).outcomes, [Outcome::Vanished; 3]);
        store.stats().unwrap();
    }
    accept(&store, &profile(4_000));
    accept(&store, &delete(1, 4_001, &note(1, 7)));
    accept(&store, &delete(2, 4_002, &wrap(7)));
    assert_eq!(commit(&store, vec![profile(3_999)]).outcomes, [Outcome::Superseded]);
    // By now the hidden note with a date has expired, too.
    while store.maintain(600).unwrap() {}
    let log = log(&store);
    assert_eq!(log.len(), before + 3, "nothing expired that was not there any more");
    assert!(log[before..].iter().all(|entry| entry.record.removed().is_empty()), "they took nobody's place");
    assert_eq!(dates(&store), [4_002, 4_001, 4_000, UNTIL + 1, UNTIL, 13]);
    assert_eq!(held(&store), 6);
    assert_eq!(commit(&store, vec![profile(3_998)]).outcomes, [Outcome::Superseded]);
    drop(store);
    assert!(folder.check().problems.is_empty());
}

#[test]
fn what_is_hidden_is_taken_out_in_steps_across_a_restart_and_another_request() {
    let folder = Folder::new();
    let store = that_the_first_left(&folder);
    assert!(store.maintain(1).unwrap());
    assert_eq!(held(&store), 3 + HIDDEN - folder.config.at_once.events as u64);
    let killed = copy(&folder);
    drop(store);
    let store = killed.open();
    assert_eq!(dates(&store), [UNTIL + 1, UNTIL, 13]);
    accept(&store, &vanish(UNTIL + 500));
    assert_eq!(dates(&store), [UNTIL + 500, UNTIL, 13]);
    while store.maintain(100).unwrap() {}
    assert_eq!((held(&store), dates(&store)), (3, vec![UNTIL + 500, UNTIL, 13]));
    let log = log(&store);
    let actors = log.iter().filter_map(|entry| entry.leaf.leaf()?.actor);
    assert_eq!(actors.filter(|actor| *actor == key(1)).count(), 2, "the rest is forgotten");
    let mut tree = Tree::new();
    log.iter().for_each(|entry| tree.append(entry.leaf.hash(), |_| ()));
    assert_eq!(store.heads()[0].1, tree.head(), "with the hashes that the leaves always had");
    drop(store);
    assert!(killed.check().problems.is_empty());
}

#[test]
fn an_index_made_anew_leaves_out_what_was_hidden() {
    let folder = Folder::new();
    drop(that_the_first_left(&folder));
    let (rebuilt, checked) = (copy(&folder), copy(&folder));
    assert!(checked.check().problems.is_empty());
    std::fs::remove_dir_all(rebuilt.config.index_dir()).unwrap();
    let (store, rebuilt) = (folder.open(), rebuilt.open());
    assert_eq!(held(&store), 3 + HIDDEN);
    carry_out(&store);
    let stats = |store: &EmbeddedStore| {
        let stats = store.stats().unwrap();
        (stats.events, stats.last_seq, stats.live_bytes)
    };
    assert_eq!(stats(&rebuilt), stats(&store));
    assert_eq!(held(&rebuilt), 3);
    assert_eq!(everything(&rebuilt), everything(&store));
}

/// Once, five hundred were in memory at the same time however long they were, while commits waited.
#[test]
fn what_goes_at_once_is_bounded_in_bytes() {
    let mut folder = Folder::new();
    folder.config.at_once.bytes = 2_000;
    let store = folder.open();
    let long = |by, at| write(by, at, 1, &[&["expiration", "500"]], &"x".repeat(900));
    commit(&store, (1..=7).flat_map(|at| [long(1, at), long(2, at)]).collect());
    store.stats().unwrap();
    assert_eq!(store.shared().due_to_expire(500).unwrap().len(), 2);
    accept(&store, &vanish(UNTIL));
    assert!(log(&store).last().unwrap().record.removed().is_empty(), "it is too much to be named");
    assert_eq!(carry_out(&store), 4, "two in a step");
    assert_eq!(dates(&store), [UNTIL, 7, 6, 5, 4, 3, 2, 1]);
    while store.maintain(500).unwrap() {}
    assert_eq!(held(&store), 1);
}

/// Once, each step looked through all that named them, from the first on.
#[test]
fn gift_wraps_are_found_among_much_that_stays() {
    let mut folder = Folder::new();
    folder.config.at_once.keys = 10;
    let store = folder.open();
    let to_first = key(1).to_hex();
    let mentions = (100..125).map(|at| write(3, at, 1, &[&["p", &to_first]], "stays"));
    commit(&store, mentions.chain([wrap(7), wrap(8), wrap(9), wrap(UNTIL + 2)]).collect());
    store.stats().unwrap();
    let before = copy(&folder);
    accept(&store, &vanish(UNTIL));
    assert_eq!(store.place_of(&wrap(7).event().id()).unwrap(), None);
    assert_eq!((carry_out(&store), held(&store)), (3, 27));
    drop(store);
    assert!(folder.check().problems.is_empty());
    // Who asks again meanwhile, and for more, has all of it looked through once more.
    let store = before.open();
    accept(&store, &vanish(UNTIL));
    store.stats().unwrap();
    assert!(store.shared().vanish_some().unwrap());
    accept(&store, &vanish(UNTIL + 5));
    carry_out(&store);
    assert_eq!(held(&store), 27);
    drop(store);
    assert!(before.check().problems.is_empty());
}
