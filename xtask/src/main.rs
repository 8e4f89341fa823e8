//! The one entry point for developers.
//!
//! Owns the order of the steps and what they need on the machine. Knows nothing of the relay but the
//! names of its packages; what a step checks is written in the tests it runs.

mod bench;
mod check;
mod cluster;
mod fuzz;
mod instructions;
mod metrics;
mod step;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Build, test and measure Towpath", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the tests need, then run every test.
    Test,
    /// The quick gate before a commit: format, lints, dependencies, tidy and unit tests, documentation.
    Check,
    /// Build for release and measure: the standard comparison, or what the arguments ask of the load programme.
    Bench {
        /// Build this revision, too, and judge the relay of this tree against it: 0 pass, 1 fail, 2 error, 3 inconclusive.
        #[arg(long)]
        against: Option<String>,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the standard comparison and write its report into the README.
    Figures {
        /// More for the comparison, such as `--relay NAME=PROGRAM`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Start PostgreSQL, Redis and two pods, and measure them: the figures of docs/cluster.md.
    ClusterFigures {
        /// How long each load lasts.
        #[arg(long, default_value_t = 10)]
        seconds: u32,
    },
    /// Fuzz one target, or each in turn, with cargo-fuzz on a nightly toolchain.
    Fuzz {
        /// The target's name; every target without it.
        target: Option<String>,
        /// How long each target runs.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Count the instructions an event costs, stage by stage and in a whole relay, under callgrind.
    Instructions {
        /// Only the stages whose name contains this.
        only: Option<String>,
        /// Name so many of the dearest functions of each.
        #[arg(long, default_value_t = 0)]
        functions: usize,
    },
    /// Print the sizes of files and functions, crate by crate.
    Metrics,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Test => test::run(),
        Command::Check => check::run(),
        Command::Bench { against, arguments } => return bench::run(against.as_deref(), &arguments),
        Command::Figures { arguments } => bench::figures(&arguments),
        Command::ClusterFigures { seconds } => cluster::run(seconds),
        Command::Fuzz { target, seconds } => fuzz::run(target.as_deref(), seconds),
        Command::Instructions { only, functions } => instructions::run(only.as_deref(), functions),
        Command::Metrics => metrics::run(),
    };
    done.map(|()| ExitCode::SUCCESS)
}
