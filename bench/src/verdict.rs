//! Whether B is worse than A: the verdict on an artifact. Pure: an artifact and a guardrail in, a judgement out, and the same
//! judgement every time.
//!
//! # Method
//!
//! **What is compared.** Each round gives a measure one number for A and one for B, computed from the histogram (a percentile) or taken
//! from the figures. Their ratio, as a logarithm, is the round's difference: logarithms make twice as slow and twice as fast
//! equally far from no change, so that swapping the arms swaps the sign and nothing else. Rounds run A B, B A, A B, …, so a
//! machine that slows down or warms up hits both arms alike and cancels within the pair or between neighbouring pairs.
//!
//! **How sure.** The estimate is the mean difference over the rounds, and its confidence interval is a bootstrap over rounds (`bootstrap`
//! says which and why). The intervals of the two arms are never compared with each other: they overlap for most differences worth
//! knowing, because each holds the noise that the pair cancels.
//!
//! **The verdict.** A guardrail needs both answers proved. *Fail*: the whole interval is worse than the margin. *Pass*: the whole interval
//! is better than the margin. *Inconclusive*: the interval straddles the margin, or there are too few rounds for an interval.
//! Lack of data is therefore never a pass, and noise is never a failure: with two equal arms a failure needs noise beyond the margin
//! itself, rarer than the 2.5 % a bound at 95 % concedes. An inconclusive verdict asks for more rounds or a quieter machine;
//! the interval says how far from an answer it is. Exit codes tell the four ends apart: 0 pass, 1 fail, 2 error, 3 inconclusive.
//!
//! The margin is a part of A's figure or the floor in the figure's own unit, whichever allows more: 30 % of 80 us is noise that no
//! user meets.
//!
//! **Improvement** is said only of an interval that lies wholly on the better side of no change. Each such claim is wrong at most once
//! in forty; nine measures without any change show one by chance in every fifth session. So it is reported and decides nothing.
//!
//! **Promises** (nothing lost, doubled or withheld) are no statistics: one broken in any run of B is a failure, void runs
//! included. A promise passes only when each protocol has as many accounted runs of B as a measure needs rounds.
//!
//! **What is left out.** A void run is excluded with its reason and never counts for either side; its round drops out of the pair.
//! `sound` says what voids a run, and what makes an artifact damaged, which is an error and no verdict. So that a relay cannot pass
//! by its good runs alone, the runs that failed and those that the relay itself spoilt are counted for both sides and judged
//! (`endings`). A percentile of which the generator's own lag is more than half is no figure of the relay's, and is left out.
//! What is void or left out because of the generator is nobody's fault; but where it is surely more often B's than A's, B may be what
//! keeps the generator from its work, and nothing passes by the rounds that are left.
//!
//! **Two artifacts.** The A arm of one session and the B arm of another have no pairs: rounds are resampled for each arm by
//! itself, which widens the interval, and what changed between the sessions is part of the difference. The judgement says so.

pub(crate) mod bootstrap;
mod cells;
mod difference;
mod endings;
mod guardrail;
mod sound;
mod table;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::account::Accounts;
use crate::artifact::{Artifact, Run};
use cells::{Cells, asked_for};
pub(crate) use guardrail::Guardrail;
use guardrail::{Measure, Promise};
pub(crate) use table::percent;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Pass,
    Fail,
    Inconclusive,
}

impl Verdict {
    /// 2 is an error's.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Inconclusive => 3,
        }
    }

    /// One failure fails all; one open question leaves all open.
    fn of_all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        verdicts.into_iter().fold(Self::Pass, |all, each| match (all, each) {
            (Self::Fail, _) | (_, Self::Fail) => Self::Fail,
            (Self::Inconclusive, _) | (_, Self::Inconclusive) => Self::Inconclusive,
            (Self::Pass, Self::Pass) => Self::Pass,
        })
    }
}

/// One arm of one artifact.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) artifact: &'a Artifact,
    pub(crate) arm: &'a str,
}

