//! What is shown: the arms of one or several artifacts side by side, their runs sorted by protocol, rounds pooled. Knows
//! artifacts, and nothing of how anything looks.

use std::collections::BTreeSet;

use hdrhistogram::Histogram;

use super::axis;
use super::style::Style;
use crate::artifact::{self, Artifact, Distribution, Outcome, Run, Tick};
use crate::measure::Spread;
use crate::verdict::Excluded;

/// Points of a percentile curve between one nine and the next.
const POINTS_PER_NINE: usize = 24;
/// The percentiles that are told in numbers.
pub(super) const TOLD: [f64; 4] = [0.5, 0.9, 0.99, 0.999];
/// How protocols and latencies are ordered; those not named come behind, by name.
const PROTOCOLS: [&str; 7] = ["publish", "publish-quiet", "same-pod", "cross-pod", "mixed", "peak", "peak-deep"];
const LATENCIES: [&str; 6] = ["ack", "first-delivery", "last-delivery", "query", "count", "connect"];
const FIGURES: [&str; 11] = [
    "queries-per-s",
    "events-per-s",
    "bytes-per-s",
    "delivered-per-s",
    "relay-cpu-us-per-event",
    "relay-cpu-us-per-delivery",
    "relay-cpu-us-per-query",
    "relay-resident-bytes",
    "relay-peak-resident-bytes",
    "relay-bytes-per-connection",
    "relay-cores",
];
/// The rate a step of a sweep was run at.
const RATE: &str = "rate-per-s";

/// An artifact and what to call it beside others.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) label: String,
    pub(crate) artifact: Artifact,
}

/// Everything a page shows.
pub(super) struct Scene<'a> {
    pub(super) sources: &'a [Source],
    pub(super) arms: Vec<Arm<'a>>,
    /// In the order in which they ran.
    pub(super) entries: Vec<Entry<'a>>,
    pub(super) protocols: Vec<Protocol<'a>>,
}

/// One arm of one artifact.
pub(super) struct Arm<'a> {
    source: &'a Source,
    name: &'a str,
    pub(super) label: String,
    pub(super) style: Style,
    /// None when runs name an arm that the artifact does not describe.
    pub(super) described: Option<&'a artifact::Arm>,
}

/// One run.
#[derive(Clone)]
pub(super) struct Entry<'a> {
    /// Which of the scene's.
    pub(super) arm: usize,
    pub(super) run: &'a Run,
    /// Why it does not count, if so.
    pub(super) objection: Option<String>,
}

/// All runs under one protocol.
pub(super) struct Protocol<'a> {
    pub(super) name: &'a str,
    /// By arm.
    entries: Vec<Vec<Entry<'a>>>,
}

impl<'a> Scene<'a> {
    /// `excluded` are the runs that the judgement found void, some of which did not say so themselves.
    pub(super) fn of(sources: &'a [Source], excluded: &[Excluded]) -> Self {
        let mut arms: Vec<Arm<'a>> = Vec::new();
        let mut entries = Vec::new();
        for source in sources {
            let artifact = &source.artifact;
            for described in &artifact.arms {
                arm_of(&mut arms, source, &described.name, sources.len() > 1);
            }
            for run in &artifact.runs {
                let arm = arm_of(&mut arms, source, &run.arm, sources.len() > 1);
                entries.push(Entry { arm, run, objection: objection(run, &artifact.runs, excluded) });
            }
        }
        let names: BTreeSet<&str> = entries.iter().map(|entry| entry.run.protocol.as_str()).collect();
        let mut names: Vec<&str> = names.into_iter().collect();
        names.sort_by_key(|name| rank(name, &PROTOCOLS));
        let protocols = names.into_iter().map(|name| Protocol::of(name, arms.len(), &entries)).collect();
        Self { sources, arms, entries, protocols }
    }

    /// The one artifact, if it is one.
    pub(super) fn only_source(&self) -> Option<&'a Source> {
        match self.sources {
            [source] => Some(source),
            _ => None,
        }
    }
}

/// The arm's number, which it gets when it is first met.
fn arm_of<'a>(arms: &mut Vec<Arm<'a>>, source: &'a Source, name: &'a str, is_one_of_several: bool) -> usize {
    if let Some(known) = arms.iter().position(|arm| std::ptr::eq(arm.source, source) && arm.name == name) {
        return known;
    }
    let label = if is_one_of_several { format!("{name} · {}", source.label) } else { name.to_owned() };
    let described = source.artifact.arms.iter().find(|arm| arm.name == name);
    arms.push(Arm { source, name, label: printable(&label), style: Style(arms.len()), described });
    arms.len() - 1
}

