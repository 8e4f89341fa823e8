//! A run to watch while it runs: a small block that is redrawn on a terminal, a line every few seconds elsewhere. Owns what is
//! shown; the load's own threads only add to the counters it reads, and what the watching costs is a figure of the run.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::artifact::Outcome;
use crate::launch::RunningArm;
use crate::measure::{process_cpu, thread_cpu};
use crate::progress::{Glance, Progress};

/// Every look draws twice, because words and bar are set one after the other.
const LOOK: Duration = Duration::from_millis(400);
const DRAWS_PER_SECOND_MAX: u8 = 5;
/// Between two lines where nobody can redraw.
const LINE: Duration = Duration::from_secs(5);
/// Rates are over this long, so that they are legible.
const WINDOW: Duration = Duration::from_secs(1);

/// What is being measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heading<'a> {
    pub(crate) protocol: &'a str,
    pub(crate) arm: &'a str,
    /// Which of how many; one of one goes without saying.
    pub(crate) round: (usize, usize),
    /// How long it publishes or asks.
    pub(crate) seconds: u32,
}

/// What a view calls what it counts.
#[derive(Clone, Copy, Debug)]
struct Words {
    sent: &'static str,
    acked: &'static str,
    /// In front of the percentiles.
    latency: &'static str,
}

const OF_EVENTS: Words = Words { sent: "sent", acked: "acked", latency: "ack" };
const OF_QUESTIONS: Words = Words { sent: "asked", acked: "answered", latency: "answer" };

/// Runs `load`, which publishes, and shows how it is going.
pub(crate) fn watch(
    heading: Heading<'_>,
    arm: &RunningArm,
    load: impl FnOnce(&Progress) -> Result<Outcome>,
) -> Result<Outcome> {
    watch_by(OF_EVENTS, heading, arm, load)
}

/// The same of one that asks.
pub(crate) fn watch_questions(
    heading: Heading<'_>,
    arm: &RunningArm,
    load: impl FnOnce(&Progress) -> Result<Outcome>,
) -> Result<Outcome> {
    watch_by(OF_QUESTIONS, heading, arm, load)
}

fn watch_by(
    words: Words,
    heading: Heading<'_>,
    arm: &RunningArm,
    load: impl FnOnce(&Progress) -> Result<Outcome>,
) -> Result<Outcome> {
    let progress = Progress::new();
    let pids: Vec<u32> = arm.pods.iter().filter_map(|pod| pod.pid).collect();
    let began = Instant::now();
    thread::scope(|scope| {
        let (over, is_over) = sync_channel::<()>(0);
        let watching = scope.spawn(|| show(View::new(words, heading), &progress, &pids, is_over));
        let outcome = load(&progress);
        drop(over);
        // A view that fell over costs a look at the run, never the run.
        let share = watching.join().ok().map(|cpu| cpu.as_secs_f64() / began.elapsed().as_secs_f64());
        let mut outcome = outcome?;
        outcome.figures.extend(share.map(|share| ("view-cpu-share".to_owned(), share)));
        Ok(outcome)
    })
}

/// Until the other end of `is_over` is dropped. Returns the processor time this took.
fn show(mut view: View<'_>, progress: &Progress, pids: &[u32], is_over: Receiver<()>) -> Duration {
    let bar = std::io::stderr().is_terminal().then(|| bar(&view));
    let mut last_line = Instant::now();
    while is_over.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        view.add(Seen { at: Instant::now(), glance: progress.glance(), cpu_s: cpu_s(pids) });
        if let Some(bar) = &bar {
            bar.set_message(format!("{}\n{}", view.time(), view.state().join("\n")));
            bar.set_position(view.elapsed().as_millis() as u64);
        } else if last_line.elapsed() >= LINE {
            last_line = Instant::now();
            let line = [vec![view.time()], view.state()].concat().join(" · ");
            // Whoever listened may have left.
            let _ = writeln!(std::io::stderr(), "{}: {line}", view.title());
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    thread_cpu()
}

fn bar(view: &View<'_>) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND_MAX);
    let bar = ProgressBar::with_draw_target(Some(u64::from(view.heading.seconds) * 1_000), target);
    let style = ProgressStyle::with_template("{prefix:.bold}\n{wide_bar:.cyan/dim}\n{msg}");
    let style = style.map_or_else(|_| ProgressStyle::default_bar(), |style| style.progress_chars("━╸─"));
    bar.with_style(style).with_prefix(view.title())
}

/// Of all the relay's processes; none is known of a relay that somebody else started.
fn cpu_s(pids: &[u32]) -> Option<f64> {
    if pids.is_empty() {
        return None;
    }
    pids.iter().map(|pid| process_cpu(&pid.to_string()).ok()).sum()
}

/// What was there at one instant.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    glance: Glance,
    cpu_s: Option<f64>,
}

