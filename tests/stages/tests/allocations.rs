//! Allocations per event on its way: numbers that may only fall.
//!
//! Each stage runs on the thread that counts, so the counts are the same every time. Whoever makes a stage allocate less lowers its
//! number here; whoever has to raise one says why in the commit.

#[path = "../stages/mod.rs"]
mod stages;

use std::alloc::System;

use alloc_tracker::{Allocator, Session};
use stages::{ALL, Counted, Notes};

#[global_allocator]
static ALLOCATOR: Allocator<System> = Allocator::system();

/// What a stage may allocate for an event, a growing buffer counted each time it grows; and how far below that it may be before it has
/// earned a lower ceiling.
struct Ceiling {
    stage: &'static str,
    allocations: f64,
    slack: f64,
}

const fn ceiling(stage: &'static str, allocations: f64) -> Ceiling {
    // Tables grow now and then.
    Ceiling { stage, allocations, slack: 0.1 }
}

const CEILINGS: &[Ceiling] = &[
    ceiling("decode a frame", 1.0),
    ceiling("parse, id hash included", 3.0),
    ceiling("parse a reply with four tags", 3.0),
    ceiling("id hash alone", 0.0),
    ceiling("screen", 0.0),
    ceiling("look the id up", 0.0),
    ceiling("verify", 0.0),
    ceiling("authorise", 0.0),
    // A list for each stage, of whatever came together; and the queue grows if the committer is late.
    ceiling("submit: all of these up to the queue", 4.1),
    // Less where signatures are checked one by one.
    Ceiling { stage: "submit bursts of 32", allocations: 0.85, slack: 0.6 },
    // What the index lacks is in a table that grows, anew each time the keeper took what there was.
    Ceiling { stage: "commit, batches of 1", allocations: 11.6, slack: 0.3 },
    ceiling("commit, batches of 16", 2.85),
    ceiling("commit, batches of 256", 2.12),
    ceiling("ack: word, queue, encode", 3.0),
    ceiling("match, nobody listens", 1.0),
    ceiling("match, 20 000 listen to others", 1.0),
    // Queues are given back when they are empty.
    ceiling("match and queue for one", 3.1),
    ceiling("match and queue for 100, each", 0.2),
    // Three lists an event: where filters can be filed, twice, and who wants it.
    ceiling("match, pass and encode for 8, each", 0.38),
    ceiling("flush frames one at a time", 1.0),
    ceiling("flush frames 64 at a time", 0.1),
    ceiling("scan 500 events of a kind, each", 1.1),
];

#[test]
fn no_stage_allocates_more_than_it_did() {
    let mut notes = Notes::new();
    let mut wrong = 0;
    let rows = ALL.iter().map(|counted| {
        let allocations = allocations(counted, &mut notes);
        let ceiling = CEILINGS.iter().find(|ceiling| ceiling.stage == counted.name).expect("a ceiling for every stage");
        let verdict = match allocations - ceiling.allocations {
            more if more > 0.0 => "more than its ceiling",
            less if less < -ceiling.slack => "less: lower its ceiling",
            _ => "",
        };
        wrong += usize::from(!verdict.is_empty());
        format!("{:<40} {allocations:>8.2} {:>8.2}  {verdict}\n", counted.name, ceiling.allocations)
    });
    let table: String = rows.collect();
    assert_eq!(wrong, 0, "allocations per event, and their ceilings:\n{table}");
    assert_eq!(CEILINGS.len(), ALL.len(), "a ceiling is of no stage");
}

/// Per event, in a run after a first one for tables and buffers that are made on first use.
fn allocations(counted: &Counted, notes: &mut Notes) -> f64 {
    let mut stage = (counted.make)(notes);
    stage.prepare(notes);
    stage.run();
    stage.prepare(notes);
    let session = Session::new().no_stdout().no_file();
    let operation = session.operation(counted.name);
    let span = operation.measure_thread().iterations(u64::from(counted.per));
    stage.run();
    drop(span);
    let report = session.to_report();
    report.operations().find_map(|(_, counts)| counts.allocations()).expect("one run")
}
