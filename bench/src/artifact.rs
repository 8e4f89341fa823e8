//! What a run leaves behind: everything needed to judge it again without running it again. Shapes only: knows neither how a
//! figure is measured nor what is good.

use std::collections::BTreeMap;
use std::env;
use std::mem;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::account::Accounts;
use crate::floors::Floors;
use crate::machine;

/// Rises when an older reader would misunderstand a newer artifact; fields may be added without.
pub(crate) const SCHEMA: u32 = 1;

/// Not `TOWPATH_…`: relays inherit it, and Towpath does not start with a setting that it does not know.
const COMMIT: &str = "BENCH_COMMIT";

/// One session of measuring: several rounds, in each of them every arm under every protocol.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Artifact {
    pub(crate) schema: u32,
    /// The load programme's version.
    pub(crate) programme: String,
    /// The revision it was built from, if `BENCH_COMMIT` in its environment tells: `cargo xtask bench` sets it, because the programme
    /// itself cannot know.
    #[serde(default)]
    pub(crate) programme_commit: Option<String>,
    pub(crate) unix_time: u64,
    pub(crate) machine: Machine,
    pub(crate) setting: BTreeMap<String, Value>,
    /// By what limits one arm was judged against the other, as they were written; `None` where that was not the purpose.
    #[serde(default)]
    pub(crate) guardrail: Option<String>,
    pub(crate) arms: Vec<Arm>,
    /// By round.
    pub(crate) floors: Vec<Floors>,
    /// In the order in which they ran.
    pub(crate) runs: Vec<Run>,
}

impl Artifact {
    /// Of nothing yet, on this machine, at this moment. Relays that were started for it have their folders in `data`.
    pub(crate) fn begin(setting: &impl Serialize, data: Option<&Path>) -> Result<Self> {
        let Value::Object(setting) = serde_json::to_value(setting)? else {
            bail!("a setting has names");
        };
        Ok(Self {
            schema: SCHEMA,
            programme: env!("CARGO_PKG_VERSION").to_owned(),
            programme_commit: env::var(COMMIT).ok().filter(|commit| !commit.is_empty()),
            unix_time: SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs(),
            machine: machine::describe(data)?,
            setting: setting.into_iter().collect(),
            guardrail: None,
            arms: Vec::new(),
            floors: Vec::new(),
            runs: Vec::new(),
        })
    }

    /// Whether no run failed and no promise was broken in any, whether or not it counts.
    pub(crate) fn is_clean(&self) -> bool {
        self.runs.iter().all(|run| run.outcome.as_ref().is_some_and(Outcome::is_clean))
    }
}

/// Where it was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    /// The processor's frequency governor, where the kernel tells.
    pub(crate) governor: Option<String>,
    /// The type of the filesystem that the relays wrote to, where they were started for it.
    #[serde(default)]
    pub(crate) filesystem: Option<String>,
}

/// One relay, or one revision of it, under comparison.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Arm {
    pub(crate) name: String,
    /// How it was started, or its address.
    pub(crate) command: String,
    /// As its NIP-11 document says.
    pub(crate) software: Option<String>,
    pub(crate) version: Option<String>,
    /// The revision it was built from, where that is known.
    pub(crate) commit: Option<String>,
    /// What its OK means: `synced`, `unsynced`, `batched by timer` or `unknown`.
    pub(crate) durability: String,
    /// What its pods shared, where they were started as a cluster: `PostgreSQL 15.14`, `Redis 7.0.15`.
    #[serde(default)]
    pub(crate) servers: Vec<String>,
}

impl Arm {
    /// Takes over what is known of the relay as it runs. What it was built from, only the command line tells; and it is not a cluster
    /// under every protocol.
    pub(crate) fn learn(&mut self, mut known: Self) {
        if known.servers.is_empty() {
            known.servers = mem::take(&mut self.servers);
        }
        *self = Self { commit: self.commit.take(), ..known };
    }
}

