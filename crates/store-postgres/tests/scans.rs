//! How a scan reads: in few queries, of bounded size, whatever the events weigh.

use std::sync::Arc;
use std::time::Duration;

use postgres::{Client, NoTls};
use towpath_policy::{Policy, Source, Write, plan};
use towpath_protocol::{EventId, SecretKey, wire};
use towpath_runtime::{Clock, SystemClock};
use towpath_servers::Postgres;
use towpath_store::memory::MemoryStore;
use towpath_store::{Batch, Budget, EventStore, FilterLimit, Progress, Query};
use towpath_store_postgres::{Config, Metrics, PostgresStore};

const WAIT_MAX: Duration = Duration::from_secs(20);

fn note(at: u64, content: &str) -> Write {
    let key = SecretKey::from_bytes([1; 32]).expect("a small number is a key");
    plan(key.sign(at, 1, &[&["t", "x"]], content, &[0; 32]), Source::Client, &Policy::default())
}

/// The dates of what the filters find, and in how many slices whose time is over from the start.
fn read(store: &dyn EventStore, filters: &[&str], events_max: u64) -> (Vec<u64>, usize) {
    let (found, slices) = find(store, filters, events_max);
    (found.into_iter().map(|(at, _)| at).collect(), slices)
}

/// The same with the ids.
fn find(store: &dyn EventStore, filters: &[&str], events_max: u64) -> (Vec<(u64, EventId)>, usize) {
    let filter = |text: &&str| (wire::filter(text).expect("a filter"), FilterLimit::newest(events_max));
    let filters: Vec<_> = filters.iter().map(filter).collect();
    let query = Query { filters: filters.into(), cursor: None, visible: Arc::new(|_| true) };
    let mut scan = store.scan(query).expect("the scan opens");
    let (mut found, mut slices) = (Vec::new(), 0);
    loop {
        slices += 1;
        let budget = Budget { events_max: 512, bytes_max: usize::MAX, spent: &|| true };
        if scan.next(budget, &mut found).expect("the slice succeeds") != Progress::More {
            return (found.iter().map(|stored| (stored.event.created_at(), stored.event.id())).collect(), slices);
        }
    }
}

