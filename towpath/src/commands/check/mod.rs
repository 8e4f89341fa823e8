//! `towpath check`: is what is stored what was accepted?
//!
//! The log is the truth. Every entry of it is verified as if a stranger had sent it, and the index must
//! find exactly those events that no later entry removed, on every way a filter can ask for them.

mod index;
mod log;

use std::io::Write;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use towpath_store::EventStore;

use crate::args::CheckArgs;
use crate::settings::{self, Environment};
use crate::store;
use index::Index;
use log::Log;

/// Named at most; a store with more is beyond reading about.
const PROBLEMS_MAX: usize = 1000;

pub(crate) fn run(args: &CheckArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let config = settings::of_store(&args.store, environment)?.config;
    let store = store::open_existing(&config)?;
    let report = check(&*store, !args.no_verify)?;

    let mut output = std::io::stdout().lock();
    for problem in report.problems.iter().take(PROBLEMS_MAX) {
        writeln!(output, "{problem}")?;
    }
    let problems = report.problems.len();
    eprintln!("{} log entries, {} stored events, {problems} problems", report.entries, report.live);
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::from(crate::FAILURE) })
}

/// What was looked at and what is wrong with it.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) entries: u64,
    pub(super) live: u64,
    pub(super) problems: Vec<String>,
}

pub(super) fn check(store: &dyn EventStore, verify: bool) -> anyhow::Result<Report> {
    let log = Log::read(store)?;
    let mut problems = log.problems.clone();
    problems.extend(log.verify(store, verify)?);
    problems.extend(Index { store, log: &log }.nothing_extra()?);
    Ok(Report { entries: log.entries, live: log.live, problems })
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}
