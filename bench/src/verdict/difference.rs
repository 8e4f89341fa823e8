//! One measure's verdict: pairs its numbers, asks for the interval of their difference, and lays it against the limit.

use std::collections::BTreeMap;

use anyhow::Result;

use super::bootstrap::{self, Interval};
use super::cells::Cells;
use super::endings;
use super::guardrail::{Better, Guardrail, Measure, Source};
use super::{Change, Direction, Judged, Unit, Verdict};

/// Logarithms of A's and B's numbers; by round, where they are pairs.
struct Numbers {
    a: Vec<f64>,
    b: Vec<f64>,
    is_paired: bool,
}

pub(super) fn judge(
    measure: &Measure,
    a: &Cells<'_>,
    b: &Cells<'_>,
    is_paired: bool,
    guardrail: &Guardrail,
) -> Result<Judged> {
    let are_too_short = a.are_too_short(measure) || b.are_too_short(measure);
    let ((values_a, spoilt_a), (values_b, spoilt_b)) = (a.values(measure)?, b.values(measure)?);
    let all_spoilt = (a.spoilt_by_generator(|_| true), b.spoilt_by_generator(|_| true));
    let numbers = Numbers::of(values_a, values_b, is_paired);
    let (a, b) = (typical(&numbers.a), typical(&numbers.b));
    let mut judged = Judged {
        protocol: measure.protocol.clone(),
        name: measure.name.clone(),
        unit: measure.unit(),
        verdict: Verdict::Inconclusive,
        rounds: numbers.rounds(),
        a,
        b,
        change: None,
        limit: a.map(|a| measure.limit(a)),
        remark: None,
    };
    if are_too_short {
        judged.remark = Some("runs of less than 4 s after the warm-up are too short to tell".into());
    } else if numbers.rounds() < guardrail.rounds_min {
        judged.remark = Some(format!("{} sound rounds of the {} it takes", numbers.rounds(), guardrail.rounds_min));
    } else if let Some(limit) = judged.limit {
        judged.decide(measure.better, limit, numbers.change(guardrail.confidence));
        judged.doubt((spoilt_a, spoilt_b));
        judged.doubt(all_spoilt);
    }
    Ok(judged)
}

impl Numbers {
    fn of(mut a: BTreeMap<usize, f64>, mut b: BTreeMap<usize, f64>, is_paired: bool) -> Self {
        if is_paired {
            a.retain(|round, _| b.contains_key(round));
            b.retain(|round, _| a.contains_key(round));
        }
        let logarithms = |values: BTreeMap<usize, f64>| values.into_values().map(f64::ln).collect();
        Self { a: logarithms(a), b: logarithms(b), is_paired }
    }

    fn rounds(&self) -> usize {
        self.a.len().min(self.b.len())
    }

    /// B / A - 1.
    fn change(&self, confidence: f64) -> Interval {
        let difference = if self.is_paired {
            let differences: Vec<f64> = self.a.iter().zip(&self.b).map(|(a, b)| b - a).collect();
            bootstrap::paired(&differences, confidence)
        } else {
            bootstrap::separate(&self.a, &self.b, confidence)
        };
        difference.map(f64::exp_m1)
    }
}

/// The geometric mean.
fn typical(logarithms: &[f64]) -> Option<f64> {
    (!logarithms.is_empty()).then(|| bootstrap::mean(logarithms).exp())
}

/// How much worse B is, at least and at most, whichever direction is better.
fn worsening(better: Better, change: Interval) -> (f64, f64) {
    match better {
        Better::Lower => (change.low, change.high),
        Better::Higher => (-change.high, -change.low),
    }
}

/// The whole interval on one side of the limit, or no verdict. Interval and limit are B / A - 1.
pub(super) fn verdict(better: Better, limit: f64, change: Interval) -> Verdict {
    let (least, most) = worsening(better, change);
    if least > limit.abs() {
        Verdict::Fail
    } else if most < limit.abs() {
        Verdict::Pass
    } else {
        Verdict::Inconclusive
    }
}

impl Judged {
    fn decide(&mut self, better: Better, limit: f64, change: Interval) {
        self.verdict = verdict(better, limit, change);
        if self.verdict == Verdict::Inconclusive {
            self.remark = Some("the interval straddles the limit: more rounds would tell".into());
        }
        let (least, most) = worsening(better, change);
        let direction = if most < 0.0 {
            Direction::Better
        } else if least > 0.0 {
            Direction::Worse
        } else {
            Direction::NoneShown
        };
        let Interval { estimate, low, high } = change;
        self.change = Some(Change { estimate, low, high, direction });
    }

    /// Of A and B, the generator spoilt so many runs. Where it spoilt B's more often, B may be what kept it from its work, and the
    /// runs that are left B's lucky ones.
    fn doubt(&mut self, (by_a, by_b): (u64, u64)) {
        if self.verdict == Verdict::Pass && endings::is_uneven(by_a, by_b) {
            self.verdict = Verdict::Inconclusive;
            self.remark = Some(format!("the generator spoilt {by_a} runs of A and {by_b} of B: it may be B's doing"));
        }
    }
}

impl Measure {
    /// The largest B / A - 1 for the worse that passes: the margin, or the floor where that allows more.
    fn limit(&self, a: f64) -> f64 {
        let allowed = self.margin.max(self.floor / a);
        match self.better {
            Better::Lower => allowed,
            Better::Higher => -allowed,
        }
    }

    fn unit(&self) -> Unit {
        match self.source() {
            Source::Percentile(..) => Unit::Microseconds,
            Source::Figure(name) if name.ends_with("-bytes") => Unit::Bytes,
            Source::Figure(name) if name.ends_with("-us") || name.contains("-us-per-") => Unit::Microseconds,
            Source::Figure(name) if name.ends_with("-per-s") => Unit::PerSecond,
            Source::Figure(_) => Unit::Other,
        }
    }
}