/// One arm under one protocol in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) round: usize,
    pub(crate) arm: String,
    /// `same-pod`, `cross-pod`, `mixed`, `publish`, `peak`, `query`, `idle`, …
    pub(crate) protocol: String,
    /// None when the run failed outright; `failure` says why.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) failure: Option<String>,
    #[serde(default)]
    pub(crate) when: When,
}

/// When a run began, after its session did, and how long it took with all that belongs to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct When {
    pub(crate) began_s: f64,
    pub(crate) took_s: f64,
}

impl When {
    /// From `began` to now, in a session that began at `session`.
    pub(crate) fn since(session: Instant, began: Instant) -> Self {
        Self { began_s: began.duration_since(session).as_secs_f64(), took_s: began.elapsed().as_secs_f64() }
    }
}

impl Run {
    pub(crate) fn ended(round: usize, arm: &str, protocol: &str, result: Result<Outcome>, when: When) -> Self {
        let (outcome, failure) = match result {
            Ok(outcome) => (Some(outcome), None),
            Err(failure) => (None, Some(format!("{failure:#}"))),
        };
        Self { round, arm: arm.to_owned(), protocol: protocol.to_owned(), outcome, failure, when }
    }
}

/// Where others used more of the machine, a figure is doubtful.
const ELSEWHERE_SHARE_MAX: f64 = 0.1;

/// What one run found. Names are `kebab-case`; a figure's name ends with its unit where it has one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Why the figures must not be used, if so.
    pub(crate) void: Option<String>,
    /// Whether that is the relay's doing, rather than the generator's: it refused, cut off, kept silent or fell behind.
    #[serde(default)]
    pub(crate) is_voided_by_relay: bool,
    /// By what was timed: `ack`, `ack-service`, `first-delivery`, `first-delivery-service`, `query-feed`, …
    /// Latency counts from the intended instant, except where the name ends in `-service`: from the real one.
    pub(crate) latencies: BTreeMap<String, Distribution>,
    /// Everything that is one number: `events-per-s`, `relay-cpu-us-per-event`, `relay-resident-bytes`, …
    pub(crate) figures: BTreeMap<String, f64>,
    /// By time since the first event, in steps of about a second.
    pub(crate) series: Vec<Tick>,
    pub(crate) accounts: Option<Accounts>,
    /// The first refusal or notice.
    pub(crate) complaint: Option<String>,
}

impl Outcome {
    pub(crate) fn latency(&self, name: &str) -> Option<&Distribution> {
        self.latencies.get(name)
    }

    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    /// The share of the machine that others used, if it was so much that the figures are doubtful.
    pub(crate) fn noise(&self) -> Option<f64> {
        self.figure("elsewhere-share").filter(|share| *share > ELSEWHERE_SHARE_MAX)
    }

    /// Whether no promise was broken.
    pub(crate) fn is_clean(&self) -> bool {
        self.accounts.as_ref().is_none_or(Accounts::is_clean)
    }

    /// Whether the figures can be used and no promise was broken.
    pub(crate) fn is_good(&self) -> bool {
        self.void.is_none() && self.is_clean()
    }
}

/// A latency's distribution: its summary for people, and the histogram to compute anything else from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Distribution {
    pub(crate) count: u64,
    /// Microseconds, like the rest of the summary.
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) max: f64,
    /// An HdrHistogram of nanoseconds: its V2 encoding, deflated, in base64, as every HdrHistogram tool reads it.
    pub(crate) histogram: String,
}

/// One step of a run's course.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tick {
    /// Since the first event was due.
    pub(crate) seconds: f64,
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    /// Of the events due in this step, in microseconds.
    pub(crate) ack_p50_us: Option<f64>,
    pub(crate) ack_p99_us: Option<f64>,
    pub(crate) first_delivery_p99_us: Option<f64>,
    /// Sent and not yet answered at the end of the step.
    pub(crate) outstanding: u64,
    /// Processor time the relay used in this step, in cores.
    pub(crate) relay_cores: Option<f64>,
    pub(crate) relay_resident_bytes: Option<u64>,
}
