//! A comparison: every round measures the floors, then gives every relay fresh data, the same
//! notes and the same workloads, in turns, so that a slow minute of the machine hits all alike.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::Common;
use crate::floors;
use crate::launch::{Contender, RunningRelay};
use crate::notes::{Notes, Recipe};
use crate::report::{Comparison, Entry, Setting, Workload};
use crate::schedule::{Nanos, Schedule};
use crate::workload::{self, Outcome, Pacing, Plan};

/// Tried again once when the generator lagged: on a shared machine that happens.
const ATTEMPTS: usize = 2;

#[derive(Args)]
pub(crate) struct Options {
    /// A relay as NAME=PROGRAM, or NAME for a program on PATH; the verdicts are the first one's.
    #[arg(long = "relay", required = true, value_parser = Contender::parse)]
    relays: Vec<Contender>,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Where the relays' folders are made and the sync floor is measured.
    #[arg(long, default_value = ".")]
    data: PathBuf,
    /// Events a second of the open loop.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How long each workload publishes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=3_600))]
    seconds: u32,
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    connections: u32,
    /// Closed loop: unanswered events on every connection.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    in_flight: u32,
    /// Closed loop: at most so many events.
    #[arg(long, default_value_t = 100_000)]
    peak_events: usize,
    /// Subscribers of the fan-out.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    subscribers: u32,
    /// Events a second of the fan-out.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    fanout_rate: u32,
    #[command(flatten)]
    common: Common,
}

/// The notes of one workload.
struct Load {
    workload: Workload,
    pacing: Pacing,
    subscribers: usize,
    notes: Notes,
    recipe: Recipe,
}

/// Runs the comparison and prints it; false when a run failed or a relay broke a promise.
pub(crate) fn compare(options: &Options) -> Result<bool> {
    ensure!(options.common.warm_up_seconds < options.seconds, "nothing is left to measure after the warm-up");
    let mut comparison = empty(options)?;
    for round in 1..=options.rounds as usize {
        let loads = loads(options)?;
        comparison.floors.push(floors::measure(&loads[0].notes, &options.data, options.rate)?);
        for contender in &options.relays {
            eprintln!("round {round}: {}", contender.name);
            comparison.entries.extend(run_all(options, round, contender, &loads));
        }
    }
    print!("{}", comparison.markdown());
    options.common.write_json(&comparison)?;
    Ok(comparison.entries.iter().all(|entry| entry.outcome.as_ref().is_some_and(|o| o.accounts.is_clean())))
}

fn empty(options: &Options) -> Result<Comparison> {
    Ok(Comparison {
        version: env!("CARGO_PKG_VERSION"),
        cores: std::thread::available_parallelism()?.get(),
        unix_time: SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs(),
        setting: Setting {
            rate: options.rate,
            seconds: options.seconds,
            connections: options.connections as usize,
            in_flight: options.in_flight as usize,
            peak_events: options.peak_events,
            subscribers: options.subscribers as usize,
            fanout_rate: options.fanout_rate,
            seed: options.common.seed,
        },
        floors: Vec::new(),
        entries: Vec::new(),
        relays: options.relays.iter().map(|contender| contender.name.clone()).collect(),
    })
}

fn loads(options: &Options) -> Result<Vec<Load>> {
    let open = |rate| Schedule::new(rate, options.seconds);
    let duration = Nanos::from(options.seconds) * 1_000_000_000;
    let closed = Pacing::Closed { in_flight: options.in_flight as usize, duration };
    let steady = open(options.rate);
    let fanout = open(options.fanout_rate);
    let workloads = [
        (Workload::Steady, "steady", Pacing::Open(steady), 0, steady.events()),
        (Workload::Watched, "watched", Pacing::Open(steady), 1, steady.events()),
        (Workload::Fanout, "fanout", Pacing::Open(fanout), options.subscribers as usize, fanout.events()),
        (Workload::Peak, "peak", closed, 0, options.peak_events),
    ];
    let sign = |(workload, label, pacing, subscribers, count)| {
        let (notes, recipe) = options.common.sign(label, count)?;
        Ok(Load { workload, pacing, subscribers, notes, recipe })
    };
    workloads.into_iter().map(sign).collect()
}

/// One relay's turn. A run that is void is repeated on a relay started anew, because the notes
/// must be new to it.
fn run_all(options: &Options, round: usize, contender: &Contender, loads: &[Load]) -> Vec<Entry> {
    let entry = |workload, result: Result<Outcome>| {
        let (outcome, failure) = match result {
            Ok(outcome) => (Some(outcome), None),
            Err(failure) => (None, Some(format!("{failure:#}"))),
        };
        Entry { round, relay: contender.name.clone(), workload, outcome, failure }
    };
    let mut relay = None;
    let mut entries = Vec::new();
    for load in loads {
        let mut result = run_one(options, contender, &mut relay, load);
        for _ in 1..ATTEMPTS {
            if result.as_ref().is_ok_and(|outcome| outcome.void.is_none()) {
                break;
            }
            relay = None;
            result = run_one(options, contender, &mut relay, load);
        }
        entries.push(entry(load.workload, result));
    }
    entries
}

fn run_one(options: &Options, contender: &Contender, relay: &mut Option<RunningRelay>, load: &Load) -> Result<Outcome> {
    let relay = match relay {
        Some(running) => running,
        None => relay.insert(contender.start(&options.data)?),
    };
    workload::run(&Plan {
        target: &relay.target,
        heard_at: &relay.target,
        relay_pid: Some(relay.pid()),
        notes: &load.notes,
        since: load.recipe.created_at,
        pacing: load.pacing,
        connections: options.connections as usize,
        subscribers: load.subscribers,
        warm_up: options.common.warm_up(),
        lag_max: options.common.lag_max(),
        drain: options.common.drain(),
    })
}
