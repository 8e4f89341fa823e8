//! Ingest as its connections see it: what each event is answered with, and what is stored by then.
//!
//! The store is the memory store behind a gate, so that a test decides when a commit ends, and how.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::poll;
use parking_lot::{Condvar, Mutex, RwLock};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use towpath_policy::{Policy, Principal};
use towpath_protocol::{Event, EventId, Limits, SecretKey, SubmittedEvent, Verifier, wire};
use towpath_runtime::{Clock, Live, ManualClock, TaskGroup, Thread};
use towpath_store::memory::MemoryStore;
use towpath_store::{
    Batch, Committed, Cursor, Deliverer, Delivery, Entry, Error, EventStore, Outcome, Page, Record, Seq, StreamId,
};

use crate::{Answer, Answers, CommitLimits, Committer, Ingest, Metrics, Reply, Repute, Way};

const NOW_S: u64 = 1_700_000_000;
/// How many listen to every ephemeral event.
const LISTENERS: usize = 3;
/// Ends a test that would wait forever.
const PATIENCE: Duration = Duration::from_secs(30);

const LIMITS: CommitLimits = CommitLimits {
    queue_events_max: 100,
    queue_bytes_max: 1 << 20,
    batch_events_max: 50,
    batch_bytes_max: 1 << 20,
    verify_parallel: 2,
    gather_max: Duration::ZERO,
};
/// For tests that would wait forever for it.
const GATHER_LONG: CommitLimits = CommitLimits { gather_max: Duration::from_secs(3600), ..LIMITS };

fn event(author: u8, created_at: u64, kind: u16, tags: &[&[&str]], content: &str) -> SubmittedEvent {
    let key = SecretKey::from_bytes([author; 32]).unwrap();
    let event = key.sign(created_at, kind, tags, content, &[0; 32]).into_event();
    SubmittedEvent::from_canonical(event).unwrap()
}

fn note(content: &str) -> SubmittedEvent {
    event(1, NOW_S, 1, &[], content)
}

/// Several of the same length.
fn notes(count: usize) -> Vec<SubmittedEvent> {
    (0..count).map(|n| note(&format!("note {n:03}"))).collect()
}

fn bytes(event: &SubmittedEvent) -> usize {
    event.unverified().json().len()
}

/// The same event under a signature that is not its own.
fn forged(event: &SubmittedEvent) -> SubmittedEvent {
    const SIGNATURE: usize = 128 + "\"}".len();
    let (genuine, other) = (event.unverified().as_str(), note("of another event"));
    let other = other.unverified().as_str();
    let text = genuine[..genuine.len() - SIGNATURE].to_owned() + &other[other.len() - SIGNATURE..];
    wire::event(&text, &Limits::default()).unwrap()
}

fn content(event: &Event) -> String {
    event.content().unwrap().into_owned()
}

/// Waits until `state` is as it should be; whoever changes it notifies `changed`.
fn wait_until<T>(state: &Mutex<T>, changed: &Condvar, mut holds: impl FnMut(&T) -> bool) {
    let mut state = state.lock();
    let waited = changed.wait_while_for(&mut state, |state| !holds(state), PATIENCE);
    assert!(!waited.timed_out(), "what the test waits for never comes");
}

/// The memory store, whose commits wait at a gate and fail when told to.
#[derive(Default)]
struct GatedStore {
    inner: MemoryStore,
    gate: Mutex<Gate>,
    changed: Condvar,
    asked_for_ids: AtomicUsize,
}

#[derive(Default)]
struct Gate {
    is_shut: bool,
    /// How many events each commit so far was asked for.
    batches: Vec<usize>,
    /// What becomes of the commits to come; those beyond it succeed.
    fates: VecDeque<Option<Error>>,
}

impl GatedStore {
    fn shut(&self) {
        self.gate.lock().is_shut = true;
    }

    fn open(&self) {
        self.gate.lock().is_shut = false;
        self.changed.notify_all();
    }

    fn decide(&self, fates: impl IntoIterator<Item = Option<Error>>) {
        self.gate.lock().fates.extend(fates);
    }

