//! The commit log: what followers read, from any place, without a gap.

use super::Fixture;
use super::world::{Who::*, World};
use crate::{Batch, Cursor, Page, Record, Seq};

const WHOLE: Page = Page { entries_max: usize::MAX, bytes_max: usize::MAX };

/// 12: from every place, in pages of every size.
pub fn the_log_is_read_in_order_without_a_gap<F: Fixture>() {
    let world = World::<F>::empty();
    let notes: Vec<_> = (0..20).map(|n| Alice.note(1_000 - n, &format!("{n}"))).collect();
    for batch in notes.chunks(3) {
        world.commit(&batch.iter().collect::<Vec<_>>());
    }
    let stream = world.log()[0].stream;
    for (start, entries_max, bytes_max) in
        [(0, usize::MAX, usize::MAX), (0, 1, usize::MAX), (7, 3, usize::MAX), (13, 99, 700)]
    {
        let cursor = if start == 0 { Cursor::start() } else { Cursor::at(stream, Seq(start)) };
        let entries = world.log_behind(&cursor, Page { entries_max, bytes_max });
        let seqs: Vec<u64> = entries.iter().map(|entry| entry.seq.0).collect();
        assert_eq!(seqs, (start + 1..=20).collect::<Vec<_>>(), "behind {start}");
        for entry in &entries {
            let event = notes[entry.seq.0 as usize - 1].event().clone();
            assert_eq!(entry.record, Record::Event { event, removed: vec![] });
        }
    }
}

/// Or nobody would ever get past a large event.
pub fn a_page_has_at_least_one_entry<F: Fixture>() {
    let world = World::<F>::with(&[&Alice.note(100, &"long".repeat(1_000)), &Alice.note(101, "")]);
    let page = world.store().since(&Cursor::start(), Page { entries_max: 9, bytes_max: 1 }).expect("the log is read");
    assert_eq!(page.len(), 1);
    let page =
        world.store().since(&Cursor::start(), Page { entries_max: 1, bytes_max: 99_999 }).expect("the log is read");
    assert_eq!(page.len(), 1);
}

/// A follower that has read all knows it from the cursor alone.
pub fn the_log_ends_at_the_snapshot<F: Fixture>() {
    let world = World::<F>::empty();
    assert_eq!(world.log(), []);
    let committed = world.commit(&[&Alice.note(100, ""), &Alice.note(101, "")]);
    let last = world.log().pop().expect("there are entries");
    assert_eq!((last.stream, last.seq), (committed.run.stream, Seq(2)));
    assert!(world.snapshot().covers(last.stream, last.seq));
    assert_eq!(world.store().since(&world.snapshot(), WHOLE).expect("the log is read"), []);
}

/// Superseded, deleted and vanished alike; and nothing twice.
pub fn an_entry_names_what_it_removed<F: Fixture>() {
    let (note, article) = (Alice.note(100, ""), Alice.article(100, "x", ""));
    let world = World::<F>::with(&[
        &note,
        &article,
        &Alice.article(200, "x", "newer"),
        &Alice.delete(300, &note),
        &Bob.note(100, ""),
        &Alice.vanish(400),
        &Alice.article(500, "x", "anew"),
    ]);
    let removed: Vec<Vec<u64>> = world.log().into_iter().map(|entry| sorted(&seqs(entry.record.removed()))).collect();
    assert_eq!(removed, [vec![], vec![], vec![2], vec![1], vec![], vec![3, 4], vec![]]);
}

/// So that followers see no gap; a store may have erased the event by then, or not yet.
pub fn removed_events_leave_their_entries<F: Fixture>() {
    let (old, new) = (Alice.profile(100, ""), Alice.profile(200, ""));
    let world = World::<F>::with(&[&old, &new]);
    world.maintain(1_000);
    let log = world.log();
    assert_eq!(log.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [Seq(1), Seq(2)]);
    match &log[0].record {
        Record::Erased { removed } => assert!(removed.is_empty()),
        Record::Event { event, removed } => assert_eq!((event, removed.len()), (old.event(), 0)),
        Record::Expired { .. } | Record::Act => panic!("nothing expired"),
    }
    let removed = vec![(log[0].stream, Seq(1))];
    assert_eq!(log[1].record, Record::Event { event: new.event().clone(), removed });
}

/// The committer's, not the client's.
pub fn an_entry_carries_its_time<F: Fixture>() {
    let world = World::<F>::empty();
    for at in [1_700_000_000_123, 1_700_000_000_124] {
        let batch = Batch::of(vec![Alice.note(at / 1_000, &at.to_string())], at);
        world.store().commit(batch).expect("the commit succeeds");
    }
    let times: Vec<u64> = world.log().iter().map(|entry| entry.committed_at_ms).collect();
    assert_eq!(times, [1_700_000_000_123, 1_700_000_000_124]);
}

/// Kept by name, and over a restart.
pub fn followers_go_on_where_they_were<F: Fixture>() {
    let mut world = World::<F>::with(&[&Alice.note(100, ""), &Alice.note(101, "")]);
    assert_eq!(world.store().follower("bus").expect("the store answers"), None);
    let first = crate::Cursor::at(world.log()[0].stream, Seq(1));
    for place in [&first, &world.snapshot()] {
        world.store().keep_follower("bus", place).expect("it is kept");
        world.store().keep_follower("other", &world.snapshot()).expect("it is kept");
        assert_eq!(world.store().follower("bus").expect("the store answers").as_ref(), Some(place));
    }
    if world.reopen() {
        assert_eq!(world.store().follower("bus").expect("the store answers"), Some(world.snapshot()));
    }
}

fn seqs(places: &[(crate::StreamId, Seq)]) -> Vec<Seq> {
    places.iter().map(|(_, seq)| *seq).collect()
}

fn sorted(seqs: &[Seq]) -> Vec<u64> {
    let mut seqs: Vec<u64> = seqs.iter().map(|seq| seq.0).collect();
    seqs.sort_unstable();
    seqs
}
