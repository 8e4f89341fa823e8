//! The tables of a page: what no curve shows. Knows the scene, not where a table stands.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use maud::{Markup, html};

use super::chart::swatch;
use super::charts::Figure;
use super::format::{Measure, count, millis, number, words};
use super::scene::{Arm, Entry, Protocol, Scene, Source};
use crate::account::Accounts;
use crate::artifact::{self, Distribution, Outcome};
use crate::floors::Floors;
use crate::measure::Spread;

/// So many subscribers are told by number: whoever wants all has the artifact.
const TOLD_SUBSCRIBERS_MAX: usize = 5;

/// A table that scrolls by itself when the window is narrower.
pub(super) fn scrolling(label: &str, table: Markup) -> Markup {
    html! { div.scroll role="region" aria-label=(label) tabindex="0" { (table) } }
}

/// An arm's name with its look.
fn arm_name(arm: &Arm<'_>) -> Markup {
    html! { span.arm { (swatch(arm.style)) (arm.label) } }
}

/// Who is compared.
pub(super) fn arms(scene: &Scene<'_>) -> Markup {
    scrolling(
        "Arms",
        html! {
            table.wide {
                thead { tr { th { "arm" } th { "says it is" } th { "commit" } th { "its OK means" } th { "started as" } } }
                tbody {
                    @for arm in &scene.arms {
                        tr {
                            th scope="row" { (arm_name(arm)) }
                            @if let Some(described) = arm.described {
                                td { (software(described)) }
                                td { code { (described.commit.as_deref().map_or("–", short)) } }
                                td { (described.durability) }
                                td { code { (described.command) } }
                            } @else { td colspan="4" { "not described" } }
                        }
                    }
                }
            }
        },
    )
}

/// As its NIP-11 document says, where most give an address; nobody follows it from here.
fn software(arm: &artifact::Arm) -> String {
    let name = arm.software.as_deref().unwrap_or("–");
    let name = name.trim_start_matches("https://").trim_start_matches("git+").trim_end_matches(".git");
    format!("{name} {}", arm.version.as_deref().unwrap_or_default())
}

/// A commit's first digits tell it from others.
fn short(commit: &str) -> &str {
    match commit.get(..12) {
        Some(first) if commit.bytes().all(|byte| byte.is_ascii_hexdigit()) => first,
        _ => commit,
    }
}

/// The numbers of a chart; the names of its rows are the legend.
pub(super) fn of_figure(scene: &Scene<'_>, figure: &Figure) -> Markup {
    scrolling(
        &figure.chart.title,
        html! {
            table.numbers {
                thead { tr { th { (figure.chart.y.label) } @for column in &figure.columns { th { (column) } } } }
                tbody {
                    @for row in &figure.rows {
                        tr {
                            th scope="row" { (arm_name(&scene.arms[row.arm])) }
                            @for cell in &row.cells { td { (cell) } }
                        }
                    }
                }
            }
        },
    )
}

type Percentile = fn(&Distribution) -> f64;
type Number<'a> = dyn Fn(&Outcome) -> Option<f64> + 'a;

const PERCENTILES: [(&str, Percentile); 5] =
    [("p50", |of| of.p50), ("p90", |of| of.p90), ("p99", |of| of.p99), ("p99.9", |of| of.p99_9), ("max", |of| of.max)];

/// A row of a table of measures.
struct Measured<'a> {
    protocol: &'a Protocol<'a>,
    label: String,
    number: Box<Number<'a>>,
    show: Box<dyn Fn(f64) -> String>,
}

impl<'a> Measured<'a> {
    fn latency(protocol: &'a Protocol<'a>, latency: &'a str, name: &str, percentile: Percentile) -> Self {
        let number = move |outcome: &Outcome| outcome.latency(latency).filter(|of| of.count > 0).map(percentile);
        let label = format!("{} {name}, ms", words(latency));
        Self { protocol, label, number: Box::new(number), show: Box::new(millis) }
    }

    fn figure(protocol: &'a Protocol<'a>, name: &'a str) -> Self {
        let measure = Measure::of(name);
        let unit = if measure.unit.is_empty() { String::new() } else { format!(", {}", measure.unit) };
        let label = format!("{}{unit}", measure.label);
        let show = move |value| measure.show(value);
        Self { protocol, label, number: Box::new(|outcome| outcome.figure(name)), show: Box::new(show) }
    }