/// What was seen of a run lately, and how it is put.
struct View<'a> {
    words: Words,
    heading: Heading<'a>,
    /// When the first event was seen to have left.
    started: Option<Instant>,
    /// Oldest first; a window's worth.
    recent: VecDeque<Seen>,
}

impl<'a> View<'a> {
    fn new(words: Words, heading: Heading<'a>) -> Self {
        Self { words, heading, started: None, recent: VecDeque::new() }
    }

    fn add(&mut self, seen: Seen) {
        if self.started.is_none() && seen.glance.sent > 0 {
            self.started = Some(seen.at);
        }
        // The last that is a whole window old stays, to be compared with.
        while self.recent.get(1).is_some_and(|second| seen.at - second.at >= WINDOW) {
            self.recent.pop_front();
        }
        self.recent.push_back(seen);
    }

    fn elapsed(&self) -> Duration {
        self.started.zip(self.recent.back()).map_or(Duration::ZERO, |(started, last)| last.at - started)
    }

    fn title(&self) -> String {
        let Heading { protocol, arm, round: (round, rounds), .. } = self.heading;
        let which = if rounds > 1 { format!(", round {round} of {rounds}") } else { String::new() };
        format!("{protocol}, {arm}{which}")
    }

    fn time(&self) -> String {
        let seconds = self.heading.seconds;
        match self.elapsed().as_secs() {
            _ if self.started.is_none() => "getting ready".into(),
            elapsed if elapsed >= u64::from(seconds) => "waiting for the last answers".into(),
            elapsed => format!("{elapsed} of {seconds} s"),
        }
    }

