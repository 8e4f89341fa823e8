//! A good log passes; every way of tampering with one is found and called by its name.

use towpath_policy::Source;
use towpath_protocol::SecretKey;

use super::*;
use crate::{Action, Leaf};

const STREAM: u32 = 3;

fn relay() -> SecretKey {
    SecretKey::from_bytes([7; 32]).unwrap()
}

#[derive(Clone)]
struct Entry {
    seq: u64,
    leaf: LeafState,
    event: Option<Event>,
}

fn entry(seq: u64, event: Event) -> Entry {
    let leaf = Leaf {
        stream: STREAM,
        seq,
        committed_at_ms: seq * 10,
        action: Action::Accepted,
        source: Some(if event.kind() == KIND_CHECKPOINT { Source::Relay } else { Source::Client }),
        event: Some((event.id(), event.kind())),
        actor: Some(event.pubkey()),
        group: None,
        removed: vec![],
        removed_elsewhere: vec![],
    };
    Entry { seq, leaf: LeafState::Whole(leaf), event: Some(event) }
}

fn note(n: u64) -> Event {
    let alice = SecretKey::from_bytes([1; 32]).unwrap();
    alice.sign(n, 1, &[], "a note", &[0; 32]).into_event()
}

/// Forty notes, of which the log holds a checkpoint behind every tenth; and the checkpoint over all of it.
fn log() -> (Vec<Entry>, Checkpoint) {
    let (mut log, mut tree) = (Vec::<Entry>::new(), Tree::new());
    for n in 1..=40 {
        let mut add = |event: Event, tree: &mut Tree| {
            let entry = entry(log.len() as u64 + 1, event);
            tree.append(entry.leaf.hash(), |_| ());
            log.push(entry);
        };
        add(note(n), &mut tree);
        if n % 10 == 0 {
            let checkpoint = Checkpoint::of_stream(relay().public_key(), STREAM, tree.head());
            add(checkpoint.to_event(&relay(), &checkpoint.text(), n, &[0; 32]).into_event(), &mut tree);
        }
    }
    (log, Checkpoint::of_cluster(relay().public_key(), vec![(STREAM, tree.head())]))
}

fn verify(log: &[Entry], kept: &[Checkpoint], head: Option<Head>) -> Report {
    verify_within(WINDOW, log, kept, head)
}

fn verify_within(window: u64, log: &[Entry], kept: &[Checkpoint], head: Option<Head>) -> Report {
    let mut verification = Verification::new(STREAM, relay().public_key(), kept);
    verification.recent = Recent::of(window);
    for entry in log {
        verification.entry(
            Seen { seq: entry.seq, committed_at_ms: entry.seq * 10, leaf: &entry.leaf, event: entry.event.as_ref() },
            |_| (),
        );
    }
    verification.finish(head)
}

fn problems(log: &[Entry]) -> Vec<Problem> {
    let kept = self::log().1;
    verify(log, std::slice::from_ref(&kept), kept.head_of(STREAM)).problems
}

/// Numbered anew, as somebody would who wants it to look whole, hashes and all.
fn renumbered(log: Vec<Entry>) -> Vec<Entry> {
    let renumber = |(mut entry, seq): (Entry, u64)| {
        entry.seq = seq;
        if let LeafState::Whole(leaf) = &mut entry.leaf {
            (leaf.seq, leaf.committed_at_ms) = (seq, seq * 10);
        }
        entry
    };
    log.into_iter().zip(1..).map(renumber).collect()
}