    fn spreads(&self, arms: &[usize]) -> Vec<Option<Spread>> {
        arms.iter().map(|arm| self.protocol.spread(*arm, &self.number)).collect()
    }
}

/// One of the measures that most readers come for.
struct Highlight {
    protocol: &'static str,
    /// A latency if there is a percentile, or a figure.
    of: &'static str,
    percentile: Option<&'static str>,
}

const fn timed(protocol: &'static str, of: &'static str, percentile: &'static str) -> Highlight {
    Highlight { protocol, of, percentile: Some(percentile) }
}

const fn told(protocol: &'static str, of: &'static str) -> Highlight {
    Highlight { protocol, of, percentile: None }
}

const HIGHLIGHTS: [Highlight; 24] = [
    timed("publish", "ack", "p50"),
    timed("publish", "ack", "p99"),
    timed("publish", "ack", "p99.9"),
    told("publish", "relay-cpu-us-per-event"),
    timed("same-pod", "ack", "p99"),
    timed("same-pod", "first-delivery", "p99"),
    timed("same-pod", "last-delivery", "p50"),
    told("same-pod", "relay-cpu-us-per-delivery"),
    told("same-pod", "relay-resident-bytes"),
    timed("cross-pod", "ack", "p99"),
    timed("cross-pod", "first-delivery", "p99"),
    timed("mixed", "ack", "p99"),
    timed("mixed", "first-delivery", "p99"),
    told("peak", "events-per-s"),
    timed("peak", "ack", "p99"),
    told("peak", "relay-cpu-us-per-event"),
    told("peak-deep", "events-per-s"),
    told("query", "queries-per-s"),
    timed("query", "query", "p99"),
    told("idle", "relay-bytes-per-connection"),
    told("subscriptions", "ack-p99-ratio"),
    timed("storm", "reconnect", "p99"),
    told("import", "events-per-s"),
    timed("replay", "ack", "p99"),
];

/// The few measures that matter most, of every protocol that was run; nothing when none was.
pub(super) fn overview(scene: &Scene<'_>) -> Option<Markup> {
    let highlight = |highlight: &Highlight| {
        let protocol = scene.protocols.iter().find(|protocol| protocol.name == highlight.protocol)?;
        let percentile = PERCENTILES.iter().find(|(name, _)| Some(*name) == highlight.percentile);
        let measured = match percentile {
            Some((name, percentile)) => Measured::latency(protocol, highlight.of, name, *percentile),
            None => Measured::figure(protocol, highlight.of),
        };
        Some(Measured { label: format!("{}: {}", highlight.protocol, measured.label), ..measured })
    };
    let measured: Vec<Measured<'_>> = HIGHLIGHTS.iter().filter_map(highlight).collect();
    let arms: Vec<usize> = (0..scene.arms.len()).collect();
    let found = measured.iter().any(|measured| measured.spreads(&arms).iter().any(Option::is_some));
    found.then(|| measures_table(scene, "Overview", &arms, &measured))
}

/// Every measure of a protocol by arm: median, smallest and largest of the rounds, and the ratio to the first arm.
pub(super) fn measures(scene: &Scene<'_>, protocol: &Protocol<'_>) -> Markup {
    let arms: Vec<usize> = (0..scene.arms.len()).filter(|arm| protocol.sound(*arm).next().is_some()).collect();
    let timed = protocol.latencies().into_iter().flat_map(|latency| {
        PERCENTILES.iter().map(move |(name, percentile)| Measured::latency(protocol, latency, name, *percentile))
    });
    let figures = protocol.figures().into_iter().map(|name| Measured::figure(protocol, name));
    measures_table(scene, protocol.name, &arms, &timed.chain(figures).collect::<Vec<_>>())
}

fn measures_table(scene: &Scene<'_>, title: &str, arms: &[usize], measured: &[Measured<'_>]) -> Markup {
    scrolling(
        title,
        html! {
            table.measures style=(format!("min-width:{}em", 12 + 13 * arms.len())) {
                thead {
                    tr {
                        th.what { "median of the rounds" }
                        @for arm in arms { th { (arm_name(&scene.arms[*arm])) } }
                    }
                }
                tbody { @for each in measured { (measured_row(scene, arms, each)) } }
            }
        },
    )
}

