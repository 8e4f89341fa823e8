//! Which runs may be judged at all. A run that contradicts itself makes its artifact damaged, which is an error; a run that measured
//! the wrong thing is void, with the reason. Knows what a sound run looks like, not what a good one does.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;

use super::Cause;
use crate::account::Accounts;
use crate::artifact::{Distribution, Outcome, Run, Tick};
use crate::options::SECONDS_MIN;

/// Histograms hold three digits, so two ways to one number may differ by so much.
const ROUNDING: f64 = 0.002;
/// And by so many microseconds, where numbers are small.
const ROUNDING_US: f64 = 1.0;
/// How far a step of an open loop may be from the usual pace. A generator that is late by a millisecond at p99 stays within a
/// hundredth; one that waits for the relay stops when the relay does.
const PACE_TOLERANCE: f64 = 0.1;
/// Where the quantiles of two distributions are compared.
const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 1.0];

pub(super) const LAG: &str = "generator-lag";
/// The loads without a schedule begin so.
const CLOSED_LOOP: &str = "peak";

/// Why a run does not count.
#[derive(Debug)]
pub(super) struct Void {
    pub(super) reason: String,
    pub(super) cause: Cause,
}

/// Why this run is void, if it is; an error when it contradicts itself.
pub(super) fn void(run: &Run, asked: &Asked) -> Result<Option<Void>> {
    let Some(outcome) = &run.outcome else {
        let reason = format!("it failed: {}", run.failure.as_deref().unwrap_or("no reason is recorded"));
        return Ok(Some(Void { reason, cause: Cause::Failure }));
    };
    let histograms = histograms(outcome)?;
    if let Some(accounts) = &outcome.accounts {
        add_up(accounts, outcome)?;
    }
    let is_open_loop = !run.protocol.starts_with(CLOSED_LOOP);
    let told = if outcome.is_voided_by_relay { Cause::Relay } else { Cause::Generator };
    let reasons = [
        (outcome.void.clone(), told),
        (unaccounted(outcome, is_open_loop), Cause::Relay),
        (late(outcome, is_open_loop, asked.lag_max_us), Cause::Generator),
        (frozen(&outcome.series, is_open_loop), Cause::Generator),
        (asked.rate_of(&run.protocol).and_then(|rate| off_course(&outcome.series, rate)), Cause::Generator),
        (undelivered(outcome), Cause::Relay),
        (if is_open_loop { rebased(&histograms) } else { None }, Cause::Generator),
    ];
    let first = reasons.into_iter().find_map(|(reason, cause)| Some(Void { reason: reason?, cause }));
    Ok(first)
}

/// What a session was asked to do, as far as a run can be held against it.
#[derive(Debug)]
pub(super) struct Asked {
    /// How late the generator may be at p99.
    pub(super) lag_max_us: f64,
    /// How long each run publishes after its warm-up.
    pub(super) seconds: Option<f64>,
    /// Events a second where nobody listens, and where somebody does.
    pub(super) rate: Option<f64>,
    pub(super) fanout_rate: Option<f64>,
}

impl Asked {
    /// Nobody could tell whether a queue was filling.
    pub(super) fn is_too_short(&self, protocol: &str) -> bool {
        !protocol.starts_with(CLOSED_LOOP) && self.seconds.is_some_and(|seconds| seconds < f64::from(SECONDS_MIN))
    }

    fn rate_of(&self, protocol: &str) -> Option<f64> {
        match protocol {
            "publish" => self.rate,
            "same-pod" | "cross-pod" | "mixed" => self.fanout_rate,
            _ => None,
        }
    }
}

/// The histograms, once their summaries are found to be theirs.
fn histograms(outcome: &Outcome) -> Result<BTreeMap<&str, Histogram<u64>>> {
    let read = |(name, distribution): (&'_ String, &Distribution)| -> Result<Histogram<u64>> {
        let histogram = distribution.histogram().with_context(|| format!("the histogram of {name}"))?;
        agree(distribution, &histogram).with_context(|| format!("the summary of {name} is not its histogram's"))?;
        Ok(histogram)
    };
    outcome.latencies.iter().map(|each| Ok((each.0.as_str(), read(each)?))).collect()
}

fn agree(summary: &Distribution, histogram: &Histogram<u64>) -> Result<()> {
    ensure!(summary.count == histogram.len(), "{} samples are {} in the histogram", summary.count, histogram.len());
    let Distribution { p50, p90, p99, p99_9, max, .. } = *summary;
    for (quantile, told) in QUANTILES.into_iter().zip([p50, p90, p99, p99_9, max]) {
        let found = quantile_us(histogram, quantile);
        let is_close = (told - found).abs() <= ROUNDING * found;
        ensure!(is_close, "p{} is told as {told} us and is {found} us", quantile * 100.0);
    }
    Ok(())
}