/// A cell is tried until one run is not void, so of the runs that the judgement left out of it at most one does not know.
fn objection(run: &Run, all: &[Run], excluded: &[Excluded]) -> Option<String> {
    let Some(outcome) = &run.outcome else {
        return Some(run.failure.clone().unwrap_or_else(|| "it failed and did not say why".into()));
    };
    if outcome.void.is_some() {
        return outcome.void.clone();
    }
    let knows = |of: &&Run| of.outcome.as_ref().is_none_or(|outcome| outcome.void.is_some());
    let is_same_cell = |of: &&Run| (of.round, &of.arm, &of.protocol) == (run.round, &run.arm, &run.protocol);
    let void = all.iter().filter(is_same_cell).filter(knows).count();
    let cell = |of: &&Excluded| (of.round, &of.arm, &of.protocol) == (run.round, &run.arm, &run.protocol);
    excluded.iter().filter(cell).nth(void).map(|excluded| excluded.reason.clone())
}

fn rank(name: &str, order: &[&str]) -> usize {
    order.iter().position(|known| *known == name).unwrap_or(order.len())
}

/// XML has no control characters, not even escaped ones.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

impl<'a> Protocol<'a> {
    fn of(name: &'a str, arms: usize, entries: &[Entry<'a>]) -> Self {
        let of_arm =
            |arm| entries.iter().filter(|entry| entry.arm == arm && entry.run.protocol == name).cloned().collect();
        Self { name, entries: (0..arms).map(of_arm).collect() }
    }

    pub(super) fn entries(&self, arm: usize) -> &[Entry<'a>] {
        &self.entries[arm]
    }

    /// The outcomes whose figures may be used.
    pub(super) fn sound(&self, arm: usize) -> impl Iterator<Item = &'a Outcome> {
        self.entries[arm]
            .iter()
            .filter(|entry| entry.objection.is_none())
            .filter_map(|entry| entry.run.outcome.as_ref())
    }

    pub(super) fn all_sound(&self) -> impl Iterator<Item = &'a Outcome> {
        (0..self.entries.len()).flat_map(|arm| self.sound(arm))
    }

    /// Whether its runs are steps of a sweep, each at a rate of its own, which no median or sum may mix.
    pub(super) fn is_sweep(&self) -> bool {
        let all = self.entries.iter().flatten().filter_map(|entry| entry.run.outcome.as_ref());
        all.clone().next().is_some() && all.clone().all(|outcome| outcome.figure(RATE).is_some())
    }

    /// The names of what was timed, in the order to show them.
    pub(super) fn latencies(&self) -> Vec<&'a str> {
        let with_samples = |outcome: &'a Outcome| outcome.latencies.iter().filter(|(_, of)| of.count > 0);
        let names: BTreeSet<&str> = self.all_sound().flat_map(with_samples).map(|(name, _)| name.as_str()).collect();
        let mut names: Vec<&str> = names.into_iter().collect();
        names.sort_by_key(|name| (is_aside(name), rank(name, &LATENCIES)));
        names
    }

    /// The names of everything else that is one number, in the order to show them.
    pub(super) fn figures(&self) -> Vec<&'a str> {
        let figures = self.all_sound().flat_map(|outcome| outcome.figures.keys());
        let names: BTreeSet<&str> = figures.map(String::as_str).collect();
        let mut names: Vec<&str> = names.into_iter().collect();
        names.sort_by_key(|name| rank(name, &FIGURES));
        names
    }

    /// One number of every sound round.
    pub(super) fn spread(&self, arm: usize, number: impl Fn(&Outcome) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.sound(arm).filter_map(number).filter(|value| value.is_finite()))
    }

    pub(super) fn pooled(&self, arm: usize, latency: &str) -> Option<Pooled> {
        Pooled::of(self.sound(arm).filter_map(|outcome| outcome.latency(latency)))
    }

    /// What `of` says of every step, over the rounds.
    pub(super) fn course(&self, arm: usize, of: impl Fn(&[Tick], usize) -> Option<f64>) -> Vec<Step> {
        let rounds: Vec<&[Tick]> = self.sound(arm).map(|outcome| outcome.series.as_slice()).collect();
        let longest = rounds.iter().map(|ticks| ticks.len()).max().unwrap_or(0);
        let step = |index: usize| {
            let reached = rounds.iter().filter(|ticks| index < ticks.len());
            let at = Spread::of(reached.clone().map(|ticks| ticks[index].seconds))?.median;
            let values = reached.filter_map(|ticks| of(ticks, index)).filter(|value| value.is_finite());
            Some(Step { at, value: Spread::of(values)? })
        };
        (0..longest).filter_map(step).collect()
    }

    /// What `of` says at every rate of a sweep.
    pub(super) fn by_rate(&self, arm: usize, of: impl Fn(&Outcome) -> Option<f64>) -> Vec<Step> {
        let rates = self.sound(arm).filter_map(|outcome| outcome.figure(RATE));
        let mut rates: Vec<f64> = rates.filter(|rate| *rate > 0.0 && rate.is_finite()).collect();
        rates.sort_by(f64::total_cmp);
        rates.dedup();
        let at = |rate: f64| {
            let number = |outcome: &Outcome| of(outcome).filter(|_| outcome.figure(RATE) == Some(rate));
            Some(Step { at: rate, value: self.spread(arm, number)? })
        };
        rates.into_iter().filter_map(at).collect()
    }
}