fn measured_row(scene: &Scene<'_>, arms: &[usize], measured: &Measured<'_>) -> Markup {
    let spreads = measured.spreads(arms);
    let largest = spreads.iter().flatten().map(|spread| spread.median).fold(0.0, f64::max);
    let first = spreads.first().copied().flatten();
    html! {
        @if largest > 0.0 || first.is_some() {
            tr {
                th scope="row" { (measured.label) }
                @for (index, (arm, spread)) in arms.iter().zip(&spreads).enumerate() {
                    td {
                        @if let Some(Spread { median, min, max }) = spread {
                            b { ((measured.show)(*median)) }
                            @if max > min { " " span.range { ((measured.show)(*min)) "–" ((measured.show)(*max)) } }
                            @if let Some(ratio) = first.filter(|_| index > 0).and_then(|first| ratio(*median, first.median)) {
                                " " span.ratio { (ratio) }
                            }
                            (bar(&scene.arms[*arm], *median, largest))
                        } @else { "–" }
                    }
                }
            }
        }
    }
}

fn ratio(of: f64, to: f64) -> Option<String> {
    let ratio = of / to;
    (ratio.is_finite() && to > 0.0).then(|| format!("{}×", number(ratio)))
}

/// As long as the value among its neighbours.
fn bar(arm: &Arm<'_>, value: f64, largest: f64) -> Markup {
    let percent = if largest > 0.0 { (value / largest * 100.0).clamp(0.0, 100.0) } else { 0.0 };
    let class = arm.style.fill_class();
    html! {
        svg.bar viewBox="0 0 100 3" preserveAspectRatio="none" aria-hidden="true" {
            rect class=(class) width=(format!("{percent:.1}")) height="3" fill=(arm.style.colour()) {}
        }
    }
}

type Account = fn(&Accounts) -> u64;

/// What may be: events that were not taken, and the client was told.
const TAKEN: [(&str, Account); 5] = [
    ("sent", |a| a.sent as u64),
    ("acked", |a| a.acked as u64),
    ("stored", |a| a.stored as u64),
    ("delivered", |a| a.delivered),
    ("refused", |a| a.refused as u64),
];

/// What nobody promised, and nobody likes.
const DOUBTFUL: [(&str, Account); 2] = [("late", |a| a.late as u64), ("unanswered", |a| a.unanswered as u64)];

/// What must not be.
const BROKEN: [(&str, Account); 5] = [
    ("lost", |a| a.lost as u64),
    ("undelivered", |a| a.undelivered as u64),
    ("stored twice", |a| a.stored_twice as u64),
    ("answered twice", |a| a.answered_twice as u64),
    ("delivered twice", |a| a.delivered_twice),
];

/// What became of every event, void runs too: a promise is not void.
pub(super) fn accounts(scene: &Scene<'_>) -> Markup {
    let all = |arm: usize, protocol: &Protocol<'_>| -> Vec<Accounts> {
        protocol.entries(arm).iter().filter_map(|entry| entry.run.outcome.as_ref()?.accounts.clone()).collect()
    };
    scrolling(
        "Accounts",
        html! {
            table.numbers {
                thead {
                    tr {
                        th { "protocol" } th.left { "arm" }
                        @for (name, _) in TAKEN.iter().chain(&DOUBTFUL).chain(&BROKEN) { th { (name) } }
                        th { "missed by" }
                    }
                }
                tbody {
                    @for protocol in &scene.protocols {
                        @for (index, arm) in scene.arms.iter().enumerate() {
                            @let accounts = all(index, protocol);
                            @if !accounts.is_empty() {
                                tr {
                                    th scope="row" { (protocol.name) }
                                    th { (arm_name(arm)) }
                                    @for (_, account) in &TAKEN { (account_cell(&accounts, *account, "")) }
                                    @for (_, account) in &DOUBTFUL { (account_cell(&accounts, *account, "doubtful")) }
                                    @for (_, account) in &BROKEN { (account_cell(&accounts, *account, "broken")) }
                                    td { (missed_by(&accounts)) }
                                }
                            }
                        }
                    }
                }
            }
        },
    )
}

fn account_cell(all: &[Accounts], account: Account, class_if_any: &str) -> Markup {
    let sum: u64 = all.iter().map(account).sum();
    let class = Some(class_if_any).filter(|class| sum > 0 && !class.is_empty());
    html! { td class=[class] { @if class == Some("broken") { "✗ " } (count(sum as i64)) } }
}

