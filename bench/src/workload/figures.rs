//! From what was observed to latencies and figures.

use std::collections::BTreeMap;

use anyhow::Result;

use super::course::Sample;
use super::{Cost, Observed, Plan, background};
use crate::account::{Delivery, Record};
use crate::artifact::Distribution;
use crate::schedule::Nanos;

/// By name, of everything that was due after the warm-up.
pub(super) fn latencies(plan: &Plan<'_>, observed: &Observed) -> Result<BTreeMap<String, Distribution>> {
    let Observed { published, deliveries, background, .. } = observed;
    let from = published.start + plan.method.warm_up();
    let counted = |record: &&Record| record.sent.is_some() && record.intended >= from;
    let due: fn(&Record) -> Nanos = |record| record.intended;
    let sent: fn(&Record) -> Nanos = |record| record.sent.unwrap_or(record.intended);
    let delivered = |instant: fn(&Delivery) -> Nanos, needed: usize, since: fn(&Record) -> Nanos| {
        let events = deliveries.iter().flat_map(|deliveries| &deliveries.events);
        let pairs = published.records.iter().zip(events);
        Distribution::of(
            pairs
                .filter(|(record, delivery)| counted(record) && delivery.subscribers >= needed)
                .map(|(record, delivery)| instant(delivery).saturating_sub(since(record))),
        )
    };
    let told = |time: fn(&Record) -> Option<Nanos>| {
        Distribution::of(published.records.iter().filter(counted).filter_map(time))
    };
    let beside = |timed: &[background::Timed]| {
        Distribution::of(timed.iter().filter(|timed| timed.due >= from).map(|timed| timed.took))
    };
    let everybody = plan.subscribers.max(1);
    let all = [
        ("ack", told(Record::ack_latency)?),
        ("ack-service", told(Record::service_time)?),
        ("first-delivery", delivered(|delivery| delivery.first, 1, due)?),
        ("first-delivery-service", delivered(|delivery| delivery.first, 1, sent)?),
        ("last-delivery", delivered(|delivery| delivery.last, everybody, due)?),
        ("last-delivery-service", delivered(|delivery| delivery.last, everybody, sent)?),
        ("generator-lag", told(Record::lag)?.filter(|_| plan.is_open_loop())),
        ("query", beside(&background.queries)?),
        ("count", beside(&background.counts)?),
        ("connect", beside(&background.connects)?),
    ];
    Ok(all.into_iter().filter_map(|(name, distribution)| Some((name.to_owned(), distribution?))).collect())
}

/// By name, everything that is one number. Processor time is that since the warm-up, by what was served since.
pub(super) fn figures(plan: &Plan<'_>, observed: &Observed) -> BTreeMap<String, f64> {
    let mut figures = Figures::default();
    rates(&mut figures, plan, observed);
    let Cost { cpu, peak_resident_bytes: peak, .. } = &observed.cost;
    let (acked, delivered) = served(observed);
    let per_event = |seconds: f64| seconds * 1e6 / acked.max(1) as f64;
    figures.add("relay-cpu-us-per-event", cpu.relay().map(per_event));
    figures.add(
        "relay-cpu-us-per-delivery",
        cpu.relay().filter(|_| delivered > 0).map(|seconds| seconds * 1e6 / delivered as f64),
    );
    figures.add("generator-cpu-us-per-event", Some(per_event(cpu.generator)));
    figures.add("publisher-busy-share", Some(observed.published.busy));
    figures.add("listener-busy-share", observed.listener_busy);
    figures.add("elsewhere-share", cpu.elsewhere_share());
    for (server, seconds) in &cpu.servers {
        figures.add(&format!("{server}-cpu-us-per-event"), Some(per_event(*seconds)));
    }
    let steady = steady(plan, observed);
    let sum = |bytes: &[Option<u64>]| bytes.iter().copied().sum::<Option<u64>>().map(|bytes| bytes as f64);
    figures.add("relay-resident-bytes", sum(&steady));
    figures.add("relay-peak-resident-bytes", sum(peak));
    if plan.arm.pods.len() > 1 {
        for pod in 0..plan.arm.pods.len() {
            let number = pod + 1;
            figures.add(&format!("relay-cpu-us-per-event-pod-{number}"), cpu.pods[pod].map(per_event));
            figures.add(&format!("relay-resident-bytes-pod-{number}"), sum(&steady[pod..=pod]));
            figures.add(&format!("relay-peak-resident-bytes-pod-{number}"), sum(&peak[pod..=pod]));
        }
    }
    figures.0
}

