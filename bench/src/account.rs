//! Every event accounted for: what was sent, what the relay said of it, whether it is stored and
//! whether it was delivered, exactly once each. Pure bookkeeping: knows no sockets and no clock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::schedule::Nanos;

/// What became of one event, in the publisher's view.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Record {
    pub(crate) intended: Nanos,
    pub(crate) sent: Option<Nanos>,
    pub(crate) answered: Option<Nanos>,
    pub(crate) accepted: bool,
    pub(crate) answers: u32,
    /// It was accepted as one that the relay had.
    pub(crate) known_before: bool,
}

impl Record {
    pub(crate) fn send(&mut self, intended: Nanos, now: Nanos) {
        self.intended = intended;
        self.sent = Some(now);
    }

    /// The first answer counts; later ones are only counted.
    pub(crate) fn answer(&mut self, now: Nanos, accepted: bool) {
        self.answers += 1;
        if self.answered.is_none() {
            self.answered = Some(now);
            self.accepted = accepted;
        }
    }

    /// From the intended instant to the answer, if it was yes.
    pub(crate) fn ack_latency(&self) -> Option<Nanos> {
        self.answered.filter(|_| self.accepted).map(|at| at.saturating_sub(self.intended))
    }

    /// From the real sending to the answer, if it was yes.
    pub(crate) fn service_time(&self) -> Option<Nanos> {
        self.answered.filter(|_| self.accepted).map(|at| at.saturating_sub(self.sent.unwrap_or(self.intended)))
    }

    /// How late the generator was.
    pub(crate) fn lag(&self) -> Option<Nanos> {
        self.sent.map(|sent| sent.saturating_sub(self.intended))
    }
}

/// What the subscribers of a run saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deliveries {
    pub(crate) subscribers: usize,
    pub(crate) events: Vec<Delivery>,
    /// One bit per subscriber and event.
    seen: Vec<u64>,
    pub(crate) total: u64,
    pub(crate) repeated: u64,
}

/// One event, over all subscribers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) first: Nanos,
    pub(crate) last: Nanos,
    pub(crate) subscribers: usize,
}

impl Deliveries {
    pub(crate) fn new(subscribers: usize, events: usize) -> Self {
        Self {
            subscribers,
            events: vec![Delivery::default(); events],
            seen: vec![0; (subscribers * events).div_ceil(64)],
            ..Self::default()
        }
    }

    pub(crate) fn record(&mut self, subscriber: usize, event: usize, now: Nanos) {
        let bit = subscriber * self.events.len() + event;
        let (word, mask) = (bit / 64, 1 << (bit % 64));
        self.total += 1;
        if self.seen[word] & mask != 0 {
            self.repeated += 1;
            return;
        }
        self.seen[word] |= mask;
        let delivery = &mut self.events[event];
        if delivery.subscribers == 0 {
            delivery.first = now;
        }
        delivery.last = now;
        delivery.subscribers += 1;
    }

    fn has(&self, subscriber: usize, event: usize) -> bool {
        let bit = subscriber * self.events.len() + event;
        self.seen[bit / 64] & (1 << (bit % 64)) != 0
    }

    /// By subscriber, how many of `events` did not come; those that miss none are left out.
    fn missed(&self, events: &[usize]) -> BTreeMap<usize, usize> {
        let missed = |subscriber| events.iter().filter(|event| !self.has(subscriber, **event)).count();
        (0..self.subscribers)
            .map(|subscriber| (subscriber, missed(subscriber)))
            .filter(|(_, missed)| *missed > 0)
            .collect()
    }
}

/// Whoever waits longer than this for an answer or a delivery takes it for lost.
const LATE: Nanos = 1_000_000_000;

