//! A comparison: every round measures the floors, then gives every relay fresh data, the same
//! notes and the same workloads, in turns, so that a slow minute of the machine hits all alike.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Args;

use crate::artifact::{Arm, Artifact, Outcome, Run, When};
use crate::extra::table;
use crate::floors;
use crate::folder;
use crate::launch::{Contender, RunningArm, Topology};
use crate::live::{self, Heading};
use crate::options::Record;
use crate::protocol::{Load, Protocol, Setting};
use crate::report;

/// A void run is repeated once: on a shared machine generators lag.
const ATTEMPTS: usize = 2;

#[derive(Args)]
pub(crate) struct Options {
    /// A relay as NAME=COMMAND, NAME=ADDRESS, or NAME for a program on PATH; the verdicts are the first one's.
    #[arg(long = "relay", required_unless_present = "artifacts", value_parser = Contender::parse)]
    relays: Vec<Contender>,
    /// Measure nothing and print what the sessions that left these artifacts or folders came to.
    #[arg(conflicts_with = "relays")]
    artifacts: Vec<PathBuf>,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Where the relays' folders are made and the sync floor is measured.
    #[arg(long, default_value = ".")]
    data: PathBuf,
    #[command(flatten)]
    setting: Setting,
    #[command(flatten)]
    record: Record,
}

/// A protocol by another name and with another setting.
struct Workload {
    name: &'static str,
    protocol: Protocol,
    change: fn(&Setting) -> Setting,
}

impl Workload {
    /// With notes that no run before had.
    fn prepare(&self, setting: &Setting) -> Result<Load> {
        Load::prepare(self.protocol, &(self.change)(setting), self.name)
    }
}

/// In the order in which they are run.
static WORKLOADS: [Workload; 5] = [
    Workload { name: report::STEADY, protocol: Protocol::Publish, change: Setting::clone },
    Workload { name: report::QUIET, protocol: Protocol::Publish, change: quiet },
    Workload { name: report::FANOUT, protocol: Protocol::SamePod, change: Setting::clone },
    Workload { name: report::PEAK, protocol: Protocol::Peak, change: Setting::clone },
    Workload { name: report::DEEP_PEAK, protocol: Protocol::Peak, change: deep },
];

fn quiet(setting: &Setting) -> Setting {
    Setting { rate: setting.fanout_rate, ..setting.clone() }
}

fn deep(setting: &Setting) -> Setting {
    Setting { in_flight: report::DEEP, ..setting.clone() }
}

/// Runs the comparison and prints it; false when a run failed or a relay broke a promise.
pub(crate) fn compare(options: &Options) -> Result<bool> {
    if !options.artifacts.is_empty() {
        return compare_again(&options.artifacts);
    }
    options.setting.method.check()?;
    let session = Instant::now();
    let mut artifact = Artifact::begin(&options.setting, Some(&options.data))?;
    artifact.arms = options.record.arms(options.relays.iter().map(|relay| relay.name.as_str()))?;
    let folder = options.record.folder("compare", &artifact);
    for round in 1..=options.rounds as usize {
        let load = |workload: &'static Workload| Ok((workload, workload.prepare(&options.setting)?));
        let loads = WORKLOADS.iter().map(load).collect::<Result<Vec<_>>>()?;
        artifact.floors.push(floors::measure(&loads[0].1.notes, &options.data, options.setting.rate)?);
        for number in order(options.relays.len(), round) {
            let turn = Turn { options, session, round, contender: &options.relays[number] };
            turn.take(&loads, &mut artifact.arms[number], &mut artifact.runs);
        }
        folder::keep(&folder, &artifact)?;
    }
    print!("{}", report::markdown(&artifact)?);
    options.record.write(&folder, &artifact)?;
    Ok(artifact.is_clean())
}

fn compare_again(paths: &[PathBuf]) -> Result<bool> {
    let mut are_clean = true;
    for path in paths {
        let artifact = folder::read(path)?;
        println!("# {}\n\n{}", path.display(), told(&artifact));
        are_clean &= artifact.is_clean();
    }
    Ok(are_clean)
}

/// By its bounds where it is a comparison, and any other session by its medians.
fn told(artifact: &Artifact) -> String {
    report::markdown(artifact).unwrap_or_else(|_| table::markdown(artifact))
}

/// Every other round backwards, so that none always follows the same one.
fn order(relays: usize, round: usize) -> Vec<usize> {
    let forwards = 0..relays;
    if round.is_multiple_of(2) { forwards.rev().collect() } else { forwards.collect() }
}

/// One relay's, in one round.
struct Turn<'a> {
    options: &'a Options,
    /// When it began.
    session: Instant,
    round: usize,
    contender: &'a Contender,
}

