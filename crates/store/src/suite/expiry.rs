//! Events end when their `expiration` (NIP-40) has come. Until upkeep finds them it is the reader's predicate that hides them.

use towpath_policy::Write;

use super::Fixture;
use super::world::{NOTE, PROFILE, Who, Who::*, World};
use crate::{Outcome, Record, Seq};

fn until(who: Who, kind: u16, expires_at: u64) -> Write {
    who.event(100, kind, &[&["expiration", &expires_at.to_string()]], "")
}

/// From the second it names.
pub fn expired_events_are_removed_by_upkeep<F: Fixture>() {
    let (due, later, never) = (until(Alice, NOTE, 200), until(Bob, NOTE, 201), Carol.note(99, ""));
    let profile = until(Alice, PROFILE, 150);
    let world = World::<F>::with(&[&due, &later, &never, &profile]);
    world.maintain(149);
    assert!(world.has(&due) && world.has(&profile));
    world.maintain(200);
    world.holds(&[&later, &never]);
    assert!(world.accepts(&Alice.profile(50, "an older version finds its address free")));
}

/// In an entry of its own, so that followers learn of it.
pub fn an_entry_names_what_expired<F: Fixture>() {
    let world = World::<F>::with(&[&until(Alice, NOTE, 200), &Alice.note(100, ""), &until(Bob, NOTE, 200)]);
    world.maintain(200);
    let log = world.log();
    let mut removed = Vec::new();
    for (entry, seq) in log.iter().zip(1..) {
        assert_eq!(entry.seq, Seq(seq));
        if let Record::Expired { removed: expired } = &entry.record {
            removed.extend(expired.iter().map(|(_, seq)| *seq));
        }
    }
    removed.sort_unstable();
    assert_eq!(removed, [Seq(1), Seq(3)]);
    let last = log.last().expect("there are entries");
    assert_eq!(world.snapshot().seq(last.stream), last.seq);
    assert_eq!(world.publish(&Alice.note(101, "next")), Outcome::Accepted(last.seq.next()));
}

/// It may be called at any time.
pub fn upkeep_without_cause_changes_nothing<F: Fixture>() {
    let (note, expiring) = (Alice.note(100, ""), until(Bob, NOTE, 200));
    let world = World::<F>::with(&[&note, &expiring]);
    let before = world.log();
    world.maintain(199);
    assert_eq!(world.log(), before);
    world.maintain(200);
    let after = world.log();
    world.maintain(200);
    world.maintain(300);
    assert_eq!(world.log(), after);
    world.holds(&[&note]);
}
