//! Of replaceable and addressable events the latest version is kept (NIP-01).

use super::Fixture;
use super::world::{ARTICLE, NOTE, PROFILE, Who::*, World, by_lowest_id};
use crate::Outcome;

/// Per author, and per author and `d` tag.
pub fn a_newer_version_replaces_an_older_one<F: Fixture>() {
    let world = World::<F>::with(&[&Alice.profile(100, "old"), &Alice.article(100, "x", "old")]);
    let (profile, article) = (Alice.profile(200, "new"), Alice.article(300, "x", "new"));
    assert!(world.accepts(&profile));
    assert!(world.accepts(&article));
    world.holds(&[&article, &profile]);
}

/// And leaves what is there alone.
pub fn an_older_version_is_superseded<F: Fixture>() {
    let (profile, article) = (Alice.profile(200, "new"), Alice.article(201, "x", "new"));
    let world = World::<F>::with(&[&profile, &article]);
    let older = [Alice.profile(100, "old"), Alice.article(100, "x", "old")];
    assert_eq!(world.commit(&[&older[0], &older[1]]).outcomes, [Outcome::Superseded; 2]);
    world.holds(&[&article, &profile]);
    assert!(!world.has(&older[0]) && !world.has(&older[1]));
}

/// Whichever came first.
pub fn of_two_versions_of_one_second_the_lower_id_stays<F: Fixture>() {
    let (low, high) = by_lowest_id(Alice.profile(100, "a"), Alice.profile(100, "b"));
    let world = World::<F>::with(&[&low]);
    assert_eq!(world.publish(&high), Outcome::Superseded);
    world.holds(&[&low]);
    let world = World::<F>::with(&[&high, &low]);
    world.holds(&[&low]);
}

/// As if each had been committed on its own.
pub fn versions_in_one_batch_replace_each_other<F: Fixture>() {
    let world = World::<F>::empty();
    let versions: Vec<_> = [100, 300, 200].iter().map(|at| Alice.article(*at, "x", "text")).collect();
    let outcomes = world.commit(&versions.iter().collect::<Vec<_>>()).outcomes;
    assert!(matches!(outcomes[..], [Outcome::Accepted(_), Outcome::Accepted(_), Outcome::Superseded]), "{outcomes:?}");
    world.holds(&[&versions[1]]);
}

/// Being gone, it is not a duplicate.
pub fn a_replaced_version_does_not_come_back<F: Fixture>() {
    let (old, new) = (Alice.profile(100, "old"), Alice.profile(200, "new"));
    let world = World::<F>::with(&[&old, &new]);
    assert!(!world.has(&old));
    assert_eq!(world.publish(&old), Outcome::Superseded);
    world.holds(&[&new]);
}

/// All of it counts.
pub fn addresses_differ_by_kind_author_and_d_tag<F: Fixture>() {
    let kept = [
        Alice.article(100, "x", ""),
        Alice.article(101, "y", ""),
        Alice.article(102, "", ""),
        Bob.article(103, "x", ""),
        Alice.event(104, ARTICLE + 1, &[&["d", "x"]], ""),
        Alice.profile(105, ""),
        Bob.profile(106, ""),
        Alice.event(107, 10_002, &[], ""),
    ];
    let world = World::<F>::with(&kept.iter().collect::<Vec<_>>());
    world.holds(&kept.iter().rev().collect::<Vec<_>>());
}

/// And of several the first counts.
pub fn a_missing_d_tag_is_an_empty_one<F: Fixture>() {
    let last = Alice.event(103, ARTICLE, &[&["d", ""], &["d", "x"]], "first of two");
    let world = World::<F>::with(&[
        &Alice.event(100, ARTICLE, &[], "none"),
        &Alice.event(101, ARTICLE, &[&["d"]], "no value"),
        &Alice.article(102, "", "empty"),
        &last,
    ]);
    world.holds(&[&last]);
}

/// They have one version whatever they are tagged with.
pub fn plain_replaceables_ignore_their_d_tag<F: Fixture>() {
    let new = Alice.event(200, PROFILE, &[&["d", "y"]], "");
    let world = World::<F>::with(&[&Alice.event(100, PROFILE, &[&["d", "x"]], ""), &new]);
    world.holds(&[&new]);
}

/// Even with a `d` tag.
pub fn regular_events_replace_nothing<F: Fixture>() {
    let notes = [Alice.event(200, NOTE, &[&["d", "x"]], ""), Alice.event(100, NOTE, &[&["d", "x"]], "")];
    let world = World::<F>::with(&[&notes[0], &notes[1]]);
    world.holds(&[&notes[0], &notes[1]]);
}