impl Turn<'_> {
    /// Every workload. A run that is void is repeated on a relay started anew, and with other notes, because they must be new also to
    /// one that somebody else started; what it lost stays in the accounts. One that failed is not: it would be tried until it goes
    /// well.
    fn take(&self, loads: &[(&Workload, Load)], arm: &mut Arm, runs: &mut Vec<Run>) {
        let mut running = None;
        for (workload, load) in loads {
            let name = workload.name;
            for attempt in 0..ATTEMPTS {
                let began = Instant::now();
                let again = (attempt > 0).then(|| workload.prepare(&self.options.setting)).transpose();
                let result = again.and_then(|again| self.run(&mut running, arm, name, again.as_ref().unwrap_or(load)));
                let when = When::since(self.session, began);
                let is_void = result.as_ref().is_ok_and(|outcome| outcome.void.is_some());
                let is_sound = result.as_ref().is_ok_and(|outcome| outcome.void.is_none());
                runs.push(Run::ended(self.round, &self.contender.name, name, result, when));
                if !is_sound {
                    running = None;
                }
                if !is_void {
                    break;
                }
            }
        }
    }

    /// A relay is described when it starts: no run that it spoils can keep that from the record.
    fn run(&self, running: &mut Option<RunningArm>, described: &mut Arm, name: &str, load: &Load) -> Result<Outcome> {
        let arm = match running {
            Some(running) => running,
            None => {
                let started = self.contender.start(&self.options.data, Topology::Alone)?;
                described.learn(self.contender.describe(&started));
                running.insert(started)
            }
        };
        let heading = Heading {
            protocol: name,
            arm: &self.contender.name,
            round: (self.round, self.options.rounds as usize),
            seconds: self.options.setting.method.seconds,
        };
        live::watch(heading, arm, |progress| load.run_watched(arm, progress))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::stand_in::{Vice, keeper};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn two_relays_of_one_name_are_refused_before_anything_is_measured() {
        let words = ["compare", "--relay", "x=ws://127.0.0.1:1", "--relay", "x=ws://127.0.0.1:2"];
        let refusal = compare(&Cli::parse_from(words).options).expect_err("one name");
        assert!(refusal.to_string().contains("same name"), "{refusal}");
    }

    /// A turn with one workload; the relay spoils the runs with its first so many events, of twenty each.
    fn turn(spoilt: usize) -> (Arm, Vec<Run>) {
        let relay = format!("x={}", keeper(Vice::Complains(spoilt)));
        let words = "--rate 20 --seconds 1 --warm-up-seconds 0 --lag-max-us 4000000000";
        let words = ["compare", "--relay", &relay].into_iter().chain(words.split(' '));
        let Cli { options } = Cli::parse_from(words);
        let loads = [(&WORKLOADS[0], WORKLOADS[0].prepare(&options.setting).expect("signed"))];
        let turn = Turn { options: &options, session: Instant::now(), round: 1, contender: &options.relays[0] };
        let (mut arm, mut runs) = (Arm::default(), Vec::new());
        turn.take(&loads, &mut arm, &mut runs);
        (arm, runs)
    }

    #[test]
    fn a_void_run_is_repeated_with_notes_that_the_relay_does_not_know() {
        let (_, runs) = turn(1);
        let voids: Vec<_> = runs.iter().map(|run| run.outcome.as_ref().map(|outcome| &outcome.void)).collect();
        assert!(matches!(voids[..], [Some(Some(_)), Some(None)]), "{voids:?}");
    }

    #[test]
    fn a_relay_whose_runs_are_all_void_is_described() {
        let (arm, runs) = turn(usize::MAX);
        assert_eq!((runs.len(), arm.name.as_str()), (ATTEMPTS, "x"));
        assert!(arm.command.starts_with("ws://"), "{arm:?}");
    }

    /// As the first versions left it, cut down to one run: nothing that came later is in it.
    fn early() -> Artifact {
        folder::read(&early_file()).expect("an artifact")
    }

    fn early_file() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/early.json")
    }

    #[test]
    fn what_an_early_version_left_can_be_told_again() {
        assert!(compare_again(&[early_file()]).expect("told"), "it kept its promises");
        let text = told(&early());
        assert!(text.contains("| 200/s: ack p50, ms | 0.29 |"), "{text}");
        assert!(text.contains("| processor time of one send, of 100 to a socket each | - | - |"), "{text}");
    }

    #[test]
    fn any_other_session_is_told_by_its_medians() {
        let unlike = Artifact { setting: [("clients".to_owned(), 9.into())].into(), ..early() };
        let mut beside = early();
        beside.runs[0].protocol = "cross-pod".into();
        for (session, protocol) in [(unlike, "publish-quiet"), (beside, "cross-pod")] {
            let text = told(&session);
            assert!(text.contains(&format!("| {protocol} | towpath |\n|---|---|\n| bytes-per-s |")), "{text}");
            assert!(text.contains("| ack, ms: p50 / p90 / p99 / max | 0.29 / "), "{text}");
        }
    }

    #[test]
    fn no_median_mixes_the_rates_of_a_sweep() {
        let mut sweep = early();
        let step = sweep.runs.remove(0);
        sweep.runs = [100.0, 200.0].map(|rate| at(rate, step.clone())).into();
        let text = told(&sweep);
        for rate in [100, 200] {
            assert!(text.contains(&format!("| sweep at {rate}/s | towpath |")), "{text}");
            assert!(text.contains(&format!("| rate-per-s | {rate} |")), "{text}");
        }
    }

    fn at(rate: f64, mut step: Run) -> Run {
        step.protocol = "sweep".into();
        step.outcome.as_mut().expect("an outcome").figures.insert("rate-per-s".into(), rate);
        step
    }

    #[test]
    fn relays_take_turns_forwards_and_backwards() {
        assert_eq!([1, 2, 3].map(|round| order(3, round)), [[0, 1, 2], [2, 1, 0], [0, 1, 2]]);
    }
}
