//! Runs one stage of an event once, for `cargo xtask instructions` to count under callgrind; without the number of a stage, lists
//! them. By itself it measures nothing.

#[path = "../stages/mod.rs"]
mod stages;

use std::hint::black_box;

use stages::{ALL, Notes, Stage};

/// What callgrind counts, and nothing else.
#[inline(never)]
fn counted_stage(stage: &mut dyn Stage) {
    stage.run();
    // Something is left to do here, or the compiler would make a jump of the call, which callgrind does not see return.
    black_box(stage);
}

fn main() {
    let Some(number) = std::env::args().skip(1).find_map(|argument| argument.parse::<usize>().ok()) else {
        ALL.iter().for_each(|counted| println!("{}\t{}", counted.per, counted.name));
        return;
    };
    let mut notes = Notes::new();
    let mut stage = (ALL[number].make)(&mut notes);
    // Once for tables and buffers that are made on first use.
    stage.prepare(&mut notes);
    stage.run();
    stage.prepare(&mut notes);
    counted_stage(&mut *stage);
}
