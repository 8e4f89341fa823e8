//! 13: what a commit returned is there when the store is opened again. (Crashes are the backend's own tests.)

use super::Fixture;
use super::world::{ARTICLE, NOTE, Who::*, World, id};
use crate::{Outcome, Seq};

/// Events, their order, and where the stream goes on.
pub fn reopening_keeps_events_and_positions<F: Fixture>() {
    let (old, new) = (Alice.article(100, "x", "old"), Alice.article(200, "x", "new"));
    let note = Bob.event(300, NOTE, &[&["t", "tag"]], "");
    let mut world = World::<F>::with(&[&old, &new, &note]);
    let (snapshot, stats) = (world.snapshot(), world.store().stats().expect("the store answers"));
    for _ in 0..2 {
        if !world.reopen() {
            return;
        }
    }
    world.holds(&[&note, &new]);
    assert!(!world.has(&old));
    assert_eq!(world.read(&[r##"{"#t":["tag"]}"##]).ids(), [id(&note)]);
    assert_eq!(world.snapshot(), snapshot);
    let reopened = world.store().stats().expect("the store answers");
    assert_eq!((reopened.events, reopened.last_seq), (stats.events, stats.last_seq));
    assert_eq!(world.publish(&Alice.note(400, "next")), Outcome::Accepted(Seq(4)));
}

/// Of duplicates, older versions, what was deleted and who vanished.
pub fn reopening_keeps_refusals<F: Fixture>() {
    let (kept, newer) = (Alice.note(500, "kept"), Alice.article(600, "x", "newer"));
    let (deleted, to_come) = (Alice.note(501, "deleted"), Alice.note(502, "deleted before it came"));
    let address = format!("{ARTICLE}:{}:y", Alice.hex());
    let mut world = World::<F>::with(&[
        &kept,
        &newer,
        &deleted,
        &Alice.delete(700, &deleted),
        &Alice.delete(701, &to_come),
        &Alice.delete_address(702, &address),
        &Bob.vanish(800),
    ]);
    if !world.reopen() {
        return;
    }
    let batch = [
        &kept,
        &Alice.article(100, "x", "older"),
        &deleted,
        &to_come,
        &Alice.article(702, "y", "deleted"),
        &Bob.note(800, "vanished"),
        &Carol.gift_wrap(800, Bob),
    ];
    let expected = [
        Outcome::Duplicate,
        Outcome::Superseded,
        Outcome::Deleted,
        Outcome::Deleted,
        Outcome::Deleted,
        Outcome::Vanished,
        Outcome::Vanished,
    ];
    assert_eq!(world.commit(&batch).outcomes, expected);
}

/// What was to expire still does; what had expired stays away.
pub fn reopening_keeps_expirations<F: Fixture>() {
    let until = |at: u64| Alice.event(100, NOTE, &[&["expiration", &at.to_string()]], "");
    let (soon, late) = (until(200), until(300));
    let mut world = World::<F>::with(&[&soon, &late]);
    world.maintain(200);
    if !world.reopen() {
        return;
    }
    world.holds(&[&late]);
    world.maintain(300);
    world.holds(&[]);
}

/// Entry for entry; what was removed may be erased meanwhile.
pub fn reopening_keeps_the_log<F: Fixture>() {
    let log = |world: &World<F>| -> Vec<_> {
        world
            .log()
            .into_iter()
            .map(|entry| (entry.seq, entry.committed_at_ms, entry.record.removed().to_vec()))
            .collect()
    };
    let note = Alice.note(100, "");
    let expiring = Alice.event(100, NOTE, &[&["expiration", "200"]], "");
    let mut world = World::<F>::with(&[&note, &expiring, &Alice.delete(150, &note)]);
    world.maintain(200);
    let before = log(&world);
    if world.reopen() {
        assert_eq!(log(&world), before);
    }
}
