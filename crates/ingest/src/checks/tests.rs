//! Who is checked together, and what becomes of it.
//!
//! Calls are polled one after the other, so that a test decides who comes when.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use towpath_policy::{Policy, Source, plan};
use towpath_protocol::{Limits, SecretKey, wire};
use towpath_runtime::{Clock, ManualClock};
use towpath_store::Batch;
use towpath_store::memory::MemoryStore;

use super::*;
use crate::reply::{Answers, Way};

const TOGETHER_MAX: usize = 32;

struct Nobody;

impl Answers for Nobody {
    fn answer(&self, _: u64, _: Answer, _: Way) {}
}

fn note(at: u64) -> VerifiedEvent {
    SecretKey::from_bytes([1 + (at % 3) as u8; 32]).unwrap().sign(at, 1, &[], "a note", &[0; 32])
}

fn genuine(at: u64) -> SubmittedEvent {
    SubmittedEvent::from_canonical(note(at).into_event()).unwrap()
}

/// With the signature of another.
fn forged(at: u64) -> SubmittedEvent {
    let (event, other) = (note(at), note(at + 3));
    let (event, other) = (event.event().as_str(), other.event().as_str());
    // 128 digits, a quotation mark and a brace.
    let json = event[..event.len() - 130].to_owned() + &other[other.len() - 130..];
    wire::event(&json, &Limits::default()).unwrap()
}

/// Slots, and connections whose calls are polled one after the other.
struct World {
    checks: Checks,
    store: Arc<MemoryStore>,
    metrics: Metrics,
}

type Call<'a> = Pin<Box<dyn Future<Output = (Checked, Repute)> + 'a>>;

impl World {
    fn new() -> Self {
        Self::with_slots(1)
    }

    fn with_slots(slots: usize) -> Self {
        let (store, metrics) = (Arc::new(MemoryStore::new()), Metrics::default());
        let checks = Checks::new(slots, Arc::clone(&store) as Arc<dyn EventStore>, metrics.clone());
        // Also where the processor checks one by one: who is together is the same.
        Self { checks: Checks { together_max: TOGETHER_MAX, ..checks }, store, metrics }
    }

    fn call(&self, mut repute: Repute, events: impl IntoIterator<Item = SubmittedEvent>) -> Call<'_> {
        let received = ManualClock::at(0).instant();
        let reply = |slot| Reply { to: Arc::new(Nobody), slot, received };
        let burst = events.into_iter().zip(0..).map(|(event, slot)| (event, reply(slot))).collect();
        Box::pin(async move { (self.checks.check(burst, &mut repute).await, repute) })
    }

    /// All of `calls` come while the slot is taken, and then go on in their order.
    fn all(&self, mut calls: Vec<Call<'_>>) -> Vec<(String, Repute)> {
        let slot = self.checks.slots.try_acquire().unwrap();
        // Each comes into line and gives way, then waits.
        for call in &mut calls {
            assert!(poll(call).is_none() && poll(call).is_none());
        }
        drop(slot);
        calls.iter_mut().map(|call| outcome(poll(call).expect("it is its turn"))).collect()
    }

    /// How many times events were checked together, and how many events in all.
    fn checked(&self) -> (u64, u64) {
        let (mut registry, mut text) = (Registry::default(), String::new());
        self.metrics.register(&mut registry);
        encode(&mut text, &registry).unwrap();
        let value = |of: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("ingest_burst_events_{of} "))).unwrap();
            line.parse::<f64>().unwrap() as u64
        };
        (value("count"), value("sum"))
    }
}

