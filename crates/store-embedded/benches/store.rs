//! Commits and scans of the store on local files. `cargo bench -p towpath-store-embedded`
//!
//! Commits wait for the disk that holds the temporary folder: on one in memory they say nothing of a real one. Scans read 100 000
//! events that were just written, so they come from memory everywhere.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use parking_lot::Mutex;
use tempfile::TempDir;
use towpath_policy::{Policy, Source, Write, plan};
use towpath_protocol::{Event, Filter, SecretKey, VerifiedEvent, wire};
use towpath_store::{Batch, Budget, EventStore, FilterLimit, Progress, Query, Stored};
use towpath_store_embedded::{Config, EmbeddedStore};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const NOW: u64 = 1_700_000_000;

fn author(number: u64) -> SecretKey {
    let mut bytes = [1; 32];
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    SecretKey::from_bytes(bytes).expect("a small number is a key")
}

/// A store in a folder that goes with it. Fields are dropped in this order.
struct Folder {
    store: EmbeddedStore,
    _dir: TempDir,
}

fn open(sync: bool) -> Folder {
    let dir = tempfile::tempdir().expect("a folder");
    let store = EmbeddedStore::open(Config { sync, ..Config::at(dir.path()) }).expect("a store");
    Folder { store, _dir: dir }
}

fn write_of(event: VerifiedEvent) -> Write {
    plan(event, Source::Client, &Policy::default())
}

/// A batch of so many notes, decided, written and synced.
mod commit {
    use super::*;

    const BATCHES: [usize; 3] = [1, 16, 256];

    fn batches_of(bencher: Bencher<'_, '_>, events: usize, sync: bool) {
        let (folder, author, mut number) = (open(sync), author(7), 0);
        let mut note = || {
            number += 1;
            write_of(author.sign(NOW, 1, &[], &format!("{number:<200}"), &[0; 32]))
        };
        let batch = || Batch::of((0..events).map(|_| note()).collect(), NOW * 1000);
        bencher
            .counter(ItemsCount::new(events))
            .with_inputs(batch)
            .bench_local_values(|batch| folder.store.commit(batch).expect("committed"));
    }

    #[divan::bench(args = BATCHES, sample_count = 60, sample_size = 1)]
    fn synced(bencher: Bencher<'_, '_>, events: usize) {
        batches_of(bencher, events, true);
    }

    #[divan::bench(args = BATCHES, sample_count = 60, sample_size = 1)]
    fn without_sync(bencher: Bencher<'_, '_>, events: usize) {
        batches_of(bencher, events, false);
    }
}

const STORED: u64 = 100_000;
const AUTHORS: u64 = 1_000;

/// Notes, every fifth a reply and every seventh a reaction, of authors of whom the first write most.
struct Sample {
    folder: Folder,
    events: Vec<Event>,
}

/// Made once, in a few seconds.
fn sample() -> Arc<Sample> {
    static SAMPLE: Mutex<Option<Arc<Sample>>> = Mutex::new(None);
    Arc::clone(SAMPLE.lock().get_or_insert_with(|| Arc::new(Sample::new())))
}

impl Sample {
    fn new() -> Self {
        let workers = thread::available_parallelism().map_or(1, usize::from) as u64;
        let share = STORED.div_ceil(workers);
        let events = thread::scope(|scope| {
            let shares: Vec<_> =
                (0..workers).map(|worker| scope.spawn(move || signed(worker * share, share))).collect();
            shares.into_iter().flat_map(|share| share.join().expect("signed")).collect::<VecDeque<_>>()
        });
        let folder = open(false);
        let mut writes = events.into_iter().map(write_of).peekable();
        let mut events = Vec::new();
        while writes.peek().is_some() {
            let batch: Vec<Write> = writes.by_ref().take(1_000).collect();
            events.extend(batch.iter().map(|write| write.event().clone()));
            folder.store.commit(Batch::of(batch, NOW * 1000)).expect("committed");
        }
        let sample = Self { folder, events };
        // A scan waits for the index.
        assert_eq!(sample.scan(&Filter::default(), 1).len(), 1);
        sample
    }

