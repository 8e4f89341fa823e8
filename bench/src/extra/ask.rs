//! Asks questions over several connections, each as soon as the last is answered or at a fixed pace, and times each from the
//! instant it was due to its EOSE. Knows frames and subscriptions, not what an answer should be.

use std::time::Duration;

use anyhow::Result;

use crate::client::{Pool, Target};
use crate::frame;
use crate::measure::{Busy, Clock};
use crate::message::Message;
use crate::notes::Id;
use crate::progress::Progress;
use crate::schedule::{Nanos, Schedule};

/// How long one answer may take before it counts as none.
const PATIENCE: Nanos = 30_000_000_000;
const MASK: [u8; 4] = [0x21, 0x43, 0x65, 0x87];

/// A question and its end, framed before the clock starts.
pub(super) struct Request {
    question: Box<[u8]>,
    close: Box<[u8]>,
    /// Whether the ids of its answer are kept.
    is_sampled: bool,
}

impl Request {
    pub(super) fn new(number: usize, filter: &str, is_sampled: bool) -> Self {
        let framed = |text: String| {
            let mut frame = Vec::with_capacity(text.len() + 14);
            frame::append(&mut frame, frame::TEXT, text.as_bytes(), Some(MASK));
            frame.into_boxed_slice()
        };
        Self {
            question: framed(format!(r#"["REQ","q{number}",{filter}]"#)),
            close: framed(format!(r#"["CLOSE","q{number}"]"#)),
            is_sampled,
        }
    }
}

/// When the next question leaves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// One at a time on every connection, until so many were asked or the time is over.
    Closed { questions_max: usize, duration: Nanos },
    /// Whatever the relay does.
    Open(Schedule),
}

/// What became of one question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// The number of its request.
    pub(super) request: usize,
    pub(super) intended: Nanos,
    pub(super) sent: Nanos,
    /// When its EOSE came.
    pub(super) finished: Option<Nanos>,
    pub(super) events: u32,
}

impl Answer {
    pub(super) fn latency(&self) -> Option<Nanos> {
        Some(self.finished?.saturating_sub(self.intended))
    }
}

/// Everything that was asked.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) start: Nanos,
    pub(super) answers: Vec<Answer>,
    /// Request and ids, of the sampled ones, in the order they came.
    pub(super) samples: Vec<(usize, Vec<Id>)>,
    pub(super) bytes: u64,
    /// How much of its time the asking thread was at work.
    pub(super) busy: f64,
    pub(super) refused: usize,
    /// The first refusal or notice.
    pub(super) complaint: Option<String>,
}

impl Asked {
    /// Refused ones are among them.
    pub(super) fn unanswered(&self) -> usize {
        self.answers.iter().filter(|answer| answer.finished.is_none()).count()
    }
}

/// Asks `requests` in turn, over and over.
pub(super) fn ask(target: &Target, connections: usize, requests: &[Request], pace: Pace) -> Result<Asked> {
    ask_watched(target, connections, requests, pace, Clock::start(), &Progress::new())
}

/// The same by a `clock` that others look at, too; `progress` tells how it is going.
pub(super) fn ask_watched(
    target: &Target,
    connections: usize,
    requests: &[Request],
    pace: Pace,
    clock: Clock,
    progress: &Progress,
) -> Result<Asked> {
    let pool = Pool::open(std::iter::repeat_n(target, connections))?;
    Asker {
        outstanding: vec![0; connections],
        current: vec![None; requests.len()],
        pool,
        requests,
        pace,
        clock,
        progress,
        asked: Asked { start: clock.now(), ..Asked::default() },
    }
    .run()
}

struct Asker<'a> {
    pool: Pool,
    requests: &'a [Request],
    pace: Pace,
    clock: Clock,
    progress: &'a Progress,
    asked: Asked,
    /// By connection.
    outstanding: Vec<usize>,
    /// By request, the answer that is being given to it, and its sample if it has one.
    current: Vec<Option<(usize, Option<usize>)>>,
}