    fn batches(&self) -> Vec<usize> {
        self.gate.lock().batches.clone()
    }

    /// Waits until so many commits have begun.
    fn begun(&self, commits: usize) {
        wait_until(&self.gate, &self.changed, |gate| gate.batches.len() >= commits);
    }

    /// The contents of the events stored, in order of their commits.
    fn contents(&self) -> Vec<String> {
        let all = Page { entries_max: usize::MAX, bytes_max: usize::MAX };
        let entries = self.inner.since(&Cursor::start(), all).unwrap();
        let content = |entry: Entry| match entry.record {
            Record::Event { event, .. } => Some(content(&event)),
            Record::Erased { .. } | Record::Expired { .. } | Record::Act => None,
        };
        entries.into_iter().filter_map(content).collect()
    }
}

impl towpath_store::Wraps for GatedStore {
    fn inner(&self) -> &dyn EventStore {
        &self.inner
    }

    fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        let mut gate = self.gate.lock();
        gate.batches.push(batch.writes.len());
        self.changed.notify_all();
        self.changed.wait_while(&mut gate, |gate| gate.is_shut);
        match gate.fates.pop_front().flatten() {
            Some(error) => Err(error),
            None => self.inner.commit(batch),
        }
    }

    fn place_of(&self, id: &EventId) -> Result<Option<(StreamId, Seq)>, Error> {
        self.asked_for_ids.fetch_add(1, Ordering::SeqCst);
        self.inner.place_of(id)
    }
}

/// What was handed to delivery, by content.
#[derive(Default)]
struct Heard {
    committed: Mutex<Vec<String>>,
    changed: Condvar,
    ephemeral: Mutex<Vec<String>>,
}

impl Heard {
    /// Waits for so many events, because they come behind their acks, and gives all there are.
    fn committed(&self, count: usize) -> Vec<String> {
        wait_until(&self.committed, &self.changed, |committed| committed.len() >= count);
        self.committed.lock().clone()
    }
}

impl Delivery for Heard {
    fn hand_over(&self, _: &Committed, _: Instant) -> Deliverer {
        Deliverer::Committer
    }

    fn acknowledged(&self, batch: &Committed, _: Instant, _: Deliverer) {
        self.committed.lock().extend(batch.run.stored.iter().map(|stored| content(&stored.event)));
        self.changed.notify_all();
    }

    fn ephemeral(&self, event: &Event) -> usize {
        self.ephemeral.lock().push(content(event));
        LISTENERS
    }
}

/// One connection: who it is, and every answer it was given.
#[derive(Default)]
struct Connection {
    principal: RwLock<Principal>,
    repute: Mutex<Repute>,
    slots: AtomicU64,
    answers: Mutex<Vec<(u64, Answer)>>,
    answered: Condvar,
}

impl Answers for Connection {
    fn answer(&self, slot: u64, answer: Answer, _: Way) {
        self.answers.lock().push((slot, answer));
        self.answered.notify_all();
    }
}

impl Connection {
    fn slots(&self) -> u64 {
        self.slots.load(Ordering::SeqCst)
    }

    /// Waits for so many answers and gives all there are, in order of their slots.
    fn answers(&self, count: usize) -> Vec<(u64, Answer)> {
        wait_until(&self.answers, &self.answered, |answers| answers.len() >= count);
        let mut answers = self.answers.lock().clone();
        answers.sort_by_key(|(slot, _)| *slot);
        answers
    }
}

/// Ingest in front of a gated store, and one connection to it.
struct World {
    store: Arc<GatedStore>,
    delivery: Arc<Heard>,
    clock: Arc<ManualClock>,
    metrics: Metrics,
    ingest: Ingest,
    committer: Option<Committer>,
    connection: Arc<Connection>,
}

impl World {
    fn new(limits: CommitLimits, policy: Policy) -> Self {
        let store = Arc::new(GatedStore::default());
        let delivery = Arc::new(Heard::default());
        let clock = Arc::new(ManualClock::at(NOW_S * 1000));
        let metrics = Metrics::default();
        let (committer, ingest) = Committer::start(
            Arc::clone(&store) as Arc<dyn EventStore>,
            Arc::clone(&delivery) as Arc<dyn Delivery>,
            limits,
            Live::new(policy),
            Arc::clone(&clock) as Arc<dyn Clock>,
            metrics.clone(),
        )
        .unwrap();
        let connection = Arc::default();
        Self { store, delivery, clock, metrics, ingest, committer: Some(committer), connection }
    }

