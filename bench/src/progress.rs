//! How a run is going, for whoever watches: the load's threads add to it as they go, which costs them nanoseconds, and anybody
//! reads it at any time. Coarser than the figures, which are made from the records afterwards.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::schedule::Nanos;

/// Steps within each power of two: percentiles are within 6 %.
const STEPS: usize = 16;
const STEPS_LOG2: u32 = STEPS.trailing_zeros();
const BUCKETS: usize = (u64::BITS - STEPS_LOG2 + 1) as usize * STEPS;

/// Counters that only grow; one run's.
pub(crate) struct Progress {
    sent: AtomicU64,
    acked: AtomicU64,
    refused: AtomicU64,
    delivered: AtomicU64,
    /// The generator's latest sending since somebody looked.
    lag_max: AtomicU64,
    /// How many acks took how long.
    acks: Box<[AtomicU64]>,
}

/// What stands there at one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Glance {
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) refused: u64,
    pub(crate) delivered: u64,
    pub(crate) outstanding: u64,
    /// How late the generator was at most since the last glance.
    pub(crate) lag_max_us: f64,
    /// Of all acks so far, from their intended instants.
    pub(crate) ack_p50_us: Option<f64>,
    pub(crate) ack_p99_us: Option<f64>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            sent: zero(),
            acked: zero(),
            refused: zero(),
            delivered: zero(),
            lag_max: zero(),
            acks: (0..BUCKETS).map(|_| zero()).collect(),
        }
    }

    pub(crate) fn sent(&self, lag: Nanos) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.lag_max.fetch_max(lag, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, latency: Nanos, accepted: bool) {
        if accepted {
            self.acks[bucket(latency)].fetch_add(1, Ordering::Relaxed);
            self.acked.fetch_add(1, Ordering::Relaxed);
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sets what was delivered so far.
    pub(crate) fn delivered(&self, total: u64) {
        self.delivered.store(total, Ordering::Relaxed);
    }

    pub(crate) fn deliveries(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub(crate) fn glance(&self) -> Glance {
        // Answers first: what was answered was sent.
        let (acked, refused) = (self.acked.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed));
        let sent = self.sent.load(Ordering::Relaxed);
        let acks: Vec<u64> = self.acks.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Glance {
            sent,
            acked,
            refused,
            delivered: self.deliveries(),
            outstanding: sent.saturating_sub(acked + refused),
            lag_max_us: self.lag_max.swap(0, Ordering::Relaxed) as f64 / 1e3,
            ack_p50_us: percentile(&acks, 50).map(|nanos| nanos as f64 / 1e3),
            ack_p99_us: percentile(&acks, 99).map(|nanos| nanos as f64 / 1e3),
        }
    }
}

fn percentile(counts: &[u64], percent: u64) -> Option<Nanos> {
    let total: u64 = counts.iter().sum();
    let mut below = 0;
    let found = counts.iter().position(|count| {
        below += count;
        below * 100 >= total * percent
    });
    found.filter(|_| total > 0).map(middle)
}

/// Small values have a bucket each; above, each power of two has as many.
fn bucket(value: u64) -> usize {
    if value < STEPS as u64 {
        return value as usize;
    }
    let exponent = value.ilog2();
    let step = (value >> (exponent - STEPS_LOG2)) as usize - STEPS;
    (exponent - STEPS_LOG2 + 1) as usize * STEPS + step
}

fn middle(bucket: usize) -> u64 {
    let (power, step) = (bucket / STEPS, bucket % STEPS);
    if power == 0 {
        return step as u64;
    }
    let width = 1u64 << (power - 1);
    (STEPS + step) as u64 * width + width / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_near_the_middle_of_its_bucket() {
        for value in (0..64).map(|shift| u64::MAX >> shift).chain([0, 15, 16, 17, 1_000_000]) {
            let found = middle(bucket(value));
            assert!(found.abs_diff(value) <= value / 16, "{value} is taken for {found}");
        }
    }

    #[test]
    fn a_glance_tells_what_was_said_and_forgets_the_lag() {
        let progress = Progress::new();
        for number in 1..=100 {
            progress.sent(number * 1_000);
            progress.answered(if number > 98 { 50_000_000 } else { 400_000 }, number != 7);
        }
        progress.sent(0);
        let glance = progress.glance();
        assert_eq!((glance.sent, glance.acked, glance.refused, glance.outstanding), (101, 99, 1, 1));
        assert_eq!(glance.lag_max_us, 100.0);
        assert!(glance.ack_p99_us.is_some_and(|p99| (p99 / 50_000.0 - 1.0).abs() < 0.06));
        assert!(glance.ack_p50_us.is_some_and(|p50| (p50 / 400.0 - 1.0).abs() < 0.06));
        assert_eq!(progress.glance().lag_max_us, 0.0);
        assert_eq!(Progress::new().glance().ack_p99_us, None);
    }
}
