//! A replica is read from only once it has what the reader must see.

use std::sync::Arc;
use std::time::Duration;

use towpath_policy::{Policy, Source, plan};
use towpath_protocol::{Filter, SecretKey};
use towpath_runtime::{Clock, SystemClock};
use towpath_servers::Postgres;
use towpath_store::{Batch, Budget, EventStore, FilterLimit, Progress, Query};
use towpath_store_postgres::{Config, Metrics, PostgresStore};

fn commit(store: &PostgresStore, at: u64) {
    let key = SecretKey::from_bytes([1; 32]).expect("a small number is a key");
    let write = plan(key.sign(at, 1, &[], "", &[0; 32]), Source::Client, &Policy::default());
    store.commit(Batch::of(vec![write], at)).expect("the commit succeeds");
}

/// How many events a request sees that comes after everything committed so far.
fn seen(store: &PostgresStore) -> usize {
    let filters = Arc::new([(Filter::default(), FilterLimit { events_max: 1_000 })]);
    let mut scan = store.scan(Query { filters, cursor: None, visible: Arc::new(|_| true) }).expect("the scan opens");
    let mut found = Vec::new();
    while scan
        .next(Budget { events_max: 100, bytes_max: 1 << 20, spent: &|| false }, &mut found)
        .expect("the slice succeeds")
        == Progress::More
    {}
    found.len()
}

#[test]
fn a_replica_that_lags_is_not_asked_and_one_that_has_caught_up_is() {
    let primary = Postgres::start().unwrap();
    let metrics = Metrics::default();
    let config = Config { readers: Some(2), ..Config::new(primary.url()) };
    // The tables first, so that the replica begins with them.
    drop(PostgresStore::open(config.clone(), Arc::new(SystemClock), metrics.clone()).unwrap());
    let replica = primary.standby().unwrap();
    let config = Config { replica_url: Some(replica.url()), ..config };
    let store = PostgresStore::open(config, Arc::new(SystemClock), metrics.clone()).unwrap();

    assert!(replica.psql("towpath", "select pg_wal_replay_pause()").unwrap());
    for at in 1..=5 {
        commit(&store, at);
        assert_eq!(seen(&store), at as usize, "whoever saw an OK finds the event");
    }
    assert_eq!(metrics.replica_reads.get(), 0, "the replica has not got there");

    assert!(replica.psql("towpath", "select pg_wal_replay_resume()").unwrap());
    let begun = SystemClock.instant();
    while metrics.replica_reads.get() == 0 {
        assert_eq!(seen(&store), 5);
        assert!(SystemClock.instant() - begun < Duration::from_secs(20), "the replica is never asked");
    }

    drop(replica);
    assert_eq!(seen(&store), 5, "a replica that has gone is left alone");
}