    async fn submit(&self, event: &SubmittedEvent) {
        self.submit_burst(std::slice::from_ref(event)).await;
    }

    async fn submit_burst(&self, events: &[SubmittedEvent]) {
        submit(&self.ingest, &self.connection, self.clock.instant(), events).await;
    }

    async fn submit_all(&self, events: &[SubmittedEvent]) {
        for event in events {
            self.submit(event).await;
        }
    }

    /// A commit is in flight and stays there until the store is opened.
    async fn busy(limits: CommitLimits) -> Self {
        let world = Self::new(limits, Policy::default());
        world.store.shut();
        world.submit(&note("in flight")).await;
        world.store.begun(1);
        world
    }

    /// The first answers, in order of their slots.
    fn answers(&self, count: usize) -> Vec<String> {
        self.connection.answers(count).into_iter().map(|(_, answer)| format!("{answer:?}")).collect()
    }

    fn finish(&mut self) {
        if let Some(committer) = self.committer.take() {
            committer.finish(self.much_later());
        }
    }

    /// A deadline that never comes.
    fn much_later(&self) -> Instant {
        self.clock.instant() + Duration::from_secs(3600)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.store.open();
        self.finish();
    }
}

async fn submit(ingest: &Ingest, connection: &Arc<Connection>, received: Instant, burst: &[SubmittedEvent]) {
    let reply = || {
        let slot = connection.slots.fetch_add(1, Ordering::SeqCst);
        Reply { to: Arc::clone(connection) as Arc<dyn Answers>, slot, received }
    };
    let burst = burst.iter().map(|event| (event.clone(), reply())).collect();
    let mut repute = *connection.repute.lock();
    ingest.submit(burst, &connection.principal, &mut repute).await;
    *connection.repute.lock() = repute;
}

fn accepted(seqs: impl IntoIterator<Item = u64>) -> Vec<String> {
    seqs.into_iter().map(|seq| format!("Committed(StreamId(0), Accepted(Seq({seq})))")).collect()
}

/// More than may be under way.
const MANY: usize = 2_100;

/// Its clock stands still as long as there is something to do: nobody waits for too long.
#[tokio::test(start_paused = true)]
async fn with_enough_under_way_a_burst_waits_for_the_committer_and_is_not_refused() {
    let mut world = World::busy(CommitLimits { queue_events_max: MANY, ..LIMITS }).await;
    let notes = notes(MANY);
    {
        let mut submitted = std::pin::pin!(async {
            for burst in notes.chunks(30) {
                world.submit_burst(burst).await;
            }
        });
        while world.ingest.queue.under_way() < 2_040 {
            assert!(poll!(&mut submitted).is_pending(), "there is room for all");
            tokio::task::yield_now().await;
        }
        assert!(poll!(&mut submitted).is_pending());
        assert_eq!(world.metrics.queued_events.get(), 2_040, "the next thirty wait");
        let other = Arc::new(Connection::default());
        let ephemeral = [event(1, NOW_S, 20_000, &[], "is not stored")];
        let mut passing = std::pin::pin!(submit(&world.ingest, &other, world.clock.instant(), &ephemeral));
        let mut turns = 0..100;
        while poll!(&mut passing).is_pending() {
            assert!(turns.next().is_some(), "it waits for a commit that it does not need");
            tokio::task::yield_now().await;
        }
        assert_eq!(other.answers(1).len(), 1);
        world.store.open();
        submitted.await;
    }
    assert_eq!(world.answers(1 + MANY), accepted(1..=1 + MANY as u64));
    world.finish();
    assert_eq!(world.ingest.queue.under_way(), 0);
}

