//! What may wait for sockets, and who has to wait or go when it is used up; what may wait for the follower, which reads the rest from
//! the log.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;
use towpath_policy::{Policy, Source, plan};
use towpath_protocol::SecretKey;
use towpath_runtime::{Clock, SystemClock, Thread};
use towpath_store::memory::MemoryStore;
use towpath_store::{Batch, Committed, Cursor, Delivery, EventStore};

use super::{NOW, Queued, ROOMY, event, sent, subscription};
use crate::{Budget, Close, Deliver, Item, Metrics, Outbox, Subscription};

const KIB: usize = 1024;

fn outbox(budget: &Arc<Budget>) -> Arc<Outbox> {
    Arc::new(Outbox::new(Arc::clone(budget)))
}

fn budget(connection_bytes_max: usize, total_bytes_max: usize) -> Arc<Budget> {
    Arc::new(Budget::new(connection_bytes_max, total_bytes_max, 4, Metrics::default()))
}

fn live(outbox: &Arc<Outbox>) -> Arc<Subscription> {
    let all = subscription("s", &["{}"], outbox);
    all.go_live(&Cursor::start(), "EOSE".into(), NOW);
    all
}

/// Offers events of a good KiB until one is refused; returns how many were taken.
fn fill(subscription: &Arc<Subscription>) -> usize {
    let big = event(1, 1, &[], &"x".repeat(KIB));
    (0..1_000).take_while(|_| subscription.offer(&big, None).is_ok()).count()
}

fn is_ready(future: impl Future<Output = ()>) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

fn empty(outbox: &Outbox) {
    outbox.take(usize::MAX, drop);
    outbox.sent(usize::MAX);
}

/// Gives `outbox` a socket that takes everything at once; returns how many events it took.
fn attach_fast_socket(outbox: &Arc<Outbox>) -> Arc<AtomicUsize> {
    let taken = Arc::new(AtomicUsize::new(0));
    let (of, events) = (Arc::downgrade(outbox), Arc::clone(&taken));
    outbox.attach(Box::new(Queued(move |bytes_max| {
        let outbox = of.upgrade().unwrap();
        outbox.take(bytes_max, |item| {
            events.fetch_add(usize::from(matches!(item, Item::Event { .. })), Ordering::SeqCst);
        });
        !outbox.sent(usize::MAX)
    })));
    taken
}

#[test]
fn the_total_is_for_those_who_hold_more_than_their_fair_share() {
    let budget = budget(usize::MAX / 2, 200 * KIB);
    let (greedy, modest) = (outbox(&budget), outbox(&budget));
    let (all, some) = (live(&greedy), live(&modest));
    let taken = fill(&all);
    assert!((100..200).contains(&taken), "the greedy one fills the total: {taken}");
    let served = fill(&some);
    assert!((40..64).contains(&served), "the modest one has its 64 KiB all the same: {served}");
    empty(&greedy);
    assert!(some.offer(&event(1, 1, &[], "again"), None).is_ok(), "what is sent makes room for everybody");
}

#[test]
fn an_event_larger_than_the_bound_goes_through_an_empty_outbox_alone() {
    let outbox = outbox(&budget(100, 1 << 20));
    let all = live(&outbox);
    let note = event(1, 1, &[], "x");
    assert!(note.json().len() > 100 && all.offer(&note, None).is_ok());
    assert!(all.offer(&note, None).is_err());
}

#[test]
fn what_a_socket_has_not_taken_yet_counts() {
    let outbox = outbox(&budget(8 * KIB, 1 << 20));
    let all = live(&outbox);
    fill(&all);
    outbox.take(usize::MAX, drop);
    assert_eq!(fill(&all), 0, "it is in the socket's buffer here");
    outbox.sent(2 * KIB);
    assert!((1..=2).contains(&fill(&all)), "a part of it has left");
    outbox.sent(usize::MAX);
    assert!(fill(&all) > 0);
}

/// Whether it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits, until `then`, which makes it wake up and find what it waited for.
fn waits_until(future: impl Future<Output = ()>, then: impl FnOnce()) {
    let (mut future, woken) = (pin!(future), Arc::new(Woken::default()));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    assert!(future.as_mut().poll(&mut context).is_pending() && !woken.0.load(Ordering::SeqCst));
    then();
    assert!(woken.0.load(Ordering::SeqCst) && future.as_mut().poll(&mut context).is_ready());
}

#[test]
fn who_waits_for_room_is_woken_when_there_is_some() {
    let budget = budget(8 * KIB, 1 << 20);
    let filled = || {
        let outbox = outbox(&budget);
        fill(&live(&outbox));
        outbox
    };
    let taken = filled();
    waits_until(taken.room_for_stored(), || empty(&taken));
    let gone = filled();
    waits_until(gone.room_for_stored(), || gone.discard());
    let closed = filled();
    waits_until(closed.room_for_stored(), || closed.close(Close { code: 1012, reason: "restart" }));
    let purged = outbox(&budget);
    let all = live(&purged);
    fill(&all);
    waits_until(purged.room_for_stored(), || assert!(all.abandon()));

    let asked = outbox(&budget);
    for _ in 0..5 {
        asked.push_urgent("an answer".into());
    }
    waits_until(asked.admit(), || empty(&asked));
}

