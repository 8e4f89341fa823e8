//! Reading as requests see it: whose turn it is, what comes of an error, what is counted.
//!
//! The store is the memory store, which notes whose slices are read, and holds them back or breaks them off when told to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Semaphore, oneshot};
use towpath_policy::{Policy, Source, plan};
use towpath_protocol::{Event, HyperLogLog, SecretKey, wire};
use towpath_runtime::{ManualClock, TaskGroup, Thread};
use towpath_store::memory::MemoryStore;
use towpath_store::{Batch, Budget, Completeness, Count, Cursor, Error, EventStore, Progress, Query, Scan, Stored};

use crate::{Queries, QueryLimits, Reading, Slice, with_limits};

/// Enough for connections that do not compete with themselves.
static TURNS: Semaphore = Semaphore::const_new(100);

const NOW_S: u64 = 1_700_000_000;
/// Ends a test that would wait forever.
const PATIENCE: Duration = Duration::from_secs(30);
const UNLIMITED: QueryLimits = QueryLimits { limit_default: u64::MAX, limit_max: u64::MAX };

/// How a slice goes wrong.
#[derive(Debug, Clone, Copy)]
enum Mishap {
    Corrupt,
    Panic,
}

#[derive(Default)]
struct State {
    opened: usize,
    /// Which scan each slice was of, in the order in which they were read.
    slices: Vec<usize>,
    reading: usize,
    reading_max: usize,
    is_shut: bool,
    /// What goes wrong, by the number of the slice.
    mishaps: HashMap<usize, Mishap>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct WatchedStore {
    inner: MemoryStore,
    shared: Arc<Shared>,
}

impl WatchedStore {
    /// With so many notes of each author, one a second, taking turns.
    fn with_notes(of_each: u64, authors: u8) -> Arc<Self> {
        let store = Self::default();
        let moments = (0..of_each).flat_map(|n| (1..=authors).map(move |author| (n, author)));
        let events = moments.map(|(n, author)| {
            let key = SecretKey::from_bytes([author; 32]).unwrap();
            key.sign(NOW_S + n, 1, &[], "", &[0; 32])
        });
        let writes = events.map(|event| plan(event, Source::Client, &Policy::default())).collect();
        store.inner.commit(Batch::of(writes, 0)).unwrap();
        Arc::new(store)
    }

    fn shut(&self) {
        self.shared.state.lock().is_shut = true;
    }

    fn open(&self) {
        self.shared.state.lock().is_shut = false;
        self.shared.changed.notify_all();
    }

    fn slices(&self) -> Vec<usize> {
        self.shared.state.lock().slices.clone()
    }

    /// Waits until so many slices are being read.
    fn reading(&self, count: usize) {
        let mut state = self.shared.state.lock();
        let waited = self.shared.changed.wait_while_for(&mut state, |state| state.reading < count, PATIENCE);
        assert!(!waited.timed_out(), "what the test waits for never comes");
    }
}

impl towpath_store::Wraps for WatchedStore {
    fn inner(&self) -> &dyn EventStore {
        &self.inner
    }

    fn scan(&self, query: Query) -> Result<Box<dyn Scan>, Error> {
        let mut state = self.shared.state.lock();
        let number = state.opened;
        state.opened += 1;
        Ok(Box::new(WatchedScan { inner: self.inner.scan(query)?, number, shared: Arc::clone(&self.shared) }))
    }
}

struct WatchedScan {
    inner: Box<dyn Scan>,
    number: usize,
    shared: Arc<Shared>,
}

impl WatchedScan {
    fn enter(&self) -> Option<Mishap> {
        let mut state = self.shared.state.lock();
        let mishap = state.mishaps.get(&state.slices.len()).copied();
        state.slices.push(self.number);
        state.reading += 1;
        state.reading_max = state.reading_max.max(state.reading);
        self.shared.changed.notify_all();
        self.shared.changed.wait_while(&mut state, |state| state.is_shut);
        state.reading -= 1;
        mishap
    }
}

impl Scan for WatchedScan {
    fn cursor(&self) -> &Cursor {
        self.inner.cursor()
    }

    fn next(&mut self, budget: Budget<'_>, out: &mut Vec<Stored>) -> Result<Progress, Error> {
        match self.enter() {
            Some(Mishap::Corrupt) => Err(Error::Corrupt("for a test".into())),
            Some(Mishap::Panic) => panic!("for a test"),
            None => self.inner.next(budget, out),
        }
    }

