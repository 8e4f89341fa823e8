//! The figures of an artifact as a table: a row for each, a column for each relay. Knows no workload.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::artifact::{Artifact, Distribution, Outcome, Run};
use crate::floors::Floors;
use crate::measure::{Spread, number, show};

const PERCENTILES: [fn(&Distribution) -> f64; 4] = [|d| d.p50, |d| d.p90, |d| d.p99, |d| d.max];

/// Medians over the rounds, smallest and largest beside them; then what should make a reader doubt them.
pub(crate) fn markdown(artifact: &Artifact) -> String {
    let mut text = String::new();
    write_floors(artifact, &mut text);
    for kind in distinct(artifact.runs.iter().map(kind)) {
        let table = Table { artifact, kind };
        table.write(&mut text);
    }
    write_remarks(artifact, &mut text);
    text
}

fn write_floors(artifact: &Artifact, out: &mut String) {
    let of = |floor: fn(&Floors) -> f64| show(Spread::of(artifact.floors.iter().map(floor)));
    let _ = writeln!(
        out,
        "Floors, p50 in us: V, one signature check, {}; S, one append and sync, {}; E, one WebSocket echo, {}.\n",
        of(|floors| floors.verify.p50),
        of(|floors| floors.sync.p50),
        of(|floors| floors.echo.p50),
    );
}

/// In order of appearance.
fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    all.fold(Vec::new(), |mut seen, each| {
        if !seen.contains(&each) {
            seen.push(each);
        }
        seen
    })
}

/// A protocol and, where every run had a rate of its own, that rate: such runs are no rounds, which a median may mix.
type Kind<'a> = (&'a str, Option<f64>);

fn kind(run: &Run) -> Kind<'_> {
    (&run.protocol, run.outcome.as_ref().and_then(|outcome| outcome.figure("rate-per-s")))
}

struct Table<'a> {
    artifact: &'a Artifact,
    kind: Kind<'a>,
}

impl<'a> Table<'a> {
    fn write(&self, out: &mut String) {
        let arms = distinct(self.artifact.runs.iter().map(|run| run.arm.as_str()));
        let latencies: BTreeSet<&str> = self.of_all().flat_map(|o| o.latencies.keys().map(String::as_str)).collect();
        let figures: BTreeSet<&str> = self.of_all().flat_map(|o| o.figures.keys().map(String::as_str)).collect();
        if latencies.is_empty() && figures.is_empty() {
            return;
        }
        let (protocol, rate) = self.kind;
        let rate = rate.map(|rate| format!(" at {rate}/s")).unwrap_or_default();
        let _ = writeln!(out, "| {protocol}{rate} | {} |\n|---|{}", arms.join(" | "), "---|".repeat(arms.len()));
        for figure in figures {
            let cell = |arm: &&str| show(Spread::of(self.of(arm).filter_map(|outcome| outcome.figure(figure))));
            let _ = writeln!(out, "| {figure} | {} |", arms.iter().map(cell).collect::<Vec<_>>().join(" | "));
        }
        for latency in latencies {
            let cell = |arm: &&str| self.percentiles(arm, latency);
            let cells = arms.iter().map(cell).collect::<Vec<_>>().join(" | ");
            let _ = writeln!(out, "| {latency}, ms: p50 / p90 / p99 / max | {cells} |");
        }
        out.push('\n');
    }

    /// Medians over the rounds.
    fn percentiles(&self, arm: &str, latency: &str) -> String {
        let median = |percentile: fn(&Distribution) -> f64| {
            let millis = self.of(arm).filter_map(|outcome| Some(percentile(outcome.latency(latency)?) / 1e3));
            Spread::of(millis).map(|spread| number(spread.median))
        };
        let all: Option<Vec<String>> = PERCENTILES.iter().map(|percentile| median(*percentile)).collect();
        all.map_or_else(|| "-".into(), |all| all.join(" / "))
    }

    fn of_all(&self) -> impl Iterator<Item = &'a Outcome> {
        let of_kind = self.kind;
        let runs = self.artifact.runs.iter().filter(move |run| kind(run) == of_kind);
        runs.filter_map(|run| run.outcome.as_ref())
    }

    /// Those that count.
    fn of(&self, arm: &str) -> impl Iterator<Item = &'a Outcome> {
        let (of_kind, arm) = (self.kind, arm.to_owned());
        let runs = self.artifact.runs.iter().filter(move |run| kind(run) == of_kind && run.arm == arm);
        runs.filter_map(|run| run.outcome.as_ref()).filter(|outcome| outcome.void.is_none())
    }
}

fn write_remarks(artifact: &Artifact, out: &mut String) {
    for run in &artifact.runs {
        let name = format!("round {}, {}, {}", run.round, run.arm, run.protocol);
        if let Some(failure) = &run.failure {
            let _ = writeln!(out, "- FAILED: {name}: {failure}");
        }
        let Some(outcome) = &run.outcome else { continue };
        if let Some(void) = &outcome.void {
            let _ = writeln!(out, "- VOID: {name}: {void}");
        }
        if let Some(complaint) = &outcome.complaint {
            let _ = writeln!(out, "- {name}: first complaint: {complaint}");
        }
        if let Some(accounts) = outcome.accounts.as_ref().filter(|accounts| !accounts.is_clean()) {
            let _ = writeln!(out, "- PROMISES BROKEN: {name}: {accounts:?}");
        }
        if let Some(share) = outcome.noise() {
            let _ = writeln!(out, "- NOISY: {name}: others used {:.0} % of the machine", share * 100.0);
        }
    }
}
