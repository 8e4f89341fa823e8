//! A comparison for people, as Markdown. Holds the bounds a relay is judged by, and
//! knows nothing of how the figures came about.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};

use crate::account::Accounts;
use crate::artifact::{Arm, Artifact, Distribution, Outcome, Run};
use crate::floors::Floors;
use crate::measure::{Spread, number, show};
use crate::protocol::Setting;
use crate::verdict::bootstrap::{Interval, paired, rounds_needed};

/// The workloads of a comparison: open loop, nobody listening …
pub(crate) const STEADY: &str = "publish";
/// … the same at the pace of the next …
pub(crate) const QUIET: &str = "publish-quiet";
/// … many subscribers …
pub(crate) const FANOUT: &str = "same-pod";
/// … closed loop …
pub(crate) const PEAK: &str = "peak";
/// … with more in flight.
pub(crate) const DEEP_PEAK: &str = "peak-deep";
/// How many, on every connection.
pub(crate) const DEEP: u32 = 256;

/// How sure a verdict has to be to count as proven.
const CONFIDENCE: f64 = 0.95;

/// Where a report goes on behind what most readers come for, to the end. `cargo xtask figures` folds away what follows.
const EVERYTHING: &str = "Everything that was measured:";

type Figure = fn(&Outcome) -> Option<f64>;

/// Rows of the table: workload, name, unit, figure.
const ROWS: [(&str, &str, &str, Figure); 22] = [
    (STEADY, "ack p50", "ms", |o| millis(o, "ack", |l| l.p50)),
    (STEADY, "ack p99", "ms", |o| millis(o, "ack", |l| l.p99)),
    (STEADY, "ack p99.9", "ms", |o| millis(o, "ack", |l| l.p99_9)),
    (STEADY, "generator late at p99, part of the ack's", "ms", |o| millis(o, "generator-lag", |l| l.p99)),
    (STEADY, "CPU per event", "us", |o| o.figure("relay-cpu-us-per-event")),
    (QUIET, "ack p50", "ms", |o| millis(o, "ack", |l| l.p50)),
    (QUIET, "ack p99", "ms", |o| millis(o, "ack", |l| l.p99)),
    (FANOUT, "ack p50", "ms", |o| millis(o, "ack", |l| l.p50)),
    (FANOUT, "ack p99", "ms", |o| millis(o, "ack", |l| l.p99)),
    (FANOUT, "first delivery p50", "ms", |o| millis(o, "first-delivery", |l| l.p50)),
    (FANOUT, "first delivery p99", "ms", |o| millis(o, "first-delivery", |l| l.p99)),
    (FANOUT, "last delivery p50", "ms", |o| millis(o, "last-delivery", |l| l.p50)),
    (FANOUT, "last delivery p99", "ms", |o| millis(o, "last-delivery", |l| l.p99)),
    (FANOUT, "generator late at p99, part of the above", "ms", |o| millis(o, "generator-lag", |l| l.p99)),
    (FANOUT, "CPU per delivery", "us", |o| o.figure("relay-cpu-us-per-delivery")),
    (PEAK, "events/s", "", |o| o.figure("events-per-s")),
    (PEAK, "ack p50", "ms", |o| millis(o, "ack", |l| l.p50)),
    (PEAK, "ack p99", "ms", |o| millis(o, "ack", |l| l.p99)),
    (PEAK, "CPU per event", "us", |o| o.figure("relay-cpu-us-per-event")),
    (PEAK, "resident memory", "MiB", |o| o.figure("relay-resident-bytes").map(|bytes| bytes / 1_048_576.0)),
    (DEEP_PEAK, "events/s", "", |o| o.figure("events-per-s")),
    (DEEP_PEAK, "ack p99", "ms", |o| millis(o, "ack", |l| l.p99)),
];

/// Those that most readers come for: workload and name.
const HEADLINES: [(&str, &str); 8] = [
    (STEADY, "ack p50"),
    (STEADY, "ack p99"),
    (STEADY, "CPU per event"),
    (FANOUT, "first delivery p99"),
    (FANOUT, "last delivery p50"),
    (PEAK, "events/s"),
    (PEAK, "CPU per event"),
    (PEAK, "resident memory"),
];

fn millis(outcome: &Outcome, latency: &str, percentile: fn(&Distribution) -> f64) -> Option<f64> {
    outcome.latency(latency).map(|latency| percentile(latency) / 1e3)
}

/// What a bound is taken from: always of one round.
struct Scene<'a> {
    outcome: &'a Outcome,
    floors: &'a Floors,
    /// The same relay without subscribers, at the pace of those with.
    quiet: Option<&'a Outcome>,
}

