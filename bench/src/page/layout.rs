//! The page: what stands where, and the words between. Knows the parts, not how they are computed.

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::chart;
use super::charts::{self, Figure};
use super::format::{count, date, number, words};
use super::judged;
use super::scene::{Protocol, Scene, Source};
use super::tables;
use crate::artifact::Run;
use crate::verdict::Judgement;

const SHEET: &str = include_str!("page.css");
const GIB: f64 = 1_073_741_824.0;

/// Everything a browser needs, in one text.
pub(super) fn page(scene: &Scene<'_>, judged: &Judged) -> String {
    let names: Vec<&str> = scene.arms.iter().map(|arm| arm.label.as_str()).collect();
    let title = if names.is_empty() { "Nothing was measured".into() } else { names.join(", ") };
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · towpath-bench" }
                style { (PreEscaped(chart::sheet())) (PreEscaped(SHEET)) }
            }
            body {
                (head(scene, &title, judged))
                main {
                    (verdict(judged))
                    (overview(scene))
                    @for protocol in &scene.protocols { (protocol_section(scene, protocol)) }
                    (accounts(scene))
                    (remarks(scene))
                    (floors(scene))
                    (settings(scene.sources))
                }
                footer {
                    p {
                        "Rendered by towpath-bench " (env!("CARGO_PKG_VERSION")) " from the artifact alone; "
                        code { "towpath-bench report" } " does it again."
                    }
                }
            }
        }
    };
    markup.into_string()
}

/// The judgement, or why there is none, or nothing where nobody asked for one.
pub(super) type Judged = Option<Result<Judgement, String>>;

fn verdict(judged: &Judged) -> Markup {
    html! {
        @match judged {
            None => {}
            Some(Ok(judgement)) => { (judged::section(judgement)) }
            Some(Err(reason)) => { section #verdict { h2 { "Verdict" } p.empty { "There is none: " (reason) "." } } }
        }
    }
}

fn overview(scene: &Scene<'_>) -> Markup {
    html! {
        @if let Some(table) = tables::overview(scene) {
            section #overview {
                h2 { "Overview" }
                (table)
                p.note {
                    "In grey: smallest and largest round"
                    @if scene.arms.len() > 1 { ", then the ratio to the first arm" }
                    ". A bar is as long as its value, row by row."
                }
            }
        }
    }
}

fn head(scene: &Scene<'_>, title: &str, judged: &Judged) -> Markup {
    html! {
        header {
            p.kicker { "towpath-bench · durable-write latency, counted from the instant an event was due" }
            h1 { (title) }
            @for source in scene.sources {
                ul.facts {
                    @if scene.sources.len() > 1 { li { b { (source.label) } } }
                    @for fact in facts(source) { li { (fact) } }
                }
            }
            (standing(scene, judged))
            (tables::arms(scene))
            nav aria-label="Sections" {
                @if judged.is_some() { a href="#verdict" { "verdict" } }
                @for protocol in &scene.protocols { a href=(format!("#{}", anchor(protocol))) { (protocol.name) } }
                @if has_accounts(scene) { a href="#accounts" { "accounts" } }
                @if has_floors(scene) { a href="#floors" { "floors" } }
                a href="#setting" { "setting" }
            }
        }
    }
}

/// Where and when, for one artifact.
fn facts(source: &Source) -> Vec<String> {
    let artifact = &source.artifact;
    let machine = &artifact.machine;
    // The steps of a sweep are no rounds.
    let is_step = |run: &&Run| run.outcome.as_ref().is_some_and(|outcome| outcome.figure("rate-per-s").is_some());
    let rounds = artifact.runs.iter().filter(|run| !is_step(run)).map(|run| run.round).max();
    let rounds = rounds.map(|rounds| format!(" in {rounds} {}", if rounds == 1 { "round" } else { "rounds" }));
    let filesystem = machine.filesystem.as_ref().map(|kind| format!(", {kind}")).unwrap_or_default();
    let governor = machine.governor.as_ref().map(|governor| format!(", governor {governor}")).unwrap_or_default();
    vec![
        date(artifact.unix_time),
        format!("{} runs{}", artifact.runs.len(), rounds.unwrap_or_default()),
        format!("{}, {} cores, {} GiB", machine.processor, machine.cores, number(machine.memory_bytes as f64 / GIB)),
        format!("{}{governor}{filesystem}", machine.kernel),
        format!("towpath-bench {}", artifact.programme),
    ]
}

/// The shortest summary there is.
fn standing(scene: &Scene<'_>, judged: &Judged) -> Markup {
    let broken = tables::broken(scene);
    let (runs, unusable) = (scene.entries.len(), tables::unusable(scene).len());
    html! {
        ul.standing {
            @if let Some(Ok(judgement)) = judged { (judged::standing(judgement)) }
            @if has_accounts(scene) {
                @if broken == 0 { li.good { "✓ every acknowledged event was accounted for" } }
                @else {
                    @let events = if broken == 1 { "event" } else { "events" };
                    li.bad { "✗ promises broken for " (count(broken as i64)) " " (events) }
                }
            }
            @if unusable == 0 { li.good { "✓ all " (runs) " runs count" } }
            @else { li.doubtful { "! " (unusable) " of " (runs) " runs are void or failed and not counted" } }
        }
    }
}

