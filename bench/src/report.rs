//! Figures for people (Markdown) and programs (JSON). Holds the bounds a relay is judged by, and
//! knows nothing of how the figures came about.

use std::fmt::Write;

use serde::Serialize;

use crate::floors::Floors;
use crate::measure::{Latency, Spread};
use crate::workload::Outcome;

/// The workloads of a comparison, in the order they are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// Open loop, nobody listening.
    Steady,
    /// Open loop, one subscriber.
    Watched,
    /// Open loop, many subscribers.
    Fanout,
    /// Closed loop.
    Peak,
}

/// One relay's run of one workload in one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) round: usize,
    pub(crate) relay: String,
    pub(crate) workload: Workload,
    pub(crate) outcome: Option<Outcome>,
    /// Why there is no outcome.
    pub(crate) failure: Option<String>,
}

/// Everything a comparison found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) version: &'static str,
    pub(crate) cores: usize,
    pub(crate) unix_time: u64,
    pub(crate) setting: Setting,
    /// By round.
    pub(crate) floors: Vec<Floors>,
    pub(crate) entries: Vec<Entry>,
    #[serde(skip)]
    pub(crate) relays: Vec<String>,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Setting {
    pub(crate) rate: u32,
    pub(crate) seconds: u32,
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) peak_events: usize,
    pub(crate) subscribers: usize,
    pub(crate) fanout_rate: u32,
    pub(crate) seed: u64,
}

type Floor = fn(&Floors) -> Latency;

const FLOORS: [(&str, Floor); 4] = [
    ("V: one signature check", |f| f.verify),
    ("S: one 4 KiB append + sync", |f| f.sync),
    ("E: one WebSocket echo at the open loop's pace", |f| f.echo),
    ("one WebSocket echo back to back", |f| f.echo_back_to_back),
];

type Figure = fn(&Outcome) -> Option<f64>;

/// Rows of the table: workload, name, unit, figure.
const ROWS: [(Workload, &str, &str, Figure); 19] = [
    (Workload::Steady, "ack p50", "ms", |o| millis(o.ack, |l| l.p50)),
    (Workload::Steady, "ack p99", "ms", |o| millis(o.ack, |l| l.p99)),
    (Workload::Steady, "ack p99.9", "ms", |o| millis(o.ack, |l| l.p99_9)),
    (Workload::Steady, "CPU per event", "us", |o| o.relay_cpu_us_per_event),
    (Workload::Watched, "ack p99", "ms", |o| millis(o.ack, |l| l.p99)),
    (Workload::Watched, "delivery p50", "ms", |o| millis(o.first_delivery, |l| l.p50)),
    (Workload::Watched, "delivery p99", "ms", |o| millis(o.first_delivery, |l| l.p99)),
    (Workload::Fanout, "ack p50", "ms", |o| millis(o.ack, |l| l.p50)),
    (Workload::Fanout, "ack p99", "ms", |o| millis(o.ack, |l| l.p99)),
    (Workload::Fanout, "first delivery p50", "ms", |o| millis(o.first_delivery, |l| l.p50)),
    (Workload::Fanout, "first delivery p99", "ms", |o| millis(o.first_delivery, |l| l.p99)),
    (Workload::Fanout, "last delivery p50", "ms", |o| millis(o.last_delivery, |l| l.p50)),
    (Workload::Fanout, "last delivery p99", "ms", |o| millis(o.last_delivery, |l| l.p99)),
    (Workload::Peak, "events/s", "", |o| Some(o.acked_per_second)),
    (Workload::Peak, "ack p50", "ms", |o| millis(o.ack, |l| l.p50)),
    (Workload::Peak, "ack p99", "ms", |o| millis(o.ack, |l| l.p99)),
    (Workload::Peak, "CPU per event", "us", |o| o.relay_cpu_us_per_event),
    (Workload::Peak, "generator CPU per event", "us", |o| Some(o.generator_cpu_us_per_event)),
    (Workload::Peak, "resident memory after", "MiB", |o| {
        o.relay_resident_bytes.map(|bytes| bytes as f64 / 1_048_576.0)
    }),
];

fn millis(latency: Option<Latency>, percentile: fn(&Latency) -> f64) -> Option<f64> {
    latency.map(|latency| percentile(&latency) / 1e3)
}

/// A bound of the kind "figure at most (or at least) so many times a floor".
struct Bound {
    name: &'static str,
    workload: Workload,
    figure: Figure,
    limit: fn(&Outcome, &Floors) -> f64,
    is_minimum: bool,
}