type Term = fn(&Scene<'_>) -> Option<f64>;

/// A bound of the kind "figure at most (or at least) so many times a floor".
struct Bound {
    name: &'static str,
    workload: &'static str,
    /// Of an open loop, which nobody can tell from that of a queue that fills when the run is short.
    is_latency: bool,
    figure: Term,
    limit: Term,
    is_minimum: bool,
}

impl Bound {
    /// How far on the wrong side a figure is, as a logarithm, by its ratio to the limit; up to zero it meets the bound.
    fn excess(&self, ratio: f64) -> f64 {
        if self.is_minimum { -ratio.ln() } else { ratio.ln() }
    }

    /// The median of the rounds says on which side the figure is; an interval that lies wholly on that side proves it.
    fn verdict(&self, median: f64, ratios: &[f64]) -> &'static str {
        let is_met = self.excess(median) <= 0.0;
        let excesses: Vec<f64> = ratios.iter().map(|ratio| self.excess(*ratio)).collect();
        // A ratio of zero has no logarithm, and its round no place in an interval.
        let are_enough =
            excesses.len() >= rounds_needed(CONFIDENCE) && excesses.iter().all(|excess| excess.is_finite());
        let is_proven = are_enough && {
            let Interval { low, high, .. } = paired(&excesses, CONFIDENCE);
            if is_met { high <= 0.0 } else { low > 0.0 }
        };
        match (is_met, is_proven) {
            (true, true) => "met",
            (true, false) => "met, not proven",
            (false, true) => "MISSED",
            (false, false) => "MISSED, not proven",
        }
    }
}

/// Milliseconds, events a second or microseconds, as the figure has them.
const BOUNDS: [Bound; 9] = [
    Bound {
        name: "ack p50 <= 1.4 (V + S + E), ms",
        workload: STEADY,
        is_latency: true,
        figure: |s| millis(s.outcome, "ack", |l| l.p50),
        limit: |s| Some(1.4 * (s.floors.verify.p50 + s.floors.sync.p50 + s.floors.echo.p50) / 1e3),
        is_minimum: false,
    },
    Bound {
        name: "ack p99 <= 2 (V + S99 + E99), ms",
        workload: STEADY,
        is_latency: true,
        figure: |s| millis(s.outcome, "ack", |l| l.p99),
        limit: |s| Some(2.0 * (s.floors.verify.p50 + s.floors.sync.p99 + s.floors.echo.p99) / 1e3),
        is_minimum: false,
    },
    Bound {
        name: "ack p99 with subscribers <= 1.5 x without, ms",
        workload: FANOUT,
        is_latency: true,
        figure: |s| millis(s.outcome, "ack", |l| l.p99),
        limit: |s| Some(1.5 * millis(s.quiet?, "ack", |l| l.p99)?),
        is_minimum: false,
    },
    Bound {
        name: "first delivery p99 <= ack p99 + 0.2, ms",
        workload: FANOUT,
        is_latency: true,
        figure: |s| millis(s.outcome, "first-delivery", |l| l.p99),
        limit: |s| Some(millis(s.outcome, "ack", |l| l.p99)? + 0.2),
        is_minimum: false,
    },
    Bound {
        name: "last delivery p50 <= 5, ms",
        workload: FANOUT,
        is_latency: true,
        figure: |s| millis(s.outcome, "last-delivery", |l| l.p50),
        limit: |_| Some(5.0),
        is_minimum: false,
    },
    Bound {
        name: "relay CPU per delivery <= 6, us",
        workload: FANOUT,
        is_latency: false,
        figure: |s| s.outcome.figure("relay-cpu-us-per-delivery"),
        limit: |_| Some(6.0),
        is_minimum: false,
    },
    Bound {
        name: "peak >= 0.6 x signature rate of all cores, events/s",
        workload: PEAK,
        is_latency: false,
        figure: |s| s.outcome.figure("events-per-s"),
        limit: |s| Some(0.6 * s.floors.verifies_per_second_all_cores),
        is_minimum: true,
    },
    Bound {
        name: "relay CPU per event at the peak <= 1.5 V, us",
        workload: PEAK,
        is_latency: false,
        figure: |s| s.outcome.figure("relay-cpu-us-per-event"),
        limit: |s| Some(1.5 * s.floors.verify.p50),
        is_minimum: false,
    },
    Bound {
        name: "deep peak >= 0.7 x signature rate of all cores, events/s",
        workload: DEEP_PEAK,
        is_latency: false,
        figure: |s| s.outcome.figure("events-per-s"),
        limit: |s| Some(0.7 * s.floors.verifies_per_second_all_cores),
        is_minimum: true,
    },
];