#[tokio::test]
async fn whatever_becomes_of_an_event_it_is_not_under_way_for_ever() {
    let mut world = World::new(CommitLimits { queue_events_max: 3, ..LIMITS }, Policy::default());
    let notes = notes(8);
    world.submit(&notes[0]).await;
    world.answers(1);
    let own = Verifier::new().verify(note("the relay's own")).unwrap();
    world.ingest.publish_own(own).await;
    assert_eq!(world.ingest.queue.under_way(), 0, "it was not let in");
    world.store.shut();
    world.submit_burst(&[forged(&notes[1]), notes[0].clone(), event(1, NOW_S, 20_000, &[], "ephemeral")]).await;
    world.submit(&notes[2]).await;
    world.store.begun(3);
    world.submit_burst(&notes[3..]).await;
    assert_eq!(world.ingest.queue.under_way(), 3, "the queue has room for no more");
    world.store.open();
    world.answers(10);
    world.finish();
    assert_eq!(world.ingest.queue.under_way(), 0);
}

#[tokio::test]
async fn a_queue_at_its_bound_answers_overloaded_and_loses_nothing() {
    let notes = notes(4);
    let bounds = [
        ("events", CommitLimits { queue_events_max: 3, ..LIMITS }),
        ("bytes", CommitLimits { queue_bytes_max: 4 * bytes(&notes[0]) - 1, ..LIMITS }),
    ];
    for (what, limits) in bounds {
        let world = World::busy(limits).await;
        world.submit_all(&notes).await;
        assert_eq!(world.answers(1), ["Overloaded"], "{what}: three wait, the fourth is told at once");
        assert_eq!(world.metrics.queued_events.get(), 3, "{what}");
        world.store.open();
        let answers = world.answers(5);
        assert_eq!(answers[..4], accepted(1..=4), "{what}");
        world.submit(&notes[3]).await;
        assert_eq!(world.answers(6)[5..], accepted([5]), "{what}: there is room again");
        assert_eq!(world.store.contents(), ["in flight", "note 000", "note 001", "note 002", "note 003"], "{what}");
        assert_eq!((world.metrics.queued_events.get(), world.metrics.queued_bytes.get()), (0, 0), "{what}");
    }
}

#[tokio::test]
async fn an_event_larger_than_the_bounds_passes_alone() {
    let world = World::busy(CommitLimits { queue_bytes_max: 1, batch_bytes_max: 1, ..LIMITS }).await;
    world.submit_all(&notes(2)).await;
    assert_eq!(world.answers(1), ["Overloaded"], "one waits, and no second beside it");
    world.store.open();
    assert_eq!(world.answers(3)[..2], accepted(1..=2));
}

#[tokio::test]
async fn what_comes_while_a_commit_is_in_flight_is_the_next_batch() {
    let notes = notes(5);
    let of_two = bytes(&notes[0]) * 2;
    let cases = [
        ("all at once", LIMITS, &[1, 5][..]),
        ("in batches of so many events", CommitLimits { batch_events_max: 2, ..LIMITS }, &[1, 2, 2, 1]),
        ("in batches of so many bytes", CommitLimits { batch_bytes_max: of_two, ..LIMITS }, &[1, 2, 2, 1]),
        ("of fewer bytes than one event", CommitLimits { batch_bytes_max: of_two / 4, ..LIMITS }, &[1; 6]),
    ];
    for (case, limits, expected) in cases {
        let world = World::busy(limits).await;
        world.submit_all(&notes).await;
        assert_eq!(world.store.batches(), [1], "{case}: one commit at a time");
        world.store.open();
        world.answers(6);
        assert_eq!(world.store.batches(), expected, "{case}");
    }
}

/// Other pods wait while one removes.
#[tokio::test]
async fn deletions_that_name_much_are_committed_apart() {
    let ids: Vec<String> = (1..=600).map(|n| format!("{n:064x}")).collect();
    let tags: Vec<[&str; 2]> = ids.iter().map(|id| ["e", id.as_str()]).collect();
    let tags: Vec<&[&str]> = tags.iter().map(|tag| &tag[..]).collect();
    let deletion = |of: &[&[&str]], content| event(1, NOW_S, 5, of, content);
    let events = [deletion(&tags, "much"), deletion(&tags, "as much"), deletion(&tags[..9], "little"), note("last")];
    let world = World::busy(LIMITS).await;
    world.submit_all(&events).await;
    world.store.open();
    world.answers(5);
    assert_eq!(world.store.batches(), [1, 1, 3]);
}