#[test]
fn who_takes_events_at_once_is_never_too_slow_however_large_they_are() {
    let large = event(1, 20_001, &[], &"x".repeat(100 * KIB));
    let deliver = Deliver::new(ROOMY, Metrics::default());
    let one_of_many_filters = outbox(&budget(450 * KIB, usize::MAX / 2));
    let taken = attach_fast_socket(&one_of_many_filters);
    for number in 0..9 {
        let all = subscription(&number.to_string(), &["{}"], &one_of_many_filters);
        deliver.register(&all).unwrap();
        all.go_live(&Cursor::start(), "EOSE".into(), NOW);
    }
    assert_eq!(deliver.ephemeral(&large), 9);
    one_of_many_filters.send_now(usize::MAX);
    assert_eq!(taken.load(Ordering::SeqCst), 9, "nine times as much as the connection may hold goes through it");

    let deliver = Deliver::new(ROOMY, Metrics::default());
    let budget = budget(450 * KIB, 300 * KIB);
    let many: Vec<_> = (0..20).map(|_| outbox(&budget)).collect();
    let taken: Vec<_> = many.iter().map(attach_fast_socket).collect();
    for outbox in &many {
        deliver.register(&live(outbox)).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(deliver.ephemeral(&large), 20);
    }
    many.iter().for_each(|outbox| outbox.send_now(usize::MAX));
    assert!(taken.iter().all(|taken| taken.load(Ordering::SeqCst) == 2), "more than all may hold goes to all");
}

#[test]
fn an_answer_that_is_read_makes_room_for_what_was_held_for_its_end() {
    let outbox = outbox(&budget(8 * KIB, 1 << 20));
    let taken = attach_fast_socket(&outbox);
    let stored = subscription("s", &["{}"], &outbox);
    let big = event(1, 1, &[], &"x".repeat(KIB));
    outbox.queue_stored(&stored, std::iter::repeat_n(big.clone(), 6));
    stored.offer(&big, None).unwrap();
    assert!(stored.go_live(&Cursor::start(), "EOSE".into(), NOW));
    assert_eq!(taken.load(Ordering::SeqCst), 7);
}

#[test]
fn stored_events_wait_for_half_of_the_connections_room_and_for_the_total() {
    let budget = budget(8 * KIB, 20 * KIB);
    let (one, other) = (outbox(&budget), outbox(&budget));
    let notes = live(&one);
    let big = event(1, 1, &[], &"x".repeat(KIB));
    one.queue_stored(&notes, std::iter::repeat_n(big.clone(), 2));
    assert!(is_ready(one.room_for_stored()), "under half");
    one.queue_stored(&notes, std::iter::repeat_n(big.clone(), 3));
    assert!(!is_ready(one.room_for_stored()), "over half");
    empty(&one);
    assert!(is_ready(one.room_for_stored()));
    let theirs = live(&other);
    other.queue_stored(&theirs, std::iter::repeat_n(big.clone(), 20));
    assert!(is_ready(one.room_for_stored()), "who holds nothing is served");
    one.queue_stored(&notes, std::iter::once(big));
    assert!(!is_ready(one.room_for_stored()), "the total is used up");
    other.discard();
    assert!(is_ready(one.room_for_stored()), "a socket that is gone gives back what it held");
}

#[test]
fn requests_wait_while_too_many_answers_or_too_large_ones_do() {
    let outbox = outbox(&budget(1 << 20, 1 << 20));
    for _ in 0..4 {
        outbox.push_urgent("OK".into());
    }
    assert!(is_ready(outbox.admit()));
    outbox.push_ordered("CLOSED".into());
    assert!(!is_ready(outbox.admit()), "five of four");
    empty(&outbox);
    assert!(is_ready(outbox.admit()));
    outbox.push_urgent("x".repeat(4 * 256 + 1));
    assert!(!is_ready(outbox.admit()), "one of more bytes than four answers");
    empty(&outbox);
    assert!(is_ready(outbox.admit()));
}

#[test]
fn what_is_held_until_eose_may_take_half_of_the_connections_room() {
    let outbox = outbox(&budget(32 * KIB, 1 << 20));
    let stored = subscription("s", &["{}"], &outbox);
    let held = fill(&stored);
    assert!((10..16).contains(&held), "{held}");
    stored.abandon();
    assert!((10..16).contains(&fill(&subscription("t", &["{}"], &outbox))), "what was held is given back");
}

#[test]
fn what_all_hold_until_eose_is_bounded_but_for_a_fair_share_each() {
    let budget = budget(usize::MAX / 2, 200 * KIB);
    let [greedy, modest] = [(); 2].map(|()| subscription("s", &["{}"], &outbox(&budget)));
    let held = fill(&greedy);
    assert!((100..200).contains(&held), "the greedy one fills the total: {held}");
    let served = fill(&modest);
    assert!((40..64).contains(&served), "the modest one has its 64 KiB all the same: {served}");
    greedy.abandon();
    assert!(fill(&modest) > 0, "what is given back makes room for everybody");
}