/// The sum of a run. Everything from `refused` on should be zero or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Accounts {
    pub(crate) planned: usize,
    pub(crate) sent: usize,
    pub(crate) acked: usize,
    pub(crate) stored: usize,
    /// How many were listening.
    #[serde(default)]
    pub(crate) subscribers: usize,
    pub(crate) delivered: u64,
    pub(crate) refused: usize,
    pub(crate) unanswered: usize,
    /// Acknowledged as known: looked up, not written.
    #[serde(default)]
    pub(crate) known_before: usize,
    /// Acknowledged, but not found afterwards.
    pub(crate) lost: usize,
    /// Found twice in one answer.
    pub(crate) stored_twice: usize,
    pub(crate) answered_twice: usize,
    /// Deliveries of acknowledged events that a subscriber still misses.
    pub(crate) undelivered: usize,
    /// Whose: the subscriber's number, and how many of its deliveries never came.
    #[serde(default)]
    pub(crate) missed_by: BTreeMap<usize, usize>,
    /// Deliveries of an event to a subscriber that already had it.
    pub(crate) delivered_twice: u64,
    /// Events whose answer or last delivery came more than a second after they were due.
    #[serde(default)]
    pub(crate) late: usize,
}

impl Accounts {
    /// `found` counts how often the relay returned each event when asked for it by id.
    pub(crate) fn settle(records: &[Record], found: &[u32], deliveries: Option<&Deliveries>) -> Self {
        let count = |predicate: &dyn Fn(&Record) -> bool| records.iter().filter(|record| predicate(record)).count();
        let found_of = |event: usize| found.get(event).copied().unwrap_or_default();
        let acked = |event: &usize| records[*event].accepted;
        let mut accounts = Self {
            planned: records.len(),
            sent: count(&|record| record.sent.is_some()),
            acked: count(&|record| record.accepted),
            refused: count(&|record| record.answered.is_some() && !record.accepted),
            unanswered: count(&|record| record.sent.is_some() && record.answered.is_none()),
            known_before: count(&|record| record.accepted && record.known_before),
            answered_twice: count(&|record| record.answers > 1),
            stored: found.iter().filter(|times| **times > 0).count(),
            stored_twice: found.iter().filter(|times| **times > 1).count(),
            lost: (0..records.len()).filter(acked).filter(|event| found_of(*event) == 0).count(),
            ..Self::default()
        };
        if let Some(deliveries) = deliveries {
            let acked: Vec<usize> = (0..records.len()).filter(acked).collect();
            accounts.subscribers = deliveries.subscribers;
            accounts.delivered = deliveries.total;
            accounts.delivered_twice = deliveries.repeated;
            accounts.missed_by = deliveries.missed(&acked);
            accounts.undelivered = accounts.missed_by.values().sum();
        }
        let last_heard = |event: usize| {
            let delivered = deliveries.map_or(0, |deliveries| deliveries.events[event].last);
            records[event].answered.unwrap_or_default().max(delivered)
        };
        let late = |event: &usize| last_heard(*event) > records[*event].intended + LATE;
        accounts.late = (0..records.len()).filter(late).count();
        accounts
    }

