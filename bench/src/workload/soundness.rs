//! Whether a run measured what it says it measured. Whatever speaks against it makes its figures void: they are kept to be
//! looked at, and never counted. Knows nothing of how good the figures are.

use std::collections::BTreeMap;

use super::{Observed, Plan};
use crate::account::{Accounts, Delivery, Record};
use crate::artifact::Distribution;
use crate::measure::too_busy;
use crate::schedule::Nanos;

/// All that speaks against a run.
#[derive(Debug, Default)]
pub(super) struct Objections {
    /// The measurement itself is at fault.
    ours: Vec<String>,
    /// The relay did not do what it was asked for.
    relays: Vec<String>,
}

impl Objections {
    pub(super) fn to(
        plan: &Plan<'_>,
        observed: &Observed,
        accounts: &Accounts,
        latencies: &BTreeMap<String, Distribution>,
        moved: Vec<String>,
    ) -> Self {
        let late = latencies.get("generator-lag").and_then(|lag| late_generator(lag, plan.method.lag_max()));
        let mut ours: Vec<String> = late.into_iter().chain(busy_generator(plan, observed)).collect();
        let mut relays: Vec<String> = not_served(accounts, plan.is_open_loop()).into_iter().collect();
        if observed.cut > 0 {
            relays.push(format!("the relay ended {} connections", observed.cut));
        }
        relays.extend(observed.complaint.as_ref().map(|complaint| format!("the relay said: {complaint}")));
        relays.extend(moved);
        if plan.is_open_loop() {
            relays.extend(still_filling(plan, observed));
        }
        // A relay that ended it has been told of.
        if relays.is_empty() && !latencies.contains_key("ack") {
            ours.push("it was over before its warm-up was: nothing was timed".into());
        }
        Self { ours, relays }
    }

    /// A relay that fell behind a generator that was late may be the generator's doing.
    pub(super) fn blame_the_relay(&self) -> bool {
        self.ours.is_empty() && !self.relays.is_empty()
    }