#[test]
fn what_a_query_brought_is_used_though_it_took_longer_than_a_slice_and_large_events_come_in_parts() {
    let server = Postgres::start().unwrap();
    let config = Config { readers: Some(1), lease: Duration::from_secs(60), ..Config::new(server.url()) };
    let store = PostgresStore::open(config, Arc::new(SystemClock), Metrics::default()).unwrap();
    store.commit(Batch::of((1..=1_000).map(|at| note(at, "small")).collect(), 1)).expect("committed");
    for filter in [r#"{"kinds":[1]}"#, r##"{"#t":["x"]}"##, "{}"] {
        let (found, slices) = read(&store, &[filter], 500);
        assert!(found.iter().copied().eq((501..=1_000).rev()), "{filter}");
        assert!(slices <= 5, "{filter} took {slices} slices, each of them a query");
    }

    // Together six times what a scan may have read at once.
    for at in 2_001..=2_060_u64 {
        store.commit(Batch::of(vec![note(at, &"x".repeat(400_000))], 1)).expect("committed");
    }
    let all = [r#"{"kinds":[1],"since":2000}"#, r##"{"#t":["x"],"since":2000}"##, r#"{"since":2000}"#];
    let (found, _) = read(&store, &all, 1_000);
    assert!(found.iter().copied().eq((2_001..=2_060).rev()), "{found:?}");
    let (found, _) = read(&store, &[r##"{"#t":["x"]}"##], 1_000);
    assert_eq!(found.len(), 1_000);
    assert!(found.is_sorted_by(|newer, older| newer > older));

    // Found by thirty keys, it is more than a scan may read at once: and neither the end nor the only one.
    let topics: Vec<String> = (0..30).map(|topic| format!("topic {topic}")).collect();
    let tags: Vec<Vec<&str>> = topics.iter().map(|topic| vec!["t", topic.as_str()]).collect();
    let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
    let key = SecretKey::from_bytes([2; 32]).expect("a small number is a key");
    for at in [3_001, 3_002] {
        let event = key.sign(at, 1, &tags, &"x".repeat(400_000), &[0; 32]);
        store.commit(Batch::of(vec![plan(event, Source::Client, &Policy::default())], 1)).expect("committed");
    }
    let filter = format!(r##"{{"#t":["x","{}"],"since":2000}}"##, topics.join(r#"",""#));
    let (found, _) = read(&store, &[&filter], 1_000);
    assert!(found.iter().copied().eq([3_002, 3_001].into_iter().chain((2_001..=2_060).rev())), "{found:?}");
}

/// Of 200 authors one wrote half of everything, and others most of the rest; then come events of strangers, over two months in all.
#[test]
fn the_newest_of_many_authors_come_in_few_queries_whoever_wrote_how_much() {
    let server = Postgres::start().unwrap();
    let config = Config { readers: Some(1), lease: Duration::from_secs(60), ..Config::new(server.url()) };
    let store = PostgresStore::open(config, Arc::new(SystemClock), Metrics::default()).unwrap();
    let memory = MemoryStore::new();

    let key = |author: u64| {
        let mut bytes = [1; 32];
        bytes[..8].copy_from_slice(&author.to_be_bytes());
        SecretKey::from_bytes(bytes).expect("a small number is a key")
    };
    let begun = SystemClock.unix_s() - 30 * 86_400;
    let at = |n: u64| begun + n / 3 * 7_000;
    let author = |n: u64| match n {
        1_800.. => 200 + n % 7,
        _ if n.is_multiple_of(2) => 0,
        // And many of them nothing.
        _ => 1 + (n * 7_919 % 199).pow(3) / 199_u64.pow(2),
    };
    let write = |n: u64| {
        let kind = if n.is_multiple_of(5) { 7 } else { 1 };
        let event = key(author(n)).sign(at(n), kind, &[], &n.to_string(), &[0; 32]);
        plan(event, Source::Client, &Policy::default())
    };
    for from in (0..2_400).step_by(400) {
        let writes: Vec<Write> = (from..from + 400).map(write).collect();
        store.commit(Batch::of(writes.clone(), 1)).expect("committed");
        memory.commit(Batch::of(writes, 1)).expect("committed");
    }

    let names = |authors: std::ops::Range<u64>| -> String {
        let names: Vec<String> = authors.map(|author| key(author).public_key().to_hex()).collect();
        format!(r#""authors":["{}"]"#, names.join(r#"",""#))
    };
    let (all, quiet) = (names(0..200), names(1..200));
    let (middle, theirs) = (at(900), at(1_799));
    let filters = [
        format!(r#"{{{all},"kinds":[1]}}"#),
        format!(r#"{{{all}}}"#),
        format!(r#"{{{all},"kinds":[1,7],"until":{theirs}}}"#),
        format!(r#"{{{quiet},"kinds":[1],"until":{theirs}}}"#),
        format!(r#"{{{quiet},"kinds":[7],"since":{middle}}}"#),
        format!(r#"{{{quiet},"until":{middle}}}"#),
    ];
    for filter in &filters {
        for limit in [1, 50, 500, 10_000] {
            let (found, slices) = find(&store, &[filter], limit);
            let (expected, _) = find(&memory, &[filter], limit);
            assert_eq!(found, expected, "the newest {limit} of {filter}");
            let queries = 3 + usize::try_from(limit).unwrap().div_ceil(200);
            assert!(slices <= queries, "the newest {limit} of {filter} took {slices} queries");
        }
    }
}

/// In a part of few kinds the plan for a limit of a few went by time: through all of it, for a kind that is not there.
#[test]
fn a_kind_that_is_not_there_is_not_looked_for_among_all_events() {
    let server = Postgres::start().unwrap();
    let config = Config { readers: Some(1), lease: Duration::from_secs(60), ..Config::new(server.url()) };
    let store = PostgresStore::open(config, Arc::new(SystemClock), Metrics::default()).unwrap();
    store.commit(Batch::of((1..=1_000).map(|at| note(at, "small")).collect(), 1)).expect("committed");
    let mut observer = Client::connect(&server.url(), NoTls).unwrap();
    observer.batch_execute("analyze towpath.events").unwrap();
    assert!(read(&store, &[r#"{"kinds":[7]}"#], 1).0.is_empty());

    // What a connection did has certainly been counted once it is gone.
    drop(store);
    let begun = SystemClock.instant();
    let is_open = "select exists (select 1 from pg_stat_activity where application_name like 'towpath%')";
    while observer.query_one(is_open, &[]).unwrap().get::<_, bool>(0) {
        assert!(SystemClock.instant() - begun < WAIT_MAX, "it does not end");
    }
    let sql = "select idx_tup_read from pg_stat_user_indexes where indexrelname = 'events_past_created_at_id_idx'";
    assert_eq!(observer.query_one(sql, &[]).unwrap().get::<_, i64>(0), 0, "events were read by their time");
}