#[tokio::test]
async fn a_lone_event_is_committed_at_once() {
    let world = World::new(LIMITS, Policy::default());
    for (n, note) in (1..).zip(&notes(3)) {
        world.submit(note).await;
        assert_eq!(world.answers(n).len(), n);
    }
    assert_eq!(world.store.batches(), [1, 1, 1]);
}

#[tokio::test]
async fn events_of_a_connection_are_committed_in_their_order() {
    let world = World::busy(CommitLimits { batch_events_max: 3, ..LIMITS }).await;
    let notes = notes(20);
    world.submit_all(&notes).await;
    world.store.open();
    assert_eq!(world.answers(21), accepted(1..=21));
    let order: Vec<String> = notes.iter().map(|note| content(note.unverified())).collect();
    assert_eq!(world.store.contents()[1..], order);
    assert_eq!(world.delivery.committed(21)[1..], order, "delivered as committed");
}

#[tokio::test]
async fn a_lone_event_is_committed_at_once_and_a_few_wait_for_those_behind_them() {
    let world = World::new(GATHER_LONG, Policy::default());
    world.submit(&note("alone")).await;
    world.answers(1);
    let mut coming = [(); 3].map(|()| Some(world.ingest.queue.expect()));
    let notes = notes(5);
    world.submit_all(&notes[..2]).await;
    coming[0] = None;
    world.submit(&notes[2]).await;
    assert_eq!(world.answers(4), accepted(1..=4));
    assert_eq!(world.store.batches(), [1, 3], "no processor has anything better to do now");
    coming[0] = Some(world.ingest.queue.expect());
    world.submit_all(&notes[3..]).await;
    coming[0] = None;
    world.submit(&forged(&note("in vain"))).await;
    assert_eq!(world.answers(7)[4..6], accepted(5..=6));
    assert_eq!(world.store.batches(), [1, 3, 2], "nor if what comes last is refused");
}

#[tokio::test]
async fn enough_events_are_committed_whatever_is_behind_them() {
    let limits = CommitLimits { batch_events_max: 300, queue_events_max: 300, ..GATHER_LONG };
    let world = World::new(limits, Policy::default());
    let _coming = [(); 3].map(|()| world.ingest.queue.expect());
    world.submit_all(&notes(256)).await;
    assert_eq!(world.answers(256), accepted(1..=256));
    assert_eq!(world.store.batches(), [256]);
}

#[tokio::test]
async fn the_end_waits_for_nothing() {
    let mut world = World::new(GATHER_LONG, Policy::default());
    let _coming = [(); 3].map(|()| world.ingest.queue.expect());
    world.submit(&note("the last")).await;
    let (committer, deadline) = (world.committer.take().unwrap(), world.much_later());
    committer.finish(deadline);
    assert_eq!(world.answers(1), accepted([1]));
}

#[tokio::test]
async fn a_failed_commit_answers_all_of_its_events_and_the_next_succeeds() {
    let world = World::busy(LIMITS).await;
    world.store.decide([None, Some(Error::Full), Some(Error::Closed("for a test".into()))]);
    let notes = notes(3);
    world.submit_all(&notes).await;
    world.store.open();
    assert_eq!(world.answers(4)[1..], ["Failed(Full)"; 3]);
    world.submit(&notes[0]).await;
    assert_eq!(world.answers(5)[4], "Failed(Closed(\"for a test\"))");
    assert_eq!(world.delivery.committed(1), ["in flight"], "nothing of a failed commit is delivered");
    world.store.shut();
    world.submit_all(&notes).await;
    world.store.open();
    assert_eq!(world.answers(8)[5..], accepted(2..=4), "the same events, sent again");
    assert_eq!((world.metrics.commit_failures.get(), world.metrics.accepted.get()), (2, 4));
}