#[derive(Default)]
struct Figures(BTreeMap<String, f64>);

impl Figures {
    fn add(&mut self, name: &str, value: Option<f64>) {
        self.0.extend(value.map(|value| (name.to_owned(), value)));
    }
}

/// What the processor time was spent on: the events that were acknowledged since, and their deliveries.
fn served(observed: &Observed) -> (usize, usize) {
    let Observed { published, deliveries, cost, .. } = observed;
    let is_served = |record: &Record| record.accepted && record.answered.is_some_and(|at| at >= cost.since);
    let served = published.records.iter().enumerate().filter(|(_, record)| is_served(record));
    let delivered = |event: usize| deliveries.as_ref().map_or(0, |deliveries| deliveries.events[event].subscribers);
    served.fold((0, 0), |(acked, all), (event, _)| (acked + 1, all + delivered(event)))
}

/// Acknowledgements a second while there was load: from the warm-up's end to the last event sent (closed loop), or to the
/// last answer, so that an overloaded relay is not flattered (open loop). Deliveries alike, to the last of them.
fn rates(figures: &mut Figures, plan: &Plan<'_>, observed: &Observed) {
    let records = &observed.published.records;
    let from = observed.published.start + plan.method.warm_up();
    let last_sent = records.iter().filter_map(|record| record.sent).max();
    let last_answer = records.iter().filter_map(|record| record.answered).max();
    let until = if plan.is_open_loop() { last_answer.max(last_sent) } else { last_sent }.unwrap_or(from);
    let a_second = |count: f64, until: Nanos| {
        let seconds = until.saturating_sub(from) as f64 / 1e9;
        if seconds > 0.0 { count / seconds } else { 0.0 }
    };
    let in_window = |(_, record): &(usize, &Record)| {
        record.accepted && record.answered.is_some_and(|answered| (from..=until).contains(&answered))
    };
    let acked: Vec<usize> = records.iter().enumerate().filter(in_window).map(|(event, _)| event).collect();
    let bytes: usize = acked.iter().map(|event| plan.notes.all[*event].frame.len()).sum();
    figures.add("events-per-s", Some(a_second(acked.len() as f64, until)));
    figures.add("bytes-per-s", Some(a_second(bytes as f64, until)));
    if let Some(deliveries) = &observed.deliveries {
        let pairs = records.iter().zip(&deliveries.events).filter(|(record, _)| record.intended >= from);
        let (count, last) = pairs
            .fold((0, from), |(count, last), (_, delivery)| (count + delivery.subscribers, last.max(delivery.last)));
        figures.add("delivered-per-s", Some(a_second(count as f64, last)));
    }
}

/// By pod, the median of the samples after the warm-up; of a run too short for one, what the last sample says.
fn steady(plan: &Plan<'_>, observed: &Observed) -> Vec<Option<u64>> {
    let from = observed.published.start + plan.method.warm_up();
    let of_pod = |pod: usize| {
        let all =
            |samples: &[Sample]| samples.iter().filter_map(|sample| sample.resident_bytes[pod]).collect::<Vec<_>>();
        let skipped = observed.samples.iter().take_while(|sample| sample.at < from).count();
        let mut counted = all(&observed.samples[skipped..]);
        if counted.is_empty() {
            return all(&observed.samples).pop();
        }
        counted.sort_unstable();
        counted.get(counted.len() / 2).copied()
    };
    (0..plan.arm.pods.len()).map(of_pod).collect()
}
