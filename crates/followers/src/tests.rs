//! A follower that writes down what it was given, and fails as often as it is told.

use std::sync::atomic::{AtomicUsize, Ordering};

use towpath_policy::{Policy, Source, plan};
use towpath_protocol::SecretKey;
use towpath_runtime::SystemClock;
use towpath_store::memory::MemoryStore;
use towpath_store::{Batch, Seq, Wraps};

use super::*;

const STREAM: StreamId = StreamId(0);
/// Another, and how far the places of two streams are apart in a [`Notebook`].
const OTHER: StreamId = StreamId(7);
const FAR: u64 = 10_000;

fn commit(store: &MemoryStore, number: u64) -> Run {
    let key = SecretKey::from_bytes([1; 32]).unwrap();
    let write = plan(key.sign(number, 1, &[], "", &[0; 32]), Source::Client, &Policy::default());
    store.commit(Batch::of(vec![write], number)).unwrap().run
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
        let far = u64::from(run.stream.0) * FAR;
        self.taken.lock().extend(far + run.first.0..=far + run.last.0);
        Ok(())
    }
}

fn start(store: &MemoryStore, notebook: &Notebook) -> (Follower, Thread) {
    start_with(STREAM, Arc::new(store.clone()), notebook.clone())
}

fn start_with(stream: StreamId, store: Arc<dyn EventStore>, follow: impl Follow) -> (Follower, Thread) {
    Follower::start("test", stream, store, follow, Arc::new(SystemClock), Metrics::default()).unwrap()
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
    store.keep_follower("test", &Cursor::at(OTHER, Seq(9))).unwrap();
    (1..=2_000).for_each(|number| drop(commit(&store, number)));
    let running = start_with(OTHER, Arc::new(store.clone()), notebook.clone());
    running.0.offer(commit(&store, 2_001), SystemClock.instant());
    commit(&store, 2_002);
    running.0.offer(commit(&store, 2_003), SystemClock.instant());
    finish(running);
    assert_eq!(*notebook.taken.lock(), [2_001, 2_002, 2_003], "what was before is somebody else's");
}

/// Takes no more runs than it is allowed to.
#[derive(Clone, Default)]
struct Slow {
    notebook: Notebook,
    allowed: Arc<(Mutex<usize>, Condvar)>,
    idled: Arc<AtomicUsize>,
}

impl Slow {
    /// It has looked at the log and found nothing.
    fn wait_until_idle(&self) {
        while self.idled.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
    }

    fn allow(&self, runs: usize) {
        *self.allowed.0.lock() = runs;
        self.allowed.1.notify_all();
    }
}

impl Follow for Slow {
    fn take(&mut self, run: &Run, at: Instant) -> Result<(), Error> {
        let mut allowed = self.allowed.0.lock();
        self.allowed.1.wait_while(&mut allowed, |runs| *runs == 0);
        *allowed -= 1;
        drop(allowed);
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
    let running = start_with(STREAM, Arc::new(store.clone()), slow.clone());
    slow.wait_until_idle();
    let runs_max = RUNS_MAX as u64;
    (1..=runs_max + 50).for_each(|number| running.0.offer(commit(&store, number), SystemClock.instant()));
    assert!(slow.notebook.taken.lock().is_empty());
    slow.allow(usize::MAX);
    finish(running);
    assert_eq!(*slow.notebook.taken.lock(), (1..=runs_max + 50).collect::<Vec<_>>());
}

/// Both streams in one log.
struct Two {
    first: MemoryStore,
    other: MemoryStore,
}

impl Wraps for Two {
    fn inner(&self) -> &dyn EventStore {
        &self.first
    }

    fn since(&self, cursor: &Cursor, page: Page) -> Result<Vec<Entry>, Error> {
        let mut entries = self.first.since(cursor, page)?;
        let others = self.other.since(&Cursor::at(STREAM, cursor.seq(OTHER)), page)?;
        entries.extend(others.into_iter().map(|entry| Entry { stream: OTHER, ..entry }));
        Ok(entries)
    }
}

/// The last runs of the old stream and the first of the new one found the inbox full: all that was known of both was the new one's next.
#[test]
fn a_stream_that_is_taken_over_while_the_inbox_is_full_is_followed_from_its_first_run_and_the_old_one_to_its_last() {
    let (first, other, slow) = (MemoryStore::new(), MemoryStore::new(), Slow::default());
    let store = Two { first: first.clone(), other: other.clone() };
    let running = start_with(STREAM, Arc::new(store), slow.clone());
    slow.wait_until_idle();
    let end = RUNS_MAX as u64 + 50;
    let taken_over = |number| Run { stream: OTHER, ..commit(&other, number) };
    let waiting = || running.0.0.inbox.lock().waiting.len();
    running.0.offer(commit(&first, 1), SystemClock.instant());
    while waiting() > 0 {
        std::thread::yield_now();
    }
    (2..=end).for_each(|number| running.0.offer(commit(&first, number), SystemClock.instant()));
    (1..=5).for_each(|number| drop(taken_over(number)));
    (6..=7).for_each(|number| running.0.offer(taken_over(number), SystemClock.instant()));
    // Another pod goes on with the old one.
    (end + 1..=end + 2_000).for_each(|number| drop(commit(&first, number)));
    slow.allow(2);
    while waiting() >= RUNS_MAX {
        std::thread::yield_now();
    }
    running.0.offer(taken_over(8), SystemClock.instant());
    slow.allow(usize::MAX);
    finish(running);
    let taken = slow.notebook.taken.lock();
    let (old, new): (Vec<u64>, Vec<u64>) = taken.iter().copied().partition(|place| *place < FAR);
    assert!(old.iter().copied().eq(1..=old.len() as u64) && old.len() as u64 >= end, "{old:?}");
    assert!(old.len() as u64 <= end + PAGE.entries_max as u64, "what another pod does with it is not waited for");
    assert_eq!(new, [6, 7, 8].map(|place| u64::from(OTHER.0) * FAR + place), "what was before is somebody else's");
}
