//! Two relays against each other, from their start to the verdict: every round gives both fresh data and the same load, in turns
//! A B, B A, so that a slow minute of the machine hits both. Leaves a folder behind that can be judged again. Knows in which order
//! things happen, not what a load is and not what is good.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::artifact::{Arm, Artifact, Outcome, Run, When};
use crate::floors::{self, Floors};
use crate::folder;
use crate::launch::{Contender, RunningArm, Topology};
use crate::live::{self, Heading};
use crate::notes::{self, Notes, Recipe};
use crate::protocol::{Load, Protocol, Setting};
use crate::verdict::{self, Guardrail, Verdict};

/// A round with a void run is repeated, because on a shared machine generators lag; after so many times as many rounds as were
/// asked for there is a reason for it that does not go away.
const ROUNDS_FACTOR: usize = 3;

const VERDICT: &str = "verdict.txt";

#[derive(Args)]
pub(crate) struct Options {
    /// The relay to compare with, as NAME=COMMAND or NAME=ws://HOST:PORT@PID, and `,ws://HOST:PORT@PID` for a second pod.
    #[arg(long, value_parser = Contender::parse)]
    a: Contender,
    /// The relay to judge.
    #[arg(long, value_parser = Contender::parse)]
    b: Contender,
    /// The load: some of same-pod, cross-pod, mixed, publish and peak, with commas between them, or all that both relays can run.
    #[arg(long, default_value = "all", value_parser = Protocols::parse)]
    protocol: Protocols,
    /// How many rounds to have of each load; more are run in place of those that are void.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Where the relays' folders are made and the sync floor is measured.
    #[arg(long, default_value = ".")]
    data: PathBuf,
    /// The folder of this run, where the artifact is kept after every round; `target/bench/<UTC time>-ab` without it.
    #[arg(long)]
    out: Option<PathBuf>,
    /// The revision A was built from, for the record.
    #[arg(long)]
    commit_a: Option<String>,
    /// The revision B was built from, for the record.
    #[arg(long)]
    commit_b: Option<String>,
    /// Other limits than those that ship with the programme.
    #[arg(long)]
    guardrail: Option<PathBuf>,
    #[command(flatten)]
    setting: Setting,
}

#[derive(Args)]
pub(crate) struct JudgeOptions {
    /// One artifact of two relays; or two artifacts, for the first's A against the second's B. A run's folder will do.
    #[arg(required = true, num_args = 1..=2)]
    artifacts: Vec<PathBuf>,
    /// Other limits than those that the session was judged by; of two, the second.
    #[arg(long)]
    guardrail: Option<PathBuf>,
}

/// The loads that were asked for.
#[derive(Clone, Debug, PartialEq)]
enum Protocols {
    All,
    Named(Vec<Protocol>),
}

impl Protocols {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        text.split(',').map(|name| Protocol::from_str(name, false)).collect::<Result<_, _>>().map(Self::Named)
    }

    /// Those that both relays can run, in the order they are run. One that was named is not left out: it is refused.
    fn of(&self, relays: &[&Contender]) -> Result<Vec<Protocol>> {
        let (asked, is_all) = match self {
            Self::All => (Protocol::value_variants(), true),
            Self::Named(named) => (named.as_slice(), false),
        };
        let mut protocols = Vec::new();
        for protocol in asked {
            let topology = protocol.topology(relays);
            match relays.iter().try_for_each(|relay| relay.can_run(topology)) {
                Ok(()) => protocols.push(*protocol),
                Err(reason) if is_all => eprintln!("{protocol}: not run, {reason:#}"),
                Err(reason) => return Err(reason.context(format!("{protocol} is in --protocol and cannot be run"))),
            }
        }
        Ok(protocols)
    }
}

/// Runs both relays and judges B.
pub(crate) fn run(options: &Options) -> Result<Verdict> {
    let guardrail = Guardrail::load(options.guardrail.as_deref())?;
    let notes = Notes::sign(&Recipe::fresh(options.setting.method.seed, "floors")?, notes::AUTHORS)?;
    let measure_floors = || floors::measure(&notes, &options.data, options.setting.rate);
    let folder = Session::open(options)?.run(measure_floors)?;
    conclude(&folder, &guardrail)
}

/// Judges what earlier sessions left behind.
pub(crate) fn judge(options: &JudgeOptions) -> Result<Verdict> {
    let artifacts: Vec<_> = options.artifacts.iter().map(|path| folder::read(path)).collect::<Result<_>>()?;
    let (a, b) = verdict::sides(&artifacts)?;
    let guardrail = Guardrail::of(b.artifact, options.guardrail.as_deref())?;
    let judgement = verdict::judge(a, b, &guardrail)?;
    print!("{}", judgement.table());
    Ok(judgement.verdict)
}

/// The verdict on a session's folder, printed and put into it beside a page to look at.
fn conclude(folder: &Path, guardrail: &Guardrail) -> Result<Verdict> {
    let artifacts = [folder::read(folder)?];
    let page = folder::write(folder, &artifacts[0], guardrail)?;
    let (a, b) = verdict::sides(&artifacts)?;
    let judgement = verdict::judge(a, b, guardrail)?;
    let table = judgement.table();
    print!("{table}");
    write(&folder.join(VERDICT), &table)?;
    println!("\n{}", page.display());
    Ok(judgement.verdict)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The rounds of a load that need not be repeated.
struct Counted {
    protocol: Protocol,
    sound: usize,
    failed: usize,
}

impl Counted {
    fn none_of(protocol: Protocol) -> Self {
        Self { protocol, sound: 0, failed: 0 }
    }
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Sound,
    Void,
    Failed,
}

/// A session under way.
struct Session<'a> {
    options: &'a Options,
    protocols: Vec<Protocol>,
    folder: PathBuf,
    began: Instant,
    artifact: Artifact,
}

