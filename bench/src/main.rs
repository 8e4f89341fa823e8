//! `towpath-bench`: an honest load generator for Nostr relays.
//!
//! Publishes signed notes at a fixed schedule or with a fixed number in flight, counts every
//! latency from the instant the event was due, and afterwards accounts for every event by asking
//! for it. `compare` starts several relays itself and runs them in turns, next to the floors of
//! the machine. Needs Linux.

mod account;
mod client;
mod compare;
mod floors;
mod frame;
mod launch;
mod measure;
mod message;
mod notes;
mod report;
mod schedule;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};

use client::Target;
use notes::{Notes, Recipe};
use schedule::{Nanos, Schedule};
use workload::{Outcome, Pacing, Plan};

const EVENTS_MAX: usize = 2_000_000;
const AUTHORS: usize = 1_000;

/// Load for a Nostr relay: latency from the intended send time, every event accounted for.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Publish notes to a running relay: at a fixed rate, or with a fixed number in flight.
    Publish {
        #[command(flatten)]
        load: Load,
        /// Closed loop: so many unanswered events on every connection, instead of a rate.
        #[arg(long, conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..=4096))]
        in_flight: Option<u32>,
        /// Closed loop: at most so many events.
        #[arg(long, default_value_t = 100_000)]
        events: usize,
    },
    /// Publish notes at a fixed rate while others are subscribed to all of them.
    Fanout {
        #[command(flatten)]
        load: Load,
        /// Connections with one subscription each.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        subscribers: u32,
        /// The address subscribers connect to, if it is another pod's.
        #[arg(long)]
        subscribe_url: Option<String>,
    },
    /// Measure the floors of this machine: signature check, synced append, WebSocket echo.
    Floors {
        /// A folder on the filesystem to measure.
        #[arg(long, default_value = ".")]
        data: PathBuf,
        /// The pace of the echoes, a second.
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        rate: u32,
    },
    /// Start relays in turns, load each alike, and print a table and verdicts.
    Compare(compare::Options),
}

#[derive(Args)]
struct Load {
    /// The relay's address.
    #[arg(long, default_value = "ws://127.0.0.1:7777")]
    url: String,
    /// Load a relay that is not on this machine. Ask its owner first.
    #[arg(long)]
    allow_remote: bool,
    /// The relay's process, to account for its CPU time and memory.
    #[arg(long)]
    pid: Option<u32>,
    /// Open loop: events a second, over all connections.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How long to publish.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    connections: u32,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Clone)]
struct Common {
    /// Authors and contents follow from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first seconds of each run are accounted for, but are no part of the figures.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=60))]
    warm_up_seconds: u32,
    /// A run is void when the generator itself was later than this at p99.
    #[arg(long, default_value_t = 1_000)]
    lag_max_us: u32,
    /// How long to wait for the last answers.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    drain_seconds: u32,
    /// Write the figures to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Common {
    fn warm_up(&self) -> Nanos {
        Nanos::from(self.warm_up_seconds) * 1_000_000_000
    }

    fn lag_max(&self) -> Nanos {
        Nanos::from(self.lag_max_us) * 1_000
    }

    fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds.into())
    }

    /// Fresh notes for a run; `label` keeps the sets of one process apart.
    fn sign(&self, label: &str, count: usize) -> Result<(Notes, Recipe)> {
        ensure!(count <= EVENTS_MAX, "{count} events are more than this generator holds ({EVENTS_MAX})");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let recipe = Recipe {
            seed: self.seed,
            label: format!("{:x} {label}", now.as_nanos()),
            created_at: now.as_secs(),
            authors: AUTHORS,
        };
        Ok((Notes::sign(&recipe, count)?, recipe))
    }

    fn write_json(&self, figures: &impl serde::Serialize) -> Result<()> {
        let Some(path) = &self.json else { return Ok(()) };
        let text = serde_json::to_string_pretty(figures)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("towpath-bench: {failure:#}");
            ExitCode::from(2)
        }
    }
}

/// True when the figures can be used and no promise was broken.
fn execute(command: Command) -> Result<bool> {
    match command {
        Command::Publish { load, in_flight: None, .. } => publish(&load, None, 0, None),
        Command::Publish { load, in_flight: Some(in_flight), events } => {
            publish(&load, Some((in_flight as usize, events)), 0, None)
        }
        Command::Fanout { load, subscribers, subscribe_url } => {
            publish(&load, None, subscribers as usize, subscribe_url.as_deref())
        }
        Command::Floors { data, rate } => {
            let common = Common { seed: 1, warm_up_seconds: 0, lag_max_us: 0, drain_seconds: 0, json: None };
            let (notes, _) = common.sign("floors", AUTHORS)?;
            println!("{}", serde_json::to_string_pretty(&floors::measure(&notes, &data, rate)?)?);
            Ok(true)
        }
        Command::Compare(options) => compare::compare(&options),
    }
}

fn publish(
    load: &Load,
    closed: Option<(usize, usize)>,
    subscribers: usize,
    subscribe_url: Option<&str>,
) -> Result<bool> {
    let target = Target::parse(&load.url, load.allow_remote)?;
    let heard_at = Target::parse(subscribe_url.unwrap_or(&load.url), load.allow_remote)?;
    let common = &load.common;
    ensure!(common.warm_up_seconds < load.seconds, "nothing is left to measure after the warm-up");
    let schedule = Schedule::new(load.rate, load.seconds);
    let duration = Nanos::from(load.seconds) * 1_000_000_000;
    let (pacing, count) = match closed {
        Some((in_flight, events)) => (Pacing::Closed { in_flight, duration }, events),
        None => (Pacing::Open(schedule), schedule.events()),
    };
    let (notes, recipe) = common.sign("publish", count)?;
    let outcome = workload::run(&Plan {
        target: &target,
        heard_at: &heard_at,
        relay_pid: load.pid,
        notes: &notes,
        since: recipe.created_at,
        pacing,
        connections: load.connections as usize,
        subscribers,
        warm_up: common.warm_up(),
        lag_max: common.lag_max(),
        drain: common.drain(),
    })?;
    print!("{}", report::describe(&outcome));
    common.write_json(&outcome)?;
    Ok(is_good(&outcome))
}

fn is_good(outcome: &Outcome) -> bool {
    outcome.void.is_none() && outcome.accounts.is_clean()
}