    /// Two short lines: how much, and how fast at what cost. Nothing before the first event.
    fn state(&self) -> Vec<String> {
        let Some((first, last)) = self.recent.front().zip(self.recent.back()).filter(|_| self.started.is_some()) else {
            return Vec::new();
        };
        let seconds = (last.at - first.at).as_secs_f64();
        let rate = |of: fn(&Glance) -> u64, what| {
            let events = of(&last.glance).saturating_sub(of(&first.glance)) as f64;
            (seconds > 0.0).then(|| format!("{:.0} {what}/s", events / seconds))
        };
        let Glance { delivered, refused, outstanding, ack_p50_us, ack_p99_us, .. } = last.glance;
        let lag = self.recent.iter().map(|seen| seen.glance.lag_max_us).fold(0.0, f64::max);
        let cores = last.cpu_s.zip(first.cpu_s).filter(|_| seconds > 0.0).map(|(now, then)| (now - then) / seconds);
        let millis = |name: &str, micros: f64| format!("{name} {:.2} ms", micros / 1e3);
        let Words { sent, acked, latency } = self.words;
        let how_much = [
            rate(|glance| glance.sent, sent),
            rate(|glance| glance.acked, acked),
            rate(|glance| glance.delivered, "delivered").filter(|_| delivered > 0),
            Some(format!("{outstanding} unanswered")),
            (refused > 0).then(|| format!("{refused} REFUSED")),
        ];
        let how_fast = [
            ack_p50_us.map(|micros| millis(&format!("{latency} p50"), micros)),
            ack_p99_us.map(|micros| millis("p99", micros)),
            Some(millis("generator lag", lag)),
            cores.map(|cores| format!("relay {cores:.2} cores")),
        ];
        let line = |parts: Vec<Option<String>>| parts.into_iter().flatten().collect::<Vec<_>>().join(" · ");
        vec![line(how_much.into()), line(how_fast.into())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Distribution;
    use anyhow::anyhow;

    const HEADING: Heading<'_> = Heading { protocol: "same-pod", arm: "towpath", round: (2, 8), seconds: 20 };

    fn glance(sent: u64, acked: u64) -> Glance {
        Glance {
            sent,
            acked,
            refused: 0,
            delivered: 0,
            outstanding: sent - acked,
            lag_max_us: 40.0,
            ack_p50_us: Some(340.0),
            ack_p99_us: Some(710.0),
        }
    }

    /// A view that looked every quarter of a second while 200 events a second left, for so many seconds.
    fn watched(seconds: u32) -> View<'static> {
        let start = Instant::now();
        let mut view = View::new(OF_EVENTS, HEADING);
        for quarter in 0..=seconds * 4 {
            let at = start + Duration::from_millis(250) * quarter;
            let sent = 50 * u64::from(quarter) + 1;
            view.add(Seen { at, glance: glance(sent, sent - 1), cpu_s: Some(f64::from(quarter) * 0.1) });
        }
        view
    }

    #[test]
    fn rates_are_of_the_last_second_and_the_cost_too() {
        let view = watched(5);
        assert_eq!(format!("{}, {}", view.title(), view.time()), "same-pod, towpath, round 2 of 8, 5 of 20 s");
        let expected = [
            "200 sent/s · 200 acked/s · 1 unanswered",
            "ack p50 0.34 ms · p99 0.71 ms · generator lag 0.04 ms · relay 0.40 cores",
        ];
        assert_eq!(view.state(), expected);
        assert_eq!(view.recent.len(), 5, "no more is kept than a window's worth");
    }

    #[test]
    fn questions_are_asked_and_answered() {
        let state = View { words: OF_QUESTIONS, ..watched(5) }.state().join(" ");
        assert!(state.starts_with("200 asked/s · 200 answered/s · 1 unanswered answer p50 0.34 ms · p99"), "{state}");
    }

    #[test]
    fn before_the_first_event_and_after_the_last_it_says_what_it_waits_for() {
        let mut view = View::new(OF_EVENTS, HEADING);
        assert_eq!((view.time().as_str(), view.state().len()), ("getting ready", 0));
        view.add(Seen { at: Instant::now(), glance: glance(0, 0), cpu_s: None });
        assert_eq!((view.time().as_str(), view.state().len()), ("getting ready", 0));
        assert_eq!(watched(21).time(), "waiting for the last answers");
    }

    #[test]
    fn refusals_and_deliveries_show_when_there_are_any() {
        let mut view = watched(2);
        let last = *view.recent.back().expect("seen");
        let troubled = Glance { refused: 3, delivered: 5_000, ..last.glance };
        view.add(Seen { at: last.at + Duration::from_millis(250), glance: troubled, cpu_s: None });
        let state = view.state().join(" ");
        for (part, is_there) in [("5000 delivered/s", true), ("3 REFUSED", true), ("cores", false)] {
            assert_eq!(state.contains(part), is_there, "{part}: {state}");
        }
    }

    #[test]
    fn what_was_watched_comes_back_with_the_cost_of_watching() {
        let arm = RunningArm::at([]);
        let ack = Distribution::of([1_000]).expect("bounds").expect("a sample");
        let outcome = watch(HEADING, &arm, |progress| {
            progress.sent(0);
            let latencies = [("ack".to_owned(), ack.clone())].into();
            Ok(Outcome { latencies, ..Outcome::default() })
        });
        let outcome = outcome.expect("an outcome");
        assert_eq!(outcome.latency("ack"), Some(&ack));
        assert!(outcome.figure("view-cpu-share").is_some_and(|share| (0.0..1.0).contains(&share)));
        let failed = watch(HEADING, &arm, |_| Err(anyhow!("the relay did not start")));
        assert_eq!(failed.expect_err("a failure").to_string(), "the relay did not start");
    }
}