impl Asker<'_> {
    fn run(mut self) -> Result<Asked> {
        let busy = Busy::start();
        let mut readable = Vec::new();
        loop {
            let now = self.clock.now();
            let wake = match self.pace {
                Pace::Closed { questions_max, duration } => self.ask_answered(now, questions_max, duration)?,
                Pace::Open(schedule) => self.ask_due(now, schedule)?,
            };
            let give_up = self.asked.answers.last().map_or(now, |last| last.sent) + PATIENCE;
            let is_answered = self.outstanding.iter().all(|outstanding| *outstanding == 0);
            if wake.is_none() && (is_answered || now >= give_up) || self.pool.open_connections() == 0 {
                self.asked.busy = busy.share();
                return Ok(self.asked);
            }
            let timeout = wake.unwrap_or(give_up).min(give_up).saturating_sub(self.clock.now());
            self.pool.wait(Duration::from_nanos(timeout), &mut readable)?;
            for &connection in &readable {
                self.hear(connection)?;
            }
        }
    }

    /// Returns when to look again if nobody answers; `None` when there is nothing more to ask.
    fn ask_answered(&mut self, now: Nanos, questions_max: usize, duration: Nanos) -> Result<Option<Nanos>> {
        let end = self.asked.start + duration;
        for connection in 0..self.outstanding.len() {
            let is_over = now >= end || self.asked.answers.len() >= questions_max;
            if !is_over && self.outstanding[connection] == 0 {
                self.send(connection, now, now)?;
            }
        }
        Ok((now < end && self.asked.answers.len() < questions_max).then_some(end))
    }

    fn ask_due(&mut self, now: Nanos, schedule: Schedule) -> Result<Option<Nanos>> {
        loop {
            let number = self.asked.answers.len();
            if number == schedule.events() {
                return Ok(None);
            }
            let due = self.asked.start + schedule.due(number);
            if due > now {
                return Ok(Some(due));
            }
            self.send(number % self.outstanding.len(), due, now)?;
        }
    }

    fn send(&mut self, connection: usize, intended: Nanos, now: Nanos) -> Result<()> {
        let number = self.asked.answers.len();
        let request = number % self.requests.len();
        self.asked.answers.push(Answer { request, intended, sent: now, finished: None, events: 0 });
        let Request { question, is_sampled, .. } = &self.requests[request];
        // A connection the relay has closed answers nothing, which shows.
        if self.pool.connections[connection].is_open() {
            // The first time round is sample enough.
            let sample = (*is_sampled && number < self.requests.len()).then(|| {
                self.asked.samples.push((request, Vec::new()));
                self.asked.samples.len() - 1
            });
            self.current[request] = Some((number, sample));
            self.outstanding[connection] += 1;
            self.progress.sent(now.saturating_sub(intended));
            self.pool.connections[connection].push(question);
            self.pool.flush(connection)?;
        }
        Ok(())
    }

    fn hear(&mut self, connection: usize) -> Result<()> {
        let Self { pool, requests, clock, progress, asked, outstanding, current, .. } = self;
        let mut ended = Vec::new();
        pool.connections[connection].receive_texts(|text| {
            asked.bytes += text.len() as u64;
            let (label, subscription) = head(text);
            let request = subscription.and_then(|name| name.strip_prefix('q')?.parse::<usize>().ok());
            let entry = request.and_then(|request| Some((request, (*current.get(request)?)?)));
            match (label, entry) {
                ("EVENT", Some((_, (answer, sample)))) => {
                    asked.answers[answer].events += 1;
                    if let Some(sample) = sample {
                        asked.samples[sample].1.extend(id_of(text));
                    }
                }
                ("EOSE", Some((request, (answer, _)))) => {
                    let now = clock.now();
                    progress.answered(now.saturating_sub(asked.answers[answer].intended), true);
                    asked.answers[answer].finished = Some(now);
                    // What follows before the relay knows of the end is live, and no part of the answer.
                    current[request] = None;
                    ended.push(request);
                }
                ("CLOSED", Some((request, (answer, _)))) => {
                    asked.refused += 1;
                    progress.answered(clock.now().saturating_sub(asked.answers[answer].intended), false);
                    asked.complaint.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
                    current[request] = None;
                    ended.push(request);
                }
                ("NOTICE" | "CLOSED", None) => {
                    asked.complaint.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
                }
                _ => {}
            }
        })?;
        for request in ended {
            outstanding[connection] = outstanding[connection].saturating_sub(1);
            // Leaves with the next question, in one write.
            pool.connections[connection].push(&requests[request].close);
        }
        Ok(())
    }
}

/// The label and the subscription of a message, without reading the event behind them.
fn head(text: &[u8]) -> (&str, Option<&str>) {
    let mut quoted = text.split(|byte| *byte == b'"').skip(1).step_by(2);
    let mut next = || std::str::from_utf8(quoted.next()?).ok();
    (next().unwrap_or_default(), next())
}

fn id_of(text: &[u8]) -> Option<Id> {
    let Message::Event { id } = Message::read(text) else { return None };
    let mut bytes = Id::default();
    const_hex::decode_to_slice(id, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_told_by_its_first_two_strings() {
        assert_eq!(head(br#"["EVENT","q7",{"id":"ab"}]"#), ("EVENT", Some("q7")));
        assert_eq!(head(br#" [ "EOSE" , "q8" ]"#), ("EOSE", Some("q8")));
        assert_eq!(head(br#"["NOTICE"]"#), ("NOTICE", None));
        assert_eq!(head(b"not json"), ("", None));
    }
}
