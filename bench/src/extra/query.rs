//! The query mix: seven classes of question over a year of events, on cold and on warm files, each as soon as the last is
//! answered and at a fixed pace; a sample of the answers is checked against every event there is.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use clap::Args;

use super::ask::{self, Asked, Pace};
use super::oracle::Class;
use super::site::{Bench, Found, Site, no_rates};
use super::stored::{Checked, Stored};
use super::{import, named};
use crate::artifact::{Distribution, Outcome};
use crate::counters::Counters;
use crate::launch::RunningArm;
use crate::measure::{CpuTimes, resident_bytes, too_busy};
use crate::schedule::Nanos;

/// Enough of every class, and over before the files are warm.
const COLD_QUESTIONS: usize = 700;
const COLD_DURATION: Nanos = 60_000_000_000;

#[derive(Args)]
pub(crate) struct Options {
    /// Stored events, up to 10 000 000.
    #[arg(long, default_value_t = 100_000)]
    events: usize,
    /// Connections that ask.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    connections: u32,
    /// Open loop: questions a second, over all connections.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    query_rate: u32,
    /// Fill relays by their own import command, where they have one, and have it trust the signatures.
    #[arg(long)]
    import: bool,
    #[command(flatten)]
    bench: Bench,
}

pub(crate) fn run(options: &Options) -> Result<bool> {
    let stored = Stored::make(&options.bench.data, options.bench.method.seed, options.events)?;
    let setting = BTreeMap::from([
        ("events".to_owned(), options.events.into()),
        ("bytes".to_owned(), stored.corpus.bytes.into()),
        ("authors".to_owned(), stored.corpus.authors.len().into()),
        ("query-connections".to_owned(), options.connections.into()),
        ("query-rate".to_owned(), options.query_rate.into()),
    ]);
    // Filled once; what a relay has stored stays from round to round.
    let mut fill_rates = HashMap::new();
    options.bench.take_turns("query", &no_rates(), setting, |site, round| {
        let fill_rate = match fill_rates.get(&site.name) {
            Some(rate) => *rate,
            None => fill(&stored, site, options.import)?,
        };
        fill_rates.insert(site.name.clone(), fill_rate);
        turn(options, &stored, site, round, fill_rate)
    })
}

/// Gives an empty relay everything; events a second.
pub(super) fn fill(stored: &Stored, site: &mut Site, imports: bool) -> Result<f64> {
    site.fresh()?;
    let imported = if imports { site.import(stored.path(), true, import::watch)? } else { None };
    let seconds = match imported {
        Some(cost) => cost.seconds,
        None => stored.publish(&site.arm()?.pods[0].target)?.seconds,
    };
    let per_second = stored.corpus.facts.len() as f64 / seconds;
    eprintln!("  {}: filled at {per_second:.0} events/s", site.name);
    Ok(per_second)
}

/// Cold, where the relay is ours to stop; then warm; then at a fixed pace.
pub(super) fn turn(options: &Options, stored: &Stored, site: &mut Site, round: usize, fill_rate: f64) -> Result<Found> {
    let method = &options.bench.method;
    let mut found = Found::new();
    if site.restart_cold()? {
        let pace = Pace::Closed { questions_max: COLD_QUESTIONS, duration: COLD_DURATION };
        let arm = site.arm()?;
        let read = arm.pods[0].pid.and_then(super::read_bytes);
        let mut outcome = asked(options, stored, arm, pace, 0)?;
        outcome.figures.extend(named([("relay-read-bytes-at-start", read.map(|bytes| bytes as f64))]));
        found.push(("query-cold", outcome));
    } else if round == 1 {
        eprintln!("  {} is not ours to stop: no cold run", site.name);
    }
    let pace = Pace::Closed { questions_max: usize::MAX, duration: method.duration() };
    found.push(("query", asked(options, stored, site.arm()?, pace, method.warm_up())?));
    let pace = Pace::Open(method.schedule(options.query_rate));
    found.push(("query-open", asked(options, stored, site.arm()?, pace, method.warm_up())?));
    for (_, outcome) in &mut found {
        outcome.figures.insert("fill-events-per-s".into(), fill_rate);
    }
    Ok(found)
}

