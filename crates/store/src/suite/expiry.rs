//! Events end when their `expiration` (NIP-40) has come. Until upkeep finds them it is the reader's predicate that hides them.

use towpath_policy::Write;

use super::Fixture;
use super::world::{ARTICLE, NOTE, PROFILE, Who, Who::*, World};
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

/// Although upkeep has not come to it: whoever is told that a newer version is stored must be able to read one. It goes as if replaced.
pub fn a_version_that_is_over_supersedes_nothing<F: Fixture>() {
    let (newest, older) = (until(Alice, PROFILE, 200), Alice.profile(50, "older"));
    let world = World::<F>::with(&[&newest]);
    assert_eq!(world.commit_at(199_999, &[&older]).outcomes, [Outcome::Superseded]);
    world.holds(&[&newest]);
    assert_eq!(world.commit_at(200_000, &[&older]).outcomes, [Outcome::Accepted(Seq(2))]);
    world.holds(&[&older]);
    let log = world.log();
    assert_eq!(log[1].record.removed(), [(log[0].stream, Seq(1))]);
    world.maintain(300);
    world.holds(&[&older]);
    assert_eq!(world.log().len(), log.len(), "nothing was left to expire");
    assert_eq!(world.commit_at(300_000, &[&Alice.profile(49, "oldest")]).outcomes, [Outcome::Superseded]);
}

/// Just committed, or in the very batch.
pub fn a_version_may_be_over_within_a_batch<F: Fixture>() {
    let (newest, older) = (until(Alice, PROFILE, 200), Alice.profile(50, "older"));
    let article = Alice.event(100, ARTICLE, &[&["d", "x"], &["expiration", "200"]], "");
    let (older_article, oldest) = (Alice.article(50, "x", "older"), Alice.article(49, "x", "oldest"));
    let world = World::<F>::with(&[&newest]);
    let outcomes = world.commit_at(200_000, &[&article, &older, &older_article, &oldest]).outcomes;
    let accepted = [2, 3, 4].map(|seq| Outcome::Accepted(Seq(seq)));
    assert_eq!((&outcomes[..3], outcomes[3]), (&accepted[..], Outcome::Superseded));
    assert!(world.has(&older) && world.has(&older_article));
    assert!(!world.has(&newest) && !world.has(&article));
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