#[test]
fn a_good_log_passes_with_and_without_what_was_erased() {
    let (mut log, kept) = log();
    let report = verify(&log, std::slice::from_ref(&kept), kept.head_of(STREAM));
    assert!(report.is_good(), "{report} {:?}", report.problems);
    assert_eq!((report.events, report.checkpoints, report.erased), (44, 5, 0));
    log[4] = Entry { leaf: LeafState::Erased(log[4].leaf.hash()), event: None, ..log[4].clone() };
    log[5].event = None;
    let report = verify(&log, std::slice::from_ref(&kept), kept.head_of(STREAM));
    assert!(report.is_good() && report.events == 42 && report.erased == 1, "{report}");
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let (good, _) = log();
    let mut leaf = good.clone();
    if let LeafState::Whole(leaf) = &mut leaf[7].leaf {
        leaf.source = Some(Source::Import);
    }
    // The entry's own checkpoint finds it first, then the later ones and the one that was kept.
    assert_eq!(problems(&leaf)[0], Problem::Fork { size: 10 });
    let mut other_event = good.clone();
    other_event[7].event = Some(note(99));
    assert!(problems(&other_event).contains(&Problem::Leaf { seq: 8, what: "event id" }));
    let mut content = good.clone();
    let json = content[7].event.as_ref().unwrap().as_str().replace("a note", "a lie!");
    content[7].event = Some(Event::from_canonical(json.into()).unwrap());
    assert!(matches!(problems(&content)[..], [Problem::Forged { seq: 8, .. }]));
    let mut erased = good;
    erased[7] = Entry { leaf: LeafState::Erased(Hash([1; 32])), event: None, ..erased[7].clone() };
    assert!(problems(&erased).contains(&Problem::Fork { size: 10 }));
}

#[test]
fn dropped_entries_are_a_gap_or_a_fork() {
    let (good, _) = log();
    let mut dropped = good.clone();
    dropped.remove(7);
    assert_eq!(problems(&dropped)[0], Problem::Gap { from: 8, to: 8 });
    assert_eq!(problems(&renumbered(dropped))[0], Problem::Truncated { signed: 10, found: 9 });
}

#[test]
fn entries_out_of_order_are_named() {
    let (mut swapped, _) = log();
    swapped.swap(7, 8);
    assert_eq!(problems(&swapped)[..2], [Problem::Gap { from: 8, to: 8 }, Problem::OutOfOrder { seq: 8, expected: 9 }]);
    assert_eq!(problems(&renumbered(swapped))[0], Problem::Fork { size: 10 });
}

#[test]
fn an_inserted_entry_is_out_of_order_or_a_fork() {
    let (mut inserted, _) = log();
    inserted.insert(7, entry(8, note(77)));
    assert!(problems(&inserted).contains(&Problem::OutOfOrder { seq: 8, expected: 9 }));
    assert_eq!(problems(&renumbered(inserted))[0], Problem::Fork { size: 10 });
}

#[test]
fn truncation_is_found_at_either_end() {
    let (good, _) = log();
    assert_eq!(problems(&good[5..])[0], Problem::Gap { from: 1, to: 5 });
    assert!(problems(&good[..30]).contains(&Problem::Truncated { signed: 44, found: 30 }));
    let nothing = problems(&[]);
    assert!(nothing.contains(&Problem::Truncated { signed: 44, found: 0 }), "{nothing:?}");
    // Without a checkpoint that was kept, only the tree that is kept beside the log tells.
    let head = log().1.head_of(STREAM);
    assert!(matches!(verify(&good[..30], &[], head).problems[..], [Problem::Tree { .. }]));
}

#[test]
fn a_fork_is_found_by_whoever_kept_a_checkpoint() {
    let (mut forked, _) = log();
    // The relay itself rewrites its history from the last entry on, and signs it.
    forked.truncate(43);
    forked.push(entry(44, note(1_000)));
    let mut tree = Tree::new();
    forked.iter().for_each(|entry| tree.append(entry.leaf.hash(), |_| ()));
    assert!(verify(&forked, &[], Some(tree.head())).is_good());
    assert!(problems(&forked).contains(&Problem::Fork { size: 44 }));
}

#[test]
fn entries_of_another_stream_are_named() {
    let (mut swapped, _) = log();
    if let LeafState::Whole(leaf) = &mut swapped[7].leaf {
        leaf.stream = STREAM + 1;
    }
    assert_eq!(problems(&swapped)[0], Problem::Leaf { seq: 8, what: "stream" });
}