fn asked(options: &Options, stored: &Stored, arm: &RunningArm, pace: Pace, warm_up: Nanos) -> Result<Outcome> {
    let pod = &arm.pods[0];
    let reads = |pid: Option<u32>| pid.and_then(super::read_bytes);
    let counters = Counters::read(&arm.pods);
    let (cpu_before, read_before) = (CpuTimes::read([pod.pid])?, reads(pod.pid));
    let asked = ask::ask(&pod.target, options.connections as usize, &stored.requests, pace)?;
    let cpu = CpuTimes::read([pod.pid])? - cpu_before;
    let moved = Counters::read(&arm.pods).moved_since(&counters);
    let read = reads(pod.pid).zip(read_before).map(|(now, then)| now.saturating_sub(then) as f64);
    let checked = Checked::of(stored, &asked);
    let answered = asked.answers.iter().filter(|answer| answer.finished.is_some()).count().max(1);
    let counted_from = asked.start + warm_up;
    let counted: Vec<_> = asked.answers.iter().filter(|answer| answer.intended >= counted_from).collect();
    let finished = counted.iter().filter_map(|answer| answer.finished);
    let seconds = finished.clone().max().unwrap_or(counted_from).saturating_sub(counted_from).max(1) as f64 / 1e9;
    let per_query = |cpu: f64| cpu * 1e6 / answered as f64;
    let events: u64 = counted.iter().filter(|answer| answer.finished.is_some()).map(|a| u64::from(a.events)).sum();
    let is_open_loop = matches!(pace, Pace::Open(_));
    let lag = |answer: &&ask::Answer| answer.sent.saturating_sub(answer.intended);
    let lag = Distribution::of(counted.iter().map(lag))?.filter(|_| is_open_loop);
    let mut outcome = Outcome {
        void: void(&asked, &checked, &moved, lag.as_ref(), options.bench.method.lag_max()),
        figures: named([
            ("queries-per-s", Some(finished.count() as f64 / seconds)),
            ("events-returned-per-s", Some(events as f64 / seconds)),
            ("events-per-query", Some(events as f64 / counted.len().max(1) as f64)),
            ("bytes-per-query", Some(asked.bytes as f64 / answered as f64)),
            ("relay-cpu-us-per-query", cpu.relay().map(per_query)),
            ("generator-cpu-us-per-query", Some(per_query(cpu.generator))),
            ("asker-busy-share", Some(asked.busy)),
            ("elsewhere-share", cpu.elsewhere_share()),
            ("relay-resident-bytes", pod.pid.and_then(resident_bytes).map(|bytes| bytes as f64)),
            ("relay-read-bytes", read),
            ("unanswered", Some((asked.answers.len() - answered) as f64)),
            ("refused", Some(asked.refused as f64)),
            ("answers-checked", Some(checked.checked as f64)),
            ("answers-wrong", Some(checked.wrong as f64)),
            ("answers-with-ties-in-another-order", Some(checked.ties as f64)),
        ]),
        complaint: asked.complaint.clone().or(checked.first_fault),
        ..Outcome::default()
    };
    let of_class = |class: Option<Class>| {
        let is_meant = |answer: &&&ask::Answer| class.is_none_or(|c| stored.questions[answer.request].class == c);
        let time = |answer: &&ask::Answer| answer.finished.map(|at| at.saturating_sub(answer.intended));
        Distribution::of(counted.iter().filter(is_meant).filter_map(time))
    };
    outcome.latencies.extend(of_class(None)?.map(|all| ("query".to_owned(), all)));
    for class in Class::ALL {
        outcome.latencies.extend(of_class(Some(class))?.map(|of_class| (format!("query-{class}"), of_class)));
    }
    outcome.latencies.extend(lag.map(|lag| ("generator-lag".to_owned(), lag)));
    Ok(outcome)
}

/// Fast answers that are wrong, or none, are no figures.
fn void(
    asked: &Asked,
    checked: &Checked,
    moved: &[String],
    lag: Option<&Distribution>,
    lag_max: Nanos,
) -> Option<String> {
    let unanswered = asked.unanswered();
    if asked.refused + unanswered > 0 {
        return Some(format!("{unanswered} questions were not answered, {} of them refused", asked.refused));
    }
    if checked.wrong > 0 {
        return Some(format!("{} of {} answers were wrong", checked.wrong, checked.checked));
    }
    if let Some(complaint) = &asked.complaint {
        return Some(format!("the relay said: {complaint}"));
    }
    if !moved.is_empty() {
        return Some(moved.join("; "));
    }
    // A closed loop has no schedule to be late for.
    let Some(lag) = lag else { return too_busy("asks", asked.busy) };
    let lag_max = lag_max as f64 / 1e3;
    (lag.p99 > lag_max).then(|| format!("the generator was {:.0} us late at p99, more than {lag_max:.0} us", lag.p99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_loop_without_headroom_is_void() {
        let objection = |busy, lag: Option<&Distribution>| {
            void(&Asked { busy, ..Asked::default() }, &Checked::default(), &[], lag, 1_000_000)
        };
        assert!(objection(0.9, None).is_some_and(|void| void.contains("that asks was busy 90 %")));
        assert_eq!(objection(0.7, None), None);
        let lag = Distribution::of([1_000]).expect("bounds");
        assert_eq!(objection(0.9, lag.as_ref()), None, "late is what an open loop would be");
    }
}