/// The whole report: verdicts and headlines, then floors, figures, accounts and remarks. Only of a comparison.
pub(crate) fn markdown(artifact: &Artifact) -> Result<String> {
    let report = Report { artifact, setting: setting(artifact)? };
    let mut text = String::new();
    report.write_setting(&mut text);
    report.write_verdicts(&mut text);
    report.write_figures(|workload, name| HEADLINES.contains(&(workload, name)), &mut text);
    let _ = writeln!(text, "{EVERYTHING}\n");
    report.write_floors(&mut text);
    report.write_figures(|_, _| true, &mut text);
    report.write_accounts(&mut text);
    report.write_remarks(&mut text);
    Ok(text)
}

/// An error says that it is not a comparison's.
fn setting(artifact: &Artifact) -> Result<Setting> {
    const OTHER: &str = "the artifact is no comparison's";
    // Other sessions have the same settings, and runs that no row would show.
    let has_row = |run: &Run| ROWS.iter().any(|(workload, ..)| *workload == run.protocol);
    ensure!(artifact.runs.iter().all(has_row), OTHER);
    let setting = serde_json::Value::Object(artifact.setting.clone().into_iter().collect());
    serde_json::from_value(setting).context(OTHER)
}

struct Report<'a> {
    artifact: &'a Artifact,
    setting: Setting,
}

