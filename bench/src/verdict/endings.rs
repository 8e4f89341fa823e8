//! How the runs ended. A run that does not count takes no part in a measure; so a relay that spoils half of its runs would be judged by
//! the other half. Therefore these are counted, too. Knows why runs do not count, not what they measured.

use super::{Cause, Excluded, Kept, Side, Verdict, accounted_runs};

/// B spoilt more runs than A: the chance of as uneven a share between equal relays at which that is proved, and …
const PROVED: f64 = 0.025;
/// … below which it is an open question. Three against none are one; two are not.
const SUSPECT: f64 = 0.25;

/// Runs that failed, then those that the relay spoilt, then those that the generator did.
pub(super) fn judge(a: (Side<'_>, &[Excluded]), b: (Side<'_>, &[Excluded]), runs_min: usize) -> [Kept; 3] {
    let runs = accounted_runs(b.0);
    let kept = |name: &str, cause: Cause, verdict: fn(u64, u64) -> Verdict| {
        let count = |excluded: &[Excluded]| excluded.iter().filter(|excluded| excluded.cause == cause).count() as u64;
        let (broken_by_a, broken_by_b) = (count(a.1), count(b.1));
        let verdict = match verdict(broken_by_a, broken_by_b) {
            Verdict::Pass if !runs.are_enough(runs_min) => Verdict::Inconclusive,
            verdict => verdict,
        };
        Kept { name: name.to_owned(), verdict, broken_by_a, broken_by_b, runs: runs.all() }
    };
    [
        kept("every run to its end", Cause::Failure, failed),
        kept("no run spoilt by the relay", Cause::Relay, spoilt),
        kept("no run spoilt by the generator", Cause::Generator, starved),
    ]
}

/// One failure is enough, unless A fails as often: then it may not be B's.
fn failed(by_a: u64, by_b: u64) -> Verdict {
    match by_b {
        0 => Verdict::Pass,
        _ if by_b > by_a => Verdict::Fail,
        _ => Verdict::Inconclusive,
    }
}

/// A busy machine has a sound relay refuse or fall behind now and then, and it hits both alike: what counts is how uneven.
fn spoilt(by_a: u64, by_b: u64) -> Verdict {
    match chance(by_a, by_b) {
        _ if by_b <= by_a => Verdict::Pass,
        proved if proved <= PROVED => Verdict::Fail,
        suspect if suspect < SUSPECT => Verdict::Inconclusive,
        _ => Verdict::Pass,
    }
}

/// What the generator spoils is nobody's fault. But a relay that takes the machine from it would hide its bad runs that way.
fn starved(by_a: u64, by_b: u64) -> Verdict {
    if is_uneven(by_a, by_b) { Verdict::Inconclusive } else { Verdict::Pass }
}

/// Whether so many more are B's that it is no chance.
pub(super) fn is_uneven(by_a: u64, by_b: u64) -> bool {
    chance(by_a, by_b) <= PROVED
}

/// How likely `by_b` or more of all are B's if each is as likely A's: the sign test, one-sided.
fn chance(by_a: u64, by_b: u64) -> f64 {
    let all = by_a + by_b;
    // From one term of the binomial to the next; the first is of none.
    let mut term = 0.5_f64.powi(i32::try_from(all).unwrap_or(i32::MAX));
    let mut sum = 0.0;
    for of_b in 0..=all {
        if of_b >= by_b {
            sum += term;
        }
        term *= (all - of_b) as f64 / (of_b + 1) as f64;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chance_is_the_binomials() {
        for (by_a, by_b, expected) in
            [(0, 0, 1.0), (0, 1, 0.5), (0, 5, 1.0 / 32.0), (1, 7, 9.0 / 256.0), (3, 1, 15.0 / 16.0)]
        {
            assert!((chance(by_a, by_b) - expected).abs() < 1e-12, "{by_a} and {by_b}: {}", chance(by_a, by_b));
        }
    }

    #[test]
    fn spoilt_runs_are_judged_by_how_uneven_they_are() {
        use Verdict::{Fail, Inconclusive, Pass};
        let cases = [
            (0, 0, Pass),
            (0, 2, Pass),
            (0, 3, Inconclusive),
            (0, 6, Fail),
            (5, 5, Pass),
            (4, 6, Pass),
            (2, 12, Fail),
            (9, 0, Pass),
        ];
        for (by_a, by_b, expected) in cases {
            assert_eq!(spoilt(by_a, by_b), expected, "{by_a} and {by_b}");
        }
    }

    #[test]
    fn what_the_generator_spoils_of_b_alone_leaves_the_question_open() {
        use Verdict::{Inconclusive, Pass};
        let verdicts = [starved(0, 0), starved(0, 5), starved(0, 6), starved(8, 10), starved(6, 0)];
        assert_eq!(verdicts, [Pass, Pass, Inconclusive, Pass, Pass]);
    }

    #[test]
    fn one_failure_of_b_alone_fails() {
        let verdicts = [failed(0, 0), failed(3, 0), failed(0, 1), failed(1, 1), failed(1, 2)];
        assert_eq!(verdicts, [Verdict::Pass, Verdict::Pass, Verdict::Fail, Verdict::Inconclusive, Verdict::Fail]);
    }
}
