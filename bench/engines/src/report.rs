//! Histograms, medians and the Markdown table. Knows nothing of what was measured.

use std::time::Duration;

use anyhow::Result;

pub(crate) type Histogram = hdrhistogram::Histogram<u64>;

/// A histogram of microseconds, up to a minute, that keeps three digits.
pub(crate) fn histogram() -> Result<Histogram> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

/// A duration as a histogram takes it.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).clamp(1, 60_000_000)
}

/// The percentiles of one round.
#[derive(Clone, Copy)]
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64;
        Self { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999) }
    }
}

/// The median of the rounds; not a number when there was none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// Microseconds in the unit a reader expects: `85 us`, `1.3 ms`, `2.1 s`.
pub(crate) fn duration_us(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us:.0} us"),
        us if us < 1e4 => format!("{:.2} ms", us / 1e3),
        us if us < 1e6 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

/// A number with its thousands set apart: `28 253`.
pub(crate) fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// A Markdown table, printed once complete.
pub(crate) struct Table {
    lines: Vec<String>,
}

impl Table {
    pub(crate) fn new(headings: &[impl AsRef<str>]) -> Self {
        let headings: Vec<&str> = headings.iter().map(AsRef::as_ref).collect();
        let rule = "|---".repeat(headings.len()) + "|";
        Self { lines: vec![format!("| {} |", headings.join(" | ")), rule] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        self.lines.push(format!("| {} |", cells.join(" | ")));
    }

    pub(crate) fn print(&self) {
        println!("{}", self.lines.join("\n"));
    }
}
