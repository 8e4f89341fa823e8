//! Which charts a protocol has and what is in them. Knows the scene and charts, not pages.

use super::axis::{Axis, nines};
use super::chart::{Chart, Line, Mark};
use super::format::{millis, number, tick, words};
use super::scene::{Arm, Pooled, Protocol, Scene, Step, TOLD, is_aside};
use crate::artifact::{Outcome, Tick};
use crate::measure::Spread;

/// Steps of a course that tell their value.
const TOLD_STEPS_MAX: usize = 40;
/// One in so many of them has its marker drawn.
const MARKED_OF_TOLD: usize = 5;
const MIB: f64 = 1_048_576.0;

/// A chart with the numbers behind it.
pub(super) struct Figure {
    pub(super) chart: Chart,
    /// What the reader should know to read it right.
    pub(super) caption: &'static str,
    /// Of the table, behind the arm's.
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Row>,
}

/// One arm's numbers.
pub(super) struct Row {
    /// Which of the scene's.
    pub(super) arm: usize,
    pub(super) cells: Vec<String>,
}

/// Every chart of a protocol in the order to show them.
pub(super) fn of_protocol(scene: &Scene<'_>, protocol: &Protocol<'_>) -> Vec<Figure> {
    if protocol.is_sweep() {
        return RATES.iter().filter_map(|measure| by_rate(scene, protocol, measure)).collect();
    }
    // Service time and lag are in the tables: drawn, they would look like what they must not be taken for.
    let curves = protocol.latencies().into_iter().filter(|name| !is_aside(name));
    let curves = curves.filter_map(|name| percentiles(scene, protocol, name));
    let courses = COURSES.iter().filter_map(|course| over_time(scene, protocol, course));
    curves.chain(courses).collect()
}

