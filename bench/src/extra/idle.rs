//! Memory of connections that do nothing: each has one subscription of its own, and at the end all of them must get the
//! one event that they wait for.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::crowd::{Crowd, Heard, Subscribed};
use super::named;
use super::site::{Bench, Found, Limits, Site};
use crate::account::Accounts;
use crate::artifact::Outcome;
use crate::client::Target;
use crate::counters::Counters;
use crate::measure::{CpuTimes, resident_bytes};
use crate::notes::{Notes, Recipe};
use crate::workload::verify;

const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Memory that moved by less than this part between two looks has settled.
const SETTLED: f64 = 0.002;
const SETTLE_LOOKS_MAX: usize = 20;
const PATIENCE: Patience = Patience { idle: Duration::from_secs(5), delivery: Duration::from_secs(30) };

#[derive(Args)]
pub(crate) struct Options {
    /// Connections with one subscription each.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,
    #[command(flatten)]
    bench: Bench,
}

pub(crate) fn run(options: &Options) -> Result<bool> {
    let limits: Limits = vec![("TOWPATH_SERVER_CONNECTIONS_MAX", u64::from(options.connections) + 100)];
    let setting = BTreeMap::from([("idle-connections".to_owned(), options.connections.into())]);
    options.bench.take_turns("idle", &limits, setting, |site, _| turn(options, site, &PATIENCE))
}

pub(super) struct Patience {
    /// How long idling is watched.
    pub(super) idle: Duration,
    /// How long everybody may take to get the event.
    pub(super) delivery: Duration,
}

pub(super) fn turn(options: &Options, site: &mut Site, patience: &Patience) -> Result<Found> {
    let arm = site.fresh()?;
    let pod = &arm.pods[0];
    let counters = Counters::read(&arm.pods);
    let size = options.connections as usize;
    let recipe = Recipe { authors: 1, ..Recipe::fresh(options.bench.method.seed, "idle")? };
    let notes = Notes::sign(&recipe, 1)?;
    // The first connections pay for what is made once.
    drop(Crowd::gather(&pod.target, 10)?);
    let before = settled(pod.pid);
    let mut crowd = Crowd::gather(&pod.target, size)?;
    let connected = settled(pod.pid);
    let subscribed = crowd.subscribe(|connection, nth| (nth == 0).then(|| request(&notes, connection, &recipe)))?;
    let ((after, cpu, answered), heard) = crowd.listen_while(|tally| {
        let after = settled(pod.pid);
        let cpu_before = CpuTimes::read([pod.pid])?;
        thread::sleep(patience.idle);
        let cpu = CpuTimes::read([pod.pid])? - cpu_before;
        publish(&pod.target, &notes)?;
        Ok((after, cpu, tally.wait_for(size, patience.delivery)))
    })?;
    let moved = Counters::read(&arm.pods).moved_since(&counters);
    let found = verify::times_found(&pod.target, &[notes.all[0].id], &[notes.all[0].id])?;
    let stored = found.values().filter(|times| **times > 0).count();
    drop(crowd);
    let closed = settled(pod.pid);
    let per_connection = |now: Option<u64>| Some((now? as f64 - before? as f64) / size as f64);
    let twice = heard.events.iter().map(|events| u64::from(events.saturating_sub(1))).sum();
    let missing = heard.events.iter().filter(|events| **events == 0).count();
    let outcome = Outcome {
        void: void(&subscribed, &heard, missing, &moved),
        is_voided_by_relay: true,
        figures: named([
            ("relay-bytes-per-connection", per_connection(connected)),
            ("relay-bytes-per-connection-with-subscription", per_connection(after)),
            ("relay-bytes-per-connection-once-closed", per_connection(closed)),
            ("relay-resident-bytes-before", before.map(|bytes| bytes as f64)),
            ("relay-resident-bytes", after.map(|bytes| bytes as f64)),
            ("relay-idle-cores", cpu.relay().map(|seconds| seconds / patience.idle.as_secs_f64())),
            ("closed-connections", Some(heard.closed_connections as f64)),
            ("all-delivered-ms", Some(answered.as_secs_f64() * 1e3)),
        ]),
        accounts: Some(Accounts {
            planned: 1,
            sent: 1,
            acked: 1,
            stored,
            lost: 1 - stored,
            delivered: heard.events.iter().map(|events| u64::from(*events)).sum(),
            undelivered: missing,
            delivered_twice: twice,
            ..Accounts::default()
        }),
        complaint: subscribed.complaint.or(heard.complaint),
        ..Outcome::default()
    };
    Ok(vec![("idle", outcome)])
}

/// Memory of connections that are not there any more is no memory of idle connections.
fn void(subscribed: &Subscribed, heard: &Heard, missing: usize, moved: &[String]) -> Option<String> {
    let missed = || (missing > 0).then(|| format!("{missing} connections did not get the event that they waited for"));
    let counted = || (!moved.is_empty()).then(|| moved.join("; "));
    subscribed.objection().or_else(|| heard.objection()).or_else(missed).or_else(counted)
}

/// One filter, unlike every other connection's; all of them match the one note.
fn request(notes: &Notes, connection: usize, recipe: &Recipe) -> String {
    let author = const_hex::encode(notes.all[0].author);
    let own = format!("{connection:064x}");
    let since = recipe.created_at;
    format!(r#"["REQ","idle",{{"kinds":[1],"authors":["{own}","{author}"],"since":{since}}}]"#)
}

/// Resident memory once it stands still, or after a while all the same.
pub(super) fn settled(pid: Option<u32>) -> Option<u64> {
    let mut last = resident_bytes(pid?)?;
    for _ in 0..SETTLE_LOOKS_MAX {
        thread::sleep(LOOK_AGAIN);
        let now = resident_bytes(pid?)?;
        if (now as f64 / last as f64 - 1.0).abs() < SETTLED {
            return Some(now);
        }
        last = now;
    }
    Some(last)
}

fn publish(target: &Target, notes: &Notes) -> Result<()> {
    let (is_accepted, reason) = verify::publish(target, &notes.all[0]).context("the note that everybody waits for")?;
    ensure!(is_accepted, "the relay refused the note that everybody waits for: {reason}");
    Ok(())
}
