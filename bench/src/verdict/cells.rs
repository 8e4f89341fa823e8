//! The runs of an artifact, sorted into those that count and those that do not, by arm, protocol and round. Knows no margins.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::guardrail::{Measure, Source};
use super::sound::{self, Asked, Void};
use super::{Cause, Excluded, Side};
use crate::artifact::{Artifact, Outcome, Run, SCHEMA};
use crate::notes::CONTENT_BYTES;

/// How late the generator may be at p99 where an artifact does not say, in microseconds.
const LAG_MAX_US: f64 = 1_000.0;

/// How much of a latency's percentile the generator's own lag at the same percentile may be.
const LAG_SHARE_MAX: f64 = 0.5;

/// What two sessions may differ in and still measure the same.
const FREE_SETTINGS: [&str; 3] = ["protocols", "rounds", "seed"];

/// The sound runs of one arm, and why the others are not.
pub(super) struct Cells<'a> {
    sound: BTreeMap<(&'a str, usize), &'a Outcome>,
    asked: Asked,
    pub(super) excluded: Vec<Excluded>,
}

impl<'a> Cells<'a> {
    /// An error when the artifact contradicts itself.
    pub(super) fn read(side: Side<'a>) -> Result<Self> {
        let Side { artifact, arm } = side;
        let schema = artifact.schema;
        ensure!(schema == SCHEMA, "an artifact of schema {schema}; this programme reads {SCHEMA}");
        ensure!(artifact.arms.iter().any(|known| known.name == arm), "the artifact has no arm {arm}");
        let mut cells = Self { sound: BTreeMap::new(), asked: asked(artifact), excluded: Vec::new() };
        for run in artifact.runs.iter().filter(|run| run.arm == arm) {
            let Run { round, protocol, outcome, .. } = run;
            let place = || format!("the artifact is damaged: round {round}, {arm}, {protocol}");
            if let Some(Void { reason, cause }) = sound::void(run, &cells.asked).with_context(place)? {
                let (arm, protocol) = (arm.to_owned(), protocol.clone());
                cells.excluded.push(Excluded { round: *round, arm, protocol, reason, cause });
            } else if let Some(outcome) = outcome {
                let earlier = cells.sound.insert((protocol, *round), outcome);
                ensure!(earlier.is_none(), "{}: two runs count", place());
            }
        }
        Ok(cells)
    }

    /// Whether the run of that protocol and round counts.
    fn has(&self, cell: &(&str, usize)) -> bool {
        self.sound.contains_key(cell)
    }

    /// Whether no run of this load was long enough to tell a latency from that of a queue that fills.
    pub(super) fn are_too_short(&self, measure: &Measure) -> bool {
        matches!(measure.source(), Source::Percentile(..)) && self.asked.is_too_short(&measure.protocol)
    }

    /// A measure's numbers by round, and how many more there would be but for the generator.
    pub(super) fn values(&self, measure: &Measure) -> Result<(BTreeMap<usize, f64>, u64)> {
        let mut values = BTreeMap::new();
        let mut spoilt = self.spoilt_by_generator(|protocol| protocol == measure.protocol);
        for ((_, round), outcome) in self.sound.iter().filter(|((protocol, _), _)| *protocol == measure.protocol) {
            let value = value(measure, outcome)?.filter(|value| *value > 0.0 && value.is_finite());
            let Some(value) = value else { continue };
            if lag(measure, outcome)? <= value * LAG_SHARE_MAX {
                values.insert(*round, value);
            } else {
                spoilt += 1;
            }
        }
        Ok((values, spoilt))
    }

    /// How many runs of such protocols are void because of the generator.
    pub(super) fn spoilt_by_generator(&self, is_meant: impl Fn(&str) -> bool) -> u64 {
        let spoilt = self.excluded.iter().filter(|run| run.cause == Cause::Generator && is_meant(&run.protocol));
        spoilt.count() as u64
    }
}

fn value(measure: &Measure, outcome: &Outcome) -> Result<Option<f64>> {
    match measure.source() {
        Source::Figure(name) => Ok(outcome.figures.get(name).copied()),
        Source::Percentile(name, percentile) => percentile_us(outcome, name, percentile),
    }
}