    fn scan(&self, filter: &Filter, limit: u64) -> Vec<Stored> {
        let filters = [(filter.clone(), FilterLimit::newest(limit))];
        let query = Query { filters: filters.into(), cursor: None, visible: Arc::new(|_: &Event| true) };
        let mut scan = self.folder.store.scan(query).expect("opened");
        let mut found = Vec::new();
        let budget = Budget { events_max: usize::MAX, bytes_max: usize::MAX, spent: &|| false };
        assert!(matches!(scan.next(budget, &mut found), Ok(Progress::Done(_))));
        found
    }
}

fn signed(first: u64, count: u64) -> Vec<VerifiedEvent> {
    let authors: Vec<SecretKey> = (0..AUTHORS).map(author).collect();
    // Of two numbers without a pattern the product is more often small.
    let noise = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % AUTHORS;
    let whose = |n: u64| &authors[(noise(n) * noise(n + STORED) / AUTHORS) as usize];
    let event = |n: u64| {
        // A key is as good as an id: 32 bytes without a pattern.
        let (root, somebody) = (authors[(n % 500) as usize].public_key(), whose(n + 1).public_key());
        let (root, somebody) = (root.to_hex(), somebody.to_hex());
        let named: [&[&str]; 2] = [&["e", &root], &["p", &somebody]];
        let (kind, tags, content) = match n {
            n if n % 7 == 0 => (7, &named[..], "+".to_owned()),
            n if n % 5 == 0 => (1, &named[..], format!("{n:<200}")),
            n => (1, &[][..], format!("{n:<200}")),
        };
        whose(n).sign(NOW - STORED + n, kind, tags, &content, &[0; 32])
    };
    (first..STORED.min(first + count)).map(event).collect()
}

/// The filters of everyday clients, over 100 000 events.
mod scan {
    use super::*;

    fn of(bencher: Bencher<'_, '_>, filter: &str, limit: u64) {
        let (sample, filter) = (sample(), wire::filter(filter).expect("a filter"));
        let found = sample.scan(&filter, limit).len();
        assert!(found > 0, "nothing matches");
        bencher.counter(ItemsCount::new(found)).bench(|| sample.scan(&filter, limit));
    }

    #[divan::bench]
    fn ids_ten(bencher: Bencher<'_, '_>) {
        let sample = sample();
        let ids: Vec<String> =
            sample.events.iter().step_by(9_999).take(10).map(|event| format!("\"{}\"", event.id())).collect();
        of(bencher, &format!(r#"{{"ids":[{}]}}"#, ids.join(",")), 500);
    }

    #[divan::bench]
    fn author_and_kind(bencher: Bencher<'_, '_>) {
        of(bencher, &format!(r#"{{"authors":["{}"],"kinds":[1]}}"#, author(5).public_key()), 100);
    }

    #[divan::bench]
    fn tag_e(bencher: Bencher<'_, '_>) {
        of(bencher, &format!(r##"{{"#e":["{}"]}}"##, author(35).public_key()), 500);
    }

    #[divan::bench]
    fn tag_p_since(bencher: Bencher<'_, '_>) {
        let since = NOW - STORED / 2;
        of(bencher, &format!(r##"{{"#p":["{}"],"since":{since}}}"##, author(5).public_key()), 100);
    }

    #[divan::bench]
    fn feed_of_500_authors(bencher: Bencher<'_, '_>) {
        let authors: Vec<String> = (0..500).map(|n| format!("\"{}\"", author(n * 2).public_key())).collect();
        of(bencher, &format!(r#"{{"authors":[{}],"kinds":[1]}}"#, authors.join(",")), 100);
    }

    #[divan::bench]
    fn kinds(bencher: Bencher<'_, '_>) {
        of(bencher, r#"{"kinds":[1,7]}"#, 500);
    }

    #[divan::bench]
    fn open_newest_500(bencher: Bencher<'_, '_>) {
        of(bencher, "{}", 500);
    }

    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn open_all(bencher: Bencher<'_, '_>) {
        of(bencher, "{}", u64::MAX);
    }
}