/// Service time and lag stand behind everything that counts from the intended instant.
pub(super) fn is_aside(latency: &str) -> bool {
    latency.ends_with("-service") || latency == "generator-lag"
}

/// One point of an arm's line over time or rates: over all its runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    /// Seconds, or events a second.
    pub(super) at: f64,
    pub(super) value: Spread,
}

/// One latency of one arm: every round's samples together, and each round's own.
pub(super) struct Pooled {
    all: Samples,
    rounds: Vec<Samples>,
}

/// Microseconds by quantile: of every sample, or of the summary where the histogram cannot be read.
enum Samples {
    Histogram(Box<Recorded>),
    Summary { count: u64, points: [(f64, f64); 5] },
}

/// A histogram with the number of samples up to each of its values, so that a quantile is not searched for from the start.
struct Recorded {
    histogram: Histogram<u64>,
    /// So many samples are at most so many nanoseconds.
    up_to: Vec<(u64, u64)>,
}

impl Recorded {
    fn of(histogram: Histogram<u64>) -> Self {
        let mut count = 0;
        let steps = histogram.iter_recorded().map(|step| {
            count += step.count_since_last_iteration();
            (count, step.value_iterated_to())
        });
        let up_to = steps.collect();
        Self { histogram, up_to }
    }

    fn nanos(&self, quantile: f64) -> u64 {
        // A quantile that is a sample's own is that sample's, whatever the last digit of a fraction says.
        let rank = (quantile * self.histogram.len() as f64 * (1.0 - f64::EPSILON * 4.0)).ceil() as u64;
        let index = self.up_to.partition_point(|(count, _)| *count < rank.max(1));
        self.up_to.get(index).map_or_else(|| self.histogram.max(), |(_, nanos)| *nanos)
    }
}

impl Pooled {
    fn of<'a>(distributions: impl Iterator<Item = &'a Distribution>) -> Option<Self> {
        let rounds: Vec<Samples> = distributions.filter(|of| of.count > 0).map(Samples::of).collect();
        let all = Samples::pool(&rounds)?;
        Some(Self { all, rounds })
    }

    /// Over all rounds.
    pub(super) fn micros(&self, quantile: f64) -> f64 {
        self.all.micros(quantile)
    }

    pub(super) fn max(&self) -> f64 {
        self.all.micros(1.0)
    }

    /// The furthest quantile that has a sample of its own, in nines.
    pub(super) fn nines_max(&self) -> f64 {
        self.all.nines_max()
    }

    /// Nines and microseconds.
    pub(super) fn curve(&self) -> Vec<(f64, f64)> {
        let end = self.nines_max();
        let value = |nines| if nines < end { self.micros(axis::quantile(nines)) } else { self.max() };
        steps(end).map(|nines| (nines, value(nines))).collect()
    }

    /// Nines with the smallest and the largest of the rounds, as far as every round reaches.
    pub(super) fn band(&self) -> Vec<(f64, f64, f64)> {
        if self.rounds.len() < 2 {
            return Vec::new();
        }
        let common = self.rounds.iter().map(Samples::nines_max).fold(f64::INFINITY, f64::min);
        let at = |nines| {
            let spread = Spread::of(self.rounds.iter().map(|round| round.micros(axis::quantile(nines))))?;
            Some((nines, spread.min, spread.max))
        };
        steps(common).filter_map(at).collect()
    }
}

