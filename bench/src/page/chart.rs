//! A chart as SVG: axes, lines, bands around them, markers that tell their value. Written here rather than by a plotting
//! library because those draw colours, not classes: no dark mode, no hover titles, many times the bytes. Knows no artifact.

use std::fmt::Write;

use maud::{Markup, PreEscaped, html};

use super::axis::Axis;
use super::style::{self, Style};

/// Units of the view box: small, so that letters are legible when a phone shows it at two thirds of a desktop's size.
const WIDTH: f64 = 420.0;
const PLOT_HEIGHT: f64 = 218.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 14.0;
const ABOVE: f64 = 22.0;
const BELOW: f64 = 38.0;
const TITLE_HEIGHT: f64 = 26.0;
const LEGEND_ROW_HEIGHT: f64 = 17.0;
/// A generous guess for one letter of a legend.
const LETTER_WIDTH: f64 = 6.4;

const SHEET: &str = include_str!("chart.css");

/// One chart, ready to be drawn.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// The name of its file; lower case, digits and hyphens.
    pub(super) slug: String,
    pub(super) title: String,
    /// For whoever does not see it.
    pub(super) alternative: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    /// A height to compare with, and its name.
    pub(super) level: Option<(f64, String)>,
}

/// One arm.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) label: String,
    pub(super) style: Style,
    pub(super) points: Vec<(f64, f64)>,
    /// Lowest and highest by x.
    pub(super) band: Vec<(f64, f64, f64)>,
    pub(super) marks: Vec<Mark>,
}

/// A point with a value to tell.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) title: String,
    /// Or else only told where it is pointed at.
    pub(super) is_drawn: bool,
}

impl Chart {
    /// For a page that has the style sheet, the heading and the table which is the legend.
    pub(super) fn inline(&self) -> Markup {
        let height = ABOVE + PLOT_HEIGHT + BELOW;
        html! {
            svg.chart viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(self.alternative) {
                (self.plot(ABOVE))
            }
        }
    }

    /// A file of its own.
    pub(super) fn standalone(&self) -> String {
        let rows = self.legend_rows();
        let top = TITLE_HEIGHT + rows.len() as f64 * LEGEND_ROW_HEIGHT + ABOVE;
        let height = top + PLOT_HEIGHT + BELOW;
        let markup = html! {
            svg.chart xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {WIDTH} {height}"))
                width=(WIDTH * 2.0) height=(height * 2.0) role="img" aria-label=(self.alternative) {
                style { (PreEscaped(sheet())) }
                rect.ground width=(WIDTH) height=(height) fill="#ffffff" {}
                text.title x=(LEFT) y="19" { (self.title) }
                @for (row, entries) in rows.iter().enumerate() {
                    @let y = TITLE_HEIGHT + (row as f64 + 0.5) * LEGEND_ROW_HEIGHT;
                    @for (x, line) in entries {
                        (swatch_at(line.style, *x, y))
                        text x=(format!("{:.1}", x + 32.0)) y=(format!("{:.1}", y + 3.8)) { (line.label) }
                    }
                }
                (self.plot(top))
            }
        };
        markup.into_string() + "\n"
    }

    /// The lines of each row of the legend and where they begin.
    fn legend_rows(&self) -> Vec<Vec<(f64, &Line)>> {
        let mut rows: Vec<Vec<(f64, &Line)>> = Vec::new();
        let mut x = WIDTH;
        for line in &self.lines {
            let width = 44.0 + line.label.chars().count() as f64 * LETTER_WIDTH;
            if x + width > WIDTH - RIGHT || rows.is_empty() {
                rows.push(Vec::new());
                x = LEFT;
            }
            if let Some(row) = rows.last_mut() {
                row.push((x, line));
            }
            x += width;
        }
        rows
    }

