//! Many connections that only listen: they come at a bounded pace, subscribe, and are kept alive while something else is
//! measured. Knows no publishers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use rustix::process::{Resource, getrlimit};

use crate::artifact::Outcome;
use crate::client::{Pool, Target};
use crate::message::Message;

/// Connections come in waves, with a pause between: what is measured is having them, not getting them.
const WAVE: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);
/// Requests of one connection that wait for their EOSE.
const WINDOW: usize = 32;
const SILENCE_MAX: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(20);
/// A listening thread looks seldom whether it is over: it must not take the machine from what is measured.
const LOOK_UP: Duration = Duration::from_millis(200);
/// Files the programme has open beside the crowd's connections.
const OTHER_FILES: u64 = 200;

/// Connections with their subscriptions.
pub(super) struct Crowd {
    pub(super) pool: Pool,
}

/// How subscribing went.
#[derive(Debug, Default)]
pub(super) struct Subscribed {
    pub(super) subscriptions: usize,
    pub(super) refused: usize,
    pub(super) seconds: f64,
    /// The first refusal.
    pub(super) complaint: Option<String>,
}

/// What came while the crowd listened.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// By connection.
    pub(super) events: Vec<u32>,
    pub(super) closed_connections: usize,
    /// The first subscription the relay ended, or its first notice.
    pub(super) complaint: Option<String>,
}

impl Subscribed {
    /// What speaks against figures of all these subscriptions.
    pub(super) fn objection(&self) -> Option<String> {
        (self.refused > 0).then(|| format!("{} subscriptions were refused", self.refused))
    }
}

impl Heard {
    /// What speaks against figures of connections that were to listen all along.
    pub(super) fn objection(&self) -> Option<String> {
        if self.closed_connections > 0 {
            return Some(format!("the relay ended {} connections", self.closed_connections));
        }
        self.complaint.as_ref().map(|complaint| format!("the relay said: {complaint}"))
    }
}

/// Voids figures that could be used, for what the relay did.
pub(super) fn void(outcome: &mut Outcome, objection: Option<String>) {
    if outcome.void.is_none() && objection.is_some() {
        outcome.void = objection;
        outcome.is_voided_by_relay = true;
    }
}

impl Crowd {
    pub(super) fn gather(target: &Target, size: usize) -> Result<Self> {
        check_files(size as u64)?;
        let paced = std::iter::repeat_n(target, size).enumerate().map(|(number, target)| {
            if number % WAVE == WAVE - 1 {
                thread::sleep(PAUSE);
            }
            target
        });
        Ok(Self { pool: Pool::open(paced)? })
    }

    pub(super) fn size(&self) -> usize {
        self.pool.connections.len()
    }

    /// Sends the requests `request(connection, 0)`, `request(connection, 1)` … of every connection, until there is none, and
    /// waits for what is stored to end.
    pub(super) fn subscribe(&mut self, request: impl Fn(usize, usize) -> Option<String>) -> Result<Subscribed> {
        let start = Instant::now();
        let mut last_heard = start;
        let mut found = Subscribed::default();
        let mut states = vec![Asking::default(); self.size()];
        let mut unfinished = self.size();
        let mut readable: Vec<usize> = (0..self.size()).collect();
        loop {
            // Only who was heard of can have room for more.
            for &connection in &readable {
                let state = &mut states[connection];
                while !state.is_done && state.asked.saturating_sub(state.ended) < WINDOW {
                    match request(connection, state.asked) {
                        Some(text) => {
                            self.pool.connections[connection].push_text(&text);
                            state.asked += 1;
                        }
                        None => state.is_done = true,
                    }
                }
                self.pool.flush(connection)?;
                // One that is ended again has ended twice.
                if state.is_done && state.asked <= state.ended && !std::mem::replace(&mut state.is_counted, true) {
                    unfinished -= 1;
                }
            }
            if unfinished == 0 {
                found.seconds = start.elapsed().as_secs_f64();
                return Ok(found);
            }
            self.pool.wait(GLANCE, &mut readable)?;
            if readable.is_empty() {
                self.check(&found, last_heard)?;
            }
            for &connection in &readable {
                last_heard = Instant::now();
                states[connection].ended += hear_end(&mut self.pool, connection, &mut found)?;
            }
        }
    }

