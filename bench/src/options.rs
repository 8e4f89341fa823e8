//! The command line's options that several commands share. Knows no relay.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::artifact::Artifact;
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

/// Where the figures go beside the terminal.
#[derive(Args)]
pub(crate) struct Output {
    /// Write the figures to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the artifact, every histogram and a page to look at into this folder.
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Output {
    /// A session's.
    pub(crate) fn write(&self, artifact: &Artifact) -> Result<()> {
        self.write_json(artifact)?;
        self.write_folder(artifact)
    }

    pub(crate) fn write_json(&self, figures: &impl Serialize) -> Result<()> {
        let Some(path) = &self.json else { return Ok(()) };
        let text = serde_json::to_string_pretty(figures)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    pub(crate) fn write_folder(&self, artifact: &Artifact) -> Result<()> {
        let Some(out) = &self.out else { return Ok(()) };
        eprintln!("{}", folder::write(out, artifact, &Guardrail::load(None)?)?.display());
        Ok(())
    }
}