#[tokio::test]
async fn every_event_has_the_outcome_the_store_decided_and_only_new_ones_are_delivered() {
    let world = World::busy(LIMITS).await;
    let profile = |at, content| event(2, at, 0, &[], content);
    let twice = note("twice");
    world.submit_all(&[twice.clone(), profile(NOW_S, "new"), twice, profile(NOW_S - 1, "old")]).await;
    world.store.open();
    let outcomes = ["Committed(StreamId(0), Duplicate)", "Committed(StreamId(0), Superseded)"].map(String::from);
    assert_eq!(world.answers(5), [accepted(1..=3), outcomes.into()].concat());
    assert_eq!(world.delivery.committed(3), ["in flight", "twice", "new"]);
}

#[tokio::test]
async fn a_known_event_is_answered_before_its_signature_is_looked_at() {
    let world = World::new(LIMITS, Policy::default());
    let (stored, new) = (note("stored"), note("new"));
    world.submit(&stored).await;
    world.answers(1);
    world.submit_all(&[stored.clone(), forged(&stored), forged(&new)]).await;
    assert_eq!(world.answers(4)[1..], ["Known", "Known", "BadSignature"]);
    assert_eq!(world.store.batches(), [1], "none of them came to the committer");
    world.submit(&new).await;
    assert_eq!(world.answers(5)[4..], accepted([2]), "a forgery does not stand in the way of the genuine event");
}

#[tokio::test]
async fn of_a_burst_only_what_is_wrong_is_refused() {
    let world = World::new(LIMITS, Policy::default());
    world.submit(&note("stored")).await;
    world.answers(1);
    let late = event(1, NOW_S, 1, &[&["expiration", "1"]], "late");
    let by_another = event(2, NOW_S, 1, &[], "by another");
    let typing = event(1, NOW_S, 20_001, &[], "typing");
    let burst =
        [note("a"), forged(&note("b")), by_another, note("stored"), late, typing, note("c"), forged(&note("c"))];
    world.submit_burst(&burst).await;
    let answers = world.answers(9)[1..].to_vec();
    let delivered = format!("Delivered({LISTENERS})");
    assert_eq!([&answers[0], &answers[2], &answers[6]].map(String::clone), *accepted(2..=4));
    assert_eq!(
        [1, 3, 4, 5, 7].map(|at: usize| &*answers[at]),
        ["BadSignature", "Known", "Denied(Expired)", &delivered, "BadSignature"]
    );
    assert_eq!(world.store.batches(), [1, 3], "what came together is committed together");
    assert_eq!(world.store.contents(), ["stored", "a", "by another", "c"], "in its order");
}

#[tokio::test]
async fn a_burst_takes_the_room_there_is() {
    let world = World::busy(CommitLimits { queue_events_max: 3, ..LIMITS }).await;
    world.submit_burst(&notes(5)).await;
    assert_eq!(world.answers(2), ["Overloaded"; 2]);
    world.store.open();
    let answers = world.answers(6);
    assert_eq!((&answers[..4], &answers[4..]), (&*accepted(1..=4), &["Overloaded"; 2].map(String::from)[..]));
}

#[tokio::test]
async fn what_the_rules_refuse_costs_neither_the_store_nor_a_signature_check() {
    let policy = Policy { auth_to_write: true, ..Policy::default() };
    let tagged = |tag: &[&str]| event(1, NOW_S, 1, &[tag], "");
    let me = note("").unverified().pubkey();
    let cases = [
        (false, note("hi"), "Denied(AuthRequired)"),
        (true, event(1, NOW_S + 901, 1, &[], ""), "Denied(TooFarAhead { max_s: 900 })"),
        (true, tagged(&["expiration", &NOW_S.to_string()]), "Denied(Expired)"),
        (true, tagged(&["expiration", "soon"]), "Denied(MalformedExpiration)"),
        (true, event(1, NOW_S, 22_242, &[], ""), "Denied(Unpublishable)"),
        (true, event(2, NOW_S, 1, &[&["-"]], ""), "Denied(ProtectedOther)"),
    ];
    for (authenticated, event, expected) in cases {
        let world = World::new(LIMITS, policy.clone());
        if authenticated {
            world.connection.principal.write().add(me);
        }
        world.submit(&forged(&event)).await;
        assert_eq!(world.answers(1), [expected]);
        assert_eq!(world.store.asked_for_ids.load(Ordering::SeqCst), 0, "{expected}");
        assert_eq!(world.store.batches().len(), 0, "{expected}");
    }
}