    fn count(&mut self, budget: Budget<'_>, count: &mut Count) -> Result<Progress, Error> {
        match self.enter() {
            Some(Mishap::Corrupt) => Err(Error::Corrupt("for a test".into())),
            Some(Mishap::Panic) => panic!("for a test"),
            None => self.inner.count(budget, count),
        }
    }
}

/// Slices of so many events.
fn slices_of(events_max: usize) -> Slice {
    Slice { time_max: Duration::from_secs(1), events_max, bytes_max: usize::MAX }
}

fn queries(store: &Arc<WatchedStore>, parallel: usize, slice: Slice) -> Queries {
    let clock = Arc::new(ManualClock::at(NOW_S * 1000));
    Queries::new(Arc::clone(store) as Arc<dyn EventStore>, parallel, slice, clock, Gauge::default()).unwrap()
}

fn query(store: &WatchedStore, filters: &[&str]) -> Query {
    let filters: Vec<_> = filters.iter().map(|text| wire::filter(text).unwrap()).collect();
    Query {
        filters: with_limits(&filters, UNLIMITED),
        cursor: Some(store.snapshot().unwrap()),
        visible: Arc::new(|_| true),
    }
}

/// Reads to the end; how many events each slice had.
async fn read(mut reading: Reading) -> Result<(Vec<usize>, Completeness), Error> {
    let mut slices = Vec::new();
    loop {
        let (events, progress) = reading.next().await?;
        slices.push(events.len());
        if let Progress::Done(completeness) = progress {
            return Ok((slices, completeness));
        }
    }
}

/// Starts `task` on the readers; gives what comes of it.
fn start<T: Send + 'static>(
    queries: &Queries,
    group: &TaskGroup,
    task: impl Future<Output = T> + Send + 'static,
) -> oneshot::Receiver<T> {
    let (result, receiver) = oneshot::channel();
    queries.spawn(group, async move {
        let _ = result.send(task.await);
    });
    receiver
}

