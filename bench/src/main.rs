//! `towpath-bench`: an honest load generator for Nostr relays.
//!
//! Publishes signed notes at a fixed schedule or with a fixed number in flight, counts every
//! latency from the instant the event was due, and afterwards accounts for every event by asking
//! for it. `compare` starts several relays itself and runs them in turns, next to the floors of
//! the machine. Needs Linux.

mod ab;
mod account;
mod artifact;
mod caretaker;
mod client;
mod cluster;
mod compare;
mod counters;
mod extra;
mod floors;
mod folder;
mod frame;
mod launch;
mod live;
mod machine;
mod measure;
mod message;
mod notes;
mod options;
mod page;
mod progress;
mod protocol;
mod report;
mod schedule;
mod single;
#[cfg(test)]
mod stand_in;
mod verdict;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use notes::{Notes, Recipe};

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
    Publish(single::PublishOptions),
    /// Publish notes at a fixed rate while others are subscribed to all of them.
    Fanout(single::FanoutOptions),
    /// Start a relay and put it through one protocol or several.
    Run(single::RunOptions),
    /// Find the highest rate that a relay serves within a bound on its ack p99.
    Sweep(single::SweepOptions),
    /// Measure the floors of this machine: signature check, synced append, WebSocket echo, send.
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
    /// Start two relays in turns, load each alike, and judge B against A by the guardrail.
    Ab(ab::Options),
    /// Judge again what a session left behind, or one session's A against another's B.
    Judge(ab::JudgeOptions),
    /// Render a run's artifact as a page to look at, without measuring anything.
    Report(page::Options),
    #[command(flatten)]
    Extra(extra::Command),
}

fn main() -> ExitCode {
    allow_files();
    match execute(Cli::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("towpath-bench: {failure:#}");
            ExitCode::from(2)
        }
    }
}

/// As many open files as the system lets this process have. Relays inherit that, so it comes before any is started. Where too little
/// is to be had, a crowd says so.
fn allow_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// The exit code: 0 when the figures can be used and no promise was broken, 1 when not, or a verdict's.
fn execute(command: Command) -> Result<u8> {
    let is_good = match command {
        Command::Publish(options) => single::publish(&options),
        Command::Fanout(options) => single::fanout(&options),
        Command::Run(options) => single::run(&options),
        Command::Sweep(options) => single::sweep(&options),
        Command::Floors { data, rate } => {
            let notes = Notes::sign(&Recipe::fresh(1, "floors")?, notes::AUTHORS)?;
            println!("{}", serde_json::to_string_pretty(&floors::measure(&notes, &data, rate)?)?);
            Ok(true)
        }
        Command::Compare(options) => compare::compare(&options),
        Command::Ab(options) => return Ok(ab::run(&options)?.exit_code()),
        Command::Judge(options) => return Ok(ab::judge(&options)?.exit_code()),
        Command::Report(options) => page::report(&options).map(|()| true),
        Command::Extra(command) => extra::run(&command),
    };
    Ok(u8::from(!is_good?))
}
