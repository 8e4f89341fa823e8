//! Where a workload runs: relays that it starts with raised limits, or one that runs already; whose turn it is; and what is
//! left behind. Knows no workload.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::{cold, table};
use crate::artifact::{Arm, Artifact, Outcome, Run, When};
use crate::client::Target;
use crate::floors::{self, Floors};
use crate::folder;
use crate::launch::{Contender, RunningArm, Topology};
use crate::notes::{Notes, Recipe};
use crate::options::{Method, Record};

const FLOOR_NOTES: usize = 1_000;
/// The pace of the echoes, a second.
const FLOOR_RATE: u32 = 1_000;

/// Which relays, how often, and where the figures go.
#[derive(Args, Clone)]
pub(super) struct Bench {
    /// A relay as NAME=COMMAND or NAME for a program on PATH; give several, and they take turns.
    #[arg(long = "relay", conflicts_with = "url", required_unless_present = "url")]
    relays: Vec<String>,
    /// The address of a relay that runs already.
    #[arg(long)]
    url: Option<String>,
    /// Load a relay that is not on this machine. Ask its owner first.
    #[arg(long, requires = "url")]
    allow_remote: bool,
    /// The process of the relay that runs already, to account for its CPU time and memory.
    #[arg(long, requires = "url")]
    pid: Option<u32>,
    /// Start Towpath as two pods over PostgreSQL and Redis; the first is asked. Its caches stay warm: it is not stopped between rounds.
    #[arg(long, conflicts_with = "url")]
    cluster: bool,
    /// Every other round goes through the relays backwards.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Where the relays' folders are made.
    #[arg(long, default_value = ".")]
    pub(super) data: PathBuf,
    #[command(flatten)]
    record: Record,
    #[command(flatten)]
    pub(super) method: Method,
}

