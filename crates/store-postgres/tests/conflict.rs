//! A read that PostgreSQL ends because it and another are in each other's way is tried again. Readers take a filter's tables in the
//! order of the filter, and whoever adds a month needs both to itself: one day they meet.

use std::sync::Arc;
use std::time::Duration;

use postgres::{Client, NoTls};
use towpath_protocol::wire;
use towpath_runtime::{Clock, SystemClock};
use towpath_servers::Postgres;
use towpath_store::{Budget, EventStore, FilterLimit, Progress, Query};
use towpath_store_postgres::{Config, Metrics, PostgresStore};

const WAIT_MAX: Duration = Duration::from_secs(20);

fn read(store: &PostgresStore) -> Result<Progress, towpath_store::Error> {
    let filter = wire::filter(r##"{"#t":["x"]}"##).expect("it is a filter");
    let filters = Arc::new([(filter, FilterLimit { events_max: 10 })]);
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
