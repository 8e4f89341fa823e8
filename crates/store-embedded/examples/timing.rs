//! Prints what commits and scans cost here: `cargo run --release -p towpath-store-embedded --example timing [EVENTS]`.

#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "a tool that measures time")]

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use towpath_policy::{Policy, Source, Write, plan};
use towpath_protocol::{Filter, PublicKey, SecretKey, Set};
use towpath_store::{Batch, Budget, EventStore, FilterLimit, Progress, Query};
use towpath_store_embedded::{Config, EmbeddedStore};

const AUTHORS: usize = 200;

fn main() {
    let events: usize = std::env::args().nth(1).map_or(20_000, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let (writes, authors) = notes(events);
    println!("signed {events} events in {:.1} s", started.elapsed().as_secs_f64());
    let store = EmbeddedStore::open(Config::at(dir.path())).unwrap();
    let mut writes = writes.into_iter();
    for pause in [Duration::ZERO, Duration::from_millis(1)] {
        floor(dir.path(), 700, pause);
    }
    commits(&store, &mut writes, 1, events / 10, Duration::ZERO);
    commits(&store, &mut writes, 1, (events / 10).min(2_000), Duration::from_millis(1));
    visible(&store, &mut writes, events / 10);
    commits(&store, &mut writes, 16, events / 10, Duration::ZERO);
    commits(&store, &mut writes, 256, events, Duration::ZERO);
    scans(&store, &authors);
    println!("{:?}", store.stats().unwrap());
    let started = Instant::now();
    drop(store);
    println!("close {:?}", started.elapsed());
    let started = Instant::now();
    drop(EmbeddedStore::open(Config::at(dir.path())).unwrap());
    println!("open and close {:?}", started.elapsed());
    std::fs::remove_file(dir.path().join("index/state")).unwrap();
    let started = Instant::now();
    drop(EmbeddedStore::open(Config::at(dir.path())).unwrap());
    println!("rebuild of the index {:?}", started.elapsed());
}

fn notes(count: usize) -> (Vec<Write>, Vec<PublicKey>) {
    let key = |n: usize| {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&(n as u64 + 1).to_be_bytes());
        SecretKey::from_bytes(bytes).unwrap()
    };
    let keys: Vec<SecretKey> = (0..AUTHORS).map(key).collect();
    let text = "x".repeat(200);
    let note = |n: usize| {
        let author = &keys[n * 7919 % AUTHORS];
        let to = keys[n * 31 % AUTHORS].public_key().to_hex();
        let root = format!("{:064x}", n / 20);
        let content = format!("{n} {text}");
        let event = author.sign(1_700_000_000 + n as u64 / 4, 1, &[&["e", &root], &["p", &to]], &content, &[0; 32]);
        plan(event, Source::Client, &Policy::default())
    };
    ((0..count).map(note).collect(), keys.iter().map(SecretKey::public_key).collect())
}

/// What an append that does nothing else costs: one write into zeroes and one sync.
fn floor(dir: &std::path::Path, bytes: usize, pause: Duration) {
    let path = dir.join("floor");
    std::fs::write(&path, vec![0; 4 << 20]).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.sync_all().unwrap();
    let append = |n: u64| {
        let started = Instant::now();
        file.write_all_at(&vec![b'x'; bytes], n * bytes as u64).unwrap();
        file.sync_data().unwrap();
        let took = started.elapsed();
        std::thread::sleep(pause);
        took
    };
    print(&format!("floor: append and sync {bytes} bytes, pause {pause:?}"), (0..2_000).map(append).collect());
    std::fs::remove_file(path).unwrap();
}

/// Commits of one event, each timed until a scan has returned it.
fn visible(store: &EmbeddedStore, writes: &mut impl Iterator<Item = Write>, events: usize) {
    let times = writes.take(events).map(|write| {
        let ids = Some(Set::new(vec![write.event().id()]));
        let started = Instant::now();
        store.commit(Batch::of(vec![write], 1)).unwrap();
        let filters = vec![(Filter { ids, ..Filter::default() }, FilterLimit::newest(1))].into();
        let query = Query { filters, cursor: None, visible: Arc::new(|_| true) };
        let mut out = Vec::new();
        let budget = Budget { events_max: 1, bytes_max: usize::MAX, spent: &|| false };
        store.scan(query).unwrap().next(budget, &mut out).unwrap();
        assert_eq!(out.len(), 1);
        started.elapsed()
    });
    print("commit of 1 until a scan has returned it", times.collect());
}

fn commits(
    store: &EmbeddedStore,
    writes: &mut impl Iterator<Item = Write>,
    size: usize,
    events: usize,
    pause: Duration,
) {
    let mut times = Vec::new();
    let begun = Instant::now();
    let mut done = 0;
    while done < events {
        let writes: Vec<Write> = writes.take(size).collect();
        if writes.is_empty() {
            break;
        }
        done += writes.len();
        let started = Instant::now();
        store.commit(Batch::of(writes, 1)).unwrap();
        times.push(started.elapsed());
        std::thread::sleep(pause);
    }
    let rate = done as f64 / begun.elapsed().as_secs_f64();
    print(&format!("commit of {size:>3}, pause {pause:?} ({rate:.0} events/s)"), times);
}

fn scans(store: &EmbeddedStore, authors: &[PublicKey]) {
    let author = |n: usize| Some(Set::new(vec![authors[n % authors.len()]]));
    for (name, limit, filter) in [
        ("newest of all", 50, &(|_| Filter::default()) as &dyn Fn(usize) -> Filter),
        ("newest of all", 500, &|_| Filter::default()),
        ("newest of an author", 50, &|n| Filter { authors: author(n), ..Filter::default() }),
        ("newest of an author", 500, &|n| Filter { authors: author(n), ..Filter::default() }),
        ("all authors, kind 1", 500, &|_| Filter {
            authors: Some(Set::new(authors.to_vec())),
            kinds: Some(Set::new(vec![1])),
            ..Filter::default()
        }),
        ("kind nobody wrote", 50, &|_| Filter { kinds: Some(Set::new(vec![9])), ..Filter::default() }),
    ] {
        let times = (0..300).map(|n| {
            let filters = vec![(filter(n), FilterLimit::newest(limit))].into();
            let started = Instant::now();
            let query = Query { filters, cursor: None, visible: Arc::new(|_| true) };
            let mut scan = store.scan(query).unwrap();
            let mut out = Vec::new();
            let budget = Budget { events_max: 10_000, bytes_max: usize::MAX, spent: &|| false };
            while scan.next(budget, &mut out).unwrap() == Progress::More {}
            started.elapsed()
        });
        print(&format!("scan {limit:>3} {name}"), times.collect());
    }
}

fn print(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize];
    println!("{name:<50} p50 {:>9.1?} p90 {:>9.1?} p99 {:>9.1?}", at(0.5), at(0.9), at(0.99));
}
