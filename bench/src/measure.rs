//! From raw records to figures: latency percentiles, rates, and what a run cost in processor time
//! and memory by the kernel's own accounts. Knows no sockets. Linux only.

use std::fs;
use std::ops::Sub;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::artifact::Distribution;
use crate::cluster::Servers;
use crate::launch::RunningArm;
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

/// How much of the time that passes a thread spends at work.
pub(crate) struct Busy {
    since: Instant,
    worked: Duration,
}

impl Busy {
    /// Of the calling thread, from now on.
    pub(crate) fn start() -> Self {
        Self { since: Instant::now(), worked: thread_cpu() }
    }

    /// From 0 to 1; to be asked by the same thread.
    pub(crate) fn share(&self) -> f64 {
        let worked = thread_cpu().saturating_sub(self.worked);
        worked.as_secs_f64() / self.since.elapsed().as_secs_f64().max(1e-9)
    }
}

/// A thread this busy is near what one thread can do: what it measures may be itself.
const BUSY_MAX: f64 = 0.8;

/// What speaks against the figures of a generator's thread that was busy for such a part of its time, if anything does.
pub(crate) fn too_busy(does: &str, share: f64) -> Option<String> {
    let told = || format!("the generator's thread that {does} was busy {:.0} % of the time", share * 100.0);
    (share > BUSY_MAX).then(told)
}

/// What the calling thread spent so far.
pub(crate) fn thread_cpu() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), u32::try_from(spent.tv_nsec).unwrap_or_default())
}

impl Distribution {
    /// `None` when nothing was measured: no sample is not a latency of zero.
    pub(crate) fn of(nanos: impl IntoIterator<Item = Nanos>) -> Result<Option<Self>> {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, LATENCY_NANOS_MAX, SIGNIFICANT_DIGITS)
            .context("the histogram's bounds are wrong")?;
        for sample in nanos {
            histogram.saturating_record(sample);
        }
        if histogram.is_empty() {
            return Ok(None);
        }
        let micros = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        let mut encoded = Vec::new();
        V2DeflateSerializer::new().serialize(&histogram, &mut encoded).context("a histogram cannot be encoded")?;
        Ok(Some(Self {
            count: histogram.len(),
            p50: micros(0.5),
            p90: micros(0.9),
            p99: micros(0.99),
            p99_9: micros(0.999),
            max: histogram.max() as f64 / 1e3,
            histogram: BASE64_STANDARD.encode(encoded),
        }))
    }

    /// Every sample, as nanoseconds, to three digits.
    pub(crate) fn histogram(&self) -> Result<Histogram<u64>> {
        let encoded = BASE64_STANDARD.decode(&self.histogram).context("a histogram is not base64")?;
        Deserializer::new().deserialize(&mut encoded.as_slice()).context("a histogram cannot be read")
    }
}

/// Processor time spent so far, in seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuTimes {
    /// By pod; `None` where the process is not known.
    pub(crate) pods: Vec<Option<f64>>,
    /// What a cluster's pods share, by name.
    pub(crate) servers: Vec<(&'static str, f64)>,
    pub(crate) generator: f64,
    /// What all processes of the machine spent, so that a noisy neighbour shows.
    machine: f64,
    /// What they could have spent.
    capacity: f64,
}

impl CpuTimes {
    /// With the relay's processes alone.
    pub(crate) fn read(pods: impl IntoIterator<Item = Option<u32>>) -> Result<Self> {
        let (machine, capacity) = machine_cpu()?;
        let of_pod = |pid: Option<u32>| pid.map(|pid| process_cpu(&pid.to_string())).transpose();
        let pods = pods.into_iter().map(of_pod).collect::<Result<_>>()?;
        Ok(Self { pods, servers: Vec::new(), generator: own_cpu()?, machine, capacity })
    }

    /// With everything we know of a relay.
    pub(crate) fn of(arm: &RunningArm) -> Result<Self> {
        let servers = arm.servers.iter().flat_map(Servers::cpu_s).collect();
        Ok(Self { servers, ..Self::read(arm.pods.iter().map(|pod| pod.pid))? })
    }