impl Report<'_> {
    fn write_setting(&self, out: &mut String) {
        let (rounds, cores) = (self.artifact.floors.len(), self.artifact.machine.cores);
        let (sure, needed) = (CONFIDENCE * 100.0, rounds_needed(CONFIDENCE));
        let _ = writeln!(
            out,
            "Median (smallest - largest) of {rounds} rounds on {cores} cores. V is one signature check, S one append and sync, E one \
             WebSocket echo; S99 and E99 are those at p99. Not proven is what fewer than {needed} rounds say, \
             or a {sure} % interval of figure / bound that holds 1.\n"
        );
    }

    fn write_floors(&self, out: &mut String) {
        let floors = &self.artifact.floors;
        let _ = writeln!(out, "| floor | p50, us | p99, us |\n|---|---|---|");
        for (name, floor) in Floors::NAMED {
            let spread = |percentile: fn(&Distribution) -> f64| {
                show(Spread::of(floors.iter().filter_map(floor).map(percentile)))
            };
            let _ = writeln!(out, "| {name} | {} | {} |", spread(|l| l.p50), spread(|l| l.p99));
        }
        let checks = Spread::of(floors.iter().map(|floors| floors.verifies_per_second_all_cores));
        let _ = writeln!(out, "\nSignature checks a second on all cores: {}.\n", show(checks));
    }

    /// Of the rows that are `wanted`, by workload and name.
    fn write_figures(&self, wanted: fn(&str, &str) -> bool, out: &mut String) {
        let names: Vec<_> = self.artifact.arms.iter().map(|arm| arm.name.as_str()).collect();
        let _ = writeln!(out, "| figure | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
        for (workload, name, unit, figure) in ROWS.into_iter().filter(|row| wanted(row.0, row.1)) {
            let cells: Vec<_> = names
                .iter()
                .map(|arm| show(Spread::of(self.sound(arm, workload).filter_map(|(_, outcome)| figure(outcome)))))
                .collect();
            let unit = if unit.is_empty() { String::new() } else { format!(", {unit}") };
            let _ = writeln!(out, "| {}: {name}{unit} | {} |", self.describe(workload), cells.join(" | "));
        }
        out.push('\n');
    }

    fn describe(&self, workload: &str) -> String {
        let Setting { rate, connections, in_flight, subscribers, fanout_rate, .. } = &self.setting;
        match workload {
            STEADY => format!("{rate}/s"),
            QUIET => format!("{fanout_rate}/s"),
            FANOUT => format!("{fanout_rate}/s, {subscribers} subscribers"),
            PEAK => format!("peak, {connections} x {in_flight} in flight"),
            DEEP_PEAK => format!("peak, {connections} x {DEEP} in flight"),
            other => other.to_owned(),
        }
    }

    /// The outcomes that count, with their round.
    fn sound<'a>(&'a self, arm: &'a str, workload: &'a str) -> impl Iterator<Item = (usize, &'a Outcome)> {
        let runs = self.artifact.runs.iter().filter(move |run| run.arm == arm && run.protocol == workload);
        runs.filter_map(|run| run.outcome.as_ref().map(|outcome| (run.round, outcome)))
            .filter(|(_, outcome)| outcome.void.is_none())
    }

    fn write_accounts(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "| accounts | sent | acked | stored | refused | unanswered | lost | twice stored / answered / delivered | undelivered | later than 1 s |\n|---|---|---|---|---|---|---|---|---|---|"
        );
        for Arm { name, .. } in &self.artifact.arms {
            let runs = self.artifact.runs.iter().filter(|run| run.arm == *name);
            let accounts: Vec<&Accounts> = runs.filter_map(|run| run.outcome.as_ref()?.accounts.as_ref()).collect();
            let sum = |figure: fn(&Accounts) -> usize| accounts.iter().map(|a| figure(a)).sum::<usize>();
            let _ = writeln!(
                out,
                "| {name} | {} | {} | {} | {} | {} | {} | {} / {} / {} | {} | {} |",
                sum(|a| a.sent),
                sum(|a| a.acked),
                sum(|a| a.stored),
                sum(|a| a.refused),
                sum(|a| a.unanswered),
                sum(|a| a.lost),
                sum(|a| a.stored_twice),
                sum(|a| a.answered_twice),
                sum(|a| a.delivered_twice as usize),
                sum(|a| a.undelivered),
                sum(|a| a.late),
            );
        }
        out.push('\n');
    }

    /// Void and failed runs, complaints, and neighbours that were too loud to trust a figure.
    fn write_remarks(&self, out: &mut String) {
        for Run { round, arm, protocol, outcome, failure, .. } in &self.artifact.runs {
            let run = format!("round {round}, {arm}, {}", self.describe(protocol));
            if let Some(failure) = failure {
                let _ = writeln!(out, "- FAILED: {run}: {failure}");
            }
            let Some(outcome) = outcome else { continue };
            if let Some(void) = &outcome.void {
                let _ = writeln!(out, "- VOID: {run}: {void}");
            }
            if let Some(complaint) = &outcome.complaint {
                let _ = writeln!(out, "- {run}: the relay said: {complaint}");
            }
            if let Some(share) = outcome.noise() {
                let _ = writeln!(out, "- NOISY: {run}: others used {:.0} % of the machine", share * 100.0);
            }
        }
    }

    /// Ratios are taken within a round, against the floors of that round.
    fn write_verdicts(&self, out: &mut String) {
        let Some(Arm { name: arm, .. }) = self.artifact.arms.first() else { return };
        let _ = writeln!(out, "| {arm} | figure | bound | figure / bound | |\n|---|---|---|---|---|");
        for bound in &BOUNDS {
            let pairs: Vec<(f64, f64)> = self
                .sound(arm, bound.workload)
                .filter_map(|(round, outcome)| {
                    let floors = self.artifact.floors.get(round - 1)?;
                    let quiet = self.sound(arm, QUIET).find(|(other, _)| *other == round).map(|(_, quiet)| quiet);
                    let scene = Scene { outcome, floors, quiet };
                    Some(((bound.figure)(&scene)?, (bound.limit)(&scene)?))
                })
                .collect();
            let ratios: Vec<f64> = pairs.iter().map(|(figure, limit)| figure / limit).collect();
            let ratio = Spread::of(ratios.iter().copied());
            let verdict = match ratio {
                None => "not measured",
                Some(_) if bound.is_latency && self.setting.method.is_too_short() => "too short",
                Some(ratio) => bound.verdict(ratio.median, &ratios),
            };
            let figure = Spread::of(pairs.iter().map(|pair| pair.0));
            let limit = Spread::of(pairs.iter().map(|pair| pair.1));
            let _ =
                writeln!(out, "| {} | {} | {} | {} | {verdict} |", bound.name, show(figure), show(limit), show(ratio));
        }
        out.push('\n');
    }
}

/// One run, for a terminal.
pub(crate) fn describe(outcome: &Outcome) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "| ms | p50 | p90 | p99 | p99.9 | max | count |\n|---|---|---|---|---|---|---|");
    for (name, Distribution { count, p50, p90, p99, p99_9, max, .. }) in &outcome.latencies {
        let cells = [p50, p90, p99, p99_9, max].map(|micros| number(micros / 1e3)).join(" | ");
        let _ = writeln!(text, "| {name} | {cells} | {count} |");
    }
    text.push('\n');
    for (name, value) in &outcome.figures {
        let _ = writeln!(text, "{name}: {}", number(*value));
    }
    if let Some(accounts) = &outcome.accounts {
        let verdict = if accounts.is_clean() { "every acknowledged event accounted for" } else { "PROMISES BROKEN" };
        let _ = writeln!(text, "{verdict}: {accounts:?}");
    }
    if let Some(complaint) = &outcome.complaint {
        let _ = writeln!(text, "the relay said: {complaint}");
    }
    if let Some(void) = &outcome.void {
        let _ = writeln!(text, "VOID: {void}");
    }
    text
}

#[cfg(test)]
mod tests;