impl<'a> Session<'a> {
    /// Asks both relays who they are, which also finds out at once that one does not start.
    fn open(options: &'a Options) -> Result<Self> {
        let Options { a, b, rounds, data, setting, .. } = options;
        ensure!(a.name != b.name, "A and B need different names");
        setting.method.check()?;
        let protocols = options.protocol.of(&[a, b])?;
        let arms = [(a, &options.commit_a), (b, &options.commit_b)];
        let arms = arms.map(|(contender, commit)| introduce(contender, commit.clone(), data));
        let artifact = Artifact {
            guardrail: Some(Guardrail::text(options.guardrail.as_deref())?),
            arms: arms.into_iter().collect::<Result<_>>()?,
            ..Artifact::begin(&settings(setting, &protocols, *rounds)?, Some(data))?
        };
        let folder = options.out.clone().unwrap_or_else(|| folder::usual("ab", artifact.unix_time));
        Ok(Self { options, protocols, folder, began: Instant::now(), artifact })
    }

    /// Rounds, until there are enough of every load; what was measured is on the disk after each. Returns where.
    fn run(mut self, measure_floors: impl Fn() -> Result<Floors>) -> Result<PathBuf> {
        let wanted = self.options.rounds as usize;
        let mut loads: Vec<_> = self.protocols.iter().map(|protocol| Counted::none_of(*protocol)).collect();
        for round in 1..=wanted * ROUNDS_FACTOR {
            loads.retain(|load| load.sound + load.failed < wanted);
            if loads.is_empty() {
                break;
            }
            self.artifact.floors.push(measure_floors()?);
            for load in &mut loads {
                self.measure_both(round, load);
            }
            folder::keep(&self.folder, &self.artifact)?;
        }
        Ok(self.folder)
    }

    /// One right after the other, in turns. When one is void, the other is worth nothing: the round does not count, its turn
    /// comes again, and if it was the first, the second is not run.
    fn measure_both(&mut self, round: usize, load: &mut Counted) {
        let Options { a, b, .. } = self.options;
        let turns = if load.sound.is_multiple_of(2) { [a, b] } else { [b, a] };
        let mut ends = Vec::new();
        for contender in turns {
            ends.push(self.measure(round, contender, load.protocol));
            if ends.contains(&End::Void) {
                return;
            }
        }
        let has_failed = ends.contains(&End::Failed);
        load.failed += usize::from(has_failed);
        load.sound += usize::from(!has_failed);
    }

    fn measure(&mut self, round: usize, contender: &Contender, protocol: Protocol) -> End {
        let began = Instant::now();
        let result = self.load(round, contender, protocol);
        let when = When::since(self.began, began);
        let run = Run::ended(round, &contender.name, &protocol.to_string(), result, when);
        let objection = verdict::objection(&self.artifact, &run);
        let said = objection.as_deref().unwrap_or("measured");
        eprintln!("round {round}, {}, {protocol}: {said}", contender.name);
        let end = match objection {
            None => End::Sound,
            // That is no noise, and not to be tried until it goes well.
            Some(_) if run.failure.is_some() => End::Failed,
            Some(_) => End::Void,
        };
        self.artifact.runs.push(run);
        end
    }

    /// On a relay of its own with fresh data, which does not wait for the notes to be signed.
    fn load(&mut self, round: usize, contender: &Contender, protocol: Protocol) -> Result<Outcome> {
        let Options { a, b, data, rounds, setting, .. } = self.options;
        let load = Load::prepare(protocol, setting, &format!("{round} {} {protocol}", contender.name))?;
        let arm = contender.start(data, protocol.topology(&[a, b]))?;
        self.record_servers(&arm);
        let heading = Heading {
            protocol: &protocol.to_string(),
            arm: &contender.name,
            round: (round, round.max(*rounds as usize)),
            seconds: setting.method.seconds,
        };
        live::watch(heading, &arm, |progress| load.run_watched(&arm, progress))
    }

    /// A relay was described when it ran alone.
    fn record_servers(&mut self, running: &RunningArm) {
        let described = self.artifact.arms.iter_mut().find(|arm| arm.name == running.name);
        if let (Some(servers), Some(arm)) = (&running.servers, described) {
            arm.servers = servers.versions();
        }
    }
}

fn introduce(contender: &Contender, commit: Option<String>, data: &Path) -> Result<Arm> {
    let running = contender.start(data, Topology::Alone)?;
    Ok(Arm { commit, ..contender.describe(&running) })
}

/// All that is run and how, by name.
fn settings(setting: &Setting, protocols: &[Protocol], rounds: u32) -> Result<BTreeMap<String, serde_json::Value>> {
    let mut settings: BTreeMap<_, _> = serde_json::from_value(serde_json::to_value(setting)?)?;
    let names: Vec<_> = protocols.iter().map(Protocol::to_string).collect();
    settings.insert("protocols".into(), names.into());
    settings.insert("rounds".into(), rounds.into());
    Ok(settings)
}

#[cfg(test)]
mod tests;
