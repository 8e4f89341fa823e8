//! Scales and their ticks: from values to a position between 0 and 1. Knows neither pixels nor what the values mean.

use super::format::tick;

/// A wider range than this is easier to read on a logarithmic scale.
const LINEAR_RATIO_MAX: f64 = 8.0;
const TICKS_MAX: usize = 10;

/// How values are spread along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    Linear,
    Log,
    /// Of [`nines`]: every step is a ninth part of what remained.
    Percentile,
}

/// One axis of a chart.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) label: String,
    scale: Scale,
    min: f64,
    max: f64,
}

/// The quantile's place on the scale of HdrHistogram's plots: 0.9 is at 1, 0.99 at 2, 0.999 at 3.
pub(super) fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// The inverse of [`nines`].
pub(super) fn quantile(nines: f64) -> f64 {
    1.0 - 10_f64.powf(-nines)
}

impl Axis {
    /// From zero to a round number above all values.
    pub(super) fn linear(label: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let max = finite(values).fold(0.0, f64::max);
        let max = if max > 0.0 { max } else { 1.0 };
        let step = round_step(max / 4.0);
        Self { label: label.into(), scale: Scale::Linear, min: 0.0, max: (max / step).ceil() * step }
    }

    /// Logarithmic where the values are far apart, from zero where they are not.
    pub(super) fn fitting(label: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = finite(values).filter(|value| *value > 0.0).collect();
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let max = values.iter().copied().fold(0.0, f64::max);
        if values.is_empty() || max / min < LINEAR_RATIO_MAX {
            return Self::linear(label, values);
        }
        Self { label: label.into(), scale: Scale::Log, min: round_below(min), max: round_above(max) }
    }

    /// Time: from zero to the last value, with no room behind it.
    pub(super) fn time(label: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let max = finite(values).fold(0.0, f64::max);
        Self { label: label.into(), scale: Scale::Linear, min: 0.0, max: if max > 0.0 { max } else { 1.0 } }
    }

    /// Percentiles up to so many [`nines`].
    pub(super) fn percentiles(label: &str, nines: impl IntoIterator<Item = f64>) -> Self {
        let max = finite(nines).fold(1.0, f64::max);
        Self { label: label.into(), scale: Scale::Percentile, min: 0.0, max }
    }

    /// Between 0 and 1; what lies outside is moved to the edge.
    pub(super) fn position(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Log => (value.max(self.min) / self.min).ln() / (self.max / self.min).ln(),
            Scale::Linear | Scale::Percentile => (value - self.min) / (self.max - self.min),
        };
        if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Where the lines of the grid are, and what they are called.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Percentile => self.percentile_ticks(),
            Scale::Linear => {
                let step = round_step(self.max / 4.0);
                (0..)
                    .map(|number| f64::from(number) * step)
                    .take_while(|at| *at <= self.max * 1.000_001)
                    .map(named)
                    .collect()
            }
            Scale::Log => {
                let fine = self.log_ticks(&[1.0, 2.0, 5.0]);
                if fine.len() <= TICKS_MAX { fine } else { self.log_ticks(&[1.0]) }
            }
        }
    }

    fn percentile_ticks(&self) -> Vec<(f64, String)> {
        let whole = (1..=self.max as usize).map(|count| {
            let text = match count {
                1 => "90%".into(),
                2 => "99%".into(),
                _ => format!("99.{}%", "9".repeat(count - 2)),
            };
            (count as f64, text)
        });
        [(0.0, "0".into()), (nines(0.5), "50%".into())].into_iter().chain(whole).collect()
    }

    fn log_ticks(&self, within_decade: &[f64]) -> Vec<(f64, String)> {
        let decades = self.min.log10().floor() as i32..=self.max.log10().ceil() as i32;
        decades
            .flat_map(|decade| within_decade.iter().map(move |factor| factor * 10_f64.powi(decade)))
            .filter(|at| (self.min * 0.999_999..=self.max * 1.000_001).contains(at))
            .map(named)
            .collect()
    }
}

fn named(at: f64) -> (f64, String) {
    (at, tick(at))
}

fn finite(values: impl IntoIterator<Item = f64>) -> impl Iterator<Item = f64> {
    values.into_iter().filter(|value| value.is_finite())
}

/// The smallest of 1, 2, 5, 10, … that is at least `step`.
fn round_step(step: f64) -> f64 {
    round_above(step)
}

fn round_above(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade).into_iter().find(|at| *at >= value * 0.999_999).unwrap_or(value)
}

fn round_below(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0].map(|factor| factor * decade).into_iter().find(|at| *at <= value * 1.000_001).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn near_values_get_a_scale_from_zero_and_far_ones_a_logarithmic_one() {
        let near = Axis::fitting("ms", [2.0, 3.4]);
        assert_eq!((near.scale, names(&near).join(" ")), (Scale::Linear, "0 1 2 3 4".into()));
        let far = Axis::fitting("ms", [0.3, 15.0]);
        assert_eq!((far.scale, names(&far).join(" ")), (Scale::Log, "0.2 0.5 1 2 5 10 20".into()));
        assert_eq!(names(&Axis::fitting("ms", [0.02, 900.0])).join(" "), "0.1 1 10 100 1000");
    }

    #[test]
    fn every_nine_is_as_wide_as_the_last() {
        let axis = Axis::percentiles("", [nines(0.9999)]);
        assert_eq!(names(&axis).join(" "), "0 50% 90% 99% 99.9% 99.99%");
        let at = |quantile| axis.position(nines(quantile));
        assert!((at(0.99) - at(0.9) - 0.25).abs() < 1e-9 && (at(0.9999) - 1.0).abs() < 1e-9);
        assert!((quantile(nines(0.123)) - 0.123).abs() < 1e-9);
    }

    #[test]
    fn nothing_and_nonsense_still_make_an_axis() {
        for axis in [
            Axis::linear("", []),
            Axis::fitting("", [f64::NAN, f64::INFINITY, 0.0, -1.0]),
            Axis::time("", []),
            Axis::percentiles("", []),
        ] {
            assert!(axis.ticks().len() > 1);
            for value in [0.0, 1.0, -5.0, 1e300, f64::NAN, f64::INFINITY] {
                assert!((0.0..=1.0).contains(&axis.position(value)), "{axis:?} {value}");
            }
        }
    }
}