    /// Whether there is still something to wait for.
    fn check(&self, found: &Subscribed, last_heard: Instant) -> Result<()> {
        ensure!(
            self.pool.open_connections() == self.size(),
            "the relay closed a connection after {} subscriptions",
            found.subscriptions
        );
        ensure!(last_heard.elapsed() < SILENCE_MAX, "subscriptions wait for their EOSE in vain");
        Ok(())
    }

    /// Listens, on a thread of its own, for as long as `work` takes.
    pub(super) fn listen_while<T>(&mut self, work: impl FnOnce(&Tally) -> Result<T>) -> Result<(T, Heard)> {
        let tally = Tally::default();
        thread::scope(|scope| {
            let listening = scope.spawn(|| self.listen(&tally));
            let done = {
                let _end = EndOfListening(&tally);
                work(&tally)
            };
            let heard = listening.join().unwrap_or_else(|_| Err(anyhow!("a listening thread panicked")))?;
            Ok((done?, heard))
        })
    }

    fn listen(&mut self, tally: &Tally) -> Result<Heard> {
        let mut heard = Heard { events: vec![0; self.size()], ..Heard::default() };
        let mut readable = Vec::new();
        while !tally.is_over.load(Ordering::Relaxed) {
            self.pool.wait(LOOK_UP, &mut readable)?;
            for &connection in &readable {
                let Heard { events, complaint, .. } = &mut heard;
                self.pool.connections[connection].receive(|message| match message {
                    Message::Event { .. } => {
                        events[connection] += 1;
                        tally.events.fetch_add(1, Ordering::Relaxed);
                    }
                    Message::Closed(text) | Message::Notice(text) => {
                        complaint.get_or_insert_with(|| text.to_owned());
                    }
                    _ => {}
                })?;
                self.pool.flush(connection)?;
            }
        }
        heard.closed_connections = self.size() - self.pool.open_connections();
        Ok(heard)
    }
}

/// How far one connection is with its requests.
#[derive(Clone, Default)]
struct Asking {
    asked: usize,
    ended: usize,
    /// Nothing more to ask.
    is_done: bool,
    /// Nothing more to hear.
    is_counted: bool,
}

/// What the working thread may know of the listening one.
#[derive(Default)]
pub(super) struct Tally {
    is_over: AtomicBool,
    events: AtomicUsize,
}

/// Whichever way the work ends, the listening thread is told.
struct EndOfListening<'a>(&'a Tally);

impl Drop for EndOfListening<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

impl Tally {
    /// Returns once so many events came, or after `patience`; how long it took.
    pub(super) fn wait_for(&self, events: usize, patience: Duration) -> Duration {
        let start = Instant::now();
        while self.events.load(Ordering::Relaxed) < events && start.elapsed() < patience {
            thread::sleep(Duration::from_millis(1));
        }
        start.elapsed()
    }
}

/// The number of requests that were answered.
fn hear_end(pool: &mut Pool, connection: usize, found: &mut Subscribed) -> Result<usize> {
    let mut ended = 0;
    let mut notice = None;
    pool.connections[connection].receive(|message| match message {
        Message::Eose => {
            ended += 1;
            found.subscriptions += 1;
        }
        Message::Closed(text) => {
            ended += 1;
            found.refused += 1;
            found.complaint.get_or_insert_with(|| text.to_owned());
        }
        Message::Notice(text) => notice = Some(text.to_owned()),
        _ => {}
    })?;
    match notice {
        // A request that is answered with a notice has no EOSE, which would be waited for in vain.
        Some(notice) => bail!("after {} subscriptions the relay said: {notice}", found.subscriptions),
        None => Ok(ended),
    }
}

/// Says when the system allows this process fewer open files than it needs.
fn check_files(connections: u64) -> Result<()> {
    let allowed = getrlimit(Resource::Nofile).current;
    let needed = connections + OTHER_FILES;
    ensure!(
        allowed.is_none_or(|allowed| allowed >= needed),
        "{connections} connections need {needed} open files, and the system allows {}: raise it (ulimit -n) or take fewer",
        allowed.unwrap_or_default()
    );
    Ok(())
}
