//! How a scan reads: in few queries, of bounded size, whatever the events weigh.

use std::sync::Arc;
use std::time::Duration;

use towpath_policy::{Policy, Source, Write, plan};
use towpath_protocol::{SecretKey, wire};
use towpath_runtime::SystemClock;
use towpath_servers::Postgres;
use towpath_store::{Batch, Budget, EventStore, FilterLimit, Progress, Query};
use towpath_store_postgres::{Config, Metrics, PostgresStore};

fn note(at: u64, content: &str) -> Write {
    let key = SecretKey::from_bytes([1; 32]).expect("a small number is a key");
    plan(key.sign(at, 1, &[&["t", "x"]], content, &[0; 32]), Source::Client, &Policy::default())
}

/// The dates of what the filters find, and in how many slices whose time is over from the start.
fn read(store: &PostgresStore, filters: &[&str], events_max: u64) -> (Vec<u64>, usize) {
    let filter = |text: &&str| (wire::filter(text).expect("a filter"), FilterLimit { events_max });
    let filters: Vec<_> = filters.iter().map(filter).collect();
    let query = Query { filters: filters.into(), cursor: None, visible: Arc::new(|_| true) };
    let mut scan = store.scan(query).expect("the scan opens");
    let (mut found, mut slices) = (Vec::new(), 0);
    loop {
        slices += 1;
        let budget = Budget { events_max: 512, bytes_max: usize::MAX, spent: &|| true };
        if scan.next(budget, &mut found).expect("the slice succeeds") != Progress::More {
            return (found.iter().map(|stored| stored.event.created_at()).collect(), slices);
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