#[tokio::test]
async fn an_ephemeral_event_leaves_without_a_commit_and_names_its_listeners() {
    let world = World::busy(CommitLimits { queue_events_max: 1, ..LIMITS }).await;
    world.submit(&note("fills the queue")).await;
    let typing = event(1, NOW_S, 20_001, &[], "typing");
    world.submit_all(&[typing.clone(), forged(&event(1, NOW_S, 20_001, &[], "forged")), typing]).await;
    let delivered = format!("Delivered({LISTENERS})");
    assert_eq!(world.answers(3), [&delivered, "BadSignature", &delivered], "while a commit is in flight");
    assert_eq!(*world.delivery.ephemeral.lock(), ["typing", "typing"]);
    world.store.open();
    world.answers(5);
    assert_eq!(world.store.contents(), ["in flight", "fills the queue"]);
    assert_eq!(world.metrics.ephemeral.get(), 2);
}

#[tokio::test]
async fn finishing_answers_everything_that_waits_and_refuses_what_comes_later() {
    let mut world = World::busy(CommitLimits { batch_events_max: 2, queue_events_max: 100_000, ..LIMITS }).await;
    world.submit_all(&notes(5)).await;
    let (committer, deadline) = (world.committer.take().unwrap(), world.much_later());
    let finished = Arc::new(AtomicUsize::new(0));
    let done = Arc::clone(&finished);
    let finishing = Thread::start("finish", move || {
        committer.finish(deadline);
        done.store(1, Ordering::SeqCst);
    })
    .unwrap();
    let again = note("until it is refused");
    while !world.answers(0).iter().any(|answer| answer == "Overloaded") {
        world.submit(&again).await;
    }
    assert_eq!(finished.load(Ordering::SeqCst), 0, "it waits for the commit in flight");
    world.store.open();
    finishing.join();
    let answers = world.answers(0);
    assert_eq!(answers.len() as u64, world.connection.slots(), "nothing is left without an answer");
    assert_eq!(answers[..6], accepted(1..=6));
    assert_eq!(answers.iter().filter(|answer| *answer == "Overloaded").count(), 1);
    world.submit(&note("too late")).await;
    assert_eq!(world.answers(answers.len() + 1).last().unwrap(), "Overloaded", "nobody would commit it");
}

#[tokio::test]
async fn finishing_by_a_deadline_waits_for_the_commit_in_flight_and_refuses_what_is_behind_it() {
    let mut world = World::busy(CommitLimits { batch_events_max: 2, ..LIMITS }).await;
    world.submit_all(&notes(5)).await;
    let (committer, deadline) = (world.committer.take().unwrap(), world.clock.instant());
    let finishing = Thread::start("finish", move || committer.finish(deadline)).unwrap();
    while !world.ingest.queue.is_over(deadline) {
        tokio::task::yield_now().await;
    }
    world.store.open();
    finishing.join();
    let answers = world.answers(6);
    assert_eq!(answers[..1], accepted([1]));
    assert_eq!(answers[1..], ["Failed(Closed(\"the relay stops\"))"; 5]);
    assert_eq!(world.store.batches(), [1], "the store is asked for nothing more");
}

/// Everything a connection may send, each a few times over.
fn random_events(rng: &mut StdRng, count: usize) -> Vec<SubmittedEvent> {
    let one = |n: usize| {
        let content = format!("random {n}");
        match rng.random_range(0..10) {
            0 => forged(&note(&content)),
            1 => event(1, NOW_S, 1, &[&["expiration", "1"]], &content),
            2 => event(1, NOW_S, 20_001, &[], &content),
            3 | 4 => event(rng.random_range(1..3), NOW_S - rng.random_range(0..50), 0, &[], &content),
            _ => note(&content),
        }
    };
    (0..count).map(one).collect()
}