/// How much of a number is the generator's own: its lag at the same percentile, in what counts from the intended instant of an
/// event, and in nothing else.
fn lag(measure: &Measure, outcome: &Outcome) -> Result<f64> {
    match measure.source() {
        Source::Percentile("ack" | "first-delivery" | "last-delivery", percentile) => {
            Ok(percentile_us(outcome, sound::LAG, percentile)?.unwrap_or_default())
        }
        _ => Ok(0.0),
    }
}

/// From the histogram.
fn percentile_us(outcome: &Outcome, latency: &str, percentile: f64) -> Result<Option<f64>> {
    let Some(distribution) = outcome.latencies.get(latency) else { return Ok(None) };
    Ok(Some(distribution.histogram()?.value_at_percentile(percentile) as f64 / 1e3))
}

/// What a session was asked to do.
pub(super) fn asked(artifact: &Artifact) -> Asked {
    let number = |name: &str| artifact.setting.get(name).and_then(Value::as_f64);
    Asked {
        lag_max_us: number("lag_max_us").unwrap_or(LAG_MAX_US),
        seconds: number("seconds").map(|seconds| seconds - number("warm_up_seconds").unwrap_or_default()),
        rate: number("rate"),
        fanout_rate: number("fanout_rate"),
    }
}

/// The protocols a session was to run; `None` where its artifact does not say.
pub(super) fn asked_for(artifact: &Artifact) -> Option<BTreeSet<&str>> {
    let protocols = artifact.setting.get("protocols")?.as_array()?;
    Some(protocols.iter().filter_map(Value::as_str).collect())
}

/// An arm that always goes first differs from the other in that, too: of the rounds that count, each must have gone first in a
/// quarter or more, or in as many as the other but for one. A session sees to the latter.
pub(super) fn took_turns(a: (Side<'_>, &Cells<'_>), b: (Side<'_>, &Cells<'_>)) -> Result<()> {
    let ((a, cells_a), (b, cells_b)) = (a, b);
    ensure!(a.arm != b.arm, "{} cannot be judged against itself", a.arm);
    let mut first: BTreeMap<(&str, usize), &str> = BTreeMap::new();
    for run in a.artifact.runs.iter().filter(|run| run.arm == a.arm || run.arm == b.arm) {
        first.entry((&run.protocol, run.round)).or_insert(&run.arm);
    }
    first.retain(|cell, _| cells_a.has(cell) && cells_b.has(cell));
    let protocols: BTreeSet<&str> = first.keys().map(|(protocol, _)| *protocol).collect();
    for protocol in protocols {
        let went_first = |arm: &str| first.iter().filter(|((of, _), first)| *of == protocol && **first == arm).count();
        let (times_a, times_b) = (went_first(a.arm), went_first(b.arm));
        ensure!(
            times_a.abs_diff(times_b) <= 1.max((times_a + times_b) / 2),
            "the arms took no turns under {protocol}: {} went first {times_a} times, {} {times_b} times",
            a.arm,
            b.arm
        );
    }
    Ok(())
}

/// Two sessions can be compared only when they did the same on the same kind of machine.
pub(super) fn are_comparable(a: &Artifact, b: &Artifact) -> Result<()> {
    let machine = |artifact: &Artifact| (artifact.machine.processor.clone(), artifact.machine.cores);
    let (machine_a, machine_b) = (machine(a), machine(b));
    ensure!(machine_a == machine_b, "measured on different machines: {machine_a:?} and {machine_b:?}");
    for name in a.setting.keys().chain(b.setting.keys()).filter(|name| !FREE_SETTINGS.contains(&name.as_str())) {
        // Older sessions do not name what they could not choose.
        let usual = || (name == "content_bytes").then(|| CONTENT_BYTES.into());
        let of = |artifact: &Artifact| artifact.setting.get(name).cloned().or_else(usual);
        let (of_a, of_b) = (of(a), of(b));
        let show = |value: Option<Value>| value.map_or_else(|| "not set".to_owned(), |value| value.to_string());
        ensure!(of_a == of_b, "measured with different settings: {name} is {} and {}", show(of_a), show(of_b));
    }
    Ok(())
}
