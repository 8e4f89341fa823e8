//! A commit is one transaction with an outcome for each write.

use super::Fixture;
use super::world::{Who::*, World, id};
use crate::{Outcome, Seq};

/// 3: outcomes are in order and decided as if earlier writes of the batch had been committed.
pub fn every_write_has_its_own_outcome<F: Fixture>() {
    let world = World::<F>::empty();
    let note = Alice.note(100, "kept");
    let doomed = Alice.note(101, "deleted before it comes");
    let gone = Bob.note(100, "of somebody who vanished");
    let batch = [
        &note,
        &note,
        &Alice.profile(200, "new"),
        &Alice.profile(100, "old"),
        &Alice.delete(110, &doomed),
        &doomed,
        &Bob.vanish(150),
        &gone,
        &Carol.note(100, "after all that"),
    ];
    let committed = world.commit(&batch);
    let expected = [
        Outcome::Accepted(Seq(1)),
        Outcome::Duplicate,
        Outcome::Accepted(Seq(2)),
        Outcome::Superseded,
        Outcome::Accepted(Seq(3)),
        Outcome::Deleted,
        Outcome::Accepted(Seq(4)),
        Outcome::Vanished,
        Outcome::Accepted(Seq(5)),
    ];
    assert_eq!(committed.outcomes, expected);
}

/// A batch may turn out to hold nothing.
pub fn an_empty_batch_changes_nothing<F: Fixture>() {
    let world = World::<F>::with(&[&Alice.note(100, "one")]);
    let before = world.snapshot();
    let committed = world.commit(&[]);
    assert_eq!(committed.outcomes, []);
    assert!(committed.run.is_empty() && committed.run.stored.is_empty());
    assert_eq!((committed.run.cursor(), world.snapshot()), (before.clone(), before));
}

/// 4: refusals take no number.
pub fn accepted_events_are_numbered_from_one_without_a_gap<F: Fixture>() {
    let world = World::<F>::empty();
    let first = Alice.note(100, "1");
    let accepted = |seq| Outcome::Accepted(Seq(seq));
    assert_eq!(world.commit(&[&first, &Alice.note(101, "2")]).outcomes, [accepted(1), accepted(2)]);
    assert_eq!(world.commit(&[&first]).outcomes, [Outcome::Duplicate]);
    assert_eq!(world.commit(&[&Alice.note(99, "3")]).outcomes, [accepted(3)]);
    assert_eq!(world.commit(&[&first, &Alice.note(98, "4")]).outcomes, [Outcome::Duplicate, accepted(4)]);
}

/// Delivery works from this, so it holds what a later write of the same batch removed, too.
pub fn a_commit_hands_back_what_it_stored<F: Fixture>() {
    let world = World::<F>::empty();
    let (old, new) = (Alice.profile(100, "old"), Alice.profile(200, "new"));
    let committed = world.commit(&[&old, &old, &new]);
    let stored: Vec<_> = committed.run.stored.iter().map(|stored| (stored.seq, stored.event.json())).collect();
    assert_eq!(stored, [(Seq(1), old.event().json()), (Seq(2), new.event().json())]);
    assert!(committed.run.stored.iter().all(|stored| stored.stream == committed.run.stream));
    assert_eq!((committed.run.first, committed.run.last), (Seq(1), Seq(2)));
    assert_eq!(world.snapshot(), committed.run.cursor());
}

/// 5, down to the byte.
pub fn a_committed_event_is_known_and_in_the_next_scan<F: Fixture>() {
    let world = World::<F>::empty();
    let note = Alice.event(100, 1, &[&["t", "a\u{0}b"], &["emoji", "😀"], &["-"]], "quote \" and \u{1} and ñ");
    assert!(!world.has(&note));
    assert!(world.accepts(&note));
    assert!(world.has(&note));
    assert_eq!(world.read(&["{}"]).stored[0].event.json(), note.event().json());
}

/// However often it is sent.
pub fn a_second_copy_is_a_duplicate<F: Fixture>() {
    let note = Alice.note(100, "once");
    let world = World::<F>::with(&[&note]);
    for _ in 0..3 {
        assert_eq!(world.publish(&note), Outcome::Duplicate);
    }
    world.holds(&[&note]);
}

/// Two connections may send the same event at once.
pub fn a_second_copy_in_one_batch_is_a_duplicate<F: Fixture>() {
    let world = World::<F>::empty();
    let (note, profile) = (Alice.note(100, "once"), Alice.profile(101, "me"));
    let outcomes = world.commit(&[&note, &profile, &note, &profile]).outcomes;
    let expected = [Outcome::Accepted(Seq(1)), Outcome::Accepted(Seq(2)), Outcome::Duplicate, Outcome::Duplicate];
    assert_eq!(outcomes, expected);
    world.holds(&[&profile, &note]);
}

/// 1: a batch has no size at which it falls apart.
pub fn large_batches_are_committed_whole<F: Fixture>() {
    let world = World::<F>::empty();
    let notes: Vec<_> = (0..1_000).map(|n| Alice.note(1_000 - n, &format!("{n}"))).collect();
    let committed = world.commit(&notes.iter().collect::<Vec<_>>());
    assert_eq!(committed.run.last, Seq(1_000));
    assert_eq!(world.read(&["{}"]).ids(), notes.iter().map(id).collect::<Vec<_>>());
}