/// What can come of an event is known from the event alone, but for the store's part.
fn is_fitting(event: &SubmittedEvent, answer: &Answer) -> bool {
    let is_genuine = Verifier::new().verify(event.clone()).is_ok();
    let event = event.unverified();
    match (event.kind(), answer) {
        (_, Answer::BadSignature) => !is_genuine,
        (_, Answer::Committed(..) | Answer::Delivered(_)) if !is_genuine => false,
        (20_001, Answer::Delivered(LISTENERS)) => true,
        (20_001, _) => false,
        (_, Answer::Denied(_)) => event.first_value("expiration").is_some(),
        (kind, Answer::Committed(_, Outcome::Superseded)) => kind == 0,
        (_, Answer::Committed(_, Outcome::Accepted(_) | Outcome::Duplicate)) => true,
        (_, Answer::Known | Answer::Overloaded | Answer::Failed(_)) => true,
        _ => false,
    }
}

/// Many connections send the same events at once to a small queue before a store that fails every now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn every_submission_is_answered_exactly_once_however_they_interleave() {
    const CONNECTIONS: usize = 8;
    #[expect(clippy::disallowed_methods, reason = "a test's own setting, no part of the configuration")]
    let given = std::env::var("TOWPATH_SEED").ok().map(|seed| seed.parse().expect("TOWPATH_SEED is a number"));
    let seed: u64 = given.unwrap_or_else(rand::random);
    println!("TOWPATH_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let limits = CommitLimits { queue_events_max: 6, batch_events_max: 4, ..LIMITS };
    let mut world = World::new(limits, Policy::default());
    world.store.decide((0..1000).map(|_| rng.random_bool(0.2).then_some(Error::Full)));
    let events = random_events(&mut rng, 40);
    let (group, instant) = (TaskGroup::new(), world.clock.instant());
    let mut sent = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut theirs: Vec<SubmittedEvent> = (0..2).flat_map(|_| events.clone()).collect();
        theirs.shuffle(&mut rng);
        let bursts: Vec<usize> = theirs.iter().map(|_| *[1, 1, 2, 9].choose(&mut rng).unwrap()).collect();
        let pauses: Vec<usize> = theirs.iter().map(|_| *[0, 0, 0, 1, 5].choose(&mut rng).unwrap()).collect();
        let connection = Arc::<Connection>::default();
        sent.push((Arc::clone(&connection), theirs.clone()));
        let ingest = world.ingest.clone();
        group.spawn(async move {
            let mut left = &theirs[..];
            for (events, pauses) in bursts.into_iter().zip(pauses) {
                let (burst, behind) = left.split_at(events.min(left.len()));
                left = behind;
                submit(&ingest, &connection, instant, burst).await;
                for _ in 0..pauses {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    group.ended().await;
    world.finish();
    let mut times_accepted = HashMap::<EventId, usize>::new();
    for (connection, theirs) in sent {
        let answers = connection.answers(0);
        let slots: Vec<u64> = answers.iter().map(|(slot, _)| *slot).collect();
        assert_eq!(slots, (0..theirs.len() as u64).collect::<Vec<_>>(), "each slot once");
        let mut last = Seq(0);
        for ((_, answer), event) in answers.iter().zip(&theirs) {
            assert!(is_fitting(event, answer), "{answer:?} for {event:?}");
            if let Answer::Committed(_, Outcome::Accepted(seq)) = answer {
                assert!(*seq > last, "a connection's events are committed in their order");
                last = *seq;
                *times_accepted.entry(event.unverified().id()).or_default() += 1;
            }
        }
    }
    assert_eq!(times_accepted.values().sum::<usize>() as u64, world.store.stats().unwrap().last_seq.0);
    let is_note = |event: &&SubmittedEvent| event.unverified().kind() == 1;
    for event in events.iter().filter(is_note) {
        let id = event.unverified().id();
        let stored = usize::from(world.store.inner.place_of(&id).unwrap().is_some());
        assert_eq!(times_accepted.get(&id).copied().unwrap_or(0), stored, "{event:?}");
    }
}