/// Subscribers' numbers and how many deliveries never came to each, the worst first.
fn missed_by(all: &[Accounts]) -> String {
    let mut sums: BTreeMap<usize, usize> = BTreeMap::new();
    for (subscriber, missed) in all.iter().flat_map(|accounts| &accounts.missed_by) {
        *sums.entry(*subscriber).or_default() += missed;
    }
    let mut worst: Vec<(usize, usize)> = sums.into_iter().collect();
    worst.sort_by_key(|(_, missed)| Reverse(*missed));
    let told = worst.iter().take(TOLD_SUBSCRIBERS_MAX).map(|(subscriber, missed)| format!("#{subscriber}: {missed}"));
    let more = (worst.len() > TOLD_SUBSCRIBERS_MAX).then(|| "…".to_owned());
    let cells: Vec<String> = told.chain(more).collect();
    if cells.is_empty() { "–".into() } else { cells.join(", ") }
}

/// How many events of all runs a promise was broken for.
pub(super) fn broken(scene: &Scene<'_>) -> u64 {
    let accounts = scene.entries.iter().filter_map(|entry| entry.run.outcome.as_ref()?.accounts.as_ref());
    accounts.map(|accounts| BROKEN.iter().map(|(_, account)| account(accounts)).sum::<u64>()).sum()
}

/// Something to say of one run.
pub(super) struct Remark {
    run: String,
    text: String,
}

impl Remark {
    fn of(scene: &Scene<'_>, entry: &Entry<'_>, text: &str) -> Self {
        let Entry { arm, run, .. } = entry;
        let rate = run.outcome.as_ref().and_then(|outcome| outcome.figure("rate-per-s"));
        let turn = rate.map_or_else(|| format!("round {}", run.round), |rate| format!("{} events/s", number(rate)));
        Self { run: format!("{}, {}, {turn}", scene.arms[*arm].label, run.protocol), text: text.to_owned() }
    }
}

/// The runs that do not count.
pub(super) fn unusable(scene: &Scene<'_>) -> Vec<Remark> {
    let all = scene.entries.iter();
    all.filter_map(|entry| Some(Remark::of(scene, entry, entry.objection.as_deref()?))).collect()
}

/// What relays said when they refused, and neighbours that were too loud.
pub(super) fn noise(scene: &Scene<'_>) -> Vec<Remark> {
    let said = |entry: &Entry<'_>| {
        let outcome = entry.run.outcome.as_ref()?;
        let loud = outcome.noise().map(|share| format!("others used {} % of the machine", number(share * 100.0)));
        let complaint = outcome.complaint.as_ref().map(|text| format!("the relay said: {text}"));
        let all: Vec<String> = [complaint, loud].into_iter().flatten().collect();
        (!all.is_empty()).then(|| Remark::of(scene, entry, &all.join("; ")))
    };
    scene.entries.iter().filter_map(said).collect()
}

pub(super) fn remarks(title: &str, of: &[Remark]) -> Markup {
    scrolling(
        title,
        html! {
            table {
                thead { tr { th { "run" } th { (title) } } }
                tbody { @for remark in of { tr { th scope="row" { (remark.run) } td { (remark.text) } } } }
            }
        },
    )
}

/// What the machine itself needs, by artifact.
pub(super) fn floors(sources: &[Source]) -> Markup {
    let several = sources.len() > 1;
    scrolling(
        "Floors",
        html! {
            table.numbers {
                thead {
                    tr {
                        th { "floor, µs" }
                        @for source in sources {
                            @for name in ["p50", "p99"] { th { @if several { (source.label) " " } (name) } }
                        }
                    }
                }
                tbody {
                    @for (name, floor) in Floors::NAMED {
                        tr {
                            th scope="row" { (name) }
                            @for source in sources {
                                @let rounds = || source.artifact.floors.iter().filter_map(floor);
                                td { (spread(Spread::of(rounds().map(|of| of.p50)))) }
                                td { (spread(Spread::of(rounds().map(|of| of.p99)))) }
                            }
                        }
                    }
                    tr {
                        th scope="row" { "signature checks a second, all cores" }
                        @for source in sources {
                            @let checks = source.artifact.floors.iter().map(|floors| floors.verifies_per_second_all_cores);
                            td colspan="2" { (spread(Spread::of(checks))) }
                        }
                    }
                }
            }
        },
    )
}

fn spread(of: Option<Spread>) -> Markup {
    html! {
        @match of {
            None => { "–" }
            Some(Spread { median, min, max }) => {
                b { (number(median)) }
                @if max > min { " " span.range { (number(min)) "–" (number(max)) } }
            }
        }
    }
}
