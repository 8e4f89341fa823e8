//! The publisher: one thread, many connections, one pace.

use anyhow::Result;

use super::{Pacing, Plan};
use crate::account::Record;
use crate::client::Pool;
use crate::measure::{Busy, Clock};
use crate::message::Message;
use crate::notes::Notes;
use crate::progress::Progress;
use crate::schedule::Nanos;

use std::time::Duration;

/// An idle core takes some 50 us to wake, which would count as the relay's latency. So the publisher is awake before an event
/// is due, and looks at its sockets until then …
const WATCHFUL: Nanos = 80_000;
/// … as long as that is less than such a share of its time; a core that never sleeps needs no waking.
const WATCHFUL_SHARE: Nanos = 10;

/// What NIP-01 has a relay say of an event that it has.
const KNOWN: &str = "duplicate:";

/// What the publisher saw, by event.
pub(super) struct Published {
    pub(super) start: Nanos,
    pub(super) records: Vec<Record>,
    /// Connections that the relay ended.
    pub(super) cut: usize,
    /// The first refusal or notice.
    pub(super) complaint: Option<String>,
    /// How much of its time this thread was at work.
    pub(super) busy: f64,
}

pub(super) struct Publisher<'a> {
    pool: Pool,
    notes: &'a Notes,
    pacing: Pacing,
    clock: Clock,
    start: Nanos,
    drain: Nanos,
    records: Vec<Record>,
    /// The first event that has not had its turn.
    next: usize,
    last_sent: Nanos,
    /// By connection.
    unanswered: Vec<usize>,
    complaint: Option<String>,
    busy: f64,
    progress: &'a Progress,
    /// How long before an event is due sleep ends.
    watchful: Nanos,
}

impl<'a> Publisher<'a> {
    pub(super) fn new(plan: &Plan<'a>, pool: Pool, clock: Clock, start: Nanos, progress: &'a Progress) -> Self {
        let events = match plan.pacing {
            Pacing::Open(schedule) => schedule.events().min(plan.notes.len()),
            Pacing::Closed { .. } => plan.notes.len(),
        };
        Self {
            unanswered: vec![0; pool.connections.len()],
            pool,
            notes: plan.notes,
            pacing: plan.pacing,
            clock,
            start,
            drain: plan.method.drain().as_nanos() as Nanos,
            records: vec![Record::default(); events],
            next: 0,
            last_sent: start,
            complaint: None,
            busy: 0.0,
            progress,
            watchful: match plan.pacing {
                Pacing::Open(schedule) if schedule.gap() >= WATCHFUL_SHARE * WATCHFUL => WATCHFUL,
                _ => 0,
            },
        }
    }

    /// Until every event is answered, or nobody answers any more.
    pub(super) fn run(&mut self) -> Result<()> {
        let busy = Busy::start();
        let mut readable = Vec::new();
        loop {
            let now = self.clock.now();
            let wake = match self.pacing {
                Pacing::Open(schedule) => {
                    self.send_due(now, |event| schedule.due(event))?;
                    (self.next < self.records.len()).then(|| self.start + schedule.due(self.next))
                }
                Pacing::Closed { in_flight, duration } => self.send_answered(now, in_flight, duration)?,
            };
            let is_answered = self.unanswered.iter().sum::<usize>() == 0;
            let give_up = self.last_sent + self.drain;
            if wake.is_none() && (is_answered || now >= give_up) || self.pool.open_connections() == 0 {
                break;
            }
            let timeout = wake.unwrap_or(give_up).saturating_sub(self.clock.now());
            match timeout.checked_sub(self.watchful) {
                Some(asleep) => self.pool.wait(Duration::from_nanos(asleep), &mut readable)?,
                None => self.pool.look(&mut readable)?,
            }
            for &connection in &readable {
                self.hear(connection)?;
            }
        }
        self.busy = busy.share();
        Ok(())
    }

    /// Listens a little longer, for a second answer to the last events and for connections that end.
    pub(super) fn linger(&mut self, time: Duration) -> Result<()> {
        let end = self.clock.now() + time.as_nanos() as Nanos;
        let mut readable = Vec::new();
        while let Some(left) = end.checked_sub(self.clock.now())
            && self.pool.open_connections() > 0
        {
            self.pool.wait(Duration::from_nanos(left), &mut readable)?;
            for &connection in &readable {
                self.hear(connection)?;
            }
        }
        Ok(())
    }

    pub(super) fn acked(&self) -> usize {
        self.records.iter().filter(|record| record.accepted).count()
    }

    pub(super) fn finish(self) -> Published {
        let cut = self.pool.connections.len() - self.pool.open_connections();
        let Self { start, records, complaint, busy, .. } = self;
        Published { start, records, cut, complaint, busy }
    }

    /// Open loop: every event whose instant has come leaves, in one write where several of one
    /// connection are due at once.
    fn send_due(&mut self, now: Nanos, due: impl Fn(usize) -> Nanos) -> Result<()> {
        let first = self.next;
        while self.next < self.records.len() && self.start + due(self.next) <= now {
            let connection = self.next % self.pool.connections.len();
            self.send(connection, self.start + due(self.next), now);
        }
        let touched = (self.next - first).min(self.pool.connections.len());
        for event in first..first + touched {
            self.pool.flush(event % self.pool.connections.len())?;
        }
        Ok(())
    }

    /// Closed loop: an answer makes room for an event. Returns when to look again if nobody answers.
    fn send_answered(&mut self, now: Nanos, in_flight: usize, duration: Nanos) -> Result<Option<Nanos>> {
        let end = self.start + duration;
        if now < self.start {
            return Ok(Some(self.start));
        }
        if now >= end || self.next == self.records.len() {
            return Ok(None);
        }
        for connection in 0..self.pool.connections.len() {
            let is_open = self.pool.connections[connection].is_open();
            let before = self.next;
            while is_open && self.unanswered[connection] < in_flight && self.next < self.records.len() {
                self.send(connection, now, now);
            }
            if self.next > before {
                self.pool.flush(connection)?;
            }
        }
        Ok((self.next < self.records.len()).then_some(end))
    }

    /// Queues the next event; on a connection the relay has closed it stays unsent.
    fn send(&mut self, connection: usize, intended: Nanos, now: Nanos) {
        let event = self.next;
        self.next += 1;
        if self.pool.connections[connection].is_open() {
            self.pool.connections[connection].push(&self.notes.all[event].frame);
            self.records[event].send(intended, now);
            self.unanswered[connection] += 1;
            self.last_sent = now;
            self.progress.sent(now.saturating_sub(intended));
        }
    }

    fn hear(&mut self, connection: usize) -> Result<()> {
        let Self { pool, notes, clock, records, unanswered, complaint, progress, .. } = self;
        pool.connections[connection].receive(|message| match message {
            Message::Ok { id, accepted, reason } => {
                let Some(record) = notes.number(id).and_then(|event| records.get_mut(event)) else {
                    return;
                };
                let now = clock.now();
                if record.answered.is_none() {
                    unanswered[connection] = unanswered[connection].saturating_sub(1);
                    progress.answered(now.saturating_sub(record.intended), accepted);
                }
                record.answer(now, accepted);
                record.known_before |= reason.starts_with(KNOWN);
                if !accepted {
                    complaint.get_or_insert_with(|| reason.into_owned());
                }
            }
            Message::Notice(text) | Message::Closed(text) => {
                complaint.get_or_insert_with(|| text.to_owned());
            }
            Message::Event { .. } | Message::Eose | Message::Other => {}
        })?;
        Ok(pool.flush(connection)?)
    }
}