#[tokio::test]
async fn a_scan_of_everything_does_not_delay_a_small_one_opened_later() {
    let store = WatchedStore::with_notes(100, 1);
    let (queries, group) = (queries(&store, 1, slices_of(5)), TaskGroup::new());
    let scan = |filter| start(&queries, &group, read(queries.open(query(&store, &[filter])).unwrap()));
    store.shut();
    let everything = scan("{}");
    store.reading(1);
    let small = [(); 3].map(|()| scan(r#"{"limit":3}"#));
    store.open();
    for small in small {
        assert_eq!(small.await.unwrap().unwrap(), (vec![3], Completeness::Limited));
    }
    let (all, completeness) = everything.await.unwrap().unwrap();
    assert_eq!((all.iter().sum::<usize>(), completeness), (100, Completeness::All));
    let slices = store.slices();
    assert_eq!(slices[..5], [0, 1, 2, 3, 0], "they wait for the slice in progress, not for the scan: {slices:?}");
}

#[tokio::test]
async fn no_more_slices_are_read_at_once_than_there_are_readers() {
    for (parallel, expected) in [(0, 1), (1, 1), (3, 3)] {
        let store = WatchedStore::with_notes(4, 1);
        let (queries, group) = (queries(&store, parallel, slices_of(1)), TaskGroup::new());
        store.shut();
        let observed = Arc::clone(&store);
        let opener = Thread::start("opener", move || {
            observed.reading(expected);
            observed.open();
        })
        .unwrap();
        let counts = [(); 5].map(|()| {
            let (queries, query) = (queries.clone(), query(&store, &["{}"]));
            start(&queries.clone(), &group, async move { queries.count(query, None, &TURNS).await })
        });
        opener.join();
        for count in counts {
            assert_eq!(count.await.unwrap().unwrap().0, 4);
        }
        assert_eq!(store.shared.state.lock().reading_max, expected, "{parallel} readers");
    }
}

#[tokio::test]
async fn who_has_gone_is_not_served_and_keeps_nobody_waiting() {
    let store = WatchedStore::with_notes(4, 1);
    let (queries, gone, here) = (queries(&store, 1, slices_of(1)), TaskGroup::new(), TaskGroup::new());
    let scan = |group| start(&queries, group, read(queries.open(query(&store, &["{}"])).unwrap()));
    store.shut();
    let in_progress = scan(&gone);
    store.reading(1);
    let in_line = scan(&gone);
    gone.stop();
    let last = scan(&here);
    assert_eq!(store.slices(), [0], "the slice in progress keeps its reader to its end");
    store.open();
    let last = tokio::time::timeout(PATIENCE, last).await.expect("the reader is free again").unwrap();
    assert_eq!(last.unwrap().1, Completeness::All);
    assert!(in_progress.await.is_err() && in_line.await.is_err());
    let slices = store.slices();
    assert!(slices[1..].iter().all(|scan| *scan == 2), "neither the rest of one nor the other: {slices:?}");
}

#[tokio::test]
async fn a_result_cut_short_is_an_error_and_never_complete() {
    for mishap in [Mishap::Corrupt, Mishap::Panic] {
        for slice in 0..4 {
            let store = WatchedStore::with_notes(8, 1);
            let queries = queries(&store, 1, slices_of(2));
            store.shared.state.lock().mishaps.insert(slice, mishap);
            let mut reading = queries.open(query(&store, &["{}"])).unwrap();
            for _ in 0..slice {
                assert_eq!(reading.next().await.unwrap().1, Progress::More);
            }
            assert!(reading.next().await.is_err(), "{mishap:?} in slice {slice}");
            assert!(reading.next().await.is_err(), "{mishap:?} in slice {slice} is not forgotten");
            let next = store.slices().len();
            store.shared.state.lock().mishaps.insert(next + slice, mishap);
            assert!(queries.count(query(&store, &["{}"]), None, &TURNS).await.is_err(), "a part is no count");
            let count = tokio::time::timeout(PATIENCE, queries.count(query(&store, &["{}"]), None, &TURNS)).await;
            assert_eq!(count.expect("the turn is free again").unwrap().0, 8);
        }
    }
}

#[tokio::test]
async fn a_reading_says_nothing_after_its_end() {
    let store = WatchedStore::with_notes(1, 1);
    let mut reading = queries(&store, 1, slices_of(9)).open(query(&store, &["{}"])).unwrap();
    assert_eq!(reading.next().await.unwrap().1, Progress::Done(Completeness::All));
    assert!(reading.next().await.is_err(), "asking again is a mistake, not an empty result");
}

#[tokio::test]
async fn a_slice_ends_with_its_events_its_bytes_or_its_time() {
    let store = WatchedStore::with_notes(100, 1);
    let bytes = wire_length(&store);
    let none = Slice { time_max: Duration::MAX / 4, events_max: usize::MAX, bytes_max: usize::MAX };
    let ms = Duration::from_millis;
    let cases = [
        ("nothing", Slice { time_max: ms(u64::from(u32::MAX)), ..none }, 1),
        ("events", Slice { time_max: ms(1000), events_max: 25, ..none }, 5),
        ("bytes", Slice { time_max: ms(1000), bytes_max: 50 * bytes, ..none }, 3),
        // A millisecond an event, and a look at the clock every few dozen of them.
        ("time", Slice { time_max: ms(20), ..none }, 4),
    ];
    for (what, slice, expected) in cases {
        let clock = Arc::new(ManualClock::at(NOW_S * 1000));
        let (store_of, clock_of) = (Arc::clone(&store), Arc::clone(&clock));
        let queries = Queries::new(store_of, 1, slice, clock_of, Gauge::default()).unwrap();
        let visible = move |_: &Event| {
            clock.advance(ms(1));
            true
        };
        let query = Query { visible: Arc::new(visible), ..query(&store, &["{}"]) };
        let (slices, completeness) = read(queries.open(query).unwrap()).await.unwrap();
        assert_eq!((slices.len(), completeness), (expected, Completeness::All), "{what}: {slices:?}");
        assert_eq!(slices.iter().sum::<usize>(), 100, "{what}");
    }
}

/// Bytes of a note; all are of one length.
fn wire_length(store: &WatchedStore) -> usize {
    let stats = store.stats().unwrap();
    usize::try_from(stats.live_bytes / stats.events).unwrap()
}

#[tokio::test]
async fn a_count_is_of_distinct_visible_events_over_all_slices() {
    let store = WatchedStore::with_notes(10, 3);
    let queries = queries(&store, 1, slices_of(4));
    let author = SecretKey::from_bytes([2; 32]).unwrap().public_key();
    let of_one = format!(r#"{{"authors":["{author}"]}}"#);
    let late = format!(r#"{{"since":{}}}"#, NOW_S + 8);
    for (filters, expected) in [
        (&["{}"][..], 30),
        (&[&of_one], 10),
        (&[&of_one, &of_one], 10),
        (&[&of_one, &late], 10 + 4),
        (&[r#"{"kinds":[]}"#], 0),
        (&[r#"{"limit":7}"#], 7),
    ] {
        let (count, hll) = queries.count(query(&store, filters), None, &TURNS).await.unwrap();
        assert_eq!((count, hll), (expected, None), "{filters:?}");
    }
    let visible = Arc::new(move |event: &Event| event.pubkey() != author);
    let hidden = Query { visible, ..query(&store, &["{}"]) };
    assert_eq!(queries.count(hidden, None, &TURNS).await.unwrap().0, 20, "what may not be read is not counted");
    let earlier = Query { cursor: Some(Cursor::start()), ..query(&store, &["{}"]) };
    assert_eq!(queries.count(earlier, None, &TURNS).await.unwrap().0, 0, "nothing behind the cursor is counted");
}

#[tokio::test]
async fn the_hyperloglog_is_over_the_authors_of_the_counted_events() {
    let store = WatchedStore::with_notes(1, 20);
    let queries = queries(&store, 1, slices_of(7));
    for offset in [8, 23] {
        let mut expected = HyperLogLog::new(offset);
        (1..=20).for_each(|author| expected.add(&SecretKey::from_bytes([author; 32]).unwrap().public_key()));
        let (count, hll) = queries.count(query(&store, &["{}"]), Some(offset), &TURNS).await.unwrap();
        assert_eq!((count, hll), (20, Some(expected)), "from byte {offset}");
    }
    let (_, nobody) = queries.count(query(&store, &[r#"{"kinds":[2]}"#]), Some(8), &TURNS).await.unwrap();
    assert_eq!(nobody, Some(HyperLogLog::new(8)));
}
