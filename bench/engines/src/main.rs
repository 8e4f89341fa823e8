//! Compares event-store engines on one workload, and measures the disk's floor under all of them; prints Markdown.

mod compare;
mod drive;
mod engine;
mod floor;
mod keys;
mod report;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Compares event-store engines on the writes and reads of a relay.
#[derive(Parser)]
struct Cli {
    /// Where the temporary data goes; it must be on the disk to measure.
    #[arg(long, default_value = "target", global = true)]
    directory: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One append + sync, by how the file was prepared.
    Floor {
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        #[arg(long, default_value_t = 1_000)]
        round_ms: u64,
        /// Bytes of one append; several are measured in turn.
        #[arg(long, value_delimiter = ',', default_value = "600,4096,65536")]
        sizes: Vec<usize>,
    },
    /// Every engine: acks in open and closed loop, bulk, reads, disk.
    Compare {
        /// Events loaded, in bulk, before the rounds; enough that every author read has its 50.
        #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(100_000..))]
        events: u64,
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// How long each rate and each load lasts in a round.
        #[arg(long, default_value_t = 2_000)]
        phase_ms: u64,
        /// No round begins after this.
        #[arg(long, default_value_t = 300)]
        budget_s: u64,
        /// Only the engines whose name contains this.
        #[arg(long, default_value = "")]
        only: String,
    },
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    std::fs::create_dir_all(&cli.directory)?;
    let scratch = tempfile::tempdir_in(&cli.directory)?;
    match cli.command {
        Command::Floor { rounds, round_ms, sizes } => {
            let plan = floor::Plan { rounds, per_round: Duration::from_millis(round_ms), append_sizes: sizes };
            floor::run(scratch.path(), &plan)
        }
        Command::Compare { events, rounds, phase_ms, budget_s, only } => {
            let phase = Duration::from_millis(phase_ms);
            let budget = Duration::from_secs(budget_s);
            compare::run(scratch.path(), &compare::Plan { events, rounds, phase, budget, only })
        }
    }
}