    /// Of all pods; `None` unless every one is known.
    pub(crate) fn relay(&self) -> Option<f64> {
        self.pods.iter().copied().sum()
    }

    /// The share of the machine that neither the relay nor its servers nor the generator used; known only with a
    /// relay of known process.
    pub(crate) fn elsewhere_share(&self) -> Option<f64> {
        let servers: f64 = self.servers.iter().map(|(_, seconds)| seconds).sum();
        let elsewhere = self.machine - self.relay()? - servers - self.generator;
        (self.capacity > 0.0).then(|| elsewhere.max(0.0) / self.capacity)
    }
}

impl Sub for CpuTimes {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            pods: self.pods.iter().zip(earlier.pods).map(|(now, then)| Some((*now)? - then?)).collect(),
            servers: self.servers.iter().zip(earlier.servers).map(|(now, then)| (now.0, now.1 - then.1)).collect(),
            generator: self.generator - earlier.generator,
            machine: self.machine - earlier.machine,
            capacity: self.capacity - earlier.capacity,
        }
    }
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// A process and all that descend from it: what a wrapper starts and a relay forks is the relay, too. Where the kernel does not tell
/// children, the process alone.
pub(crate) fn family(pid: &str) -> Vec<String> {
    let mut family = vec![pid.to_owned()];
    let mut asked = 0;
    while asked < family.len() {
        let children = children(&family[asked]);
        family.extend(children);
        asked += 1;
    }
    family
}

/// Each thread has a list of its own.
fn children(pid: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// User and system time, in `/proc/PID/stat`.
const OWN: usize = 2;
/// And behind them that of children that have ended.
const WITH_ENDED_CHILDREN: usize = 4;

/// What a process and all that descend from it spent so far, in seconds.
pub(crate) fn process_cpu(pid: &str) -> Result<f64> {
    let own = cpu(pid, WITH_ENDED_CHILDREN)?;
    // One that ends meanwhile is its parent's ended child from then on.
    let others = family(pid).into_iter().skip(1).filter_map(|pid| cpu(&pid, WITH_ENDED_CHILDREN).ok());
    Ok(own + others.sum::<f64>())
}

/// The generator's, without the relays that it started.
fn own_cpu() -> Result<f64> {
    cpu("self", OWN)
}

fn cpu(pid: &str, times: usize) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    ticks(&stat, times).map(seconds).with_context(|| format!("{path} is not as expected"))
}

/// So many times from field 14 on, counted from behind the name, which may hold spaces and parentheses.
fn ticks(stat: &str, times: usize) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    (0..times).map(|_| fields.next()?.parse::<u64>().ok()).sum()
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

/// A process's resident memory, with that of all that descend from it; what they share counts for each.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    status_bytes(pid, "VmRSS:")
}

/// The most it ever was, or has been since it was made to forget.
pub(crate) fn peak_resident_bytes(pid: u32) -> Option<u64> {
    status_bytes(pid, "VmHWM:")
}

