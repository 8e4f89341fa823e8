//! A scan is read in slices, between which the store goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use towpath_policy::Write;
use towpath_protocol::Event;

use super::Fixture;
use super::world::{NOTE, Who, Who::*, World, drain, id, query, unbounded};
use crate::{Budget, Completeness, Progress};

/// "Every few dozen steps".
const STEPS_PER_SLICE_MAX: usize = 256;

/// Many with the same date, as imports have them.
fn notes(count: u64) -> Vec<Write> {
    let note = |n: u64| Who::ALL[(n % 3) as usize].event(100 + n / 7, NOTE, &[&["t", "x"]], &n.to_string());
    (0..count).map(note).collect()
}

fn world_of<F: Fixture>(writes: &[Write]) -> World<F> {
    let world = World::<F>::empty();
    world.commit(&writes.iter().collect::<Vec<_>>());
    world
}

/// Whatever bounds them.
pub fn small_slices_add_up_to_one_large_slice<F: Fixture>() {
    let world = world_of::<F>(&notes(150));
    let by_author = format!(r#"{{"authors":["{}","{}"]}}"#, Alice.hex(), Bob.hex());
    let filters = [&["{}"][..], &[r##"{"#t":["x"],"limit":100}"##], &[&by_author, r#"{"kinds":[1],"limit":20}"#]];
    let never = || false;
    let budgets = [
        (1, usize::MAX, &never as &dyn Fn() -> bool),
        (7, usize::MAX, &never),
        (usize::MAX, 1, &never),
        (9, 1_000, &|| true),
    ];
    for filters in filters {
        let whole = world.read(filters);
        for (events_max, bytes_max, spent) in budgets {
            let mut scan = world.open_scan(query(filters, world.snapshot()));
            let sliced = drain(scan.as_mut(), Budget { events_max, bytes_max, spent });
            assert_eq!(sliced.ids(), whole.ids(), "{filters:?} by {events_max} events, {bytes_max} bytes");
            assert_eq!(sliced.completeness, whole.completeness, "{filters:?}");
        }
    }
}

/// 9: in events, and in bytes but for the event that passes the bound.
pub fn a_slice_ends_with_its_budget<F: Fixture>() {
    let writes = notes(40);
    let world = world_of::<F>(&writes);
    let size = writes.iter().map(|write| write.event().json().len()).min().expect("there are notes");
    for (events_max, bytes_max, most) in [(3, usize::MAX, 3), (usize::MAX, 1, 1), (usize::MAX, 4 * size, 4)] {
        let mut scan = world.open_scan(query(&["{}"], world.snapshot()));
        let mut out = Vec::new();
        let budget = Budget { events_max, bytes_max, spent: &|| false };
        assert_eq!(scan.next(budget, &mut out).expect("the slice succeeds"), Progress::More);
        assert!((1..=most).contains(&out.len()), "{} events for {events_max} events, {bytes_max} bytes", out.len());
    }
}

/// However little it finds, it looks at the clock.
pub fn a_slice_of_a_fruitless_scan_ends_too<F: Fixture>() {
    let world = world_of::<F>(&notes(3_000));
    let looked_at = Arc::new(AtomicUsize::new(0));
    let mut query = query(&["{}", r##"{"#t":["x"]}"##], world.snapshot());
    let count = Arc::clone(&looked_at);
    query.visible = Arc::new(move |_: &Event| {
        count.fetch_add(1, Ordering::Relaxed);
        false
    });
    let mut scan = world.open_scan(query);
    let mut out = Vec::new();
    let budget = Budget { spent: &|| true, ..unbounded() };
    loop {
        let before = looked_at.load(Ordering::Relaxed);
        let progress = scan.next(budget, &mut out).expect("the slice succeeds");
        let steps = looked_at.load(Ordering::Relaxed) - before;
        assert!(steps <= STEPS_PER_SLICE_MAX, "a slice of {steps} steps after its time was over");
        if progress != Progress::More {
            assert_eq!(progress, Progress::Done(Completeness::All));
            break;
        }
    }
    assert_eq!(out, []);
    assert!(looked_at.load(Ordering::Relaxed) >= 3_000, "it came to the end");
}

/// Its place in the order may still be ahead of the scan.
pub fn what_arrives_between_slices_is_left_out<F: Fixture>() {
    let kept = [Alice.note(300, ""), Alice.note(100, "")];
    let world = World::<F>::with(&[&kept[0], &kept[1]]);
    let mut scan = world.open_scan(query(&["{}"], world.snapshot()));
    let mut out = Vec::new();
    let one = Budget { events_max: 1, ..unbounded() };
    assert_eq!(scan.next(one, &mut out).expect("the slice succeeds"), Progress::More);
    assert!(world.accepts(&Alice.note(200, "between")) && world.accepts(&Alice.note(400, "before")));
    let rest = drain(scan.as_mut(), unbounded());
    assert_eq!(out[0].event, *kept[0].event());
    assert_eq!(rest.ids(), [id(&kept[1])]);
}

/// Deleted and replaced events are gone for scans that are under way, too.
pub fn what_is_removed_between_slices_is_left_out<F: Fixture>() {
    let (first, deleted, replaced) = (Alice.note(400, ""), Alice.note(300, ""), Alice.profile(200, ""));
    let last = Alice.note(100, "");
    let world = World::<F>::with(&[&first, &deleted, &replaced, &last]);
    let mut scan = world.open_scan(query(&["{}"], world.snapshot()));
    let mut out = Vec::new();
    let one = Budget { events_max: 1, ..unbounded() };
    assert_eq!(scan.next(one, &mut out).expect("the slice succeeds"), Progress::More);
    assert!(world.accepts(&Alice.delete(500, &deleted)) && world.accepts(&Alice.profile(501, "new")));
    assert_eq!(drain(scan.as_mut(), unbounded()).ids(), [id(&last)]);
}

/// It is of the scan, not of a slice.
pub fn a_limit_spans_slices<F: Fixture>() {
    let writes = notes(30);
    let world = world_of::<F>(&writes);
    let mut scan = world.open_scan(query(&[r#"{"limit":10}"#], world.snapshot()));
    let answer = drain(scan.as_mut(), Budget { events_max: 3, ..unbounded() });
    assert_eq!((answer.stored.len(), answer.completeness), (10, Completeness::Limited));
}
