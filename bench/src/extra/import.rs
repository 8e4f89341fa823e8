//! How fast a relay takes in a file of events: by its own import command where it has one, by publishing where not. Whether all of
//! them are there afterwards is asked of the running relay. Knows the command's cost, not its output.

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::ask::{self, Asked, Pace};
use super::named;
use super::site::{Bench, Found, Site, no_rates};
use super::stored::{Checked, Stored};
use crate::account::Accounts;
use crate::artifact::Outcome;
use crate::caretaker::Group;
use crate::measure::{CpuTimes, peak_resident_bytes, process_cpu, too_busy};
use crate::schedule::Nanos;

const LOOK_AGAIN: Duration = Duration::from_millis(10);
const IMPORT_MAX: Duration = Duration::from_secs(3_600);
/// Enough of every class of question to tell whether everything is there.
const QUESTIONS: usize = 1_400;
const QUESTIONS_NANOS_MAX: Nanos = 60_000_000_000;
const CONNECTIONS: usize = 8;

#[derive(Args)]
pub(crate) struct Options {
    /// Events, up to 10 000 000.
    #[arg(long, default_value_t = 100_000)]
    events: usize,
    #[command(flatten)]
    bench: Bench,
}

pub(crate) fn run(options: &Options) -> Result<bool> {
    options.bench.check_repeatable()?;
    let stored = Stored::make(&options.bench.data, options.bench.method.seed, options.events)?;
    let setting = BTreeMap::from([
        ("events".to_owned(), options.events.into()),
        ("bytes".to_owned(), stored.corpus.bytes.into()),
    ]);
    options.bench.take_turns("import", &no_rates(), setting, |site, _| turn(&stored, site))
}

pub(super) fn turn(stored: &Stored, site: &mut Site) -> Result<Found> {
    site.fresh()?;
    let (protocol, cost) = match site.import(stored.path(), false, watch)? {
        Some(cost) => ("import", cost),
        None => ("import-by-publishing", publish(stored, site)?),
    };
    let pace = Pace::Closed { questions_max: QUESTIONS, duration: QUESTIONS_NANOS_MAX };
    let asked = ask::ask(&site.arm()?.pods[0].target, CONNECTIONS, &stored.requests, pace)?;
    let checked = Checked::of(stored, &asked);
    let accounts = stored.account(&site.arm()?.pods[0].target)?;
    let events = stored.corpus.facts.len() as f64;
    let ours = cost.objection();
    let outcome = Outcome {
        is_voided_by_relay: ours.is_none(),
        void: void(&asked, &checked, &accounts).or(ours),
        figures: named([
            ("events-per-s", Some(events / cost.seconds)),
            ("bytes-per-s", Some(stored.corpus.bytes as f64 / cost.seconds)),
            ("relay-cpu-us-per-event", cost.cpu_seconds.map(|seconds| seconds * 1e6 / events)),
            ("relay-peak-resident-bytes", cost.peak_bytes.map(|bytes| bytes as f64)),
            ("publisher-busy-share", cost.busy),
            ("answers-checked", Some(checked.checked as f64)),
            ("answers-wrong", Some(checked.wrong as f64)),
        ]),
        complaint: asked.complaint.or(checked.first_fault),
        accounts: Some(accounts),
        ..Outcome::default()
    };
    Ok(vec![(protocol, outcome)])
}

/// An import that left something out was fast for a reason.
fn void(asked: &Asked, checked: &Checked, accounts: &Accounts) -> Option<String> {
    let unanswered = asked.unanswered();
    if !accounts.is_clean() {
        return Some(format!("{} events are not there, {} twice", accounts.lost, accounts.stored_twice));
    }
    if asked.refused + unanswered > 0 {
        return Some(format!("{unanswered} questions were not answered, {} of them refused", asked.refused));
    }
    (checked.wrong > 0 || checked.checked == 0)
        .then(|| format!("{} of {} answers were wrong afterwards", checked.wrong, checked.checked))
}

/// What taking in the events cost.
pub(super) struct Cost {
    pub(super) seconds: f64,
    cpu_seconds: Option<f64>,
    peak_bytes: Option<u64>,
    /// How much of that time our publishing thread was at work, if it was we who published.
    busy: Option<f64>,
}

impl Cost {
    fn objection(&self) -> Option<String> {
        too_busy("publishes", self.busy?)
    }
}

fn publish(stored: &Stored, site: &mut Site) -> Result<Cost> {
    let pod = &site.arm()?.pods[0];
    let before = CpuTimes::read([pod.pid])?;
    let loaded = stored.publish(&pod.target)?;
    let cpu = CpuTimes::read([pod.pid])? - before;
    let peak_bytes = pod.pid.and_then(peak_resident_bytes);
    Ok(Cost { seconds: loaded.seconds, cpu_seconds: cpu.relay(), peak_bytes, busy: Some(loaded.busy) })
}

/// Runs a command to its end.
pub(super) fn watch(mut command: Command) -> Result<Cost> {
    let start = Instant::now();
    let mut process = Group::start(&mut command).context("the import cannot be started")?;
    let pid = process.leader.id();
    let mut peak = None;
    // One that has ended but was not waited for still tells its processor time.
    let has_ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(Pid::from_child(&process.leader)), has_ended)?.is_none() {
        if start.elapsed() > IMPORT_MAX {
            bail!("the import took more than {} s", IMPORT_MAX.as_secs());
        }
        peak = peak_resident_bytes(pid).or(peak);
        thread::sleep(LOOK_AGAIN);
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = process_cpu(&pid.to_string())?;
    let status = process.leader.wait()?;
    ensure!(status.success(), "the import ended with {status}");
    Ok(Cost { seconds, cpu_seconds: Some(cpu_seconds), peak_bytes: peak, busy: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_published_without_headroom_are_no_figure_of_the_relays() {
        let objection = |busy| Cost { seconds: 1.0, cpu_seconds: None, peak_bytes: None, busy }.objection();
        assert!(objection(Some(0.9)).is_some_and(|objection| objection.contains("that publishes was busy 90 %")));
        assert_eq!((objection(Some(0.7)), objection(None)), (None, None));
    }
}
