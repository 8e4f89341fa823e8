//! Delivery as its users see it: what an outbox gives, and when.

mod budgets;
mod passing;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use towpath_policy::{Policy, Principal, Source, plan};
use towpath_protocol::{Event, Filter, IndexedTags, SecretKey, relay_message, wire};
use towpath_runtime::{Clock, Live, ManualClock, SystemClock};
use towpath_store::memory::MemoryStore;
use towpath_store::{Batch, Committed, Cursor, Delivery, Entry, Error, EventStore, Page, Seq, StreamId};

use crate::index::LiveIndex;
use crate::{
    Budget, Close, Commit, Deliver, IndexLimits, Item, Metrics, Origin, Outbox, Reader, ShortWay, Subscription,
};

const STREAM: StreamId = StreamId(0);
/// When events are dated, in seconds since 1970.
const NOW: u64 = 1_700_000_000;
const ROOMY: IndexLimits = IndexLimits { postings_max: 100, connection_postings_max: 100 };

fn event(author: u8, kind: u16, tags: &[&[&str]], content: &str) -> Event {
    let key = SecretKey::from_bytes([author; 32]).unwrap();
    key.sign(NOW, kind, tags, content, &[0; 32]).into_event()
}

fn outbox(connection_bytes_max: usize) -> Arc<Outbox> {
    Arc::new(Outbox::new(Arc::new(Budget::new(connection_bytes_max, 1 << 20, 4, Metrics::default()))))
}

fn subscription(id: &str, filters: &[&str], outbox: &Arc<Outbox>) -> Arc<Subscription> {
    let filters = filters.iter().map(|text| wire::filter(text).unwrap()).collect();
    let reader =
        Reader { principal: Arc::new(RwLock::new(Principal::anonymous())), policy: Live::new(Policy::default()) };
    Arc::new(Subscription::new(id.into(), filters, reader, Arc::clone(outbox)))
}

/// A socket that is sent what waits, as it says, and nothing past it.
struct Queued<F>(F);

impl<F: Fn(usize) -> bool + Send + Sync> ShortWay for Queued<F> {
    fn send_now(&self, bytes_max: usize) -> bool {
        self.0(bytes_max)
    }

    fn send_event(&self, _: &str, _: &[u8], _: Option<Commit>, _: &dyn Fn() -> bool) -> bool {
        false
    }
}

/// Everything queued, as text; `id content` for events.
async fn sent(outbox: &Outbox) -> Vec<String> {
    outbox.push_urgent("end".into());
    let mut items = Vec::new();
    outbox.take(usize::MAX, |item| items.push(item));
    let text = |item| match item {
        Item::Text(text) | Item::Word { text, .. } => text,
        Item::Event { subscription, json, .. } => {
            format!("{} {}", subscription.id(), Event::from_canonical(json).unwrap().content().unwrap())
        }
    };
    items.into_iter().map(text).filter(|text| text != "end").collect()
}