/// Settings of Towpath, by environment variable, that lift what would refuse the load.
pub(super) type Limits = Vec<(&'static str, u64)>;

/// Events and questions as fast as they come.
pub(super) fn no_rates() -> Limits {
    vec![("TOWPATH_RATES_PUBLISH_PER_CONNECTION_PER_S", 0), ("TOWPATH_RATES_QUERY_PER_CONNECTION_PER_S", 0)]
}

/// What a turn found, by protocol.
pub(super) type Found = Vec<(&'static str, Outcome)>;

impl Bench {
    pub(super) fn rounds(&self) -> usize {
        self.rounds as usize
    }

    /// For workloads that publish the same in every round: a relay that runs already, and is not ours to empty, has one.
    pub(super) fn check_repeatable(&self) -> Result<()> {
        let is_ours = self.url.is_none() && self.relays.iter().all(|relay| !relay.contains("=ws://"));
        ensure!(
            is_ours || self.rounds == 1,
            "a relay that runs already has the events after one round: give --rounds 1"
        );
        Ok(())
    }

    /// Every site's turn in every round: forwards, backwards, forwards … Keeps what was found after each, and prints it;
    /// true when every figure can be used.
    pub(super) fn take_turns(
        &self,
        workload: &str,
        limits: &Limits,
        mut setting: BTreeMap<String, serde_json::Value>,
        mut turn: impl FnMut(&mut Site, usize) -> Result<Found>,
    ) -> Result<bool> {
        self.method.check()?;
        let session = Instant::now();
        let mut sites = self.sites(limits)?;
        setting.insert("rounds".into(), self.rounds.into());
        setting.insert("method".into(), serde_json::to_value(&self.method)?);
        let mut artifact = Artifact::begin(&setting, Some(&self.data))?;
        artifact.arms = self.record.arms(sites.iter().map(|site| site.name.as_str()))?;
        let folder = self.record.folder(workload, &artifact);
        for round in 1..=self.rounds as usize {
            artifact.floors.push(floors(&self.data)?);
            for at in order(sites.len(), round) {
                let site = &mut sites[at];
                eprintln!("round {round}: {}", site.name);
                let began = Instant::now();
                let found = turn(site, round);
                artifact.runs.extend(runs(round, &site.name, workload, found, When::since(session, began)));
                if round == 1 {
                    artifact.arms[at].learn(site.describe());
                }
                // The others have the machine to themselves.
                site.stop();
            }
            folder::keep(&folder, &artifact)?;
        }
        print!("{}", table::markdown(&artifact));
        self.record.write(&folder, &artifact)?;
        Ok(artifact.runs.iter().all(|run| run.outcome.as_ref().is_some_and(Outcome::is_good)))
    }

    fn sites(&self, limits: &Limits) -> Result<Vec<Site>> {
        if let Some(url) = &self.url {
            let target = Target::parse(url, self.allow_remote)?;
            let arm = RunningArm::at([(target, self.pid)]);
            let site = Site { arm: Some(arm), ..Site::new(url.clone(), self.data.clone(), Topology::Alone) };
            return Ok(vec![site]);
        }
        let site = |text: &String| {
            // Settings of Towpath mean nothing to others.
            let environment: String = limits.iter().map(|(name, value)| format!("{name}={value} ")).collect();
            let (name, command) = text.split_once('=').unwrap_or((text, text));
            let is_address = command.starts_with("ws://");
            let raised = if limits.is_empty() || is_address {
                format!("{name}={command}")
            } else {
                format!("{name}=env {environment}{command}")
            };
            let topology = if self.cluster { Topology::TwoPods } else { Topology::Alone };
            let site = Site::new(name.to_owned(), self.data.clone(), topology);
            Ok(Site { contender: Some(Contender::parse(&raised)?), ..site })
        };
        self.relays.iter().map(site).collect()
    }
}

/// A B, B A, A B …: what changes slowly hits all alike.
fn order(sites: usize, round: usize) -> Vec<usize> {
    if round.is_multiple_of(2) { (0..sites).rev().collect() } else { (0..sites).collect() }
}

fn floors(data: &Path) -> Result<Floors> {
    let notes = Notes::sign(&Recipe::fresh(1, "floors")?, FLOOR_NOTES)?;
    floors::measure(&notes, data, FLOOR_RATE)
}

/// A turn's parts share its time.
fn runs(round: usize, arm: &str, workload: &str, found: Result<Found>, when: When) -> Vec<Run> {
    let run = |protocol: &str, result| Run::ended(round, arm, protocol, result, when);
    match found {
        Ok(found) => found.into_iter().map(|(protocol, outcome)| run(protocol, Ok(outcome))).collect(),
        Err(failure) => vec![run(workload, Err(failure))],
    }
}

/// One relay under load.
pub(super) struct Site {
    pub(super) name: String,
    data: PathBuf,
    /// How to start it, unless somebody else did.
    contender: Option<Contender>,
    topology: Topology,
    arm: Option<RunningArm>,
}

impl Site {
    fn new(name: String, data: PathBuf, topology: Topology) -> Self {
        Self { name, data, contender: None, topology, arm: None }
    }

    /// What somebody else started.
    #[cfg(test)]
    pub(super) fn at(target: Target) -> Self {
        let arm = Some(RunningArm::at([(target, None)]));
        Self { arm, ..Self::new("test".into(), ".".into(), Topology::Alone) }
    }

    /// The relay as it is, or started with empty folders if it does not run.
    pub(super) fn arm(&mut self) -> Result<&RunningArm> {
        if self.arm.is_none() {
            return self.fresh();
        }
        self.arm.as_ref().context("it does not run")
    }

    /// The relay started anew with empty folders, or as it is when it is somebody else's.
    pub(super) fn fresh(&mut self) -> Result<&RunningArm> {
        if let Some(contender) = &self.contender {
            // Two at a time would share the machine.
            self.arm = None;
            self.arm = Some(contender.start(&self.data, self.topology)?);
        }
        self.arm.as_ref().context("it does not run")
    }

    /// Stops a relay of ours; its data stay for `restart_cold`.
    pub(super) fn stop(&mut self) {
        if self.can_restart()
            && let Some(arm) = &mut self.arm
        {
            arm.stop();
        }
    }

    /// Ours, and alone: what a cluster's pods share does not stop with them.
    fn can_restart(&self) -> bool {
        self.topology == Topology::Alone && self.arm.as_ref().is_some_and(|arm| arm.folder().is_ok())
    }

    /// Stops a relay of ours in order and starts it again; how long the start took, or `None` when it is somebody else's.
    pub(super) fn restart(&mut self) -> Result<Option<Duration>> {
        self.restart_after(|_| Ok(()))
    }

    /// Stops a relay of ours, has the kernel forget its files, and starts it again; false when it is somebody else's.
    pub(super) fn restart_cold(&mut self) -> Result<bool> {
        Ok(self.restart_after(|arm| cold::forget(arm.folder()?))?.is_some())
    }

    /// Stops a relay of ours, has its own command read `lines` into its store, and starts it again; `None` when there is no
    /// such command.
    pub(super) fn import<T>(
        &mut self,
        lines: &Path,
        trusts_signatures: bool,
        watch: impl FnOnce(Command) -> Result<T>,
    ) -> Result<Option<T>> {
        if !self.can_restart() {
            return Ok(None);
        }
        let (Some(contender), Some(arm)) = (&self.contender, &mut self.arm) else { return Ok(None) };
        let Some(command) = contender.import_command(arm, lines, trusts_signatures)? else { return Ok(None) };
        arm.stop();
        let watched = watch(command)?;
        contender.start_again(arm)?;
        Ok(Some(watched))
    }

    fn restart_after(&mut self, meanwhile: impl FnOnce(&RunningArm) -> Result<()>) -> Result<Option<Duration>> {
        if !self.can_restart() {
            return Ok(None);
        }
        let (Some(contender), Some(arm)) = (&self.contender, &mut self.arm) else { return Ok(None) };
        arm.stop();
        meanwhile(arm)?;
        let start = Instant::now();
        contender.start_again(arm)?;
        Ok(Some(start.elapsed()))
    }

    fn describe(&self) -> Arm {
        match (&self.contender, &self.arm) {
            (Some(contender), Some(arm)) => contender.describe(arm),
            _ => Arm { name: self.name.clone(), command: self.name.clone(), ..Arm::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_round_goes_backwards() {
        let rounds: Vec<usize> = (1..=3).flat_map(|round| order(2, round)).collect();
        assert_eq!(rounds, [0, 1, 1, 0, 0, 1]);
    }
}