/// So that a peak is that of one run. Of another user's process it stays the peak of its life.
pub(crate) fn forget_peak(pid: u32) {
    for pid in family(&pid.to_string()) {
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
}

fn status_bytes(pid: u32, field: &str) -> Option<u64> {
    of_family(pid, |pid| own_status_bytes(pid, field))
}

/// The sum over a process and all that descend from it; `None` when it is not known of any.
pub(crate) fn of_family(pid: u32, of_one: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    family(&pid.to_string()).iter().filter_map(|pid| of_one(pid)).reduce(|sum, one| sum + one)
}

fn own_status_bytes(pid: &str, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
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

/// A spread as tables have it.
pub(crate) fn show(spread: Option<Spread>) -> String {
    match spread {
        None => "-".into(),
        Some(Spread { median, min, max }) if min == max => number(median),
        Some(Spread { median, min, max }) => format!("{} ({} - {})", number(median), number(min), number(max)),
    }
}

/// Three significant digits, and no more than a figure deserves.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::caretaker::Group;

    #[test]
    fn percentiles_are_in_microseconds() {
        let latency = Distribution::of((1..=1_000).map(|micros| micros * 1_000)).expect("bounds").expect("samples");
        assert_eq!(latency.count, 1_000);
        for (found, expected) in [(latency.p50, 500.0), (latency.p99, 990.0), (latency.max, 1_000.0)] {
            assert!((found / expected - 1.0).abs() < 0.002, "{found} is not {expected}");
        }
        assert_eq!(Distribution::of([]).expect("bounds"), None);
    }

    #[test]
    fn a_histogram_is_read_back_as_it_was_written() {
        let written = Distribution::of([90, 1_000, 1_000, 5_000_000_000]).expect("bounds").expect("samples");
        let text = serde_json::to_string(&written).expect("JSON");
        let read: Distribution = serde_json::from_str(&text).expect("a distribution");
        let histogram = read.histogram().expect("readable");
        assert_eq!((histogram.len(), histogram.count_at(1_000)), (4, 2));
        assert!((histogram.max() as f64 / 5e9 - 1.0).abs() < 0.001);
        assert_eq!(Distribution::of([histogram.min()]).expect("bounds").map(|d| d.p50), Some(0.09));
        assert!(Distribution { histogram: "!".into(), ..written }.histogram().is_err());
    }

    #[test]
    fn a_process_name_cannot_shift_the_fields() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 120 30 0 0 20 0 1";
        assert_eq!((ticks(stat, OWN), ticks(stat, WITH_ENDED_CHILDREN)), (Some(150), Some(150)));
        assert_eq!(ticks("7 (a) S 1 2 3 4 5 6 7 8 9 10 120 30 5 2 20 0 1", WITH_ENDED_CHILDREN), Some(157));
        assert_eq!(ticks("7 (a) S 1 2", OWN), None);
    }

    #[test]
    fn our_own_costs_can_be_read() {
        assert!(process_cpu("self").is_ok());
        let own = std::process::id();
        let resident = resident_bytes(own).expect("known");
        assert!(resident > 100_000 && peak_resident_bytes(own).is_some_and(|peak| peak > 100_000));
    }

    /// A shell that waits while its child works.
    #[test]
    fn what_a_process_has_others_do_costs_what_it_costs() {
        let group = Group::start(Command::new("sh").args(["-c", "while :; do :; done & wait"])).expect("a shell");
        let pid = group.leader.id();
        let own = || cpu(&pid.to_string(), OWN).expect("it runs");
        while process_cpu(&pid.to_string()).expect("it runs") < 0.05 + own() {
            std::thread::yield_now();
        }
        let resident = own_status_bytes(&pid.to_string(), "VmRSS:").expect("it runs");
        assert!(resident_bytes(pid).is_some_and(|all| all > resident));
    }

    #[test]
    fn a_thread_that_works_is_busy_and_one_that_sleeps_is_not() {
        let busy = Busy::start();
        while thread_cpu() - busy.worked < Duration::from_millis(5) {}
        assert!((0.0..=1.01).contains(&busy.share()) && busy.share() > 0.0);
        let idle = Busy::start();
        std::thread::sleep(Duration::from_millis(20));
        assert!(idle.share() < 0.5, "{}", idle.share());
    }

    #[test]
    fn a_spread_has_its_median_in_the_middle() {
        let spread = |median, min, max| Some(Spread { median, min, max });
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), spread(2.0, 1.0, 3.0));
        assert_eq!(Spread::of([4.0, 1.0]), spread(2.5, 1.0, 4.0));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_spread_of_one_value_is_that_value() {
        let shown = [vec![], vec![0.0], vec![5.0, 5.0], vec![0.582, 12.34, 512.3]].map(|of| show(Spread::of(of)));
        assert_eq!(shown, ["-", "0", "5.00", "12.3 (0.58 - 512)"]);
    }
}