fn poll<T>(call: &mut Pin<Box<dyn Future<Output = T> + '_>>) -> Option<T> {
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// What became of each event, by slot.
fn outcome((mut checked, repute): (Checked, Repute)) -> (String, Repute) {
    checked.sort_by_key(|(_, reply)| reply.slot);
    let word =
        |(result, _): (Result<_, Answer>, Reply)| result.map_or_else(|answer| format!("{answer:?}"), |_| "ok".into());
    (checked.into_iter().map(word).collect::<Vec<_>>().join(" "), repute)
}

#[test]
fn what_waits_is_checked_together_and_everybody_gets_their_own() {
    let world = World::new();
    world.store.commit(Batch::of(vec![plan(note(2), Source::Client, &Policy::default())], 1)).unwrap();
    let calls = vec![
        world.call(Repute::Genuine, [genuine(0), genuine(1)]),
        world.call(Repute::Genuine, [genuine(2), genuine(3)]),
        world.call(Repute::Genuine, [genuine(4)]),
    ];
    let expected = ["ok ok", "Known ok", "ok"].map(|words| (words.to_owned(), Repute::Genuine));
    assert_eq!(world.all(calls), expected);
    assert_eq!(world.checked(), (1, 4));
}

#[test]
fn no_more_are_checked_together_than_are_at_once() {
    for (bursts, times) in [(&[20, 12, 1][..], 2), (&[20, 13, 1], 2), (&[32, 32, 1], 3), (&[40, 1], 2)] {
        let world = World::new();
        let calls = bursts
            .iter()
            .zip(1..)
            .map(|(burst, of)| world.call(Repute::Genuine, (of * 100..of * 100 + burst).map(genuine)));
        world.all(calls.collect());
        assert_eq!(world.checked(), (times, bursts.iter().sum()), "{bursts:?}");
    }
}

#[test]
fn who_sends_a_forged_signature_is_refused_alone_and_checked_alone_from_then_on() {
    let world = World::new();
    let calls = vec![
        world.call(Repute::Genuine, [genuine(0)]),
        world.call(Repute::Genuine, [genuine(1), forged(2)]),
        world.call(Repute::Genuine, [genuine(3)]),
    ];
    let expected = [("ok", Repute::Genuine), ("ok BadSignature", Repute::Forged), ("ok", Repute::Genuine)];
    assert_eq!(world.all(calls), expected.map(|(words, repute)| (words.to_owned(), repute)));
    let before = world.checked();

    let again = [Repute::Forged, Repute::Genuine, Repute::Forged, Repute::Unknown, Repute::Genuine];
    let calls = again.iter().zip(10..).map(|(repute, at)| world.call(*repute, [genuine(at)])).collect();
    let reputes: Vec<_> = world.all(calls).into_iter().map(|(_, repute)| repute).collect();
    let [forged, genuine] = [Repute::Forged, Repute::Genuine];
    assert_eq!(reputes, [forged, genuine, forged, genuine, genuine]);
    // The two that were genuine before are together.
    assert_eq!(world.checked(), (before.0 + 4, before.1 + 5));
}

#[test]
fn nothing_is_known_of_who_only_repeats_what_is_stored() {
    let world = World::new();
    world.store.commit(Batch::of(vec![plan(note(1), Source::Client, &Policy::default())], 1)).unwrap();
    let done = poll(&mut world.call(Repute::Unknown, [genuine(1)])).unwrap();
    assert_eq!(outcome(done), ("Known".to_owned(), Repute::Unknown));
}

#[test]
fn a_connection_that_goes_takes_nobody_with_it() {
    let world = World::new();
    let slot = world.checks.slots.try_acquire().unwrap();
    let mut calls: Vec<_> = (0..3).map(|at| world.call(Repute::Genuine, [genuine(at)])).collect();
    for call in &mut calls {
        assert!(poll(call).is_none() && poll(call).is_none());
    }
    // The first, who would be next, and the last.
    drop(calls.remove(0));
    drop(calls.remove(1));
    assert_eq!(world.checks.line.lock().len(), 1, "and leaves nothing behind");
    drop(slot);
    assert_eq!(outcome(poll(&mut calls[0]).expect("it is its turn")).0, "ok");
    assert_eq!(world.checked(), (1, 1));
}

#[test]
fn while_others_are_at_work_one_comes_into_line_and_takes_no_slot_once_it_is_its_turn_elsewhere() {
    let world = World::with_slots(2);
    let at_work = world.checks.slots.try_acquire().unwrap();
    let mut call = world.call(Repute::Genuine, [genuine(1)]);
    assert!(poll(&mut call).is_none(), "it gives way, for those who have something ready, too");
    let Waiting { burst, done } = world.checks.line.lock().pop_front().expect("it is in line");
    // Whoever is at work has taken it.
    assert!(poll(&mut call).is_none());
    assert_eq!(world.checks.slots.available_permits(), 1);
    assert!(done.send(world.checks.look_at(burst)).is_ok());
    assert_eq!(outcome(poll(&mut call).expect("it is checked")).0, "ok");
    drop(at_work);
}