#[tokio::test]
async fn live_events_wait_for_eose_and_what_the_scan_sent_is_not_sent_again() {
    let outbox = outbox(4096);
    let notes = subscription("s", &[r#"{"kinds":[1]}"#], &outbox);
    let note = |content| event(1, 1, &[], content);
    let at = |seq| {
        let commit = Commit { at: SystemClock.instant(), here: true };
        Some(Origin { stream: STREAM, seq: Seq(seq), commit })
    };
    for (seq, content) in [(4, "scanned"), (5, "scanned too"), (6, "live")] {
        notes.offer(&note(content), at(seq)).unwrap();
    }
    notes.offer(&note("ephemeral"), None).unwrap();
    assert!(sent(&outbox).await.is_empty(), "nothing before EOSE");
    assert!(notes.go_live(&Cursor::at(STREAM, Seq(5)), relay_message::eose("s", None), NOW));
    // Delivery may come to what the scan has sent long after the scan is done.
    notes.offer(&note("scanned too"), at(5)).unwrap();
    notes.offer(&note("later"), at(7)).unwrap();
    assert_eq!(sent(&outbox).await, [r#"["EOSE","s"]"#, "s live", "s ephemeral", "s later"]);
}

#[tokio::test]
async fn what_expired_before_the_end_of_the_scan_is_not_sent_behind_it() {
    let outbox = outbox(4096);
    let notes = subscription("s", &["{}"], &outbox);
    for (at, content) in [("1700000010", "gone"), ("1700000011", "lasting")] {
        notes.offer(&event(1, 1, &[&["expiration", at]], content), None).unwrap();
    }
    assert!(notes.go_live(&Cursor::start(), "EOSE".into(), NOW + 10));
    assert_eq!(sent(&outbox).await, ["EOSE", "s lasting"]);
}

#[tokio::test]
async fn answers_overtake_events_and_ordered_messages_do_not() {
    let outbox = outbox(4096);
    let notes = subscription("s", &["{}"], &outbox);
    outbox.queue_stored(&notes, [event(1, 1, &[], "one")].into_iter());
    outbox.push_ordered("EOSE".into());
    outbox.push_urgent("OK".into());
    assert_eq!(sent(&outbox).await, ["OK", "s one", "EOSE"]);
}

#[tokio::test]
async fn a_slow_consumer_is_told_and_its_events_make_room() {
    let outbox = outbox(1500);
    let deliver = Deliver::new(ROOMY, Metrics::default());
    let (slow, other) = (
        subscription("slow", &[r#"{"kinds":[20001]}"#], &outbox),
        subscription("other", &[r#"{"kinds":[20002]}"#], &outbox),
    );
    for subscription in [&slow, &other] {
        deliver.register(subscription).unwrap();
        subscription.go_live(&Cursor::start(), "EOSE".into(), NOW);
    }
    let reached: Vec<usize> = (0..10).map(|n| deliver.ephemeral(&event(n + 1, 20_001, &[], "x"))).collect();
    assert_eq!(
        reached.iter().sum::<usize>(),
        5,
        "four fit, the fifth closes the subscription, nobody listens to the rest"
    );
    assert_eq!(deliver.ephemeral(&event(1, 20_002, &[], "y")), 1);
    let sent = sent(&outbox).await;
    assert_eq!(sent.iter().filter(|text| text.contains("CLOSED") && text.contains("slow")).count(), 1);
    assert!(sent.contains(&"other y".into()) && !sent.contains(&"slow x".into()), "{sent:?}");
}

#[tokio::test]
async fn nothing_of_a_closed_subscription_is_sent_any_more() {
    let outbox = outbox(4096);
    let deliver = Deliver::new(ROOMY, Metrics::default());
    let notes = subscription("s", &["{}"], &outbox);
    deliver.register(&notes).unwrap();
    notes.go_live(&Cursor::start(), "EOSE".into(), NOW);
    assert_eq!(deliver.ephemeral(&event(1, 20_001, &[], "x")), 1);
    deliver.unregister(&notes);
    assert_eq!(deliver.ephemeral(&event(2, 20_001, &[], "y")), 0);
    assert!(sent(&outbox).await.is_empty());
}

#[tokio::test]
async fn the_end_of_a_replaced_subscription_does_not_end_the_one_that_has_its_name() {
    let outbox = outbox(4096);
    let deliver = Deliver::new(ROOMY, Metrics::default());
    let [finished, refused, new] = [(); 3].map(|()| subscription("s", &["{}"], &outbox));
    for old in [&finished, &refused] {
        deliver.register(old).unwrap();
    }
    outbox.queue_stored(&finished, [event(1, 1, &[], "old")].into_iter());
    finished.go_live(&Cursor::start(), "EOSE of the old".into(), NOW);
    deliver.refuse(&refused, "error: too slow");
    // None of it has left yet when the client asks for something else.
    deliver.unregister(&finished);
    deliver.unregister(&refused);
    deliver.register(&new).unwrap();
    outbox.queue_stored(&new, [event(1, 1, &[], "new")].into_iter());
    new.go_live(&Cursor::start(), "EOSE of the new".into(), NOW);
    assert_eq!(sent(&outbox).await, ["s new", "EOSE of the new"]);
}

/// Frames hold their subscription, and it its outbox.
#[tokio::test]
async fn a_connection_that_ended_leaves_nothing_behind() {
    let budget = Arc::new(Budget::new(4096, 4096, 4, Metrics::default()));
    let outbox = Arc::new(Outbox::new(Arc::clone(&budget)));
    let deliver = Deliver::new(ROOMY, Metrics::default());
    let (slow, open) = (subscription("slow", &["{}"], &outbox), subscription("open", &["{}"], &outbox));
    for subscription in [&slow, &open] {
        deliver.register(subscription).unwrap();
    }
    outbox.queue_stored(&open, [event(1, 1, &[], "never read")].into_iter());
    deliver.refuse(&slow, "error: too slow");
    let weak = Arc::downgrade(&outbox);
    deliver.unregister(&open);
    outbox.queue_stored(&open, [event(1, 1, &[], "nor this")].into_iter());
    outbox.discard();
    outbox.push_urgent("nobody is there".into());
    drop((outbox, slow, open));
    assert!(weak.upgrade().is_none());
}

#[tokio::test]
async fn what_was_read_for_a_subscription_that_ended_takes_no_room() {
    let outbox = outbox(1500);
    let deliver = Deliver::new(ROOMY, Metrics::default());
    let notes = subscription("s", &["{}"], &outbox);
    deliver.register(&notes).unwrap();
    deliver.unregister(&notes);
    outbox.queue_stored(&notes, (0..3).map(|author| event(author + 1, 1, &[], "read meanwhile")));
    assert!(notes.go_live(&Cursor::start(), "EOSE".into(), NOW));
    assert_eq!(outbox.take(usize::MAX, drop), None);
}

#[tokio::test]
async fn a_closed_outbox_gives_what_it_has_and_takes_nothing_more() {
    let outbox = outbox(4096);
    outbox.push_ordered("last".into());
    let close = Close { code: 1012, reason: "restart" };
    outbox.close(close.clone());
    outbox.push_ordered("too late".into());
    let mut items = Vec::new();
    assert_eq!(outbox.take(usize::MAX, |item| items.push(item)), Some(close));
    assert!(matches!(&items[..], [Item::Text(text)] if text == "last"));
}

#[test]
fn private_events_reach_nobody_who_may_not_read_them() {
    let outbox = outbox(4096);
    let deliver = Deliver::new(ROOMY, Metrics::default());
    let all = subscription("s", &["{}"], &outbox);
    deliver.register(&all).unwrap();
    assert_eq!(deliver.ephemeral(&event(1, 21_059, &[], "wrapped")), 0);
    all.reader().principal.write().add(event(1, 1, &[], "").pubkey());
    assert_eq!(deliver.ephemeral(&event(1, 21_059, &[], "wrapped")), 1, "keys proven later count");
}

#[test]
fn one_connection_holds_no_more_of_the_index_than_its_share() {
    let (here, there) = (outbox(4096), outbox(4096));
    let deliver = Deliver::new(IndexLimits { postings_max: 100, connection_postings_max: 4 }, Metrics::default());
    let kinds = subscription("kinds", &[r#"{"kinds":[1,2,3]}"#], &here);
    deliver.register(&kinds).unwrap();
    assert!(deliver.register(&subscription("more", &["{}"], &here)).is_err(), "its share is used up");
    deliver.register(&subscription("other", &["{}"], &there)).unwrap();
    deliver.unregister(&kinds);
    assert!(deliver.register(&subscription("again", &["{}"], &here)).is_ok(), "what is given back can be used again");
}

#[test]
fn a_full_index_is_closed_to_the_busy_and_open_to_newcomers() {
    let (busy, newcomer) = (outbox(4096), outbox(4096));
    let deliver =
        Deliver::new(IndexLimits { postings_max: 2_500, connection_postings_max: 100_000 }, Metrics::default());
    let kinds =
        |n: usize| format!(r#"{{"kinds":[{}]}}"#, (0..n).map(|kind| kind.to_string()).collect::<Vec<_>>().join(","));
    deliver.register(&subscription("most", &[&kinds(2_400)], &busy)).unwrap();
    assert!(deliver.register(&subscription("more", &[&kinds(200)], &busy)).is_err());
    assert!(deliver.register(&subscription("few", &[&kinds(200)], &newcomer)).is_ok());
}

/// A store whose log cannot be read the first time it is asked for.
struct Stumbling {
    store: MemoryStore,
    reads: AtomicUsize,
}

impl towpath_store::Wraps for Stumbling {
    fn inner(&self) -> &dyn EventStore {
        &self.store
    }

    fn since(&self, cursor: &Cursor, page: Page) -> Result<Vec<Entry>, Error> {
        if self.reads.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(Error::Closed("it stumbles".into()));
        }
        self.store.since(cursor, page)
    }
}

#[tokio::test]
async fn a_follower_that_missed_commits_reads_them_from_the_log_however_often_it_takes() {
    let store = Arc::new(Stumbling { store: MemoryStore::new(), reads: AtomicUsize::new(0) });
    let outbox = outbox(1 << 16);
    let deliver = Deliver::new(ROOMY, Metrics::default());
    let follower = deliver.follow(Arc::clone(&store) as Arc<dyn EventStore>, Arc::new(SystemClock)).unwrap();
    let notes = subscription("s", &[r#"{"kinds":[1]}"#], &outbox);
    deliver.register(&notes).unwrap();
    notes.go_live(&store.snapshot().unwrap(), "EOSE".into(), NOW);
    let key = SecretKey::from_bytes([1; 32]).unwrap();
    for n in 1..=5 {
        let note = key.sign(n, 1, &[], &n.to_string(), &[0; 32]);
        let batch = Batch::of(vec![plan(note, Source::Client, &Policy::default())], n);
        let committed = store.commit(batch).unwrap();
        // What is not handed over is as good as what did not fit into the inbox.
        if n == 5 {
            deliver.committed(&committed, SystemClock.instant());
        }
    }
    while store.reads.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    deliver.stop();
    tokio::task::spawn_blocking(|| follower.join()).await.unwrap();
    assert_eq!(sent(&outbox).await, ["EOSE", "s 1", "s 2", "s 3", "s 4", "s 5"]);
    assert_eq!(store.reads.load(Ordering::SeqCst), 2, "it does not read on behind what it missed");
}

#[tokio::test]
async fn what_is_read_from_the_log_is_as_old_as_its_commit_and_knows_whose_it_was() {
    let (store, outbox, clock) = (MemoryStore::new(), outbox(1 << 16), Arc::new(ManualClock::at(5_000)));
    let deliver = Deliver::new(ROOMY, Metrics::default());
    let follower = deliver.follow(Arc::new(store.clone()), Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    let notes = subscription("s", &[r#"{"kinds":[1]}"#], &outbox);
    deliver.register(&notes).unwrap();
    notes.go_live(&store.snapshot().unwrap(), "EOSE".into(), NOW);
    let note = SecretKey::from_bytes([1; 32]).unwrap().sign(1, 1, &[], "", &[0; 32]);
    store.commit(Batch::of(vec![plan(note, Source::Client, &Policy::default())], 5_000)).unwrap();
    clock.advance(Duration::from_secs(3));
    assert!(deliver.look(&store.snapshot().unwrap()));
    deliver.stop();
    tokio::task::spawn_blocking(|| follower.join()).await.unwrap();
    let mut items = Vec::new();
    outbox.take(usize::MAX, |item| items.push(item));
    let commits: Vec<Commit> =
        items.iter().filter_map(|item| if let Item::Event { commit, .. } = item { *commit } else { None }).collect();
    let [Commit { at, here: true }] = commits[..] else { panic!("{commits:?}") };
    assert_eq!(clock.instant().duration_since(at), Duration::from_secs(3));
}

#[tokio::test]
async fn what_expired_before_it_was_read_from_the_log_is_not_sent() {
    let (store, outbox, clock) = (MemoryStore::new(), outbox(1 << 16), Arc::new(ManualClock::at(NOW * 1000)));
    let deliver = Deliver::new(ROOMY, Metrics::default());
    let follower = deliver.follow(Arc::new(store.clone()), Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    let notes = subscription("s", &[r#"{"kinds":[1]}"#], &outbox);
    deliver.register(&notes).unwrap();
    notes.go_live(&store.snapshot().unwrap(), "EOSE".into(), NOW);
    let key = SecretKey::from_bytes([1; 32]).unwrap();
    let writes = ["1700000010", "1700000011"].map(|at| {
        let note = key.sign(NOW, 1, &[&["expiration", at]], at, &[0; 32]);
        plan(note, Source::Client, &Policy::default())
    });
    store.commit(Batch::of(writes.into(), NOW * 1000)).unwrap();
    clock.advance(Duration::from_secs(10));
    assert!(deliver.look(&store.snapshot().unwrap()));
    deliver.stop();
    tokio::task::spawn_blocking(|| follower.join()).await.unwrap();
    assert_eq!(sent(&outbox).await, ["EOSE", "s 1700000011"]);
}

/// No follower runs here: what arrives was delivered by whoever handed the commit over.
#[tokio::test]
async fn a_lone_event_is_delivered_by_the_committer_unless_many_could_want_it_or_something_is_before_it() {
    let (store, outbox) = (MemoryStore::new(), outbox(1 << 16));
    let deliver = Deliver::new(IndexLimits { postings_max: 1_000, connection_postings_max: 1_000 }, Metrics::default());
    let notes = subscription("s", &[r#"{"kinds":[1]}"#], &outbox);
    deliver.register(&notes).unwrap();
    notes.go_live(&store.snapshot().unwrap(), "EOSE".into(), NOW);
    let key = SecretKey::from_bytes([1; 32]).unwrap();
    let commit = |content: &str| {
        let note = key.sign(1, 1, &[], content, &[0; 32]);
        store.commit(Batch::of(vec![plan(note, Source::Client, &Policy::default())], 1)).unwrap()
    };
    for content in ["alone", "alone again"] {
        deliver.committed(&commit(content), SystemClock.instant());
    }
    assert_eq!(sent(&outbox).await, ["EOSE", "s alone", "s alone again"]);
    let others: Vec<_> = (0..256).map(|n| subscription(&n.to_string(), &[r#"{"kinds":[1]}"#], &outbox)).collect();
    others.iter().for_each(|other| deliver.register(other).unwrap());
    deliver.committed(&commit("for many"), SystemClock.instant());
    others.iter().for_each(|other| deliver.unregister(other));
    deliver.committed(&commit("behind it"), SystemClock.instant());
    assert_eq!(sent(&outbox).await, [""; 0], "both wait for the follower, in their order");
}

fn commit(store: &MemoryStore, content: &str) -> Committed {
    let note = SecretKey::from_bytes([1; 32]).unwrap().sign(1, 1, &[], content, &[0; 32]);
    store.commit(Batch::of(vec![plan(note, Source::Client, &Policy::default())], 1)).unwrap()
}

/// Of sockets that take what is sent to them and leave it in the outbox; counts how often any of them is sent to.
fn listening(deliver: &Deliver, outboxes: usize, subscriptions: usize) -> (Vec<Arc<Outbox>>, Arc<AtomicUsize>) {
    let sends = Arc::new(AtomicUsize::new(0));
    let listen = |_| {
        let (outbox, sends) = (outbox(1 << 16), Arc::clone(&sends));
        outbox.attach(Box::new(Queued(move |_| {
            sends.fetch_add(1, Ordering::SeqCst);
            true
        })));
        for number in 0..subscriptions {
            let notes = subscription(&format!("s{number}"), &[r#"{"kinds":[1]}"#], &outbox);
            deliver.register(&notes).unwrap();
            notes.go_live(&Cursor::start(), "EOSE".into(), NOW);
        }
        outbox
    };
    let outboxes = (0..outboxes).map(listen).collect();
    sends.store(0, Ordering::SeqCst);
    (outboxes, sends)
}

/// No follower runs at first, so that what leaves before it does was sent by the committer.
#[tokio::test]
async fn the_committer_sends_the_first_of_many_frames_and_leaves_the_others_to_the_follower() {
    let store = MemoryStore::new();
    let deliver = Deliver::new(ROOMY, Metrics::default());
    let (listeners, sends) = listening(&deliver, 20, 1);
    for content in ["one", "two"] {
        deliver.committed(&commit(&store, content), SystemClock.instant());
    }
    assert_eq!(sends.load(Ordering::SeqCst), 1, "the first frame of the first event; the second waits for it");
    // It begins before both, and needs no log.
    let follower = deliver.follow(Arc::new(MemoryStore::new()), Arc::new(SystemClock)).unwrap();
    deliver.stop();
    tokio::task::spawn_blocking(|| follower.join()).await.unwrap();
    assert_eq!(sends.load(Ordering::SeqCst), 1 + 20, "one send takes what waits of both");
    for outbox in listeners {
        assert_eq!(sent(&outbox).await, ["EOSE", "s0 one", "s0 two"]);
    }
}

#[tokio::test]
async fn a_connection_of_several_subscriptions_is_sent_a_lone_event_at_once() {
    let store = MemoryStore::new();
    let deliver = Deliver::new(ROOMY, Metrics::default());
    let (listeners, sends) = listening(&deliver, 3, 10);
    deliver.committed(&commit(&store, "alone"), SystemClock.instant());
    let follower = deliver.follow(Arc::new(store), Arc::new(SystemClock)).unwrap();
    deliver.stop();
    tokio::task::spawn_blocking(|| follower.join()).await.unwrap();
    assert_eq!(sends.load(Ordering::SeqCst), 1 + 3, "the first frame, and one send to each");
    for outbox in listeners {
        let mut sent = sent(&outbox).await;
        sent.retain(|text| text != "EOSE");
        sent.sort();
        assert_eq!(sent, (0..10).map(|number| format!("s{number} alone")).collect::<Vec<_>>());
    }
}

/// A filter over few values, so that random filters and events meet.
fn random_filter(rng: &mut StdRng, events: &[Event]) -> String {
    let mut parts = Vec::new();
    let some = |rng: &mut StdRng, all: &[String]| {
        let count = rng.random_range(0..4);
        format!("[{}]", all.choose_multiple(rng, count).cloned().collect::<Vec<_>>().join(","))
    };
    let quoted = |text: String| format!("\"{text}\"");
    if rng.random_bool(0.15) {
        let ids: Vec<String> = events.iter().map(|event| quoted(event.id().to_hex())).collect();
        parts.push(format!("\"ids\":{}", some(rng, &ids)));
    }
    if rng.random_bool(0.4) {
        let authors: Vec<String> = (1..6).map(|n| quoted(event(n, 1, &[], "").pubkey().to_hex())).collect();
        parts.push(format!("\"authors\":{}", some(rng, &authors)));
    }
    if rng.random_bool(0.5) {
        let kinds: Vec<String> = (1..5).map(|kind| kind.to_string()).collect();
        parts.push(format!("\"kinds\":{}", some(rng, &kinds)));
    }
    for name in ["t", "T", "x"] {
        if rng.random_bool(0.2) {
            let values: Vec<String> = ["", "a", "b", "c"].map(|value| quoted(value.into())).into();
            parts.push(format!("\"#{name}\":{}", some(rng, &values)));
        }
    }
    if rng.random_bool(0.2) {
        parts.push(format!("\"since\":{}", 1_700_000_000 + rng.random_range(-1..=1)));
    }
    format!("{{{}}}", parts.join(","))
}

fn random_event(rng: &mut StdRng) -> Event {
    let tags: Vec<[&str; 2]> = (0..rng.random_range(0..4))
        .map(|_| [*["t", "T", "x", "long"].choose(rng).unwrap(), *["", "a", "b", "c"].choose(rng).unwrap()])
        .collect();
    let tags: Vec<&[&str]> = tags.iter().map(|tag| &tag[..]).collect();
    event(rng.random_range(1..6), rng.random_range(1..5), &tags, &rng.random::<u32>().to_string())
}

/// The index against the definition, while subscriptions come and go.
#[test]
fn the_index_finds_exactly_what_the_filters_match() {
    #[expect(clippy::disallowed_methods, reason = "a test's own setting, no part of the configuration")]
    let given = std::env::var("TOWPATH_SEED").ok().map(|seed| seed.parse().expect("TOWPATH_SEED is a number"));
    let seed: u64 = given.unwrap_or_else(rand::random);
    println!("TOWPATH_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let outbox = outbox(1 << 20);
    let mut index = LiveIndex::new();
    let mut live: Vec<(u32, Arc<Subscription>)> = Vec::new();
    let events: Vec<Event> = (0..60).map(|_| random_event(&mut rng)).collect();
    for event in events.iter().cycle().take(600) {
        for _ in 0..3 {
            let filters: Vec<String> = (0..rng.random_range(1..4)).map(|_| random_filter(&mut rng, &events)).collect();
            let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
            let new = subscription("s", &filters, &outbox);
            let keys = index.keys_of(new.filters());
            live.push((index.insert(&new, keys, 1), new));
        }
        while live.len() > 60 {
            let (slot, _) = live.swap_remove(rng.random_range(0..live.len()));
            index.remove(slot);
        }
        let mut found = Vec::new();
        index.matching(event, &mut found);
        let mut found: Vec<_> = found.iter().map(Arc::as_ptr).collect();
        let tags = IndexedTags::of(event);
        let wants = |subscription: &Subscription| {
            subscription.filters().iter().any(|filter: &Filter| filter.matches(event, &tags))
        };
        let mut expected: Vec<_> = live.iter().filter(|(_, s)| wants(s)).map(|(_, s)| Arc::as_ptr(s)).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{event:?}");
    }
    for (slot, _) in live {
        index.remove(slot);
    }
    assert_eq!((index.filters(), index.cost(), index.keys()), (0, 0, 0), "nothing is left behind");
}
