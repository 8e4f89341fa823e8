//! From raw records to figures: latency percentiles, rates, and what a run cost in processor time
//! and memory by the kernel's own accounts. Knows neither relays nor sockets. Linux only.

use std::fs;
use std::ops::Sub;
use std::time::Instant;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::schedule::Nanos;

/// Beyond this a latency is a failure, not a figure.
const LATENCY_NANOS_MAX: u64 = 600_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// The one time line all threads of a run share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> Nanos {
        self.0.elapsed().as_nanos() as Nanos
    }
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) max: f64,
}

impl Latency {
    /// `None` when nothing was measured: no sample is not a latency of zero.
    pub(crate) fn of(nanos: impl IntoIterator<Item = Nanos>) -> Result<Option<Self>> {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, LATENCY_NANOS_MAX, SIGNIFICANT_DIGITS)
            .context("the histogram's bounds are wrong")?;
        for sample in nanos {
            histogram.saturating_record(sample);
        }
        let micros = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Ok((!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            p50: micros(0.5),
            p90: micros(0.9),
            p99: micros(0.99),
            p99_9: micros(0.999),
            max: histogram.max() as f64 / 1e3,
        }))
    }
}

/// Processor time spent so far, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTimes {
    pub(crate) relay: Option<f64>,
    pub(crate) generator: f64,
    /// What all processes of the machine spent, so that a noisy neighbour shows.
    machine: f64,
    /// What they could have spent.
    capacity: f64,
}

impl CpuTimes {
    pub(crate) fn read(relay: Option<u32>) -> Result<Self> {
        let (machine, capacity) = machine_cpu()?;
        let relay = relay.map(|pid| process_cpu(&pid.to_string())).transpose()?;
        Ok(Self { relay, generator: process_cpu("self")?, machine, capacity })
    }

    /// The share of the machine that neither the relay nor the generator used; known only with a
    /// relay of known process.
    pub(crate) fn elsewhere_share(&self) -> Option<f64> {
        let elsewhere = self.machine - self.relay? - self.generator;
        (self.capacity > 0.0).then(|| elsewhere.max(0.0) / self.capacity)
    }
}

impl Sub for CpuTimes {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            relay: self.relay.zip(earlier.relay).map(|(now, then)| now - then),
            generator: self.generator - earlier.generator,
            machine: self.machine - earlier.machine,
            capacity: self.capacity - earlier.capacity,
        }
    }
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

fn process_cpu(pid: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    user_and_system_ticks(&stat).map(seconds).with_context(|| format!("{path} is not as expected"))
}

/// Fields 14 and 15, counted from behind the name, which may hold spaces and parentheses.
fn user_and_system_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Busy time (everything but idling and waiting for disks) and all time, summed over the cores.
fn machine_cpu() -> Result<(f64, f64)> {
    let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let first = stat.lines().next().unwrap_or_default();
    // Guests' time, the last two fields, is part of the first two.
    let fields: Vec<u64> = first.split_ascii_whitespace().skip(1).take(8).flat_map(str::parse).collect();
    let all: u64 = fields.iter().sum();
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    Ok((seconds(all - idle), seconds(all)))
}

/// A process's resident memory.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Median, smallest and largest of one figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Some(Self { median, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_microseconds() {
        let latency = Latency::of((1..=1_000).map(|micros| micros * 1_000)).expect("bounds").expect("samples");
        assert_eq!(latency.count, 1_000);
        for (found, expected) in [(latency.p50, 500.0), (latency.p99, 990.0), (latency.max, 1_000.0)] {
            assert!((found / expected - 1.0).abs() < 0.002, "{found} is not {expected}");
        }
        assert_eq!(Latency::of([]).expect("bounds"), None);
    }

    #[test]
    fn a_process_name_cannot_shift_the_fields() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 120 30 0 0 20 0 1";
        assert_eq!(user_and_system_ticks(stat), Some(150));
    }

    #[test]
    fn our_own_costs_can_be_read() {
        assert!(process_cpu("self").is_ok());
        assert!(resident_bytes(std::process::id()).is_some_and(|bytes| bytes > 100_000));
    }

    #[test]
    fn a_spread_has_its_median_in_the_middle() {
        let spread = |median, min, max| Some(Spread { median, min, max });
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), spread(2.0, 1.0, 3.0));
        assert_eq!(Spread::of([4.0, 1.0]), spread(2.5, 1.0, 4.0));
        assert_eq!(Spread::of([]), None);
    }
}
