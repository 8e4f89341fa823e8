//! What others do to the relay while it is measured: they ask for stored events, count them, come and go. Each at a pace of its
//! own that no answer changes, and each timed from the instant it was due.

use std::collections::VecDeque;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{GLANCE, Over, Plan, joined, spread};
use crate::client::{Connection, Pool, Target};
use crate::measure::Clock;
use crate::message::head;
use crate::schedule::{Nanos, Schedule};

/// Questions a second; every tenth is a COUNT.
const QUESTIONS_RATE: u32 = 50;
const COUNT_EVERY: usize = 10;
/// Newest notes asked for at once.
const LIMIT: usize = 20;
/// Visitors a second, each with a subscription that nothing matches.
const VISITORS_RATE: u32 = 10;
/// How many of them are there at a time.
const VISITORS_MAX: usize = 20;
/// What a relay has to say whether it can count.
const PROBE_MAX: Duration = Duration::from_secs(2);
/// How long the last answers are waited for.
const PATIENCE: Nanos = 5_000_000_000;
/// Nobody runs for longer.
const SECONDS_MAX: u32 = 7_200;

/// One thing that was done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    pub(super) due: Nanos,
    pub(super) took: Nanos,
}

/// What became of all of them.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) queries: Vec<Timed>,
    pub(super) counts: Vec<Timed>,
    pub(super) connects: Vec<Timed>,
    /// Connections that the relay ended.
    pub(super) cut: usize,
    /// The first refusal, notice or silence.
    pub(super) complaint: Option<String>,
}

/// Everything connected, before the clock starts.
pub(super) struct Background {
    pool: Pool,
    visited: Vec<Target>,
    authors: Vec<String>,
    can_count: bool,
}

impl Background {
    pub(super) fn prepare(plan: &Plan<'_>) -> Result<Self> {
        let pods = plan.publishers_at;
        let mut pool = Pool::open(spread(pods, pods.len()))?;
        let can_count = can_count(&mut pool)?;
        let authors = plan.notes.all.iter().take(crate::notes::AUTHORS).map(|note| const_hex::encode(note.author));
        Ok(Self { pool, visited: spread(pods, pods.len()).cloned().collect(), authors: authors.collect(), can_count })
    }

    pub(super) fn start<'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
        clock: Clock,
        start: Nanos,
        over: &'scope Over,
    ) -> Running<'scope> {
        let Self { pool, visited, authors, can_count } = self;
        let asker = Asker { pool, authors, can_count, clock, start, questions: Vec::new(), found: Found::default() };
        Running {
            asking: scope.spawn(|| asker.run(over)),
            visiting: scope.spawn(move || visit(&visited, clock, start, over)),
        }
    }
}

/// The threads that do it.
pub(super) struct Running<'scope> {
    asking: ScopedJoinHandle<'scope, Result<Found>>,
    visiting: ScopedJoinHandle<'scope, Result<Found>>,
}

impl Running<'_> {
    pub(super) fn join(self) -> Result<Found> {
        let (asked, visited) = (joined(self.asking), joined(self.visiting));
        let (asked, visited) = (asked?, visited?);
        Ok(Found {
            connects: visited.connects,
            cut: asked.cut + visited.cut,
            complaint: asked.complaint.or(visited.complaint),
            ..asked
        })
    }
}