#[test]
fn checkpoints_in_the_log_are_held_to_their_signature_and_their_place() {
    let (good, _) = log();
    let mut forged = good.clone();
    let json = forged[10].event.as_ref().unwrap().as_str().to_owned();
    let mut json = json.into_bytes();
    let at = json.len() - 10;
    json[at] = if json[at] == b'0' { b'1' } else { b'0' };
    forged[10].event = Some(Event::from_canonical(json.into()).unwrap());
    assert!(matches!(&problems(&forged)[..], [Problem::Checkpoint { why, .. }] if why.contains("signature")));

    let checkpoint = Checkpoint::of_stream(relay().public_key(), STREAM, Head { size: 99, root: Hash([1; 32]) });
    let early = checkpoint.to_event(&relay(), &checkpoint.text(), 1, &[0; 32]).into_event();
    let report = verify(&[entry(1, early)], &[], None);
    assert_eq!(report.problems, [Problem::Truncated { signed: 99, found: 0 }]);
}

#[test]
fn a_checkpoint_of_an_earlier_log_says_nothing_of_this_one() {
    let checkpoint = Checkpoint::of_stream(relay().public_key(), STREAM, Head { size: 99, root: Hash([1; 32]) });
    let earlier = checkpoint.to_event(&relay(), &checkpoint.text(), 1, &[0; 32]).into_event();
    let mut imported = entry(1, earlier);
    if let LeafState::Whole(leaf) = &mut imported.leaf {
        leaf.source = Some(Source::Import);
    }
    assert!(verify(&[imported], &[], None).is_good());
}

#[test]
fn roots_of_late_are_known_and_memory_is_bounded() {
    let window = 20_000;
    let (mut recent, mut tree, mut roots) = (Recent::of(window), Tree::new(), vec![]);
    let total = window + 5_000;
    for n in 0..total {
        roots.push(if n % 997 == 0 || n > total - 3 { Some(tree.root()) } else { None });
        let leaf = Hash::of_leaf(&n.to_be_bytes());
        recent.push(&tree, leaf);
        tree.append(leaf, |_| ());
        let kept: usize = recent.stretches.iter().map(|stretch| stretch.leaves.len()).sum();
        assert!(kept as u64 <= window + 2 * TREE_EVERY as u64);
        assert!(recent.stretches[0].tree.size() <= tree.size().saturating_sub(window));
    }
    let first = recent.stretches[0].tree.size();
    assert!(first > 0 && first <= total - window);
    for (size, root) in (0..).zip(roots) {
        let Some(root) = root else { continue };
        let expected = if size < first { None } else { Some(root) };
        assert_eq!(recent.root_at(&tree, size), expected, "{size}");
    }
    assert_eq!(recent.root_at(&tree, total), Some(tree.root()));
}

/// Once, one that had waited behind too many was a problem that no later verification got rid of; then its hashes were kept, 36 MiB.
#[test]
fn a_checkpoint_that_waited_long_is_compared_by_the_next_verification() {
    let (window, mut log, mut tree) = (TREE_EVERY as u64, Vec::<Entry>::new(), Tree::new());
    let mut covered = tree.head();
    for seq in 1..=4 * window {
        let hash = Hash::of_leaf(&seq.to_be_bytes());
        tree.append(hash, |_| ());
        log.push(Entry { seq, leaf: LeafState::Erased(hash), event: None });
        if seq == 5 {
            covered = tree.head();
        }
    }
    let other = Head { root: Hash([1; 32]), ..covered };
    for (signed, problems) in [(covered, vec![]), (other, vec![Problem::Fork { size: 5 }])] {
        let checkpoint = Checkpoint::of_stream(relay().public_key(), STREAM, signed);
        let event = checkpoint.to_event(&relay(), &checkpoint.text(), 1, &[0; 32]).into_event();
        log.push(entry(4 * window + 1, event));
        let first = verify_within(window, &log, &[], None);
        assert!(first.is_good() && first.late == [signed], "{first} {:?}", first.late);
        let late = Checkpoint::of_stream(relay().public_key(), STREAM, first.late[0]);
        assert_eq!(verify_within(window, &log, &[late], None).problems, problems);
        log.pop();
    }
}
