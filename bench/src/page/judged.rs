//! The verdict on B against A, as the judgement has it: every measure with its interval drawn beside its limit. Decides nothing.

use maud::{Markup, html};

use super::format::{number, tick};
use super::tables::scrolling;
use crate::verdict::{Change, Judged, Judgement, Kept, Unit, Verdict, percent};

/// Of the drawing of an interval.
const WIDTH: f64 = 150.0;
/// A wider interval than this is cut off: a change by more is not read from a drawing.
const CHANGE_MAX: f64 = 1.0;
const MIB: f64 = 1_048_576.0;

/// The summary, the measures, the promises.
pub(super) fn section(judgement: &Judgement) -> Markup {
    let scale = scale(&judgement.measures);
    html! {
        section #verdict {
            h2 { "Verdict" }
            p.about {
                b { (judgement.b) } " judged against " b { (judgement.a) }
                ". A change passes when it is surely within its limit and fails when it is surely beyond, each with "
                (tick(judgement.confidence * 100.0)) " % confidence over the rounds; anything between is inconclusive."
                @if !judgement.is_paired {
                    " The arms were measured in two sessions: what changed between them is part of the difference."
                }
            }
            (scrolling("Verdict", html! {
                table.judged {
                    thead {
                        tr {
                            th { "verdict" } th { "measure" } th { "change" } th { "its interval, and its limit as a bar" }
                            th.right { "limit" } th.right { "A" } th.right { "B" } th.right { "rounds" } th { }
                        }
                    }
                    tbody {
                        @for judged in &judgement.measures { (measure(judged, scale)) }
                        @for kept in &judgement.promises { (promise(kept)) }
                    }
                }
            }))
            @if !judgement.not_asked.is_empty() { p.note { "Not asked for: " (judgement.not_asked.join("; ")) "." } }
        }
    }
}

/// The verdict in a few words, for the head of the page.
pub(super) fn standing(judgement: &Judgement) -> Markup {
    html! { li class=(class(judgement.verdict)) { (glyph(judgement.verdict)) " " (judgement.sentence()) } }
}

fn measure(judged: &Judged, scale: f64) -> Markup {
    let Judged { protocol, name, unit, verdict, rounds, a, b, change, limit, remark } = judged;
    let shown = |value: &Option<f64>| value.map_or_else(|| "–".to_owned(), |value| show(*unit, value));
    html! {
        tr {
            td class=(format!("verdict {}", class(*verdict))) { (glyph(*verdict)) " " (verdict.word()) }
            th scope="row" { (protocol) ": " (name) }
            td.change {
                @if let Some(change) = change {
                    b { (percent(change.estimate)) } " " span.range { (percent(change.low)) " to " (percent(change.high)) }
                } @else { "–" }
            }
            td { @if let Some(change) = change { (interval(change, *limit, scale, *verdict)) } }
            td.right { (limit.map_or_else(|| "–".into(), percent)) }
            td.right { (shown(a)) }
            td.right { (shown(b)) }
            td.right { (rounds) }
            td.range { (remark.as_deref().unwrap_or_default()) }
        }
    }
}

fn promise(kept: &Kept) -> Markup {
    let Kept { name, verdict, broken_by_a, broken_by_b, runs } = kept;
    html! {
        tr {
            td class=(format!("verdict {}", class(*verdict))) { (glyph(*verdict)) " " (verdict.word()) }
            th scope="row" { "promise: " (name) }
            td.range colspan="3" { "times broken, in " (runs) " accounted runs of B" }
            td.right { (broken_by_a) }
            td.right { (broken_by_b) }
            td colspan="2" { }
        }
    }
}

/// What half of the drawing's width stands for, the same in every row: so that every limit and every interval fits.
fn scale(measures: &[Judged]) -> f64 {
    let changes = measures.iter().filter_map(|judged| judged.change).flat_map(|change| [change.low, change.high]);
    let limits = measures.iter().filter_map(|judged| judged.limit);
    let widest = changes.chain(limits).map(f64::abs).filter(|value| value.is_finite()).fold(0.05, f64::max);
    (widest * 1.1).min(CHANGE_MAX)
}

/// No change in the middle, worse or better to the sides as the sign says.
fn interval(change: &Change, limit: Option<f64>, scale: f64, verdict: Verdict) -> Markup {
    let x = |value: f64| WIDTH / 2.0 * (1.0 + (value / scale).clamp(-1.0, 1.0));
    let (low, high, estimate) = (x(change.low), x(change.high), x(change.estimate));
    html! {
        svg.interval viewBox=(format!("0 0 {WIDTH} 18")) aria-hidden="true" {
            path.none d=(format!("M{} 0V18", WIDTH / 2.0)) {}
            @if let Some(limit) = limit { path.limit d=(format!("M{:.1} 1V17", x(limit))) {} }
            g class=(class(verdict)) {
                path d=(format!("M{low:.1} 9H{high:.1}M{low:.1} 5v8M{high:.1} 5v8")) {}
                circle cx=(format!("{estimate:.1}")) cy="9" r="3.4" {}
            }
        }
    }
}

fn show(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Microseconds if value >= 1e3 => format!("{} ms", number(value / 1e3)),
        Unit::Microseconds => format!("{} µs", number(value)),
        Unit::Bytes => format!("{} MiB", number(value / MIB)),
        Unit::PerSecond => format!("{}/s", number(value)),
        Unit::Other => number(value),
    }
}

fn glyph(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✓",
        Verdict::Fail => "✗",
        Verdict::Inconclusive => "?",
    }
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "good",
        Verdict::Fail => "bad",
        Verdict::Inconclusive => "doubtful",
    }
}