fn quantile_us(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

/// Whether the accounts are possible.
fn add_up(accounts: &Accounts, outcome: &Outcome) -> Result<()> {
    let Accounts { planned, sent, acked, refused, unanswered, .. } = *accounts;
    ensure!(sent <= planned, "{sent} events were sent of {planned}");
    ensure!(
        acked + refused + unanswered == sent,
        "{acked} events acked, {refused} refused and {unanswered} unanswered are not the {sent} sent"
    );
    let timed = outcome.latencies.get("ack").map_or(0, |ack| ack.count);
    ensure!(timed <= acked as u64, "{timed} acks were timed and {acked} counted");
    let course: u64 = outcome.series.iter().map(|tick| tick.sent).sum();
    ensure!(
        outcome.series.is_empty() || course == sent as u64,
        "{sent} events were sent, {course} by the course of the run"
    );
    Ok(())
}

fn unaccounted(outcome: &Outcome, is_open_loop: bool) -> Option<String> {
    let Some(accounts) = &outcome.accounts else { return Some("its events are not accounted for".into()) };
    let Accounts { planned, sent, refused, unanswered, known_before, .. } = *accounts;
    let said = outcome.complaint.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
    match accounts {
        Accounts { acked: 0, .. } => Some(format!("nothing was acknowledged{said}")),
        _ if refused > 0 => Some(format!("{refused} events were refused{said}")),
        _ if unanswered > 0 => Some(format!("{unanswered} events were not answered{said}")),
        _ if is_open_loop && sent < planned => Some(format!("{sent} of {planned} events were sent{said}")),
        _ if known_before > 0 => Some(format!("{known_before} events were known to the relay already")),
        _ if !accounts.is_clean() => Some("a promise was broken".into()),
        _ => None,
    }
}

fn late(outcome: &Outcome, is_open_loop: bool, lag_max_us: f64) -> Option<String> {
    if !is_open_loop || !outcome.latencies.contains_key("ack") {
        return None;
    }
    match outcome.latencies.get(LAG) {
        None => Some("how late the generator was is not recorded".into()),
        Some(lag) if lag.p99 > lag_max_us => {
            Some(format!("the generator was {:.0} us late at p99, more than {lag_max_us:.0} us", lag.p99))
        }
        Some(_) => None,
    }
}

/// A generator that stood still or lost its pace did not offer the load it was asked for.
fn frozen(series: &[Tick], is_open_loop: bool) -> Option<String> {
    if series.windows(2).any(|pair| pair[1].seconds <= pair[0].seconds) {
        return Some("the generator's clock stood still".into());
    }
    let Some(last) = series.iter().rposition(|tick| tick.sent > 0) else {
        return Some("the course of the run shows nothing sent".into());
    };
    // The first and the last step may be cut short.
    let steps = series.get(1..last).filter(|_| is_open_loop)?;
    let most = steps.iter().map(|tick| tick.sent).max()?;
    let fewest = steps.iter().min_by_key(|tick| tick.sent)?;
    let is_steady = fewest.sent > 0 && fewest.sent as f64 >= most as f64 * (1.0 - PACE_TOLERANCE) - 1.0;
    let Tick { seconds, sent, .. } = fewest;
    (!is_steady).then(|| format!("the generator lost its pace: {sent} events at {seconds:.0} s, {most} at another"))
}

/// A schedule that moves with the relay's answers has no lag, and may keep some pace all the same: not the one that was asked for.
fn off_course(series: &[Tick], rate: f64) -> Option<String> {
    let last = series.iter().rposition(|tick| tick.sent > 0)?;
    // The last step may be cut short, and each begins a moment after the second does.
    let whole = series.get(..last).filter(|whole| !whole.is_empty())?;
    let seconds = series.get(last)?.seconds - whole.first()?.seconds;
    let sent = whole.iter().map(|tick| tick.sent).sum::<u64>() as f64 / seconds;
    let is_asked = (sent / rate - 1.0).abs() <= PACE_TOLERANCE;
    (!is_asked).then(|| format!("the generator sent {sent:.0} events a second, and was asked for {rate:.0}"))
}

/// Latency from the intended instant is the generator's lag and the service time, event by event. So their means add up, and
/// no quantile is below one of its parts; a histogram that was counted from the real sending shows neither.
fn rebased(histograms: &BTreeMap<&str, Histogram<u64>>) -> Option<String> {
    let lag = histograms.get(LAG)?;
    for (name, scheduled) in histograms {
        if *name == "ack" && !histograms.contains_key("ack-service") {
            return Some("service times are not recorded".into());
        }
        let Some(service) = histograms.get(format!("{name}-service").as_str()) else { continue };
        let [whole, served, lagged] = [scheduled, service, lag].map(|histogram| histogram.mean() / 1e3);
        let is_sum = (whole - served - lagged).abs() <= ROUNDING * whole + ROUNDING_US;
        let is_whole = |part: &Histogram<u64>, quantile| {
            quantile_us(scheduled, quantile) * (1.0 + ROUNDING) + ROUNDING_US >= quantile_us(part, quantile)
        };
        if !is_sum || !QUANTILES.iter().all(|quantile| is_whole(service, *quantile) && is_whole(lag, *quantile)) {
            return Some(format!(
                "{name} does not count from the intended instants: {whole:.0} us on average, of which {served:.0} us service \
                 and {lagged:.0} us lag"
            ));
        }
    }
    None
}

/// Deliveries that the accounts promise and the histogram lacks.
fn undelivered(outcome: &Outcome) -> Option<String> {
    let (acks, deliveries) = (outcome.latencies.get("ack")?, outcome.latencies.get("first-delivery")?);
    let missing = acks.count.checked_sub(deliveries.count).filter(|missing| *missing > 0)?;
    Some(format!("{missing} acknowledged events have no first delivery"))
}
