//! The query mix: seven classes of question over a year of events, on cold and on warm files, each as soon as the last is
//! answered and at a fixed pace; a sample of the answers is checked against every event there is.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::Args;

use super::ask::{self, Answer, Asked, Pace};
use super::oracle::Class;
use super::site::{Bench, Found, Site, no_rates};
use super::stored::{Checked, Stored};
use super::{import, named};
use crate::artifact::{Distribution, Outcome};
use crate::counters::Counters;
use crate::launch::RunningArm;
use crate::live::{self, Heading};
use crate::measure::{Clock, CpuTimes, resident_bytes, too_busy};
use crate::progress::Progress;
use crate::schedule::Nanos;
use crate::workload::verify::{filling, late_generator};

/// Enough of every class, and over before the files are warm.
const COLD_QUESTIONS: usize = 700;
const COLD_DURATION: Nanos = 60 * SECOND;
const SECOND: Nanos = 1_000_000_000;

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
    let asked = |arm: &RunningArm, protocol, pace, warm_up| {
        asked(options, stored, arm, round, &Part { protocol, pace, warm_up }).map(|outcome| (protocol, outcome))
    };
    let mut found = Found::new();
    if site.restart_cold()? {
        let pace = Pace::Closed { questions_max: COLD_QUESTIONS, duration: COLD_DURATION };
        let arm = site.arm()?;
        let read = arm.pods[0].pid.and_then(super::read_bytes);
        let (protocol, mut outcome) = asked(arm, "query-cold", pace, 0)?;
        outcome.figures.extend(named([("relay-read-bytes-at-start", read.map(|bytes| bytes as f64))]));
        found.push((protocol, outcome));
    } else if round == 1 {
        eprintln!("  {} is not ours to stop: no cold run", site.name);
    }
    let pace = Pace::Closed { questions_max: usize::MAX, duration: method.duration() };
    found.push(asked(site.arm()?, "query", pace, method.warm_up())?);
    let pace = Pace::Open(method.schedule(options.query_rate));
    found.push(asked(site.arm()?, "query-open", pace, method.warm_up())?);
    for (_, outcome) in &mut found {
        outcome.figures.insert("fill-events-per-s".into(), fill_rate);
    }
    Ok(found)
}

/// One part of a turn.
pub(super) struct Part {
    pub(super) protocol: &'static str,
    pub(super) pace: Pace,
    pub(super) warm_up: Nanos,
}

pub(super) fn asked(
    options: &Options,
    stored: &Stored,
    arm: &RunningArm,
    round: usize,
    part: &Part,
) -> Result<Outcome> {
    let seconds = match part.pace {
        Pace::Closed { duration, .. } => (duration / SECOND) as u32,
        Pace::Open(_) => options.bench.method.seconds,
    };
    let round = (round, options.bench.rounds());
    let heading = Heading { protocol: part.protocol, arm: &arm.name, round, seconds };
    live::watch_questions(heading, arm, |progress| {
        let measured = measure(options.connections as usize, stored, arm, part, progress)?;
        judged(options.bench.method.lag_max(), stored, arm, part, measured)
    })
}

/// What was asked, and what that cost.
struct Measured {
    asked: Asked,
    /// Since the warm-up ended.
    cpu: CpuTimes,
    /// When that was.
    since: Nanos,
    /// Bytes from disks.
    read: Option<f64>,
    /// The relay's own counters of refusals.
    moved: Vec<String>,
}

fn measure(
    connections: usize,
    stored: &Stored,
    arm: &RunningArm,
    part: &Part,
    progress: &Progress,
) -> Result<Measured> {
    let pod = &arm.pods[0];
    let reads = || pod.pid.and_then(super::read_bytes);
    let counters = Counters::read(&arm.pods);
    let read_before = reads();
    let clock = Clock::start();
    let (asked, (since, cpu_before)) = thread::scope(|scope| {
        let (over, is_over) = sync_channel::<()>(0);
        // Whoever asks would be late for reading it.
        let warm = scope.spawn(move || {
            let _ = is_over.recv_timeout(Duration::from_nanos(part.warm_up));
            anyhow::Ok((clock.now(), CpuTimes::read([pod.pid])?))
        });
        let asked = ask::ask_watched(&pod.target, connections, &stored.requests, part.pace, clock, progress);
        drop(over);
        let warm = warm.join().unwrap_or_else(|_| Err(anyhow!("a sampling thread panicked")));
        anyhow::Ok((asked?, warm?))
    })?;
    let cpu = CpuTimes::read([pod.pid])? - cpu_before;
    let moved = Counters::read(&arm.pods).moved_since(&counters);
    let read = reads().zip(read_before).map(|(now, then)| now.saturating_sub(then) as f64);
    Ok(Measured { asked, cpu, since, read, moved })
}

