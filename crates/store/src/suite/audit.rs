//! 14, 15: the audit tree, which grows with the log, entry by entry.

use towpath_audit::{Action, AuthFailure, Group, Hash, Head, LeafState, Tree};
use towpath_policy::Source;

use super::Fixture;
use super::world::{NOTE, Who::*, World};
use crate::{Act, Batch, Entry, Record, Seq};

/// Of a tree over what the log says its leaves are.
fn head_of(log: &[Entry]) -> Head {
    let mut tree = Tree::new();
    log.iter().for_each(|entry| tree.append(entry.leaf.hash(), |_| ()));
    tree.head()
}

fn head<F: Fixture>(world: &World<F>) -> Head {
    world.store().heads()[0].1
}

fn auth_failure() -> Act {
    let event = Alice.note(100, "a proof").event().clone();
    Act {
        action: Action::AuthFailed(AuthFailure::Relay),
        source: Source::Client,
        event: Some((event.id(), 22_242)),
        actor: Some(event.pubkey()),
    }
}

/// What it says follows from the entry; the head covers all of them.
pub fn every_entry_has_its_leaf<F: Fixture>() {
    let (note, profile) = (Alice.event(100, NOTE, &[&["h", "team"]], ""), Alice.profile(100, ""));
    let expiring = Bob.event(100, NOTE, &[&["expiration", "400"]], "");
    let writes = [&note, &profile, &Alice.profile(101, ""), &Alice.delete(200, &note), &expiring, &Alice.vanish(300)];
    let world = World::<F>::with(&writes);
    world.maintain(400);
    let log = world.log();
    assert_eq!(head(&world), head_of(&log));
    for (entry, seq) in log.iter().zip(1..) {
        let Some(leaf) = entry.leaf.leaf() else { continue };
        assert_eq!((leaf.stream, leaf.seq, leaf.committed_at_ms), (entry.stream.0, seq, entry.committed_at_ms));
        if let Record::Event { event, .. } = &entry.record {
            assert_eq!((leaf.check_event(event), leaf.source), (Ok(()), Some(Source::Client)));
        }
    }
    let leaf = |seq: usize| log[seq - 1].leaf.leaf().expect("nobody vanished who owns it");
    assert_eq!((leaf(5).action, &leaf(5).removed[..]), (Action::Accepted, &[][..]));
    // The profile was removed before its author vanished, and may have been forgotten by now.
    assert_eq!((leaf(6).action, &leaf(6).removed[..]), (Action::Vanished, &[][..]));
    assert_eq!((leaf(7).action, &leaf(7).removed[..], leaf(7).event), (Action::Expired, &[5][..], None));
}

/// Replacement and deletion say what went, and the group is named.
pub fn leaves_name_what_went_and_where<F: Fixture>() {
    let (note, profile) = (Alice.event(100, NOTE, &[&["h", "team"]], ""), Alice.profile(100, ""));
    let world = World::<F>::with(&[&note, &profile, &Alice.profile(101, ""), &Alice.delete(200, &note)]);
    let log = world.log();
    let leaf = |seq: usize| log[seq - 1].leaf.leaf().expect("nobody vanished");
    assert_eq!((leaf(1).action, leaf(1).group.clone()), (Action::Accepted, Some(Group::new("team"))));
    assert_eq!((leaf(2).action, &leaf(2).removed[..]), (Action::Accepted, &[][..]));
    assert_eq!((leaf(3).action, &leaf(3).removed[..]), (Action::Replaced, &[2][..]));
    assert_eq!((leaf(4).action, &leaf(4).removed[..]), (Action::Deleted, &[1][..]));
}

/// With the hash it always had, whether its event is there or not.
pub fn a_leaf_outlives_its_event<F: Fixture>() {
    let note = Alice.note(100, "");
    let world = World::<F>::with(&[&note, &Alice.note(101, "")]);
    let before: Vec<LeafState> = world.log().into_iter().map(|entry| entry.leaf).collect();
    world.publish(&Alice.delete(200, &note));
    world.maintain(1_000_000_000);
    let after: Vec<LeafState> = world.log().into_iter().map(|entry| entry.leaf).collect();
    assert_eq!(after[..2], before);
}