    /// Whether the relay kept every promise it made.
    pub(crate) fn is_clean(&self) -> bool {
        let Self { lost, stored_twice, answered_twice, undelivered, delivered_twice, .. } = self;
        lost + stored_twice + answered_twice + undelivered == 0 && *delivered_twice == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three events, all sent, accepted, found once and delivered once to two subscribers.
    fn faultless() -> (Vec<Record>, Vec<u32>, Deliveries) {
        let mut records = vec![Record::default(); 3];
        let mut deliveries = Deliveries::new(2, 3);
        for (event, record) in records.iter_mut().enumerate() {
            record.send(10, 11);
            record.answer(20, true);
            deliveries.record(0, event, 21);
            deliveries.record(1, event, 25);
        }
        (records, vec![1; 3], deliveries)
    }

    #[test]
    fn a_faultless_run_is_clean() {
        let (records, found, deliveries) = faultless();
        let accounts = Accounts::settle(&records, &found, Some(&deliveries));
        assert!(accounts.is_clean());
        assert_eq!((accounts.sent, accounts.acked, accounts.stored, accounts.delivered), (3, 3, 3, 6));
        let delivery = deliveries.events[0];
        assert_eq!((delivery.first, delivery.last, records[0].ack_latency()), (21, 25, Some(10)));
    }

    #[test]
    fn an_acknowledged_event_that_is_not_found_is_lost() {
        let (records, mut found, deliveries) = faultless();
        found[1] = 0;
        let accounts = Accounts::settle(&records, &found, Some(&deliveries));
        assert_eq!((accounts.lost, accounts.stored, accounts.is_clean()), (1, 2, false));
    }

    #[test]
    fn events_nobody_was_asked_about_are_lost_too() {
        let (records, _, deliveries) = faultless();
        assert_eq!(Accounts::settle(&records, &[], Some(&deliveries)).lost, 3);
    }

    #[test]
    fn a_refused_event_is_not_lost() {
        let (mut records, mut found, deliveries) = faultless();
        records[2] = Record { answered: Some(5), sent: Some(1), answers: 1, ..Record::default() };
        found[2] = 0;
        let accounts = Accounts::settle(&records, &found, Some(&deliveries));
        assert_eq!((accounts.lost, accounts.refused, accounts.acked), (0, 1, 2));
    }

    #[test]
    fn a_silent_relay_is_not_taken_for_a_yes() {
        let (mut records, found, _) = faultless();
        records[0] = Record { sent: Some(1), ..Record::default() };
        let accounts = Accounts::settle(&records, &found, None);
        assert_eq!((accounts.unanswered, accounts.acked), (1, 2));
        assert_eq!(records[0].ack_latency(), None);
    }

    #[test]
    fn what_the_relay_had_is_told_apart_from_what_it_wrote() {
        let (mut records, found, _) = faultless();
        records[1].known_before = true;
        records[2] = Record { answered: Some(5), sent: Some(1), answers: 1, known_before: true, ..Record::default() };
        let accounts = Accounts::settle(&records, &found, None);
        assert_eq!((accounts.acked, accounts.known_before, accounts.refused), (2, 1, 1));
    }

    #[test]
    fn doubled_events_are_told_by_where_they_doubled() {
        let (mut records, mut found, mut deliveries) = faultless();
        records[0].answer(30, false);
        found[1] = 2;
        deliveries.record(1, 2, 40);
        let accounts = Accounts::settle(&records, &found, Some(&deliveries));
        assert_eq!((accounts.answered_twice, accounts.stored_twice, accounts.delivered_twice), (1, 1, 1));
        assert_eq!((accounts.acked, accounts.undelivered), (3, 0), "the first answer stands");
        assert_eq!(deliveries.events[2].last, 25, "a repeat does not move the last delivery");
    }

    #[test]
    fn a_repeat_to_one_subscriber_does_not_hide_a_miss_of_another() {
        let (records, found, _) = faultless();
        let mut deliveries = Deliveries::new(2, 3);
        for event in 0..3 {
            deliveries.record(0, event, 21);
            deliveries.record(0, event, 22);
        }
        let accounts = Accounts::settle(&records, &found, Some(&deliveries));
        assert_eq!((accounts.undelivered, accounts.delivered_twice), (3, 3));
        assert_eq!(accounts.missed_by, BTreeMap::from([(1, 3)]), "and it is told whose they were");
    }

    #[test]
    fn what_comes_after_a_second_is_late_and_not_lost() {
        let (mut records, found, mut deliveries) = faultless();
        records[0].answered = Some(LATE + 11);
        deliveries.events[1].last = LATE + 11;
        deliveries.events[2].last = LATE + 10;
        let accounts = Accounts::settle(&records, &found, Some(&deliveries));
        assert_eq!((accounts.late, accounts.is_clean()), (2, true));
        assert_eq!(Accounts::settle(&records, &found, None).late, 1);
    }
}
