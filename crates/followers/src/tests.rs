//! A follower that writes down what it was given, and fails as often as it is told.

use std::sync::atomic::{AtomicUsize, Ordering};

use towpath_policy::{Policy, Source, plan};
use towpath_protocol::SecretKey;
use towpath_runtime::SystemClock;
use towpath_store::memory::MemoryStore;
use towpath_store::{Batch, Seq};

use super::*;

const STREAM: StreamId = StreamId(0);

fn commit(store: &MemoryStore, number: u64) -> Run {
    let key = SecretKey::from_bytes([1; 32]).unwrap();
    let write = plan(key.sign(number, 1, &[], "", &[0; 32]), Source::Client, &Policy::default());
    store.commit(Batch::of(vec![write], number)).unwrap().run()
}

/// Writes down the places it was given, and fails as often as it is told.
#[derive(Clone, Default)]
struct Notebook {
    taken: Arc<Mutex<Vec<u64>>>,
    failures: Arc<AtomicUsize>,
}

impl Follow for Notebook {
    fn take(&mut self, run: &Run, _: Instant) -> Result<(), Error> {
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(Error::Unavailable("for a test".into()));
        }
        self.taken.lock().extend(run.first.0..=run.last.0);
        Ok(())
    }
}

fn start(store: &MemoryStore, notebook: &Notebook) -> (Follower, Thread) {
    start_with(Scope::Everything, store, notebook)
}

fn start_with(scope: Scope, store: &MemoryStore, notebook: &Notebook) -> (Follower, Thread) {
    let store = Arc::new(store.clone());
    Follower::start("test", scope, store, notebook.clone(), Arc::new(SystemClock), Metrics::default()).unwrap()
}

fn finish((follower, thread): (Follower, Thread)) {
    follower.stop();
    thread.join();
}

#[test]
fn it_gets_what_is_committed_in_order() {
    let (store, notebook) = (MemoryStore::new(), Notebook::default());
    commit(&store, 1);
    let running = start(&store, &notebook);
    (2..=50).for_each(|number| running.0.offer(commit(&store, number), SystemClock.instant()));
    finish(running);
    assert_eq!(*notebook.taken.lock(), (2..=50).collect::<Vec<_>>(), "a new one begins at the end of the log");
}

#[test]
fn what_never_reached_the_inbox_is_read_from_the_log() {
    let (store, notebook) = (MemoryStore::new(), Notebook::default());
    let running = start(&store, &notebook);
    for number in 1..=2_000 {
        let run = commit(&store, number);
        if number % 7 == 0 {
            running.0.offer(run, SystemClock.instant());
        }
    }
    running.0.offer(commit(&store, 2_001), SystemClock.instant());
    finish(running);
    assert_eq!(*notebook.taken.lock(), (1..=2_001).collect::<Vec<_>>());
}

#[test]
fn a_new_process_goes_on_where_the_last_one_kept_its_place() {
    let (store, notebook) = (MemoryStore::new(), Notebook::default());
    let running = start(&store, &notebook);
    (1..=3).for_each(|number| running.0.offer(commit(&store, number), SystemClock.instant()));
    finish(running);
    assert_eq!(store.follower("test").unwrap().unwrap().seq(STREAM), Seq(3));
    (4..=6).for_each(|number| drop(commit(&store, number)));
    finish(start(&store, &notebook));
    assert_eq!(*notebook.taken.lock(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn one_that_fails_is_given_the_same_again() {
    let (store, notebook) = (MemoryStore::new(), Notebook::default());
    notebook.failures.store(2, Ordering::SeqCst);
    let running = start(&store, &notebook);
    running.0.offer(commit(&store, 1), SystemClock.instant());
    while notebook.taken.lock().is_empty() {
        std::thread::yield_now();
    }
    finish(running);
    assert_eq!(*notebook.taken.lock(), [1]);
}

#[test]
fn a_stream_that_is_taken_over_is_followed_from_there_and_not_from_its_beginning() {
    let (store, notebook) = (MemoryStore::new(), Notebook::default());
    store.keep_follower("test", &Cursor::at(StreamId(7), Seq(9))).unwrap();
    (1..=2_000).for_each(|number| drop(commit(&store, number)));
    let running = start_with(Scope::Streams(vec![StreamId(7)]), &store, &notebook);
    running.0.offer(commit(&store, 2_001), SystemClock.instant());
    commit(&store, 2_002);
    running.0.offer(commit(&store, 2_003), SystemClock.instant());
    finish(running);
    assert_eq!(*notebook.taken.lock(), [2_001, 2_002, 2_003], "what was before is somebody else's");
}

/// Takes nothing until it is let go on.
#[derive(Clone, Default)]
struct Slow {
    notebook: Notebook,
    gate: Arc<Mutex<()>>,
    idled: Arc<AtomicUsize>,
}

impl Follow for Slow {
    fn take(&mut self, run: &Run, at: Instant) -> Result<(), Error> {
        drop(self.gate.lock());
        self.notebook.take(run, at)
    }

    fn idle(&mut self) {
        self.idled.fetch_add(1, Ordering::SeqCst);
    }

    fn idle_after(&self) -> Duration {
        Duration::from_millis(1)
    }
}

/// Nobody waits for it, and the log has what its inbox had no room for, though nothing comes behind.
#[test]
fn what_an_inbox_had_no_room_for_is_read_from_the_log() {
    let (store, slow) = (MemoryStore::new(), Slow::default());
    let running = Follower::start(
        "slow",
        Scope::Everything,
        Arc::new(store.clone()),
        slow.clone(),
        Arc::new(SystemClock),
        Metrics::default(),
    )
    .unwrap();
    // It has looked at the log and found nothing.
    while slow.idled.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    let gate = slow.gate.lock();
    let runs_max = RUNS_MAX as u64;
    (1..=runs_max + 50).for_each(|number| running.0.offer(commit(&store, number), SystemClock.instant()));
    assert!(slow.notebook.taken.lock().is_empty());
    drop(gate);
    finish(running);
    assert_eq!(*slow.notebook.taken.lock(), (1..=runs_max + 50).collect::<Vec<_>>());
}