fn judged(lag_max: Nanos, stored: &Stored, arm: &RunningArm, part: &Part, measured: Measured) -> Result<Outcome> {
    let Measured { asked, cpu, since, read, moved } = measured;
    let checked = Checked::of(stored, &asked);
    let answered = asked.answers.len() - asked.unanswered();
    let counted_from = asked.start + part.warm_up;
    let counted: Vec<_> = asked.answers.iter().filter(|answer| answer.intended >= counted_from).collect();
    let finished = counted.iter().filter_map(|answer| answer.finished);
    let seconds = finished.clone().max().unwrap_or(counted_from).saturating_sub(counted_from).max(1) as f64 / 1e9;
    let served = asked.answers.iter().filter(|answer| answer.finished.is_some_and(|at| at >= since)).count();
    let per_query = |cpu: f64| (served > 0).then(|| cpu * 1e6 / served as f64);
    let events: u64 = counted.iter().filter(|answer| answer.finished.is_some()).map(|a| u64::from(a.events)).sum();
    let is_open_loop = matches!(part.pace, Pace::Open(_));
    let lag = |answer: &&Answer| answer.sent.saturating_sub(answer.intended);
    let lag = Distribution::of(counted.iter().map(lag))?.filter(|_| is_open_loop);
    Ok(Outcome {
        void: void(&asked, &checked, &moved).or_else(|| unsteady(asked.busy, &counted, lag.as_ref(), lag_max)),
        figures: named([
            ("queries-per-s", Some(finished.count() as f64 / seconds)),
            ("events-returned-per-s", Some(events as f64 / seconds)),
            ("events-per-query", Some(events as f64 / counted.len().max(1) as f64)),
            ("bytes-per-query", Some(asked.bytes as f64 / answered.max(1) as f64)),
            ("relay-cpu-us-per-query", cpu.relay().and_then(per_query)),
            ("generator-cpu-us-per-query", per_query(cpu.generator)),
            ("asker-busy-share", Some(asked.busy)),
            ("elsewhere-share", cpu.elsewhere_share()),
            ("relay-resident-bytes", arm.pods[0].pid.and_then(resident_bytes).map(|bytes| bytes as f64)),
            ("relay-read-bytes", read),
            ("unanswered", Some(asked.unanswered() as f64)),
            ("refused", Some(asked.refused as f64)),
            ("answers-checked", Some(checked.checked as f64)),
            ("answers-wrong", Some(checked.wrong as f64)),
            ("answers-with-ties-in-another-order", Some(checked.ties as f64)),
        ]),
        latencies: latencies(stored, &counted, lag)?,
        complaint: asked.complaint.clone().or(checked.first_fault),
        ..Outcome::default()
    })
}

/// Of all questions, and of each class.
fn latencies(
    stored: &Stored,
    counted: &[&Answer],
    lag: Option<Distribution>,
) -> Result<BTreeMap<String, Distribution>> {
    let of_class = |class: Option<Class>| {
        let is_meant = |answer: &&&Answer| class.is_none_or(|c| stored.questions[answer.request].class == c);
        Distribution::of(counted.iter().filter(is_meant).filter_map(|answer| answer.latency()))
    };
    let mut latencies = BTreeMap::new();
    latencies.extend(of_class(None)?.map(|all| ("query".to_owned(), all)));
    for class in Class::ALL {
        latencies.extend(of_class(Some(class))?.map(|of_class| (format!("query-{class}"), of_class)));
    }
    latencies.extend(lag.map(|lag| ("generator-lag".to_owned(), lag)));
    Ok(latencies)
}

/// Fast answers that are wrong, or none, are no figures.
fn void(asked: &Asked, checked: &Checked, moved: &[String]) -> Option<String> {
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
    (!moved.is_empty()).then(|| moved.join("; "))
}

/// A closed loop has no schedule to be late for, and no queue that fills: whoever waits asks no more.
fn unsteady(busy: f64, counted: &[&Answer], lag: Option<&Distribution>, lag_max: Nanos) -> Option<String> {
    let Some(lag) = lag else { return too_busy("asks", busy) };
    let timed = || counted.iter().filter_map(|answer| Some((answer.intended, answer.latency()?))).collect::<Vec<_>>();
    late_generator(lag, lag_max).or_else(|| filling("answers", &timed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Nanos = 1_000_000;

    #[test]
    fn a_closed_loop_without_headroom_is_void() {
        let objection = |busy, lag: Option<&Distribution>| unsteady(busy, &[], lag, MILLI);
        assert!(objection(0.9, None).is_some_and(|void| void.contains("that asks was busy 90 %")));
        assert_eq!(objection(0.7, None), None);
        let lag = Distribution::of([1_000]).expect("bounds");
        assert_eq!(objection(0.9, lag.as_ref()), None, "late is what an open loop would be");
    }

    /// What speaks against 500 questions a second for nine seconds; `latency` by milliseconds since the first.
    fn course(lag: Nanos, latency: impl Fn(u64) -> Nanos) -> Option<String> {
        let answers: Vec<Answer> = (0..4_500)
            .map(|number| {
                let (after, intended) = (number * 2, number * 2 * MILLI);
                let finished = Some(intended + latency(after));
                Answer { request: 0, intended, sent: intended + lag, finished, events: 1 }
            })
            .collect();
        let lag = Distribution::of([lag]).expect("bounds");
        unsteady(0.1, &answers.iter().collect::<Vec<_>>(), lag.as_ref(), MILLI)
    }

    #[test]
    fn a_relay_that_answers_450_of_500_questions_a_second_voids_an_open_loop() {
        let void = course(0, |after| MILLI + after * MILLI / 9).expect("a queue");
        assert!(void.contains("answers took longer and longer, by 111.1 ms a second"), "{void}");
        assert_eq!(course(0, |after| MILLI + after % 7 * MILLI), None, "some questions take longer than others");
        let late = course(2 * MILLI, |after| after * MILLI / 9).expect("late");
        assert!(late.contains("the generator was"), "what may be its own doing is not blamed on the relay: {late}");
    }
}
