//! Requests to vanish (NIP-62): everything of one author up to a date goes, and stays away.

use super::Fixture;
use super::world::{Who::*, World};
use crate::Outcome;

/// Of every kind; what is dated later stays.
pub fn everything_up_to_the_request_goes<F: Fixture>() {
    let later = Alice.note(201, "a new start");
    let request = Alice.vanish(200);
    let world = World::<F>::with(&[
        &Alice.note(100, ""),
        &Alice.note(200, "in the same second"),
        &Alice.profile(100, ""),
        &Alice.article(100, "x", ""),
        &later,
        &request,
    ]);
    world.holds(&[&later, &request]);
}

/// Nobody learns from them what there was. What they deleted stays away all the same.
pub fn deletion_requests_go_too<F: Fixture>() {
    let note = Alice.note(100, "");
    let deletion = Alice.delete(150, &note);
    let request = Alice.vanish(200);
    let world = World::<F>::with(&[&note, &deletion, &request]);
    world.holds(&[&request]);
    assert_eq!(world.commit(&[&note, &deletion]).outcomes, [Outcome::Vanished; 2]);
}

/// They are of no use to anybody else.
pub fn gift_wraps_to_the_author_go<F: Fixture>() {
    let (to_bob, later) = (Carol.gift_wrap(100, Bob), Carol.gift_wrap(300, Alice));
    let request = Alice.vanish(200);
    let world = World::<F>::with(&[&Carol.gift_wrap(100, Alice), &to_bob, &later, &request]);
    world.holds(&[&later, &request, &to_bob]);
    assert_eq!(world.publish(&Carol.gift_wrap(101, Alice)), Outcome::Vanished);
}

/// What was removed, and what was never seen.
pub fn a_rebroadcast_is_refused<F: Fixture>() {
    let note = Alice.note(100, "");
    let world = World::<F>::with(&[&note, &Alice.vanish(200)]);
    let refused = [note, Alice.note(200, "unseen"), Alice.profile(150, ""), Alice.delete(100, &Bob.note(1, ""))];
    assert_eq!(world.commit(&refused.iter().collect::<Vec<_>>()).outcomes, [Outcome::Vanished; 4]);
    assert!(refused.iter().all(|write| !world.has(write)));
    assert!(world.accepts(&Alice.note(201, "")));
}

/// Even where they mention her.
pub fn other_authors_are_left_alone<F: Fixture>() {
    let mention = Bob.event(100, 1, &[&["p", &Alice.hex()]], "hello");
    let request = Alice.vanish(200);
    let world = World::<F>::with(&[&mention, &request]);
    world.holds(&[&request, &mention]);
    assert!(world.accepts(&Bob.event(101, 1, &[&["p", &Alice.hex()]], "where are you?")));
}

/// Earlier ones as well, whenever they come.
pub fn requests_to_vanish_are_kept<F: Fixture>() {
    let requests = [Alice.vanish(100), Alice.vanish(300), Alice.vanish(200)];
    let world = World::<F>::with(&[&requests[0], &requests[1], &requests[2]]);
    world.holds(&[&requests[1], &requests[2], &requests[0]]);
}

/// An older request that comes later does not let back what a newer one covers.
pub fn the_latest_request_counts<F: Fixture>() {
    let world = World::<F>::with(&[&Alice.vanish(300), &Alice.vanish(200)]);
    assert_eq!(world.publish(&Alice.note(250, "")), Outcome::Vanished);
}

/// As if each write had been committed on its own.
pub fn a_request_works_within_its_batch<F: Fixture>() {
    let world = World::<F>::empty();
    let (request, later) = (Alice.vanish(200), Alice.note(300, ""));
    let outcomes = world.commit(&[&Alice.note(100, "before"), &request, &Alice.note(101, "after"), &later]).outcomes;
    assert!(matches!(outcomes[0], Outcome::Accepted(_)), "{outcomes:?}");
    assert_eq!(outcomes[2], Outcome::Vanished);
    world.holds(&[&later, &request]);
}