/// Milliseconds, events a second or microseconds, as the figure has them.
const BOUNDS: [Bound; 6] = [
    Bound {
        name: "ack p50 <= 2 (V + S + E), ms",
        workload: Workload::Steady,
        figure: |o| millis(o.ack, |l| l.p50),
        limit: |_, f| 2.0 * (f.verify.p50 + f.sync.p50 + f.echo.p50) / 1e3,
        is_minimum: false,
    },
    Bound {
        name: "ack p99 <= 3 (V + S99 + E99), ms",
        workload: Workload::Steady,
        figure: |o| millis(o.ack, |l| l.p99),
        limit: |_, f| 3.0 * (f.verify.p50 + f.sync.p99 + f.echo.p99) / 1e3,
        is_minimum: false,
    },
    Bound {
        name: "first delivery p99 <= ack p99 + 1, ms",
        workload: Workload::Watched,
        figure: |o| millis(o.first_delivery, |l| l.p99),
        limit: |o, _| millis(o.ack, |l| l.p99).unwrap_or_default() + 1.0,
        is_minimum: false,
    },
    Bound {
        name: "peak >= 0.4 x signature rate of all cores, events/s",
        workload: Workload::Peak,
        figure: |o| Some(o.acked_per_second),
        limit: |_, f| 0.4 * f.verifies_per_second_all_cores,
        is_minimum: true,
    },
    Bound {
        name: "relay CPU per event at the peak <= 3 V, us",
        workload: Workload::Peak,
        figure: |o| o.relay_cpu_us_per_event,
        limit: |_, f| 3.0 * f.verify.p50,
        is_minimum: false,
    },
    Bound {
        name: "relay CPU per event at the open loop's rate <= 3 V, us",
        workload: Workload::Steady,
        figure: |o| o.relay_cpu_us_per_event,
        limit: |_, f| 3.0 * f.verify.p50,
        is_minimum: false,
    },
];

impl Comparison {
    /// The whole report: floors, figures, accounts, verdicts.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        self.write_floors(&mut text);
        self.write_figures(&mut text);
        self.write_accounts(&mut text);
        self.write_verdicts(&mut text);
        text
    }

    fn write_floors(&self, out: &mut String) {
        let rounds = self.floors.len();
        let _ = writeln!(out, "Median (smallest - largest) of {rounds} rounds on {} cores.\n", self.cores);
        let _ = writeln!(out, "| floor | p50, us | p99, us |\n|---|---|---|");
        for (name, floor) in FLOORS {
            let spread = |percentile: fn(&Latency) -> f64| {
                show(Spread::of(self.floors.iter().map(|floors| percentile(&floor(floors)))))
            };
            let _ = writeln!(out, "| {name} | {} | {} |", spread(|l| l.p50), spread(|l| l.p99));
        }
        let checks = Spread::of(self.floors.iter().map(|floors| floors.verifies_per_second_all_cores));
        let _ = writeln!(out, "\nSignature checks a second on all cores: {}.\n", show(checks));
    }

    fn write_figures(&self, out: &mut String) {
        let _ = writeln!(out, "| figure | {} |\n|---|{}", self.relays.join(" | "), "---|".repeat(self.relays.len()));
        for (workload, name, unit, figure) in ROWS {
            let cells: Vec<_> = self
                .relays
                .iter()
                .map(|relay| show(Spread::of(self.sound(relay, workload).filter_map(|(_, outcome)| figure(outcome)))))
                .collect();
            let unit = if unit.is_empty() { String::new() } else { format!(", {unit}") };
            let _ = writeln!(out, "| {}: {name}{unit} | {} |", self.describe(workload), cells.join(" | "));
        }
        out.push('\n');
    }

    fn describe(&self, workload: Workload) -> String {
        let Setting { rate, connections, in_flight, subscribers, fanout_rate, .. } = &self.setting;
        match workload {
            Workload::Steady => format!("{rate}/s"),
            Workload::Watched => format!("{rate}/s, 1 subscriber"),
            Workload::Fanout => format!("{fanout_rate}/s, {subscribers} subscribers"),
            Workload::Peak => format!("peak, {connections} x {in_flight} in flight"),
        }
    }

    /// The outcomes that count, with their round.
    fn sound<'a>(&'a self, relay: &'a str, workload: Workload) -> impl Iterator<Item = (usize, &'a Outcome)> {
        self.of(relay, workload)
            .filter_map(|entry| entry.outcome.as_ref().map(|outcome| (entry.round, outcome)))
            .filter(|(_, outcome)| outcome.void.is_none())
    }

    fn of<'a>(&'a self, relay: &'a str, workload: Workload) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.relay == relay && entry.workload == workload)
    }

    fn write_accounts(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "| accounts | sent | acked | stored | refused | unanswered | lost | twice stored / answered / delivered | undelivered |\n|---|---|---|---|---|---|---|---|---|"
        );
        for relay in &self.relays {
            let accounts: Vec<_> = self
                .entries
                .iter()
                .filter(|entry| entry.relay == *relay)
                .filter_map(|entry| entry.outcome.as_ref().map(|outcome| &outcome.accounts))
                .collect();
            let sum =
                |figure: fn(&crate::account::Accounts) -> usize| accounts.iter().map(|a| figure(a)).sum::<usize>();
            let _ = writeln!(
                out,
                "| {relay} | {} | {} | {} | {} | {} | {} | {} / {} / {} | {} |",
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
            );
        }
        out.push('\n');
        self.write_remarks(out);
    }

    /// Void and failed runs, complaints, and neighbours that were too loud to trust a figure.
    fn write_remarks(&self, out: &mut String) {
        for Entry { round, relay, workload, outcome, failure } in &self.entries {
            let run = format!("round {round}, {relay}, {}", self.describe(*workload));
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
            if let Some(share) = outcome.elsewhere_share.filter(|share| *share > ELSEWHERE_SHARE_MAX) {
                let _ = writeln!(out, "- NOISY: {run}: others used {:.0} % of the machine", share * 100.0);
            }
        }
    }

    /// Ratios are taken within a round, against the floors of that round.
    fn write_verdicts(&self, out: &mut String) {
        let Some(relay) = self.relays.first() else { return };
        let _ = writeln!(out, "\n| {relay} | figure | bound | figure / bound | |\n|---|---|---|---|---|");
        for bound in &BOUNDS {
            let pairs: Vec<(f64, f64)> = self
                .sound(relay, bound.workload)
                .filter_map(|(round, outcome)| {
                    let limit = (bound.limit)(outcome, self.floors.get(round - 1)?);
                    Some(((bound.figure)(outcome)?, limit))
                })
                .collect();
            let ratio = Spread::of(pairs.iter().map(|(figure, limit)| figure / limit));
            let verdict = match ratio {
                None => "not measured",
                Some(ratio) if (ratio.median >= 1.0) == bound.is_minimum || ratio.median == 1.0 => "met",
                Some(_) => "MISSED",
            };
            let figure = Spread::of(pairs.iter().map(|pair| pair.0));
            let limit = Spread::of(pairs.iter().map(|pair| pair.1));
            let _ =
                writeln!(out, "| {} | {} | {} | {} | {verdict} |", bound.name, show(figure), show(limit), show(ratio));
        }
    }
}