/// What is erased and when is up to the store; what is left hashes as ever.
pub fn the_tree_outlives_whoever_vanishes<F: Fixture>() {
    let world = World::<F>::with(&[&Alice.note(100, ""), &Bob.note(100, ""), &Alice.profile(100, "")]);
    let before: Vec<Hash> = world.log().iter().map(|entry| entry.leaf.hash()).collect();
    world.publish(&Alice.vanish(200));
    world.maintain(1_000_000_000);
    let log = world.log();
    assert_eq!(log[..3].iter().map(|entry| entry.leaf.hash()).collect::<Vec<_>>(), before);
    assert_eq!(head(&world), head_of(&log));
    assert!(log[1].leaf.leaf().is_some(), "Bob did not vanish");
}

/// Behind the writes of their batch, and alone.
pub fn acts_are_entries_like_others<F: Fixture>() {
    let world = World::<F>::empty();
    let note = Alice.note(100, "");
    let batch = Batch { writes: vec![note.clone()], acts: vec![auth_failure()], committed_at_ms: 7 };
    let committed = world.store().commit(batch).expect("the commit succeeds");
    let alone = Batch { writes: vec![], acts: vec![auth_failure()], committed_at_ms: 8 };
    let last = world.store().commit(alone).expect("the commit succeeds");
    let log = world.log();
    assert_eq!(log.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [Seq(1), Seq(2), Seq(3)]);
    assert_eq!((&log[1].record, &log[2].record), (&Record::Act, &Record::Act));
    let leaf = log[1].leaf.leaf().expect("it is whole");
    assert_eq!((leaf.action, leaf.actor), (auth_failure().action, auth_failure().actor));
    assert_eq!((committed.head, last.head), (head_of(&log[..2]), head_of(&log)));
    assert!(last.run.stored.is_empty() && last.run.last == Seq(3));
    world.holds(&[&note]);
}

/// Every hash, of every level; none that is not there yet.
pub fn the_hashes_of_the_tree_can_be_read<F: Fixture>() {
    let mut world = World::<F>::empty();
    let notes: Vec<_> = (0..700).map(|n| Alice.note(1_000, &n.to_string())).collect();
    for batch in notes.chunks(90) {
        world.commit(&batch.iter().collect::<Vec<_>>());
    }
    for _ in 0..2 {
        let (log, stream) = (world.log(), world.store().heads()[0].0);
        let (mut tree, mut rows) = (Tree::new(), [vec![], vec![]]);
        log.iter().for_each(|e| tree.append(e.leaf.hash(), |node| rows[usize::from(node.level)].push(node.hash)));
        assert_eq!(head(&world), tree.head());
        let hashes = |level, first, count| world.store().tree_hashes(stream, level, first, count).expect("it is read");
        assert_eq!(hashes(0, 0, 700).as_ref(), Some(&rows[0]));
        assert_eq!(hashes(0, 699, 1), Some(rows[0][699..].to_vec()));
        assert_eq!(hashes(1, 0, 2).as_ref(), Some(&rows[1]));
        assert_eq!((hashes(0, 690, 11), hashes(1, 2, 1), hashes(2, 0, 1)), (None, None, None));
        if !world.reopen() {
            return;
        }
    }
}

/// And goes on from there.
pub fn reopening_keeps_the_tree<F: Fixture>() {
    let mut world = World::<F>::with(&[&Alice.note(100, ""), &Bob.note(100, ""), &Alice.profile(100, "")]);
    let before = head(&world);
    if world.reopen() {
        assert_eq!(head(&world), before);
        world.publish(&Carol.note(100, ""));
        assert_eq!(head(&world), head_of(&world.log()));
    }
}
