//! Pods take the tables in one order, so that nobody is in each other's way while parts come and go. A read that PostgreSQL ends because
//! it and another are after all, who keeps to no order, is tried again.

use std::sync::Arc;
use std::time::Duration;

use postgres::{Client, NoTls};
use towpath_policy::{Policy, Source, plan};
use towpath_protocol::{SecretKey, wire};
use towpath_runtime::{Clock, SystemClock};
use towpath_servers::Postgres;
use towpath_store::{Batch, Budget, EventStore, FilterLimit, Progress, Query};
use towpath_store_postgres::{Config, Metrics, PostgresStore};

const WAIT_MAX: Duration = Duration::from_secs(20);

fn read(store: &PostgresStore) -> Result<Progress, towpath_store::Error> {
    let filter = wire::filter(r##"{"#t":["x"]}"##).expect("it is a filter");
    let filters = Arc::new([(filter, FilterLimit::newest(10))]);
    let mut scan = store.scan(Query { filters, cursor: None, visible: Arc::new(|_| true) })?;
    scan.next(Budget { events_max: 10, bytes_max: 1 << 20, spent: &|| false }, &mut Vec::new())
}

/// Until a reader waits for a table.
fn wait_for_reader(client: &mut Client) {
    let begun = SystemClock.instant();
    let sql = "select exists (select 1 from pg_locks where not granted and mode = 'AccessShareLock')";
    while !client.query_one(sql, &[]).expect("the server answers").get::<_, bool>(0) {
        assert!(SystemClock.instant() - begun < WAIT_MAX, "nobody waits for the table");
    }
}

#[test]
fn a_read_that_is_ended_for_another_is_tried_again() {
    let server = Postgres::start().unwrap();
    let config = Config { readers: Some(1), ..Config::new(server.url()) };
    let store = PostgresStore::open(config, Arc::new(SystemClock), Metrics::default()).unwrap();
    let mut observer = Client::connect(&server.url(), NoTls).unwrap();
    let mut other = Client::connect(&server.url(), NoTls).unwrap();
    // Whoever has waited longer than this is ended: never the other.
    other
        .batch_execute("set deadlock_timeout = '60s'; begin; lock table towpath.events in access exclusive mode")
        .unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&store));
        // It has the tags by now.
        wait_for_reader(&mut observer);
        other.batch_execute("lock table towpath.tags in access exclusive mode; commit").unwrap();
        reader.join().unwrap().expect("the read succeeds after all");
    });
}

/// Once somebody waits for a table: how much that one has which others wait for.
fn held_by_who_waits(client: &mut Client) -> i64 {
    let begun = SystemClock.instant();
    let sql = "select (select count(*) from pg_locks held where held.granted and held.pid = waits.pid \
               and (held.locktype = 'advisory' or held.mode = 'AccessExclusiveLock')) \
               from pg_locks waits where not waits.granted and waits.locktype = 'relation'";
    loop {
        if let Some(row) = client.query_opt(sql, &[]).expect("the server answers") {
            return row.get(0);
        }
        assert!(SystemClock.instant() - begun < WAIT_MAX, "nobody waits for a table");
    }
}

/// Who came and went with a part ended others, or was ended, after everybody had waited for a second.
#[test]
fn who_waits_for_a_table_has_nothing_that_others_wait_for() {
    let server = Postgres::start().unwrap();
    let config = Config { readers: Some(1), lease: Duration::from_secs(60), ..Config::new(server.url()) };
    let store = PostgresStore::open(config, Arc::new(SystemClock), Metrics::default()).unwrap();
    let mut observer = Client::connect(&server.url(), NoTls).unwrap();
    let mut other = Client::connect(&server.url(), NoTls).unwrap();
    let mut changer = Client::connect(&server.url(), NoTls).unwrap();

    other.batch_execute("begin; lock table only towpath.tags in access exclusive mode").unwrap();
    let key = SecretKey::from_bytes([1; 32]).expect("a small number is a key");
    let note = plan(key.sign(1, 1, &[], "", &[0; 32]), Source::Client, &Policy::default());
    let held = std::thread::scope(|scope| {
        let committer = scope.spawn(|| store.commit(Batch::of(vec![note], 1_000)));
        let held = held_by_who_waits(&mut observer);
        other.batch_execute("commit").unwrap();
        committer.join().unwrap().expect("the commit succeeds");
        held
    });
    assert_eq!(held, 0, "a commit");

    for change in [
        "select towpath.add_month('2100_01', since, since + 1) from towpath.parts where name = 'rest'",
        "select towpath.drop_part('2100_01')",
    ] {
        other.batch_execute("begin; lock table only towpath.tags in access share mode").unwrap();
        let held = std::thread::scope(|scope| {
            let changing = scope.spawn(|| changer.batch_execute(change));
            let held = held_by_who_waits(&mut observer);
            other.batch_execute("commit").unwrap();
            changing.join().unwrap().expect("it is done in the end");
            held
        });
        assert_eq!(held, 0, "{change}");
    }
}
