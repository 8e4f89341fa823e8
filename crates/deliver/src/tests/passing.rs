//! Lone events that go straight to the socket, past the outbox, and those that must not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use towpath_policy::{Policy, Source, plan};
use towpath_protocol::{Event, SecretKey, relay_message};
use towpath_runtime::{Clock, SystemClock};
use towpath_store::memory::MemoryStore;
use towpath_store::{Batch, Cursor, Delivery, EventStore, Seq};

use super::{NOW, ROOMY, STREAM, commit, event, sent, subscription};
use crate::follower::SOCKETS_MAX;
use crate::{Budget, Close, Commit, Deliver, Metrics, Outbox, ShortWay, Subscription};

/// A socket that takes whatever may pass, unless it is at work.
#[derive(Default)]
struct Line {
    taken: Mutex<Vec<String>>,
    /// How often it was sent what waits.
    sends: AtomicUsize,
    is_busy: AtomicBool,
}

struct ToLine(Arc<Line>);

impl ShortWay for ToLine {
    /// Leaves it there, so that the tests can look at it.
    fn send_now(&self, _: usize) -> bool {
        self.0.sends.fetch_add(1, Ordering::SeqCst);
        true
    }

    fn send_event(&self, head: &str, json: &[u8], commit: Option<Commit>, is_next: &dyn Fn() -> bool) -> bool {
        if self.0.is_busy.load(Ordering::SeqCst) || !is_next() {
            return false;
        }
        assert!(commit.is_some(), "the delay from the commit is measured");
        let event = Event::from_canonical(json.to_vec().into()).unwrap();
        self.0.taken.lock().push(format!("{head} {}", event.content().unwrap()));
        true
    }
}

struct Passing {
    store: MemoryStore,
    deliver: Deliver,
    metrics: Metrics,
    outbox: Arc<Outbox>,
    line: Arc<Line>,
}

impl Passing {
    fn new() -> Self {
        let (metrics, line) = (Metrics::default(), Arc::new(Line::default()));
        let outbox = Arc::new(Outbox::new(Arc::new(Budget::new(1 << 16, 1 << 20, 4, metrics.clone()))));
        outbox.attach(Box::new(ToLine(Arc::clone(&line))));
        let deliver = Deliver::new(ROOMY, metrics.clone());
        Self { store: MemoryStore::new(), deliver, metrics, outbox, line }
    }