    /// Everything within the axes, whose upper end is at `top`.
    fn plot(&self, top: f64) -> Markup {
        let place = Place { chart: self, top };
        let bottom = top + PLOT_HEIGHT;
        html! {
            text.unit x="4" y=(format!("{:.1}", top - 9.0)) { (self.y.label) }
            @for (value, name) in self.y.ticks() {
                @let y = place.y(value);
                path.grid d=(format!("M{LEFT} {y:.1}H{}", WIDTH - RIGHT)) stroke="#d8dce2" {}
                text.tick x=(LEFT - 5.0) y=(format!("{:.1}", y + 3.8)) text-anchor="end" { (name) }
            }
            @for (value, name) in self.x.ticks() {
                @let x = place.x(value);
                @let half = name.chars().count() as f64 * LETTER_WIDTH / 2.0;
                path.grid d=(format!("M{x:.1} {top}V{bottom}")) stroke="#d8dce2" {}
                text.tick x=(format!("{:.1}", x.min(WIDTH - half))) y=(bottom + 15.0) text-anchor="middle" { (name) }
            }
            text.unit x=((LEFT + WIDTH - RIGHT) / 2.0) y=(bottom + 31.0) text-anchor="middle" { (self.x.label) }
            @if let Some((value, name)) = &self.level {
                @let y = place.y(*value);
                path.level d=(format!("M{LEFT} {y:.1}H{}", WIDTH - RIGHT)) stroke="#666" stroke-dasharray="1.5 3" {}
                text.note x=(WIDTH - RIGHT) y=(format!("{:.1}", y - 4.0)) text-anchor="end" { (name) }
            }
            // The first arm is the one under test: it is drawn last, on top.
            @for line in self.lines.iter().rev() { (place.band(line)) }
            @for line in self.lines.iter().rev() { (place.line(line)) }
        }
    }
}

/// Where the values of a chart are on the drawing.
struct Place<'a> {
    chart: &'a Chart,
    top: f64,
}

impl Place<'_> {
    fn x(&self, value: f64) -> f64 {
        LEFT + self.chart.x.position(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + (1.0 - self.chart.y.position(value)) * PLOT_HEIGHT
    }

    fn band(&self, line: &Line) -> Markup {
        let above = line.band.iter().map(|(x, _, high)| (*x, *high));
        let below = line.band.iter().rev().map(|(x, low, _)| (*x, *low));
        let path = self.path(above.chain(below));
        html! {
            @if line.band.len() > 1 {
                path class=(format!("band {}", line.style.fill_class())) d=(path + "z") fill=(line.style.colour())
                    fill-opacity="0.14" {}
            }
        }
    }

    fn line(&self, line: &Line) -> Markup {
        let stroke = line.style.line_class();
        html! {
            path class=(format!("line {stroke}")) d=(self.path(line.points.iter().copied())) fill="none"
                stroke=(line.style.colour()) stroke-width="1.9" stroke-dasharray=[dash(line.style)] {}
            @for mark in &line.marks {
                @let (x, y) = (self.x(mark.x), self.y(mark.y));
                g.mark {
                    title { (mark.title) }
                    // A fingertip's worth of room around it.
                    circle cx=(format!("{x:.1}")) cy=(format!("{y:.1}")) r="9" fill="transparent" {}
                    @if mark.is_drawn { (marker(line.style, x, y)) }
                }
            }
        }
    }

    fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        for (index, (x, y)) in points.enumerate() {
            let _ = write!(path, "{}{:.1} {:.1}", if index == 0 { "M" } else { "L" }, self.x(x), self.y(y));
        }
        path
    }
}

fn dash(style: Style) -> Option<&'static str> {
    Some(style.dash()).filter(|dash| !dash.is_empty())
}

fn marker(style: Style, x: f64, y: f64) -> Markup {
    html! { path class=(style.fill_class()) d=(style.marker(x, y)) fill=(style.colour()) {} }
}

fn swatch_at(style: Style, x: f64, y: f64) -> Markup {
    html! {
        path class=(style.line_class()) d=(format!("M{x:.1} {y:.1}h28")) fill="none" stroke=(style.colour())
            stroke-width="1.9" stroke-dasharray=[dash(style)] {}
        (marker(style, x + 14.0, y))
    }
}

/// A piece of an arm's line, for legends outside of a chart.
pub(super) fn swatch(style: Style) -> Markup {
    html! { svg.swatch viewBox="0 0 28 10" aria-hidden="true" { (swatch_at(style, 0.0, 5.0)) } }
}

/// The style sheet that charts need.
pub(super) fn sheet() -> String {
    style::sheet() + SHEET.trim()
}
