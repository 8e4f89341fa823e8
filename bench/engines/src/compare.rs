//! The comparison: every engine loaded alike, then taken through the same phases round after round, in turn.
//!
//! Interleaving spreads the machine's moods over all engines; the table shows medians of the rounds.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::drive;
use crate::engine::{self, Engine};
use crate::report::{self, Latency, Table};
use crate::workload;

const OPEN_RATES: [u64; 3] = [200, 1_000, 4_000];
const IN_FLIGHT: [usize; 2] = [16, 256];
const BULK_BATCH_EVENTS: usize = 256;
/// Loading is interleaved as well, in this many turns.
const LOAD_TURNS: u64 = 6;
const AUTHOR_QUERIES: u64 = 300;
const AUTHOR_EVENTS: usize = 50;
const KIND_QUERIES: u64 = 100;
const KIND_EVENTS: usize = 500;

/// How much to measure.
pub(crate) struct Plan {
    pub(crate) events: u64,
    pub(crate) rounds: usize,
    pub(crate) phase: Duration,
    /// No round begins after this.
    pub(crate) budget: Duration,
    /// Only the engines whose name contains this; all when empty.
    pub(crate) only: String,
}

struct Candidate {
    name: &'static str,
    directory: PathBuf,
    engine: Box<dyn Engine>,
    next: u64,
    loading: Duration,
    loaded_bytes: u64,
    rounds: Vec<Round>,
}

struct Round {
    open: [Latency; OPEN_RATES.len()],
    closed: [f64; IN_FLIGHT.len()],
    author: Latency,
    kind: Latency,
}

/// Measures all engines and prints one table.
pub(crate) fn run(directory: &Path, plan: &Plan) -> Result<()> {
    let begun = Instant::now();
    let mut candidates = open_all(directory, &plan.only)?;
    load(&mut candidates, plan.events)?;
    eprintln!("loaded in {:.0?}", begun.elapsed());
    for round in 1..=plan.rounds {
        if begun.elapsed() > plan.budget {
            eprintln!("out of time after {} rounds", round - 1);
            break;
        }
        for candidate in &mut candidates {
            settle();
            let measured = measure(candidate, plan.phase)?;
            candidate.rounds.push(measured);
        }
        eprintln!("round {round} of {} after {:.0?}", plan.rounds, begun.elapsed());
    }
    print(&candidates, plan.events);
    Ok(())
}

fn open_all(directory: &Path, only: &str) -> Result<Vec<Candidate>> {
    let open = |(number, &(name, open)): (usize, &(&'static str, engine::Open))| {
        let directory = directory.join(number.to_string());
        fs::create_dir(&directory)?;
        let engine = open(&directory)?;
        let (next, loading, loaded_bytes, rounds) = (0, Duration::ZERO, 0, Vec::new());
        Ok(Candidate { name, directory, engine, next, loading, loaded_bytes, rounds })
    };
    let chosen = engine::ALL.iter().filter(|(name, _)| name.contains(only));
    chosen.enumerate().map(open).collect()
}

fn load(candidates: &mut [Candidate], events: u64) -> Result<()> {
    let turn_events = events.div_ceil(LOAD_TURNS);
    for turn in 0..LOAD_TURNS {
        for candidate in candidates.iter_mut() {
            let end = ((turn + 1) * turn_events).min(events);
            let numbers = candidate.next..end;
            candidate.loading += drive::bulk(candidate.engine.as_mut(), numbers, BULK_BATCH_EVENTS)?;
            candidate.next = end;
            settle();
        }
    }
    for candidate in candidates {
        candidate.loaded_bytes = disk_bytes(&candidate.directory)?;
    }
    Ok(())
}

fn measure(candidate: &mut Candidate, phase: Duration) -> Result<Round> {
    let engine = candidate.engine.as_mut();
    let unmeasured = Latency { p50_us: f64::NAN, p99_us: f64::NAN, p999_us: f64::NAN };
    let mut open = [unmeasured; OPEN_RATES.len()];
    for (latency, rate) in open.iter_mut().zip(OPEN_RATES) {
        let (latencies, next) = drive::open_loop(engine, candidate.next, rate, phase)?;
        *latency = Latency::of(&latencies);
        candidate.next = next;
    }
    let mut closed = [f64::NAN; IN_FLIGHT.len()];
    for (rate, in_flight) in closed.iter_mut().zip(IN_FLIGHT) {
        (*rate, candidate.next) = drive::closed_loop(engine, candidate.next, in_flight, phase)?;
    }
    let author = drive::reads(AUTHOR_QUERIES, AUTHOR_EVENTS, |query, sink| {
        engine.newest_of_author(&workload::author(query * 7), AUTHOR_EVENTS, sink)
    })?;
    let kind = drive::reads(KIND_QUERIES, KIND_EVENTS, |query, sink| {
        engine.newest_of_kind(workload::other_kind(query), KIND_EVENTS, sink)
    })?;
    Ok(Round { open, closed, author: Latency::of(&author), kind: Latency::of(&kind) })
}

/// Lets what one engine left for later, in the kernel or in its own threads, not fall into the next one's turn.
fn settle() {
    rustix::fs::sync();
    thread::sleep(Duration::from_millis(500));
}

/// Blocks in use, not lengths: a file may be sparse.
fn disk_bytes(path: &Path) -> Result<u64> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.blocks() * 512);
    }
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        bytes += disk_bytes(&entry?.path())?;
    }
    Ok(bytes)
}

fn print(candidates: &[Candidate], events: u64) {
    let mut headings = vec!["engine".to_owned()];
    headings.extend(OPEN_RATES.map(|rate| format!("ack p50 / p99 at {}/s", report::count(rate as f64))));
    headings.extend(IN_FLIGHT.map(|events| format!("{events} in flight, events/s")));
    headings.push(format!("batches of {BULK_BATCH_EVENTS}, events/s"));
    headings.push(format!("{AUTHOR_EVENTS} newest of an author p50 / p99"));
    headings.push(format!("{KIND_EVENTS} newest of a kind p50"));
    headings.push("disk".to_owned());
    let mut table = Table::new(&headings);
    for candidate in candidates {
        table.row(row(candidate, events));
    }
    table.print();
}

fn row(candidate: &Candidate, events: u64) -> Vec<String> {
    let median = |value: &dyn Fn(&Round) -> f64| report::median(candidate.rounds.iter().map(value));
    let percentiles = |latency: &dyn Fn(&Round) -> Latency| {
        let p50 = report::duration_us(median(&|round| latency(round).p50_us));
        let p99 = report::duration_us(median(&|round| latency(round).p99_us));
        format!("{p50} / {p99}")
    };
    let mut cells = vec![candidate.name.to_owned()];
    cells.extend((0..OPEN_RATES.len()).map(|rate| percentiles(&|round| round.open[rate])));
    cells.extend((0..IN_FLIGHT.len()).map(|load| report::count(median(&|round| round.closed[load]))));
    cells.push(report::count(events as f64 / candidate.loading.as_secs_f64()));
    cells.push(percentiles(&|round| round.author));
    cells.push(report::duration_us(median(&|round| round.kind.p50_us)));
    cells.push(format!("{} MB", report::count(candidate.loaded_bytes as f64 / 1e6)));
    cells
}
