//! The command line's options that several commands share. Knows no relay.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::artifact::{Arm, Artifact};
use crate::folder;
use crate::notes::{CONTENT_BYTES, Recipe};
use crate::schedule::{Nanos, Schedule};
use crate::verdict::Guardrail;

const SECOND: Nanos = 1_000_000_000;

/// So long after the warm-up it takes to tell a queue that fills from one that does not.
pub(crate) const SECONDS_MIN: u32 = 4;

/// What artifacts that do not say were measured with.
fn usual_content() -> u32 {
    CONTENT_BYTES
}

/// How a run is measured, whatever its load.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Method {
    /// Authors and contents follow from it.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How long the content of each published note is.
    #[arg(long, default_value_t = CONTENT_BYTES, value_parser = clap::value_parser!(u32).range(100..=30_000))]
    #[serde(default = "usual_content")]
    pub(crate) content_bytes: u32,
    /// How long each run publishes. With less than 4 s after the warm-up nobody can tell a queue that fills from one that does not.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,
    /// The first seconds of each run are accounted for, but are no part of the figures.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=60))]
    pub(crate) warm_up_seconds: u32,
    /// A run is void when the generator itself was later than this at p99.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) lag_max_us: u32,
    /// How long to wait for the last answers.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) drain_seconds: u32,
}

impl Method {
    /// Notes that no run before had; `label` keeps the sets of one process apart.
    pub(crate) fn recipe(&self, label: &str) -> Result<Recipe> {
        Ok(Recipe { content_bytes: self.content_bytes as usize, ..Recipe::fresh(self.seed, label)? })
    }

    pub(crate) fn warm_up(&self) -> Nanos {
        Nanos::from(self.warm_up_seconds) * SECOND
    }

    pub(crate) fn duration(&self) -> Nanos {
        Nanos::from(self.seconds) * SECOND
    }

    pub(crate) fn lag_max(&self) -> Nanos {
        Nanos::from(self.lag_max_us) * 1_000
    }

    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds.into())
    }

    /// So many events a second for as long as a run publishes.
    pub(crate) fn schedule(&self, rate: u32) -> Schedule {
        Schedule::new(rate, self.seconds)
    }

    /// Whether nobody could tell if a rate was served.
    pub(crate) fn is_too_short(&self) -> bool {
        self.seconds < self.warm_up_seconds + SECONDS_MIN
    }

    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.warm_up_seconds < self.seconds, "nothing is left to measure after the warm-up");
        Ok(())
    }
}

/// One running relay and what is sent to it.
#[derive(Args)]
pub(crate) struct Load {
    /// The relay's address.
    #[arg(long, default_value = "ws://127.0.0.1:7777")]
    pub(crate) url: String,
    /// Load a relay that is not on this machine. Ask its owner first.
    #[arg(long)]
    pub(crate) allow_remote: bool,
    /// The relay's process, to account for its CPU time and memory.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Open loop: events a second, over all connections.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) connections: u32,
    #[command(flatten)]
    pub(crate) method: Method,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Where the figures of a load by hand go beside the terminal.
#[derive(Args)]
pub(crate) struct Output {
    /// Write the figures to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the artifact, every histogram and a page to look at into this folder. Measures the floors of the machine for it, the sync
    /// floor in the working folder, because where the relay writes is not known.
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Output {
    pub(crate) fn has_folder(&self) -> bool {
        self.out.is_some()
    }

    pub(crate) fn write_json(&self, figures: &impl Serialize) -> Result<()> {
        write_json(self.json.as_deref(), figures)
    }

    pub(crate) fn write_folder(&self, artifact: &Artifact) -> Result<()> {
        self.out.as_ref().map_or(Ok(()), |out| write_folder(out, artifact))
    }
}

/// What a session leaves behind beside the terminal, and what it cannot find out itself.
#[derive(Args, Clone)]
pub(crate) struct Record {
    /// The folder of this run: the artifact, which is kept after every round, every histogram, and a page to look at.
    /// `target/bench/<UTC time>-<command>` without it.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Write the artifact to this file, too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The revision a relay was built from, for the record; one for each relay, if you like.
    #[arg(long = "commit", value_name = "NAME=COMMIT", value_parser = commit)]
    commits: Vec<(String, String)>,
}

fn commit(text: &str) -> Result<(String, String)> {
    let (name, commit) = text.split_once('=').context("a revision is given as NAME=COMMIT")?;
    ensure!(!commit.is_empty(), "no revision is given for {name}");
    Ok((name.to_owned(), commit.to_owned()))
}

impl Record {
    /// The relays of a session, before anything is known of them but what the command line tells.
    pub(crate) fn arms<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Arm>> {
        let mut arms: Vec<Arm> = Vec::new();
        for name in names {
            ensure!(arms.iter().all(|arm| arm.name != name), "two relays have the same name");
            arms.push(Arm { name: name.to_owned(), ..Arm::default() });
        }
        for (name, commit) in &self.commits {
            let arm = arms.iter_mut().find(|arm| arm.name == *name);
            let arm = arm.with_context(|| format!("--commit {name}={commit}: no relay here has the name {name}"))?;
            arm.commit = Some(commit.clone());
        }
        Ok(arms)
    }

    pub(crate) fn folder(&self, command: &str, artifact: &Artifact) -> PathBuf {
        self.out.clone().unwrap_or_else(|| folder::usual(command, artifact.unix_time))
    }

    /// All of a session, at its end.
    pub(crate) fn write(&self, folder: &Path, artifact: &Artifact) -> Result<()> {
        write_json(self.json.as_deref(), artifact)?;
        write_folder(folder, artifact)
    }
}

fn write_json(path: Option<&Path>, figures: &impl Serialize) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let text = serde_json::to_string_pretty(figures)? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn write_folder(folder: &Path, artifact: &Artifact) -> Result<()> {
    eprintln!("{}", folder::write(folder, artifact, &Guardrail::load(None)?)?.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        record: Record,
    }

    fn arms(words: &str) -> Result<Vec<Arm>> {
        Cli::parse_from(["test"].into_iter().chain(words.split_whitespace())).record.arms(["x", "y"])
    }

    #[test]
    fn a_revision_is_that_of_the_relay_it_names() {
        let commits = |words| arms(words).expect("known").into_iter().map(|arm| arm.commit).collect::<Vec<_>>();
        assert_eq!(commits(""), [None, None]);
        assert_eq!(commits("--commit y=abc"), [None, Some("abc".into())]);
        assert_eq!(commits("--commit y=abc --commit x=def"), [Some("def".into()), Some("abc".into())]);
    }

    #[test]
    fn a_revision_of_no_relay_of_the_session_is_refused() {
        let refusal = arms("--commit z=abc").expect_err("no such relay").to_string();
        assert!(refusal.contains("--commit z=abc: no relay here has the name z"), "{refusal}");
        assert!(["abc", "x="].iter().all(|text| commit(text).is_err()));
    }

    #[test]
    fn a_revision_and_a_clusters_servers_outlive_that_their_relay_is_described() {
        let mut arm = arms("--commit x=abc").expect("known").swap_remove(0);
        arm.learn(Arm { name: "x".into(), servers: vec!["Redis 7".into()], ..Arm::default() });
        arm.learn(Arm { name: "x".into(), version: Some("9".into()), ..Arm::default() });
        assert_eq!((arm.commit.as_deref(), arm.version.as_deref()), (Some("abc"), Some("9")));
        assert_eq!(arm.servers, ["Redis 7"]);
    }
}
