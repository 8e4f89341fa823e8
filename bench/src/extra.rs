//! Workloads beside the protocols: the query mix, idle connections, many subscriptions, the reconnect herd, import and replay.
//! Each runs against relays that take turns, or against one that runs already, and leaves the same artifact behind. Knows
//! nothing of verdicts.

mod ask;
mod cold;
mod corpus;
mod crowd;
mod idle;
mod import;
mod load;
mod oracle;
mod query;
mod replay;
mod site;
mod steady;
mod stored;
mod storm;
mod subscriptions;
pub(crate) mod table;

use std::collections::BTreeMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::measure::of_family;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Ask a mix of questions over stored events, cold and warm.
    Query(query::Options),
    /// Measure the memory of idle connections with one subscription each.
    Idle(idle::Options),
    /// Publish while many live filters match nothing of it.
    Subscriptions(subscriptions::Options),
    /// Cut many clients off at once and time how they come back.
    Storm(storm::Options),
    /// Measure how fast a file of events is taken in.
    Import(import::Options),
    /// Write a year of made-up events, one a line, as `query` and `import` use them.
    Corpus(corpus::Options),
    /// Publish a recording when it was recorded, or some times as fast.
    Replay(replay::Options),
}

/// True when every figure can be used and no promise was broken.
pub(crate) fn run(command: &Command) -> Result<bool> {
    match command {
        Command::Query(options) => query::run(options),
        Command::Idle(options) => idle::run(options),
        Command::Subscriptions(options) => subscriptions::run(options),
        Command::Storm(options) => storm::run(options),
        Command::Import(options) => import::run(options),
        Command::Corpus(options) => corpus::run(options),
        Command::Replay(options) => replay::run(options),
    }
}

fn unix_time() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs())
}

/// When today began, in UTC: what is made up from a seed is the same all day.
fn midnight() -> Result<u64> {
    unix_time().map(|now| now - now % 86_400)
}

/// The figures that are known.
fn named<const N: usize>(figures: [(&str, Option<f64>); N]) -> BTreeMap<String, f64> {
    figures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Bytes a process and all that descend from it had read from disks, page faults included.
fn read_bytes(pid: u32) -> Option<u64> {
    of_family(pid, |pid| {
        let io = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
        io.lines().find_map(|line| line.strip_prefix("read_bytes: "))?.parse().ok()
    })
}

#[cfg(test)]
mod tests;