/// Everything found about B against A.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) a: String,
    pub(crate) b: String,
    /// What an OK of A and of B means, where it is not the same.
    pub(crate) unlike: Option<(String, String)>,
    /// False when the arms come from two sessions.
    pub(crate) is_paired: bool,
    pub(crate) confidence: f64,
    pub(crate) measures: Vec<Judged>,
    pub(crate) promises: Vec<Kept>,
    /// Labels of measures whose protocol was not asked for.
    pub(crate) not_asked: Vec<String>,
    pub(crate) excluded: Vec<Excluded>,
}

/// A measure's verdict and its numbers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Judged {
    pub(crate) protocol: String,
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) verdict: Verdict,
    /// How many rounds decided.
    pub(crate) rounds: usize,
    /// Geometric means over the rounds.
    pub(crate) a: Option<f64>,
    pub(crate) b: Option<f64>,
    /// B / A - 1, whichever direction is better.
    pub(crate) change: Option<Change>,
    /// The largest change for the worse that passes, with its sign.
    pub(crate) limit: Option<f64>,
    /// Why it is inconclusive.
    pub(crate) remark: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Change {
    pub(crate) estimate: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) direction: Direction,
}

/// What the interval shows against no change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Direction {
    Better,
    Worse,
    NoneShown,
}

/// What a measure counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    Microseconds,
    Bytes,
    PerSecond,
    Other,
}

/// A promise's verdict.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Kept {
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
    /// How often it was broken, in how many runs that were accounted for.
    pub(crate) broken_by_a: u64,
    pub(crate) broken_by_b: u64,
    pub(crate) runs: usize,
}

/// A run that does not count.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Excluded {
    pub(crate) round: usize,
    pub(crate) arm: String,
    pub(crate) protocol: String,
    pub(crate) reason: String,
    pub(crate) cause: Cause,
}

/// Whose doing it is that a run does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cause {
    /// It did not get to its end.
    Failure,
    /// The relay refused, cut off, kept silent, fell behind or broke a promise.
    Relay,
    /// The measurement was at fault, which says nothing of the relay.
    Generator,
}

/// Judges B against A. An error says that an artifact cannot be judged.
pub(crate) fn judge(a: Side<'_>, b: Side<'_>, guardrail: &Guardrail) -> Result<Judgement> {
    let (cells_a, cells_b) = (Cells::read(a)?, Cells::read(b)?);
    let is_paired = std::ptr::eq(a.artifact, b.artifact);
    if is_paired {
        cells::took_turns((a, &cells_a), (b, &cells_b))?;
    } else {
        cells::are_comparable(a.artifact, b.artifact)?;
    }
    let is_asked = |side: Side<'_>, measure: &Measure| {
        asked_for(side.artifact).is_none_or(|protocols| protocols.contains(measure.protocol.as_str()))
    };
    let (asked, not_asked): (Vec<_>, Vec<_>) =
        guardrail.measures.iter().partition(|measure| is_asked(a, measure) && is_asked(b, measure));
    let judged = |measure: &&Measure| difference::judge(measure, &cells_a, &cells_b, is_paired, guardrail);
    let measures: Vec<_> = asked.iter().map(judged).collect::<Result<_>>()?;
    let kept = |promise: &Promise| judge_promise(promise, a, b, guardrail.rounds_min);
    let mut promises: Vec<_> = guardrail.promises.iter().map(kept).collect();
    promises.extend(endings::judge((a, &cells_a.excluded), (b, &cells_b.excluded), guardrail.rounds_min));
    let verdicts = measures.iter().map(|judged| judged.verdict).chain(promises.iter().map(|kept| kept.verdict));
    Ok(Judgement {
        verdict: Verdict::of_all(verdicts),
        a: a.arm.to_owned(),
        b: b.arm.to_owned(),
        unlike: unlike(a, b),
        is_paired,
        confidence: guardrail.confidence,
        measures,
        promises,
        not_asked: not_asked.into_iter().map(Measure::label).collect(),
        excluded: cells_a.excluded.into_iter().chain(cells_b.excluded).collect(),
    })
}