/// From zero to `nines_max`, both ends included.
fn steps(nines_max: f64) -> impl Iterator<Item = f64> {
    let count = (nines_max * POINTS_PER_NINE as f64).ceil().max(1.0) as usize;
    (0..=count).map(move |step| nines_max * step as f64 / count as f64)
}

impl Samples {
    fn of(distribution: &Distribution) -> Self {
        match distribution.histogram() {
            Ok(histogram) if !histogram.is_empty() => Self::Histogram(Box::new(Recorded::of(histogram))),
            _ => {
                let &Distribution { count, p50, p90, p99, p99_9, max, .. } = distribution;
                Self::Summary { count, points: [(0.5, p50), (0.9, p90), (0.99, p99), (0.999, p99_9), (1.0, max)] }
            }
        }
    }

    /// All samples as one; of summaries the medians, and the largest of all.
    fn pool(rounds: &[Self]) -> Option<Self> {
        let mut sum: Option<Histogram<u64>> = None;
        for round in rounds {
            let Self::Histogram(recorded) = round else { return Self::pool_summaries(rounds) };
            match &mut sum {
                None => sum = Some(recorded.histogram.clone()),
                Some(sum) => {
                    if sum.add(&recorded.histogram).is_err() {
                        return Self::pool_summaries(rounds);
                    }
                }
            }
        }
        sum.map(|sum| Self::Histogram(Box::new(Recorded::of(sum))))
    }

    fn pool_summaries(rounds: &[Self]) -> Option<Self> {
        let median =
            |quantile| Spread::of(rounds.iter().map(|round| round.micros(quantile))).map(|spread| spread.median);
        let max = rounds.iter().map(|round| round.micros(1.0)).fold(0.0, f64::max);
        let [p50, p90, p99, p99_9] = TOLD;
        let points =
            [(p50, median(p50)?), (p90, median(p90)?), (p99, median(p99)?), (p99_9, median(p99_9)?), (1.0, max)];
        Some(Self::Summary { count: rounds.iter().map(Self::count).sum(), points })
    }

    fn count(&self) -> u64 {
        match self {
            Self::Histogram(recorded) => recorded.histogram.len(),
            Self::Summary { count, .. } => *count,
        }
    }

    fn micros(&self, quantile: f64) -> f64 {
        match self {
            Self::Histogram(recorded) => recorded.nanos(quantile) as f64 / 1e3,
            Self::Summary { points, .. } => {
                let known = points.iter().find(|(of, _)| *of >= quantile * 0.999_999);
                known.map_or(points[4].1, |(_, micros)| *micros)
            }
        }
    }

    fn nines_max(&self) -> f64 {
        (self.count() as f64).log10().max(axis::nines(0.5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_hdr_histogram() {
        let nanos = (1..=10_007_u64).map(|number| number * number % 7_919 * 1_000 + 1);
        let distribution = Distribution::of(nanos).expect("bounds").expect("samples");
        let histogram = distribution.histogram().expect("a histogram");
        let pooled = Pooled::of([&distribution].into_iter()).expect("samples");
        for quantile in [0.0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0] {
            let expected = histogram.value_at_quantile(quantile) as f64 / 1e3;
            let found = pooled.micros(quantile);
            assert!((found / expected - 1.0).abs() < 0.001, "{quantile}: {found} is not {expected}");
        }
        assert_eq!(pooled.curve().last().map(|(_, micros)| *micros), Some(pooled.max()), "a curve ends at the largest");
    }

    #[test]
    fn rounds_are_pooled_by_their_samples_and_a_band_holds_each() {
        let of = |micros: u64| Distribution::of((0..100).map(|_| micros * 1_000)).expect("bounds").expect("samples");
        let (fast, slow) = (of(100), of(300));
        let pooled = Pooled::of([&fast, &fast, &slow].into_iter()).expect("samples");
        assert!((pooled.micros(0.5) / 100.0 - 1.0).abs() < 0.01 && (pooled.micros(0.7) / 300.0 - 1.0).abs() < 0.01);
        let band = pooled.band();
        assert!(
            band.iter().all(|(_, low, high)| (low / 100.0 - 1.0).abs() < 0.01 && (high / 300.0 - 1.0).abs() < 0.01)
        );
        assert!(Pooled::of([&Distribution::default()].into_iter()).is_none());
    }
}