fn anchor(protocol: &Protocol<'_>) -> String {
    let safe = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    format!("protocol-{}", protocol.name.chars().map(safe).collect::<String>())
}

/// What each protocol is, in a sentence.
fn about(protocol: &str) -> &'static str {
    match protocol {
        "publish" => "Events at a fixed rate, nobody listening.",
        "same-pod" => "Events at a fixed rate; publishers and subscribers on one pod.",
        "cross-pod" => "Events at a fixed rate; publishers on one pod, subscribers on another.",
        "mixed" => "Events at a fixed rate; publishers and subscribers spread over all pods.",
        "publish-quiet" => "The same, at the pace of the protocols with subscribers.",
        "peak" => "As fast as answers come: a fixed number of unanswered events on every connection.",
        "peak-deep" => "The same, with more of them unanswered.",
        "sweep" => "Events at rising rates, each step on a relay with fresh data, until a rate is no longer served.",
        "query" | "query-cold" | "query-open" => "A mix of questions over stored events.",
        "idle" => "Connections with one subscription each, and nothing to tell them.",
        "subscriptions" => "Events at a fixed rate while many live filters match none of them.",
        "storm" => "Many clients are cut off at once and come back.",
        "import" => "A file of events, taken in as fast as it goes.",
        "replay" => "A recording, published when it was recorded.",
        _ => "",
    }
}

fn protocol_section(scene: &Scene<'_>, protocol: &Protocol<'_>) -> Markup {
    let figures = charts::of_protocol(scene, protocol);
    let is_sound = (0..scene.arms.len()).any(|arm| protocol.sound(arm).next().is_some());
    html! {
        section id=(anchor(protocol)) {
            h2 { (protocol.name) }
            @if !about(protocol.name).is_empty() { p.about { (about(protocol.name)) } }
            @if is_sound {
                div.figures { @for figure in &figures { (drawn(scene, figure)) } }
                @if !protocol.is_sweep() {
                    details open[figures.is_empty()] {
                        summary { "All measures of " (protocol.name) }
                        (tables::measures(scene, protocol))
                    }
                }
            } @else { p.empty { "No run of this protocol counts; see below why." } }
        }
    }
}

fn drawn(scene: &Scene<'_>, figure: &Figure) -> Markup {
    let title = figure.chart.title.split_once(": ").map_or(figure.chart.title.as_str(), |(_, title)| title);
    let has_band = figure.chart.lines.iter().any(|line| !line.band.is_empty());
    html! {
        figure {
            figcaption {
                b { (title) }
                span { (figure.caption) @if has_band { " Band: best to worst round." } }
            }
            (figure.chart.inline())
            (tables::of_figure(scene, figure))
        }
    }
}

fn has_accounts(scene: &Scene<'_>) -> bool {
    let mut outcomes = scene.entries.iter().filter_map(|entry| entry.run.outcome.as_ref());
    outcomes.any(|outcome| outcome.accounts.is_some())
}

fn accounts(scene: &Scene<'_>) -> Markup {
    html! {
        @if has_accounts(scene) {
            section #accounts {
                h2 { "Accounts" }
                p.about {
                    "What became of every event, in all rounds and in void runs too. Late is what was answered or delivered more than a "
                    "second after it was due. Everything behind “unanswered” must be zero; “missed by” says which subscribers lack how "
                    "many deliveries."
                }
                (tables::accounts(scene))
            }
        }
    }
}

fn remarks(scene: &Scene<'_>) -> Markup {
    let (unusable, noise) = (tables::unusable(scene), tables::noise(scene));
    html! {
        @if !unusable.is_empty() || !noise.is_empty() {
            section #remarks {
                h2 { "Runs that need a word" }
                @if !unusable.is_empty() { (tables::remarks("why it does not count", &unusable)) }
                @if !noise.is_empty() { (tables::remarks("what else happened", &noise)) }
            }
        }
    }
}

fn has_floors(scene: &Scene<'_>) -> bool {
    scene.sources.iter().any(|source| !source.artifact.floors.is_empty())
}

fn floors(scene: &Scene<'_>) -> Markup {
    html! {
        @if has_floors(scene) {
            section #floors {
                h2 { "Floors" }
                p.about {
                    "What nobody can undercut on this machine, measured in the same rounds: median, and in grey the smallest "
                    "and largest round."
                }
                (tables::floors(scene.sources))
            }
        }
    }
}

fn settings(sources: &[Source]) -> Markup {
    html! {
        section #setting {
            h2 { "Setting" }
            @for source in sources {
                @if sources.len() > 1 { h3 { (source.label) } }
                dl { @for (name, value) in flat(&source.artifact.setting) { div { dt { (name) } dd { (value) } } } }
            }
        }
    }
}

/// Names and values, with what is within a group beside the rest.
fn flat(setting: &BTreeMap<String, Value>) -> Vec<(String, String)> {
    let pairs = setting.iter().flat_map(|(name, value)| match value {
        Value::Object(group) => group.iter().map(|(part, value)| (format!("{name}: {part}"), value)).collect(),
        _ => vec![(name.clone(), value)],
    });
    pairs.map(|(name, value)| (words(&name.replace('_', "-")), shown(value))).collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(all) => all.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
