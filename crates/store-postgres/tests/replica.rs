//! A replica is read from only once it has what the reader must see.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
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
    let filters = Arc::new([(Filter::default(), FilterLimit::newest(1_000))]);
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

/// A name behind which two servers are: who connects first is led to `first` and cut off when it asks for events, everybody else to
/// `second`.
fn name_of(first: u16, second: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it listens").port();
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().map_while(Result::ok).enumerate() {
            let (to, is_first) = if number == 0 { (first, true) } else { (second, false) };
            std::thread::spawn(move || pass(client, to, is_first));
        }
    });
    port
}

fn pass(mut client: TcpStream, to: u16, is_first: bool) {
    let mut server = TcpStream::connect(("127.0.0.1", to)).expect("the server answers");
    let (mut answers, mut back) = (server.try_clone().expect("a handle"), client.try_clone().expect("a handle"));
    std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        let asks = buffer[..count].windows(5).any(|bytes| bytes == b"shown");
        if is_first && asks || server.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}

/// What one server of several was found to have is read from that one: another, which the name leads to next, may have less.
#[test]
fn a_replica_behind_a_name_of_several_is_not_taken_for_the_one_that_was_looked_at() {
    let primary = Postgres::start().unwrap();
    let metrics = Metrics::default();
    let config = Config { readers: Some(2), ..Config::new(primary.url()) };
    drop(PostgresStore::open(config.clone(), Arc::new(SystemClock), metrics.clone()).unwrap());
    let (with_all, behind) = (primary.standby().unwrap(), primary.standby().unwrap());
    let url = Postgres::url_by(name_of(with_all.port(), behind.port()));
    let config = Config { replica_url: Some(url), ..config };
    let store = PostgresStore::open(config, Arc::new(SystemClock), metrics.clone()).unwrap();

    assert!(behind.psql("towpath", "select pg_wal_replay_pause()").unwrap());
    commit(&store, 1);
    let begun = SystemClock.instant();
    while metrics.replica_reads.get() == 0 {
        assert_eq!(seen(&store), 1);
        assert!(SystemClock.instant() - begun < Duration::from_secs(20), "the replica is never asked");
    }
}