fn percentiles(scene: &Scene<'_>, protocol: &Protocol<'_>, latency: &str) -> Option<Figure> {
    let pooled: Vec<(usize, &Arm<'_>, Pooled)> = scene
        .arms
        .iter()
        .enumerate()
        .filter_map(|(index, arm)| Some((index, arm, protocol.pooled(index, latency)?)))
        .collect();
    let level = floor(scene).filter(|_| latency == "ack" && !protocol.name.starts_with("peak"));
    let lines: Vec<Line> = pooled.iter().map(|(_, arm, pooled)| curve(arm, pooled)).collect();
    let values = lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
    let values: Vec<f64> = values.chain(level.iter().map(|level| level.0)).collect();
    let title = format!("{}: {} latency", protocol.name, words(latency));
    let rows: Vec<Row> = pooled.iter().map(|(arm, _, pooled)| told(*arm, pooled)).collect();
    (!rows.is_empty()).then(|| Figure {
        chart: Chart {
            slug: slug(&[protocol.name, latency]),
            alternative: alternative(&title, "Milliseconds", &lines, &["p50", "p90", "p99", "p99.9", "largest"], &rows),
            title,
            x: Axis::percentiles("percentile", pooled.iter().map(|(_, _, pooled)| pooled.nines_max())),
            y: Axis::fitting("ms", values),
            lines,
            level,
        },
        caption: "The samples of all rounds together.",
        columns: ["p50", "p90", "p99", "p99.9", "max"].map(str::to_owned).to_vec(),
        rows,
    })
}

/// What no ack can undercut: one signature check, one sync, one echo, each at its median.
fn floor(scene: &Scene<'_>) -> Option<(f64, String)> {
    let rounds = &scene.only_source()?.artifact.floors;
    let sum = Spread::of(rounds.iter().map(|floors| floors.verify.p50 + floors.sync.p50 + floors.echo.p50))?.median;
    (sum > 0.0).then(|| (sum / 1e3, format!("floor V + S + E: {} ms", millis(sum))))
}

fn curve(arm: &Arm<'_>, pooled: &Pooled) -> Line {
    let named = TOLD.iter().zip(["p50", "p90", "p99", "p99.9"]).filter(|(told, _)| nines(**told) <= pooled.nines_max());
    let told = named.map(|(told, name)| (nines(*told), pooled.micros(*told), name));
    let marks = told.chain([(pooled.nines_max(), pooled.max(), "max")]).map(|(x, micros, name)| Mark {
        x,
        y: micros / 1e3,
        title: format!("{}, {name}: {} ms", arm.label, millis(micros)),
        is_drawn: true,
    });
    Line {
        label: arm.label.clone(),
        style: arm.style,
        points: pooled.curve().into_iter().map(|(x, micros)| (x, micros / 1e3)).collect(),
        band: pooled.band().into_iter().map(|(x, low, high)| (x, low / 1e3, high / 1e3)).collect(),
        marks: marks.collect(),
    }
}

fn told(arm: usize, pooled: &Pooled) -> Row {
    let cells = TOLD.iter().map(|quantile| pooled.micros(*quantile)).chain([pooled.max()]);
    Row { arm, cells: cells.map(millis).collect() }
}

/// Something that a run's steps tell.
struct Course {
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    is_fitting: bool,
    caption: &'static str,
    of: fn(&[Tick], usize) -> Option<f64>,
}

const COURSES: [Course; 6] = [
    Course {
        name: "ack-p99-over-time",
        title: "ack p99 over time",
        unit: "ms",
        is_fitting: true,
        caption: "Of the events due in each second, median round.",
        of: |ticks, at| ticks[at].ack_p99_us.map(|micros| micros / 1e3),
    },
    Course {
        name: "first-delivery-p99-over-time",
        title: "first delivery p99 over time",
        unit: "ms",
        is_fitting: true,
        caption: "Of the events due in each second, median round.",
        of: |ticks, at| ticks[at].first_delivery_p99_us.map(|micros| micros / 1e3),
    },
    Course {
        name: "unanswered-over-time",
        title: "unanswered events over time",
        unit: "events",
        is_fitting: false,
        caption: "Not yet answered when each second ended; a climb is a queue that fills.",
        of: |ticks, at| Some(ticks[at].outstanding as f64),
    },
    Course {
        name: "throughput-over-time",
        title: "acknowledged events a second",
        unit: "events/s",
        is_fitting: false,
        caption: "In each second, median round.",
        of: |ticks, at| length(ticks, at).map(|seconds| ticks[at].acked as f64 / seconds),
    },
    Course {
        name: "processor-over-time",
        title: "processor time of the relay",
        unit: "cores",
        is_fitting: false,
        caption: "All its processes, as the kernel accounts for them.",
        of: |ticks, at| ticks[at].relay_cores,
    },
    Course {
        name: "memory-over-time",
        title: "resident memory of the relay",
        unit: "MiB",
        is_fitting: false,
        caption: "All its processes, at the end of every second.",
        of: |ticks, at| ticks[at].relay_resident_bytes.map(|bytes| bytes as f64 / MIB),
    },
];

/// How long this step took; of the last nobody knows.
fn length(ticks: &[Tick], at: usize) -> Option<f64> {
    let next = ticks.get(at + 1)?;
    Some(next.seconds - ticks[at].seconds).filter(|seconds| *seconds > 0.0)
}

fn over_time(scene: &Scene<'_>, protocol: &Protocol<'_>, course: &Course) -> Option<Figure> {
    let arms = scene.arms.iter().enumerate();
    let all = arms.map(|(index, arm)| (index, arm, protocol.course(index, course.of)));
    let all: Vec<Traced<'_>> = all.filter(|(_, _, steps)| steps.len() > 1).collect();
    let title = format!("{}: {}", protocol.name, course.title);
    let lines: Vec<Line> =
        all.iter().map(|(_, arm, steps)| trace(arm, steps, " s", course.unit, MARKED_OF_TOLD)).collect();
    let rows: Vec<Row> = all.iter().map(|(arm, _, steps)| summed_up(*arm, steps)).collect();
    (!rows.is_empty()).then(|| Figure {
        chart: Chart {
            slug: slug(&[protocol.name, course.name]),
            alternative: alternative(&title, course.unit, &lines, &["lowest", "median", "highest"], &rows),
            title,
            x: Axis::time("seconds since the first event", every(&all).map(|step| step.at)),
            y: if course.is_fitting { fitting(course.unit, &all) } else { from_zero(course.unit, &all) },
            lines,
            level: None,
        },
        caption: course.caption,
        columns: ["lowest", "median", "highest"].map(str::to_owned).to_vec(),
        rows,
    })
}

/// One arm with its points.
type Traced<'a> = (usize, &'a Arm<'a>, Vec<Step>);

fn every<'a>(all: &'a [Traced<'_>]) -> impl Iterator<Item = &'a Step> {
    all.iter().flat_map(|(_, _, steps)| steps)
}

fn fitting(unit: &str, all: &[Traced<'_>]) -> Axis {
    Axis::fitting(unit, every(all).flat_map(|step| [step.value.median, step.value.max]))
}

fn from_zero(unit: &str, all: &[Traced<'_>]) -> Axis {
    Axis::linear(unit, every(all).map(|step| step.value.max))
}

/// The line through the points; one in so many of those that tell their value has its marker drawn.
fn trace(arm: &Arm<'_>, steps: &[Step], at: &str, unit: &str, marked_each: usize) -> Line {
    let told_each = steps.len().div_ceil(TOLD_STEPS_MAX);
    let told = steps.iter().enumerate().step_by(told_each);
    let marks = told.map(|(index, step)| Mark {
        x: step.at,
        y: step.value.median,
        title: format!("{}, {}{at}: {} {unit}", arm.label, number(step.at), number(step.value.median)),
        is_drawn: index / told_each % marked_each == marked_each / 2,
    });
    let is_spread = steps.iter().any(|step| step.value.max > step.value.min);
    let band = steps.iter().map(|step| (step.at, step.value.min, step.value.max));
    Line {
        label: arm.label.clone(),
        style: arm.style,
        points: steps.iter().map(|step| (step.at, step.value.median)).collect(),
        band: if is_spread { band.collect() } else { Vec::new() },
        marks: marks.collect(),
    }
}

fn summed_up(arm: usize, steps: &[Step]) -> Row {
    let spread = Spread::of(steps.iter().map(|step| step.value.median));
    let cells = spread.into_iter().flat_map(|Spread { median, min, max }| [min, median, max]);
    Row { arm, cells: cells.map(number).collect() }
}

/// Something that depends on the rate of a sweep's step.
struct ByRate {
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    is_fitting: bool,
    caption: &'static str,
    of: fn(&Outcome) -> Option<f64>,
}

const RATES: [ByRate; 5] = [
    ByRate {
        name: "ack-p99-by-rate",
        title: "ack p99 by rate",
        unit: "ms",
        is_fitting: true,
        caption: "A line ends where the relay no longer served the rate: such a step is void, and listed below.",
        of: |outcome| outcome.latency("ack").map(|ack| ack.p99 / 1e3),
    },
    ByRate {
        name: "ack-p50-by-rate",
        title: "ack p50 by rate",
        unit: "ms",
        is_fitting: true,
        caption: "The usual answer at the same rates.",
        of: |outcome| outcome.latency("ack").map(|ack| ack.p50 / 1e3),
    },
    ByRate {
        name: "throughput-by-rate",
        title: "acknowledged events a second by rate",
        unit: "events/s",
        is_fitting: true,
        caption: "On the diagonal as long as the relay keeps up.",
        of: |outcome| outcome.figure("events-per-s"),
    },
    ByRate {
        name: "processor-by-rate",
        title: "processor time an event by rate",
        unit: "µs",
        is_fitting: false,
        caption: "Of all the relay's processes. Batching makes it fall.",
        of: |outcome| outcome.figure("relay-cpu-us-per-event"),
    },
    ByRate {
        name: "memory-by-rate",
        title: "resident memory by rate",
        unit: "MiB",
        is_fitting: false,
        caption: "Of all the relay's processes, while it was loaded.",
        of: |outcome| outcome.figure("relay-resident-bytes").map(|bytes| bytes / MIB),
    },
];

fn by_rate(scene: &Scene<'_>, protocol: &Protocol<'_>, measure: &ByRate) -> Option<Figure> {
    let arms = scene.arms.iter().enumerate();
    let all = arms.map(|(index, arm)| (index, arm, protocol.by_rate(index, measure.of)));
    let all: Vec<Traced<'_>> = all.filter(|(_, _, steps)| !steps.is_empty()).collect();
    let mut rates: Vec<f64> = every(&all).map(|step| step.at).collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    let title = format!("{}: {}", protocol.name, measure.title);
    let lines: Vec<Line> = all.iter().map(|(_, arm, steps)| trace(arm, steps, " events/s", measure.unit, 1)).collect();
    let rows: Vec<Row> = all.iter().map(|(arm, _, steps)| at_rates(*arm, steps, &rates)).collect();
    let columns: Vec<String> = rates.iter().map(|rate| tick(*rate)).collect();
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    (!rows.is_empty()).then(|| Figure {
        chart: Chart {
            slug: slug(&[protocol.name, measure.name]),
            alternative: alternative(&title, &format!("{} by events/s", measure.unit), &lines, &names, &rows),
            title,
            x: Axis::fitting("events/s due", rates.iter().copied()),
            y: if measure.is_fitting { fitting(measure.unit, &all) } else { from_zero(measure.unit, &all) },
            lines,
            level: None,
        },
        caption: measure.caption,
        columns: columns.clone(),
        rows,
    })
}

fn at_rates(arm: usize, steps: &[Step], rates: &[f64]) -> Row {
    let cell = |rate: &f64| steps.iter().find(|step| step.at == *rate).map(|step| number(step.value.median));
    Row { arm, cells: rates.iter().map(|rate| cell(rate).unwrap_or_else(|| "–".into())).collect() }
}

/// The chart in words.
fn alternative(title: &str, unit: &str, lines: &[Line], columns: &[&str], rows: &[Row]) -> String {
    let arms = lines.iter().zip(rows).map(|(line, row)| {
        let told: Vec<String> = columns.iter().zip(&row.cells).map(|(name, cell)| format!("{name} {cell}")).collect();
        format!("{}: {}", line.label, told.join(", "))
    });
    format!("{title}. {unit}. {}.", arms.collect::<Vec<_>>().join("; "))
}

/// Lower case, digits and hyphens.
fn slug(parts: &[&str]) -> String {
    let text = parts.join("-").to_lowercase();
    text.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect()
}
