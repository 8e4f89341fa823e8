//! How a run went, second by second: what the relay's processes cost is sampled while it runs, everything else is made from the
//! records afterwards.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::publish::Published;
use super::{GLANCE, Over};
use crate::account::{Deliveries, Record};
use crate::artifact::{Distribution, Tick};
use crate::launch::RunningArm;
use crate::measure::{Clock, CpuTimes, process_cpu, resident_bytes};
use crate::schedule::Nanos;

const STEP: Nanos = 1_000_000_000;

/// What the relay's processes had cost at one instant, by pod; `None` where the process is not known.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Nanos,
    pub(super) cpu_s: Vec<Option<f64>>,
    pub(super) resident_bytes: Vec<Option<u64>>,
}

/// What was seen of them all along.
pub(super) struct Sampled {
    pub(super) samples: Vec<Sample>,
    /// When the warm-up ended, and all that had been spent by then; `None` of a run that was over before.
    pub(super) warm: Option<(Nanos, CpuTimes)>,
}

/// Takes a sample at `start` and after every second until the run is over; with one of them `warm_up` ends.
pub(super) fn sample(arm: &RunningArm, clock: Clock, start: Nanos, warm_up: Nanos, over: &Over) -> Result<Sampled> {
    let mut samples = Vec::new();
    let mut warm = None;
    while !over.is_over() {
        let due = start + samples.len() as Nanos * STEP;
        let early = Duration::from_nanos(due.saturating_sub(clock.now()));
        if !early.is_zero() {
            thread::sleep(early.min(GLANCE));
            continue;
        }
        if due == start + warm_up {
            warm = Some((clock.now(), CpuTimes::of(arm)?));
        }
        let pids = || arm.pods.iter().map(|pod| pod.pid);
        samples.push(Sample {
            at: clock.now(),
            cpu_s: pids().map(|pid| process_cpu(&pid?.to_string()).ok()).collect(),
            resident_bytes: pids().map(|pid| resident_bytes(pid?)).collect(),
        });
    }
    Ok(Sampled { samples, warm })
}

/// One tick for every second from the first event's instant to the last answer.
pub(super) fn series(published: &Published, deliveries: Option<&Deliveries>, samples: &[Sample]) -> Result<Vec<Tick>> {
    let Published { start, records, .. } = published;
    let step_of = |instant: Nanos| (instant.saturating_sub(*start) / STEP) as usize;
    let last = records.iter().filter_map(|record| record.sent.max(record.answered)).max();
    let mut steps = vec![Step::default(); last.map_or(0, |last| step_of(last) + 1)];
    for (event, record) in records.iter().enumerate() {
        let Some(sent) = record.sent else { continue };
        steps[step_of(sent)].tick.sent += 1;
        if let Some(answered) = record.answered {
            steps[step_of(answered)].answered += 1;
            steps[step_of(answered)].tick.acked += u64::from(record.accepted);
        }
        // An event is due before it is sent.
        let due = &mut steps[step_of(record.intended)];
        due.acks.extend(record.ack_latency());
        due.deliveries.extend(deliveries.and_then(|all| first_delivery(all, event, record)));
    }
    let mut outstanding = 0;
    let ticks = steps.into_iter().enumerate().map(|(number, step)| {
        outstanding += step.tick.sent;
        outstanding -= step.answered;
        let (acks, deliveries) = (Distribution::of(step.acks)?, Distribution::of(step.deliveries)?);
        Ok(Tick {
            seconds: number as f64,
            ack_p50_us: acks.as_ref().map(|latency| latency.p50),
            ack_p99_us: acks.map(|latency| latency.p99),
            first_delivery_p99_us: deliveries.map(|latency| latency.p99),
            outstanding,
            relay_cores: samples.get(number..number + 2).and_then(cores),
            relay_resident_bytes: samples.get(number + 1).and_then(|end| end.resident_bytes.iter().copied().sum()),
            ..step.tick
        })
    });
    ticks.collect()
}

#[derive(Clone, Default)]
struct Step {
    tick: Tick,
    answered: u64,
    acks: Vec<Nanos>,
    deliveries: Vec<Nanos>,
}

fn first_delivery(deliveries: &Deliveries, event: usize, record: &Record) -> Option<Nanos> {
    let delivery = deliveries.events.get(event).filter(|delivery| delivery.subscribers > 0)?;
    Some(delivery.first.saturating_sub(record.intended))
}

/// The processor time of all pods between two samples, as a number of cores.
fn cores(pair: &[Sample]) -> Option<f64> {
    let [before, after] = pair else { return None };
    let spent = |sample: &Sample| sample.cpu_s.iter().copied().sum::<Option<f64>>();
    let seconds = (after.at - before.at) as f64 / STEP as f64;
    Some((spent(after)? - spent(before)?) / seconds).filter(|cores| cores.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Nanos = 1_000_000;

    /// Two events a second for two seconds from the instant 500 ms on, answered after 600 ms and delivered after 100.
    fn run() -> (Published, Deliveries) {
        let start = 500 * MILLI;
        let mut records = vec![Record::default(); 4];
        let mut deliveries = Deliveries::new(1, 4);
        for (event, record) in records.iter_mut().enumerate() {
            let due = start + event as Nanos * 500 * MILLI;
            record.send(due, due);
            record.answer(due + 600 * MILLI, true);
            deliveries.record(0, event, due + 100 * MILLI);
        }
        (Published { start, records, cut: 0, complaint: None, busy: 0.0 }, deliveries)
    }

    fn sample(at: Nanos, cpu_s: f64) -> Sample {
        Sample { at, cpu_s: vec![Some(cpu_s), Some(cpu_s)], resident_bytes: vec![Some(7), Some(8)] }
    }

    #[test]
    fn each_second_tells_what_happened_in_it() {
        let (published, deliveries) = run();
        let samples = [sample(500 * MILLI, 1.0), sample(1_500 * MILLI, 1.25)];
        let series = series(&published, Some(&deliveries), &samples).expect("ticks");
        let counts: Vec<_> = series.iter().map(|tick| (tick.sent, tick.acked, tick.outstanding)).collect();
        assert_eq!(counts, [(2, 1, 1), (2, 2, 1), (0, 1, 0)]);
        assert_eq!((series[0].relay_cores, series[0].relay_resident_bytes), (Some(0.5), Some(15)));
        assert_eq!((series[1].relay_cores, series[1].relay_resident_bytes), (None, None), "nobody looked");
        let near = |found: Option<f64>, micros: f64| found.is_some_and(|found| (found / micros - 1.0).abs() < 0.001);
        assert!(near(series[0].ack_p50_us, 600_000.0) && near(series[1].first_delivery_p99_us, 100_000.0));
        assert_eq!(series[2].ack_p99_us, None, "nothing was due in it");
    }

    #[test]
    fn a_process_that_is_not_known_costs_nothing_known() {
        let (published, _) = run();
        let mut samples = [sample(0, 1.0), sample(STEP, 2.0)];
        samples[1].cpu_s[1] = None;
        let series = series(&published, None, &samples).expect("ticks");
        assert_eq!(series[0].relay_cores, None);
        assert_eq!(series[0].first_delivery_p99_us, None);
    }
}