#[test]
fn an_event_larger_than_half_the_bound_is_held_alone() {
    let outbox = outbox(&budget(100, 1 << 20));
    let stored = subscription("s", &["{}"], &outbox);
    let note = event(1, 1, &[], "x");
    assert!(stored.offer(&note, None).is_ok() && stored.offer(&note, None).is_err());
    assert!(stored.go_live(&Cursor::start(), "EOSE".into(), NOW));
}

/// More than its inbox has room for: what was handed over is not all that the follower delivers.
const COMMITS: u64 = 300;

/// A follower that is at the first commit: the only socket takes its frame when it is given a turn, and so with every other.
struct Stuck {
    store: MemoryStore,
    deliver: Deliver,
    metrics: Metrics,
    outbox: Arc<Outbox>,
    follower: Thread,
    turns: SyncSender<()>,
    /// Frames that the socket was given.
    begun: Arc<AtomicUsize>,
}

impl Stuck {
    fn start() -> Self {
        let (store, metrics) = (MemoryStore::new(), Metrics::default());
        let deliver = Deliver::new(ROOMY, metrics.clone());
        let follower = deliver.follow(Arc::new(store.clone()), Arc::new(SystemClock)).unwrap();
        let outbox = outbox(&budget(1 << 20, 1 << 20));
        deliver.register(&live(&outbox)).unwrap();
        let (turns, given) = sync_channel(0);
        let (begun, given) = (Arc::new(AtomicUsize::new(0)), Mutex::new(given));
        let count = Arc::clone(&begun);
        outbox.attach(Box::new(Queued(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            // Once nobody is left to give turns, it waits for none.
            let _ = given.lock().recv();
            false
        })));
        let stuck = Self { store, deliver, metrics, outbox, follower, turns, begun };
        // As another process's, which nobody but the follower delivers.
        stuck.deliver.take(stuck.commit(1).run, SystemClock.instant());
        stuck.wait_until_begun(1);
        stuck
    }

    fn commit(&self, number: u64) -> Committed {
        let key = SecretKey::from_bytes([1; 32]).unwrap();
        let note = key.sign(number, 1, &[], &number.to_string(), &[0; 32]);
        self.store.commit(Batch::of(vec![plan(note, Source::Client, &Policy::default())], number)).unwrap()
    }

    fn hand_over(&self, number: u64) {
        self.deliver.committed(&self.commit(number), SystemClock.instant());
    }

    fn wait_until_begun(&self, frames: usize) {
        while self.begun.load(Ordering::SeqCst) < frames {
            std::thread::yield_now();
        }
    }

    /// Lets it go, and checks that it delivers every commit up to the `last` once, in order.
    async fn expect_delivered(self, last: u64) {
        drop(self.turns);
        self.deliver.stop();
        let follower = self.follower;
        tokio::task::spawn_blocking(|| follower.join()).await.unwrap();
        let all = (1..=last).map(|number| format!("s {number}"));
        assert_eq!(sent(&self.outbox).await, std::iter::once("EOSE".to_owned()).chain(all).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_an_inbox_had_no_room_for_is_read_from_the_log_though_nothing_comes_behind_it() {
    let stuck = Stuck::start();
    let metrics = stuck.metrics.clone();
    (2..=COMMITS).for_each(|number| stuck.hand_over(number));
    stuck.expect_delivered(COMMITS).await;
    assert_eq!((metrics.gaps.get(), metrics.catch_ups.get()), (0, 1), "it had room for all");
}

#[tokio::test]
async fn what_comes_when_an_inbox_has_room_again_waits_for_what_the_log_has_before_it_and_is_delivered_once() {
    let stuck = Stuck::start();
    let metrics = stuck.metrics.clone();
    (2..=COMMITS).for_each(|number| stuck.hand_over(number));
    // Two of those that waited do not any more.
    for frames in 2..=3 {
        stuck.turns.send(()).unwrap();
        stuck.wait_until_begun(frames);
    }
    stuck.hand_over(COMMITS + 1);
    stuck.expect_delivered(COMMITS + 1).await;
    assert_eq!(metrics.gaps.get(), 1, "it had room for all, or for none again");
    assert_eq!(metrics.catch_ups.get(), 1, "what filled the gap is not looked for again");
}

#[tokio::test]
async fn what_was_behind_and_came_after_all_is_not_looked_for_in_the_log() {
    let stuck = Stuck::start();
    let metrics = stuck.metrics.clone();
    stuck.hand_over(2);
    assert!(stuck.deliver.look(&stuck.store.snapshot().unwrap()), "it is at the first commit still");
    stuck.expect_delivered(2).await;
    assert_eq!(metrics.catch_ups.get(), 0);
}
