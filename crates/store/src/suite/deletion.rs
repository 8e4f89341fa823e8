//! Deletion requests by id (NIP-09), and by the recipients of gift wraps (NIP-59).

use towpath_policy::KIND_DELETION;

use super::Fixture;
use super::world::{Who::*, World, id};
use crate::Outcome;

/// Several at once, whatever the dates: an id names one event for good.
pub fn an_author_deletes_their_events<F: Fixture>() {
    let notes = [Alice.note(100, "a"), Alice.note(500, "b"), Alice.note(101, "c")];
    let world = World::<F>::with(&[&notes[0], &notes[1], &notes[2]]);
    let request =
        Alice.event(300, KIND_DELETION, &[&["e", &id(&notes[0])], &["e", &id(&notes[1])], &["k", "1"]], "sorry");
    assert!(world.accepts(&request));
    world.holds(&[&request, &notes[2]]);
}

/// Not even when somebody else sends it.
pub fn a_deleted_event_does_not_come_back<F: Fixture>() {
    let note = Alice.note(100, "regretted");
    let world = World::<F>::with(&[&note, &Alice.delete(200, &note)]);
    assert!(!world.has(&note));
    assert_eq!(world.publish(&note), Outcome::Deleted);
    assert!(!world.has(&note));
}

/// 6: in any order of arrival.
pub fn a_deletion_may_come_before_its_target<F: Fixture>() {
    let (note, article) = (Alice.note(100, "late"), Alice.article(300, "x", "late"));
    let world = World::<F>::with(&[&Alice.delete(200, &note), &Alice.delete(201, &article)]);
    assert_eq!(world.commit(&[&note, &article]).outcomes, [Outcome::Deleted; 2]);
    assert!(!world.has(&note) && !world.has(&article));
}

/// On either side of it.
pub fn a_deletion_and_its_target_may_share_a_batch<F: Fixture>() {
    let (first, last) = (Alice.note(100, "first"), Alice.note(101, "last"));
    let requests = [Alice.delete(200, &first), Alice.delete(201, &last)];
    let world = World::<F>::empty();
    let outcomes = world.commit(&[&first, &requests[0], &requests[1], &last]).outcomes;
    assert!(matches!(outcomes[0], Outcome::Accepted(_)), "{outcomes:?}");
    assert_eq!(outcomes[3], Outcome::Deleted);
    world.holds(&[&requests[1], &requests[0]]);
}

/// Clients read it to delete their own copies, even of what this store never had.
pub fn a_deletion_is_an_event_like_any_other<F: Fixture>() {
    let request = Alice.delete(200, &Alice.note(100, "never seen"));
    let world = World::<F>::with(&[&request]);
    assert_eq!(world.read(&[r#"{"kinds":[5]}"#]).ids(), [id(&request)]);
    assert_eq!(world.publish(&request), Outcome::Duplicate);
}

/// Whether they come before or after their target.
pub fn foreign_deletions_are_ignored<F: Fixture>() {
    let (before, after) = (Alice.note(100, "a"), Alice.note(101, "b"));
    let world = World::<F>::with(&[&before, &Bob.delete(200, &before), &Bob.delete(201, &after), &after]);
    assert!(world.has(&before) && world.has(&after));
}

/// Two requests for one event are told apart by who made them.
pub fn a_foreign_deletion_does_not_shield_from_the_authors_own<F: Fixture>() {
    let note = Alice.note(100, "a");
    let world = World::<F>::with(&[&Bob.delete(200, &note), &Alice.delete(201, &note), &Carol.delete(202, &note)]);
    assert_eq!(world.publish(&note), Outcome::Deleted);
}

/// "Deleting a deletion" has no effect, before or after; the event stays deleted.
pub fn deletions_are_not_deleted<F: Fixture>() {
    let note = Alice.note(100, "a");
    let deletion = Alice.delete(200, &note);
    let undo = Alice.delete(300, &deletion);
    let world = World::<F>::with(&[&note, &deletion, &undo]);
    world.holds(&[&undo, &deletion]);
    assert_eq!(world.publish(&note), Outcome::Deleted);

    let world = World::<F>::with(&[&undo, &deletion]);
    world.holds(&[&undo, &deletion]);
}

/// Nor do deletions reach requests to vanish.
pub fn requests_to_vanish_are_not_deleted<F: Fixture>() {
    let vanish = Alice.vanish(100);
    let deletion = Alice.delete(200, &vanish);
    World::<F>::with(&[&vanish, &deletion]).holds(&[&deletion, &vanish]);
    World::<F>::with(&[&deletion, &vanish]).holds(&[&deletion, &vanish]);
}

/// A gift wrap's author is a throw-away key, so its recipient may delete it, too; nobody else may.
pub fn a_recipient_deletes_gift_wraps<F: Fixture>() {
    let (stored, late) = (Alice.gift_wrap(100, Bob), Alice.gift_wrap(101, Bob));
    let world = World::<F>::with(&[&stored, &Carol.delete(200, &stored)]);
    assert!(world.has(&stored), "Carol has no part in it");
    assert!(world.accepts(&Bob.delete(201, &stored)) && world.accepts(&Bob.delete(202, &late)));
    assert!(!world.has(&stored));
    assert_eq!(world.commit(&[&stored, &late]).outcomes, [Outcome::Deleted; 2]);

    let note = Alice.event(100, 1, &[&["p", &Bob.hex()]], "not a gift wrap");
    let world = World::<F>::with(&[&note, &Bob.delete(200, &note)]);
    assert!(world.has(&note), "a mention is not a gift");
}

/// Which leaves its address free for any other version.
pub fn a_version_is_deleted_by_its_id<F: Fixture>() {
    let (old, new, newest) = (Alice.article(100, "x", "a"), Alice.article(200, "x", "b"), Alice.article(300, "x", "c"));
    let world = World::<F>::with(&[&new, &Alice.delete(250, &new), &old]);
    assert!(world.has(&old));
    assert_eq!(world.publish(&new), Outcome::Deleted);
    assert!(world.accepts(&newest));
    assert!(!world.has(&old));
}

/// However often it comes, and although its author is a throw-away key that asked for nothing.
pub fn copies_of_a_deleted_gift_wrap_in_one_batch_are_refused<F: Fixture>() {
    let wrap = Alice.gift_wrap(100, Bob);
    let world = World::<F>::with(&[&Bob.delete(200, &wrap)]);
    assert_eq!(world.commit(&[&wrap, &wrap]).outcomes, [Outcome::Deleted, Outcome::Deleted]);
    let vanished = World::<F>::with(&[&Bob.vanish(200)]);
    assert_eq!(vanished.commit(&[&wrap, &wrap]).outcomes, [Outcome::Vanished, Outcome::Vanished]);
}