    /// A subscription to notes whose scan is not done.
    fn registered(&self, id: &str) -> Arc<Subscription> {
        let notes = subscription(id, &[r#"{"kinds":[1]}"#], &self.outbox);
        self.deliver.register(&notes).unwrap();
        notes
    }

    async fn live(&self, id: &str) -> Arc<Subscription> {
        let notes = self.registered(id);
        notes.go_live(&Cursor::start(), relay_message::eose(id, None), NOW);
        assert_eq!(sent(&self.outbox).await, [relay_message::eose(id, None)]);
        notes
    }

    /// As the committer does with a lone event.
    fn deliver(&self, content: &str) {
        self.deliver.committed(&commit(&self.store, content), SystemClock.instant());
    }

    fn passed(&self) -> Vec<String> {
        std::mem::take(&mut self.line.taken.lock())
    }
}

#[tokio::test]
async fn a_lone_event_passes_an_empty_outbox() {
    let all = Passing::new();
    let _notes = all.live("s").await;
    all.deliver("one");
    all.deliver("two");
    assert_eq!(all.passed(), [r#"["EVENT","s", one"#, r#"["EVENT","s", two"#]);
    assert_eq!(sent(&all.outbox).await, [""; 0], "nothing is queued of it");
    assert_eq!(all.metrics.frames.get(), 2);
    assert_eq!(all.metrics.queued_bytes.get(), 0);
}

#[tokio::test]
async fn nothing_passes_what_waits() {
    let all = Passing::new();
    let _notes = all.live("s").await;
    all.line.is_busy.store(true, Ordering::SeqCst);
    all.deliver("first");
    all.line.is_busy.store(false, Ordering::SeqCst);
    all.deliver("second");
    assert_eq!(all.passed(), [""; 0]);
    assert_eq!(sent(&all.outbox).await, ["s first", "s second"]);
    all.outbox.sent(usize::MAX);
    all.deliver("third");
    assert_eq!(all.passed(), [r#"["EVENT","s", third"#], "when all is sent");
}

#[tokio::test]
async fn an_answer_that_waits_is_not_passed_either() {
    let all = Passing::new();
    let _notes = all.live("s").await;
    all.outbox.queue_urgent("answer".into());
    all.deliver("behind it");
    assert_eq!(all.passed(), [""; 0]);
    assert_eq!(sent(&all.outbox).await, ["answer", "s behind it"]);
}

#[tokio::test]
async fn of_a_subscription_whose_scan_is_not_done_nothing_passes() {
    let all = Passing::new();
    let notes = all.registered("s");
    all.deliver("held");
    assert_eq!((all.passed().len(), sent(&all.outbox).await.len()), (0, 0));
    notes.go_live(&Cursor::start(), "EOSE".into(), NOW);
    assert_eq!(sent(&all.outbox).await, ["EOSE", "s held"]);
}

#[tokio::test]
async fn what_the_scan_has_sent_does_not_pass() {
    let all = Passing::new();
    let notes = all.registered("s");
    notes.go_live(&Cursor::at(STREAM, Seq(1)), "EOSE".into(), NOW);
    assert_eq!(sent(&all.outbox).await, ["EOSE"]);
    all.deliver("the scan found it");
    assert_eq!((all.passed().len(), sent(&all.outbox).await.len()), (0, 0));
    all.deliver("new");
    assert_eq!(all.passed(), [r#"["EVENT","s", new"#]);
}

#[tokio::test]
async fn nothing_passes_for_a_subscription_that_has_ended() {
    let all = Passing::new();
    let notes = all.live("s").await;
    // Delivery has found it before it ends.
    all.deliver.unregister(&notes);
    assert!(!notes.pass(&event(1, 1, &[], "too late"), None));
    assert_eq!(all.passed(), [""; 0]);
}

#[tokio::test]
async fn nothing_passes_on_a_connection_that_is_about_to_close() {
    let all = Passing::new();
    let _notes = all.live("s").await;
    all.outbox.close(Close { code: 1000, reason: "" });
    all.deliver("too late");
    assert_eq!((all.passed().len(), sent(&all.outbox).await.len()), (0, 0));
}

#[tokio::test]
async fn nothing_passes_to_whom_it_is_not_for() {
    let all = Passing::new();
    let everything = subscription("s", &["{}"], &all.outbox);
    all.deliver.register(&everything).unwrap();
    everything.go_live(&Cursor::start(), "EOSE".into(), NOW);
    assert_eq!(sent(&all.outbox).await, ["EOSE"]);
    let other = "6a04ab98d9e4774ad806e302dddeb63bea16b5cb5f223ee77478e861bb583eb3";
    let wrap = SecretKey::from_bytes([1; 32]).unwrap().sign(1, 1059, &[&["p", other]], "", &[0; 32]);
    let batch = Batch::of(vec![plan(wrap, Source::Client, &Policy::default())], 1);
    all.deliver.committed(&all.store.commit(batch).unwrap(), SystemClock.instant());
    assert_eq!((all.passed().len(), sent(&all.outbox).await.len()), (0, 0));
    all.deliver("for all");
    assert_eq!(all.passed(), [r#"["EVENT","s", for all"#]);
}

#[tokio::test]
async fn several_subscriptions_of_a_connection_share_a_write() {
    let all = Passing::new();
    let _notes = (all.live("s").await, all.live("t").await);
    all.line.sends.store(0, Ordering::SeqCst);
    all.deliver("for both");
    assert_eq!(all.passed(), [""; 0]);
    assert_eq!(all.line.sends.load(Ordering::SeqCst), 1);
    assert_eq!(sent(&all.outbox).await.len(), 2);
}

#[tokio::test]
async fn one_thread_sends_to_so_many_sockets_and_leaves_the_others_to_their_tasks() {
    let all = Passing::new();
    let listen = |_| {
        let outbox = Arc::new(Outbox::new(Arc::new(Budget::new(1 << 16, 1 << 20, 4, Metrics::default()))));
        outbox.attach(Box::new(ToLine(Arc::clone(&all.line))));
        let notes = subscription("s", &[r#"{"kinds":[1]}"#], &outbox);
        all.deliver.register(&notes).unwrap();
        notes.go_live(&Cursor::start(), "EOSE".into(), NOW);
        outbox.take(usize::MAX, drop);
        outbox
    };
    let outboxes: Vec<_> = (0..SOCKETS_MAX + 3).map(listen).collect();
    all.line.sends.store(0, Ordering::SeqCst);
    // As another process's, which the follower delivers.
    let follower = all.deliver.follow(Arc::new(MemoryStore::new()), Arc::new(SystemClock)).unwrap();
    all.deliver.take(commit(&all.store, "for many").run, SystemClock.instant());
    all.deliver.stop();
    tokio::task::spawn_blocking(|| follower.join()).await.unwrap();
    assert_eq!(all.passed().len(), SOCKETS_MAX);
    assert_eq!(all.line.sends.load(Ordering::SeqCst), 0);
    let mut queued = 0;
    outboxes.iter().for_each(|outbox| assert!(outbox.take(usize::MAX, |_| queued += 1).is_none()));
    assert_eq!(queued, 3);
}

#[tokio::test]
async fn what_a_socket_did_not_take_counts_until_it_does() {
    let all = Passing::new();
    all.outbox.left(300);
    assert_eq!(all.metrics.queued_bytes.get(), 300);
    all.outbox.sent(100);
    assert_eq!(all.metrics.queued_bytes.get(), 200);
    all.outbox.sent(usize::MAX);
    assert_eq!(all.metrics.queued_bytes.get(), 0);
    all.outbox.left(300);
    all.outbox.discard();
    assert_eq!(all.metrics.queued_bytes.get(), 0, "nor when it is gone");
}
