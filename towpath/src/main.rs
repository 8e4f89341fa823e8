//! The `towpath` command: arguments → configuration → one command → exit code.
//!
//! The only place that reads the process's arguments and environment.

mod args;
mod bech32;
mod commands;
mod progress;
mod settings;
mod store;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use settings::{Environment, Misconfigured};

/// A command that found something wrong, or that failed.
const FAILURE: u8 = 1;
/// Arguments or configuration that no command can work with; clap uses the same for its own.
const MISUSE: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    // A log of some size has more files than a shell allows a process to open.
    towpath_relay::raise_descriptors();
    let environment = Environment::of_process();
    let command = args.command.unwrap_or(Command::Serve(args.serve));
    let is_server = matches!(command, Command::Serve(_));
    match run(command, &environment) {
        Ok(code) => code,
        Err(error) => {
            // A reader that has seen enough, such as `head`, is no failure.
            if is_broken_pipe(&error) && !is_server {
                return ExitCode::SUCCESS;
            }
            eprintln!("towpath: {error:#}");
            ExitCode::from(if error.is::<Misconfigured>() { MISUSE } else { FAILURE })
        }
    }
}

fn run(command: Command, environment: &Environment) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => commands::serve::run(&args, environment),
        Command::Import(args) => commands::import::run(&args, environment),
        Command::Export(args) => commands::export::run(&args, environment),
        Command::Query(args) => commands::query::run(&args, environment),
        Command::Stats(args) => commands::stats::run(&args, environment),
        Command::Check(args) => commands::check::run(&args, environment),
        Command::Audit(args) => commands::audit::run(&args, environment),
        Command::Backup(args) => commands::backup::backup(&args, environment),
        Command::Restore(args) => commands::backup::restore(&args, environment),
        Command::Copy(args) => commands::copy::run(&args, environment),
        Command::Cluster(args) => commands::cluster::run(&args, environment),
        Command::Migrate(args) => commands::migrate::run(&args, environment),
        Command::Health(args) => commands::health::run(&args, environment),
        Command::Config(args) => commands::config::run(&args, environment),
        Command::Keys(args) => commands::keys::run(&args, environment),
    }
}

/// Prints what a command found before its exit code says how bad that is: a reader that has seen enough does not change it.
fn print_lines(lines: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    for line in lines {
        match writeln!(output, "{line}") {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            written => written?,
        }
    }
    Ok(())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