/// Their durabilities, if they differ.
fn unlike(a: Side<'_>, b: Side<'_>) -> Option<(String, String)> {
    let of =
        |side: Side<'_>| side.artifact.arms.iter().find(|arm| arm.name == side.arm).map(|arm| arm.durability.clone());
    // What is not known is not said to differ.
    let is_known =
        |durability: &String| !durability.contains("unless") && durability != "unknown" && !durability.is_empty();
    of(a).zip(of(b)).filter(|(a, b)| a != b && is_known(a) && is_known(b))
}

/// Whether this session set one arm against another, which is known by the protocols it was to run.
pub(crate) fn is_for_judging(artifact: &Artifact) -> bool {
    artifact.arms.len() == 2 && artifact.setting.contains_key("protocols")
}

/// Why a run of such a session will not count, if so.
pub(crate) fn objection(artifact: &Artifact, run: &Run) -> Option<String> {
    match sound::void(run, &cells::asked(artifact)) {
        Ok(void) => void.map(|void| void.reason),
        Err(damage) => Some(format!("damaged: {damage:#}")),
    }
}

fn judge_promise(promise: &Promise, a: Side<'_>, b: Side<'_>, runs_min: usize) -> Kept {
    let broken = |side: Side<'_>| accounted(side).map(|(_, accounts)| promise.broken(accounts)).sum();
    let broken_by_b: u64 = broken(b);
    let runs = accounted_runs(b);
    let verdict = match runs.are_enough(runs_min) {
        _ if broken_by_b > 0 => Verdict::Fail,
        true => Verdict::Pass,
        false => Verdict::Inconclusive,
    };
    Kept { name: promise.name.clone(), verdict, broken_by_a: broken(a), broken_by_b, runs: runs.all() }
}

/// How many runs were accounted for, by protocol; of one that was asked for and never accounted for, none.
struct AccountedRuns<'a>(BTreeMap<&'a str, usize>);

impl AccountedRuns<'_> {
    fn are_enough(&self, runs_min: usize) -> bool {
        self.0.values().min().is_some_and(|fewest| *fewest >= runs_min)
    }

    fn all(&self) -> usize {
        self.0.values().sum()
    }
}

fn accounted_runs(side: Side<'_>) -> AccountedRuns<'_> {
    let mut runs: BTreeMap<&str, usize> =
        asked_for(side.artifact).into_iter().flatten().map(|protocol| (protocol, 0)).collect();
    for (protocol, _) in accounted(side) {
        *runs.entry(protocol).or_default() += 1;
    }
    AccountedRuns(runs)
}

/// Every run of the arm that was accounted for, void or not.
fn accounted(side: Side<'_>) -> impl Iterator<Item = (&str, &Accounts)> {
    let runs = side.artifact.runs.iter().filter(move |run| run.arm == side.arm);
    runs.filter_map(|run| Some((run.protocol.as_str(), run.outcome.as_ref()?.accounts.as_ref()?)))
}

/// The two arms of one artifact, or the first arm of one and the second of another.
pub(crate) fn sides(artifacts: &[Artifact]) -> Result<(Side<'_>, Side<'_>)> {
    match artifacts {
        [one] => Ok((side(one, 0)?, side(one, 1)?)),
        // An artifact of one arm is B with what it has.
        [first, second] => Ok((side(first, 0)?, side(second, usize::from(second.arms.len() > 1))?)),
        _ => bail!("give one artifact with two arms, or two artifacts"),
    }
}

fn side(artifact: &Artifact, number: usize) -> Result<Side<'_>> {
    let arms = artifact.arms.len();
    let arm = artifact.arms.get(number).with_context(|| format!("an artifact has {arms} arms: there is no B"))?;
    Ok(Side { artifact, arm: &arm.name })
}

#[cfg(test)]
mod tests;