/// Not every relay can, and one that cannot is measured without.
fn can_count(pool: &mut Pool) -> Result<bool> {
    pool.connections[0].push_text(r#"["COUNT","probe",{"kinds":[1],"limit":1}]"#);
    pool.flush(0)?;
    let mut readable = Vec::new();
    let mut answer = None;
    for _ in 0..PROBE_MAX.as_nanos() / GLANCE.as_nanos() {
        pool.wait(GLANCE, &mut readable)?;
        for &connection in &readable {
            pool.connections[connection].receive_texts(|text| match head(text) {
                ("COUNT", _) => answer = Some(true),
                ("CLOSED" | "NOTICE", _) => answer = Some(false),
                _ => {}
            })?;
        }
        if let Some(answer) = answer {
            return Ok(answer);
        }
    }
    Ok(false)
}

/// One question: a REQ or a COUNT, and when its answer was complete.
struct Question {
    due: Nanos,
    is_count: bool,
    finished: Option<Nanos>,
}

struct Asker {
    pool: Pool,
    authors: Vec<String>,
    can_count: bool,
    clock: Clock,
    start: Nanos,
    questions: Vec<Question>,
    found: Found,
}

impl Asker {
    fn run(mut self, over: &Over) -> Result<Found> {
        let schedule = Schedule::new(QUESTIONS_RATE, SECONDS_MAX);
        let mut readable = Vec::new();
        let mut end = None;
        loop {
            let now = self.clock.now();
            if end.is_none() && over.is_over() {
                end = Some(now);
            }
            let outstanding = self.questions.iter().filter(|question| question.finished.is_none()).count();
            if end.is_some_and(|end| outstanding == 0 || now > end + PATIENCE) {
                break;
            }
            while end.is_none() && self.start + schedule.due(self.questions.len()) <= now {
                self.ask(self.start + schedule.due(self.questions.len()))?;
            }
            let next = self.start + schedule.due(self.questions.len());
            let timeout = Duration::from_nanos(next.saturating_sub(now)).min(GLANCE).max(Duration::from_micros(100));
            self.pool.wait(timeout, &mut readable)?;
            for &connection in &readable {
                self.hear(connection)?;
            }
        }
        Ok(self.settle())
    }

    fn ask(&mut self, due: Nanos) -> Result<()> {
        let number = self.questions.len();
        let connection = number % self.pool.connections.len();
        let author = &self.authors[number % self.authors.len()];
        let is_count = self.can_count && number % COUNT_EVERY == COUNT_EVERY - 1;
        let text = if is_count {
            format!(r#"["COUNT","{number}",{{"kinds":[1],"authors":["{author}"]}}]"#)
        } else {
            format!(r#"["REQ","{number}",{{"kinds":[1],"authors":["{author}"],"limit":{LIMIT}}}]"#)
        };
        self.pool.connections[connection].push_text(&text);
        self.questions.push(Question { due, is_count, finished: None });
        Ok(self.pool.flush(connection)?)
    }

    fn hear(&mut self, connection: usize) -> Result<()> {
        let Self { pool, clock, questions, found, .. } = self;
        let mut ended = Vec::new();
        pool.connections[connection].receive_texts(|text| {
            let (label, subscription) = head(text);
            let number = subscription.and_then(|number| number.parse::<usize>().ok());
            match label {
                "EOSE" | "COUNT" => {
                    let question = number.and_then(|number| questions.get_mut(number));
                    if let Some(question) = question {
                        question.finished.get_or_insert_with(|| clock.now());
                        ended.extend(number.filter(|_| !question.is_count));
                    }
                }
                "CLOSED" | "NOTICE" => {
                    found.complaint.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
                }
                _ => {}
            }
        })?;
        for number in ended {
            pool.connections[connection].push_text(&format!(r#"["CLOSE","{number}"]"#));
        }
        Ok(pool.flush(connection)?)
    }

    fn settle(mut self) -> Found {
        let unanswered = self.questions.iter().filter(|question| question.finished.is_none()).count();
        if unanswered > 0 {
            self.found.complaint.get_or_insert_with(|| format!("nothing to {unanswered} background questions"));
        }
        for Question { due, is_count, finished } in self.questions {
            let Some(finished) = finished else { continue };
            let timed = Timed { due, took: finished.saturating_sub(due) };
            if is_count { self.found.counts.push(timed) } else { self.found.queries.push(timed) }
        }
        self.found.cut = self.pool.connections.len() - self.pool.open_connections();
        self.found
    }
}

/// Visitors come at their instants; the first to come is the first to leave.
fn visit(targets: &[Target], clock: Clock, start: Nanos, over: &Over) -> Result<Found> {
    let schedule = Schedule::new(VISITORS_RATE, SECONDS_MAX);
    let mut found = Found::default();
    let mut visitors = VecDeque::new();
    while !over.is_over() {
        let due = start + schedule.due(found.connects.len());
        let early = Duration::from_nanos(due.saturating_sub(clock.now()));
        if !early.is_zero() {
            thread::sleep(early.min(GLANCE));
            continue;
        }
        let target = &targets[found.connects.len() % targets.len()];
        let mut visitor = Connection::open(target).context("a visitor was not let in")?;
        found.connects.push(Timed { due, took: clock.now().saturating_sub(due) });
        visitor.push_text(r#"["REQ","visit",{"kinds":[7],"limit":1}]"#);
        visitor.flush_now();
        visitors.push_back(visitor);
        if visitors.len() > VISITORS_MAX {
            let leaving = visitors.pop_front();
            found.complaint = found.complaint.or(leaving.and_then(leave));
        }
    }
    for visitor in visitors {
        found.complaint = found.complaint.or(leave(visitor));
    }
    Ok(found)
}

/// Reads what was said meanwhile, says goodbye and goes; returns what there was to complain about.
fn leave(mut visitor: Connection) -> Option<String> {
    let mut complaint = None;
    let heard = visitor.receive_texts(|text| {
        if let ("CLOSED" | "NOTICE", _) = head(text) {
            complaint.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
        }
    });
    let was_cut = !visitor.is_open();
    visitor.push_close();
    visitor.flush_now();
    let broken = heard.err().map(|failure| format!("{failure:#}"));
    complaint.or(broken).or_else(|| was_cut.then(|| "nothing, and ended a visitor's connection".to_owned()))
}