const ELSEWHERE_SHARE_MAX: f64 = 0.1;

fn show(spread: Option<Spread>) -> String {
    let Some(Spread { median, min, max }) = spread else {
        return "-".into();
    };
    format!("{} ({} - {})", number(median), number(min), number(max))
}

/// Three significant digits, and no more than a figure deserves.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// One run, for a terminal.
pub(crate) fn describe(outcome: &Outcome) -> String {
    let mut text = String::new();
    let rows = [
        ("ack", outcome.ack),
        ("first delivery", outcome.first_delivery),
        ("last delivery", outcome.last_delivery),
        ("generator lag", outcome.generator_lag),
    ];
    let _ = writeln!(text, "| ms | p50 | p90 | p99 | p99.9 | max | count |\n|---|---|---|---|---|---|---|");
    for (name, latency) in rows {
        if let Some(Latency { count, p50, p90, p99, p99_9, max }) = latency {
            let cells = [p50, p90, p99, p99_9, max].map(|micros| number(micros / 1e3)).join(" | ");
            let _ = writeln!(text, "| {name} | {cells} | {count} |");
        }
    }
    let _ = writeln!(text, "\n{} events/s acknowledged", number(outcome.acked_per_second));
    if let Some(micros) = outcome.relay_cpu_us_per_event {
        let _ = writeln!(text, "relay CPU per event: {} us", number(micros));
    }
    let _ = writeln!(text, "generator CPU per event: {} us", number(outcome.generator_cpu_us_per_event));
    if let Some(bytes) = outcome.relay_resident_bytes {
        let _ = writeln!(text, "relay resident memory: {} MiB", number(bytes as f64 / 1_048_576.0));
    }
    let verdict =
        if outcome.accounts.is_clean() { "every acknowledged event accounted for" } else { "PROMISES BROKEN" };
    let _ = writeln!(text, "{verdict}: {:?}", outcome.accounts);
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