    /// In words, or nothing.
    pub(super) fn into_text(self) -> Option<String> {
        let all = [self.ours, self.relays].concat();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// A closed loop has no schedule to be late for, and who listens has none in any loop.
fn busy_generator(plan: &Plan<'_>, observed: &Observed) -> Vec<String> {
    let publisher = (!plan.is_open_loop()).then_some(("publishes", observed.published.busy));
    let listener = observed.listener_busy.map(|busy| ("listens", busy));
    publisher.into_iter().chain(listener).filter_map(|(does, busy)| too_busy(does, busy)).collect()
}

/// A generator that could not keep its own schedule measured itself.
pub(crate) fn late_generator(lag: &Distribution, lag_max: Nanos) -> Option<String> {
    let lag_max = lag_max as f64 / 1e3;
    (lag.p99 > lag_max).then(|| format!("the generator was {:.0} us late at p99, more than {lag_max:.0} us", lag.p99))
}

/// Latencies know only what was answered with yes: anything else is missing from them.
fn not_served(accounts: &Accounts, is_open_loop: bool) -> Option<String> {
    let Accounts { planned, sent, acked, refused, unanswered, known_before, .. } = *accounts;
    match accounts {
        Accounts { acked: 0, .. } => Some("nothing was acknowledged".into()),
        _ if known_before > 0 => Some(format!("{known_before} events were known to the relay already")),
        _ if is_open_loop && sent < planned => Some(format!("only {sent} of {planned} events could be sent")),
        _ if refused + unanswered > 0 => {
            Some(format!("of {sent} events {acked} were acknowledged, {refused} refused and {unanswered} not answered"))
        }
        _ => None,
    }
}

/// Answers, then deliveries: either may fall behind alone.
fn still_filling(plan: &Plan<'_>, observed: &Observed) -> Option<String> {
    let from = observed.published.start + plan.method.warm_up();
    let records = observed.published.records.iter().filter(|record| record.intended >= from);
    let acks: Vec<_> = records.filter_map(|record| Some((record.intended, record.ack_latency()?))).collect();
    if let Some(objection) = filling("answers", &acks) {
        return Some(objection);
    }
    let deliveries = observed.deliveries.as_ref()?;
    let pairs = observed.published.records.iter().zip(&deliveries.events);
    let complete = |(record, delivery): &(&Record, &Delivery)| {
        record.intended >= from && delivery.subscribers == deliveries.subscribers
    };
    let last: Vec<_> = pairs
        .filter(complete)
        .map(|(record, delivery)| (record.intended, delivery.last.saturating_sub(record.intended)))
        .collect();
    filling("deliveries", &last)
}

/// What speaks against an open loop in which `what` had to wait in front of a queue that fills; `latencies` by when each was
/// due.
pub(crate) fn filling(what: &str, latencies: &[(Nanos, Nanos)]) -> Option<String> {
    let grown = growth(latencies)? * 1e3;
    Some(format!("{what} took longer and longer, by {grown:.1} ms a second: a queue was still filling"))
}

/// A relay that serves 1 % less than it is offered lets whoever comes a second later wait 10 ms longer.
const GROWTH_MAX: f64 = 0.01;
/// And a queue that fills at an even pace from the start on has grown by two thirds from the middle of the middle third to
/// that of the last. A latency that only wavers does neither.
const RATIO_MAX: f64 = 1.25;
/// In less time than this a queue that fills slowly and a machine that stutters look alike.
const THIRD_MIN: Nanos = 1_000_000_000;

/// By how much latency grew a second, in seconds, if it grew as it does in front of a queue that fills: what the events of
/// the last third of the run had to wait, against those of the middle third. Medians, so that one stall is not taken for a
/// queue, and no absolute bound, so that a slow relay is not taken for a swamped one. A run of less than three seconds after
/// the warm-up is too short to tell.
fn growth(latencies: &[(Nanos, Nanos)]) -> Option<f64> {
    let (first, last) = (latencies.first()?.0, latencies.last()?.0);
    let third = Some((last - first) / 3).filter(|third| *third >= THIRD_MIN)?;
    let median = |from: Nanos, to: Nanos| {
        let mut within: Vec<Nanos> =
            latencies.iter().filter(|(due, _)| (from..to).contains(due)).map(|(_, latency)| *latency).collect();
        within.sort_unstable();
        within.get(within.len() / 2).copied()
    };
    let middle = median(first + third, first + 2 * third)? as f64;
    let end = median(first + 2 * third, last + 1)? as f64;
    let grown = (end - middle) / third as f64;
    (grown > GROWTH_MAX && end > middle * RATIO_MAX).then_some(grown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Nanos = 1_000_000;

    /// 1 000 events a second for nine seconds; `latency` by milliseconds since the start.
    fn course(latency: impl Fn(u64) -> Nanos) -> Option<f64> {
        growth(&(0..9_000).map(|at| (at * MILLI, latency(at))).collect::<Vec<_>>())
    }

    /// Half a millisecond, give or take as much.
    fn jitter(at: u64) -> Nanos {
        at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44
    }

    #[test]
    fn a_queue_that_fills_by_2_percent_is_seen() {
        let grown = course(|at| jitter(at) + at * MILLI / 50).expect("seen");
        assert!((grown - 0.02).abs() < 0.001, "{grown}");
        assert!(
            course(|at| jitter(at) + at.saturating_sub(3_000) * MILLI / 50).is_some(),
            "one that begins later, too"
        );
    }

    #[test]
    fn neither_a_stall_nor_noise_nor_a_slow_timer_is_a_queue() {
        assert_eq!(course(jitter), None);
        assert_eq!(course(|at| jitter(at) + if (7_000..8_400).contains(&at) { 500 * MILLI } else { 0 }), None);
        assert_eq!(course(|at| jitter(at) + (100 - at % 100) * MILLI), None, "batches by a timer of 100 ms");
        assert_eq!(course(|at| jitter(at) + at.saturating_sub(6_000).min(5) * MILLI), None, "a step of 5 ms");
        assert_eq!(growth(&[]), None);
        let short: Vec<_> = (0..2_900).map(|at| (at * MILLI, at * MILLI)).collect();
        assert_eq!(growth(&short), None, "too short to tell");
    }

    #[test]
    fn a_queue_that_drains_is_none_that_fills() {
        assert_eq!(course(|at| (9_000 - at) * MILLI / 20), None);
    }

    #[test]
    fn whatever_was_not_answered_with_yes_is_told() {
        let served = Accounts { planned: 9, sent: 9, acked: 9, ..Accounts::default() };
        assert_eq!(not_served(&served, true), None);
        let told = |accounts, is_open_loop| not_served(&accounts, is_open_loop).unwrap_or_default();
        assert!(told(Accounts { acked: 8, refused: 1, ..served.clone() }, false).contains("1 refused"));
        assert!(told(Accounts { acked: 8, unanswered: 1, ..served.clone() }, false).contains("1 not answered"));
        assert!(told(Accounts { sent: 8, acked: 8, ..served.clone() }, true).contains("8 of 9"));
        assert_eq!(
            told(Accounts { sent: 8, acked: 8, ..served.clone() }, false),
            "",
            "a closed loop ends with its time"
        );
        assert!(told(Accounts { acked: 0, ..served }, true).contains("nothing"));
    }
}
