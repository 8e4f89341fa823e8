//! What a commit takes of the server and what it answers when it is asked about again; a follower's place.

use std::sync::Arc;
use std::time::Duration;

use postgres::{Client, NoTls};
use towpath_policy::{KIND_DELETION, Policy, Source, Write, plan};
use towpath_protocol::SecretKey;
use towpath_runtime::{Clock, SystemClock};
use towpath_servers::Postgres;
use towpath_store::{Batch, Cursor, EventStore, Seq, StreamId};
use towpath_store_postgres::{Config, Metrics, PostgresStore};

const WAIT_MAX: Duration = Duration::from_secs(20);

fn event(at: u64, kind: u16, tags: &[&[&str]]) -> Write {
    let key = SecretKey::from_bytes([1; 32]).expect("a small number is a key");
    plan(key.sign(at, kind, tags, "", &[0; 32]), Source::Client, &Policy::default())
}

fn open(server: &Postgres) -> PostgresStore {
    let config = Config { readers: Some(1), lease: Duration::from_secs(60), ..Config::new(server.url()) };
    PostgresStore::open(config, Arc::new(SystemClock), Metrics::default()).expect("the database opens")
}

/// Until somebody waits for a row.
fn wait_for_commit(client: &mut Client) {
    let begun = SystemClock.instant();
    let sql = "select exists (select 1 from pg_locks where not granted and locktype = 'transactionid')";
    while !client.query_one(sql, &[]).expect("the server answers").get::<_, bool>(0) {
        assert!(SystemClock.instant() - begun < WAIT_MAX, "nobody waits for the row");
    }
}

/// The server has room for some 6 400 locks, whoever takes them: seven pods with a lock for each address filled it.
#[test]
fn a_batch_of_many_versions_takes_few_locks() {
    let server = Postgres::start().unwrap();
    let store = open(&server);
    let mut observer = Client::connect(&server.url(), NoTls).unwrap();
    let mut other = Client::connect(&server.url(), NoTls).unwrap();
    let articles: Vec<Write> = (0..3_000).map(|n: u32| event(100, 30_023, &[&["d", &n.to_string()]])).collect();
    // The stream's row is what a commit needs last.
    other.batch_execute("begin; select 1 from towpath.streams for update").unwrap();
    let locks = std::thread::scope(|scope| {
        let committer = scope.spawn(|| store.commit(Batch::of(articles, 1_000)));
        wait_for_commit(&mut observer);
        let sql = "select count(*) from pg_locks where locktype = 'advisory'";
        let locks: i64 = observer.query_one(sql, &[]).unwrap().get(0);
        other.batch_execute("commit").unwrap();
        committer.join().unwrap().expect("the commit succeeds");
        locks
    });
    assert!(locks <= 1 + 1_024, "{locks} locks");
}

/// The leaf of an entry is made of the answer, so two answers must be alike to the last byte. However the server goes about it.
#[test]
fn an_answer_given_again_names_what_went_in_the_same_order() {
    let server = Postgres::start().unwrap();
    let store = open(&server);
    let notes: Vec<Write> = (1..=600).map(|at| event(at, 1, &[])).collect();
    let ids: Vec<String> = notes.iter().map(|note| note.event().id().to_hex()).collect();
    let tags: Vec<[&str; 2]> = ids.iter().map(|id| ["e", id.as_str()]).collect();
    let tags: Vec<&[&str]> = tags.iter().map(|tag| &tag[..]).collect();
    store.commit(Batch::of(notes, 1_000)).unwrap();
    let deletions = [&tags[..300], &tags[300..]].map(|tags| event(1_000, KIND_DELETION, tags));
    store.commit(Batch::of(deletions.to_vec(), 1_000)).unwrap();

    let mut client = Client::connect(&server.url(), NoTls).unwrap();
    // It reads the entries in another order than theirs, and sorts.
    let sorting = "set enable_indexscan = off; set enable_indexonlyscan = off; set enable_bitmapscan = off; \
                   update towpath.log set source = source where seq = 601";
    client.batch_execute(sorting).unwrap();
    let token: i64 = client.query_one("select token from towpath.streams", &[]).unwrap().get(0);
    let rest = ", null".repeat(26);
    let again =
        format!("select o_removers, o_removed_seqs from towpath.commit(0, 1, 600, {token}, 0, interval '1 s'{rest})");
    let row = client.query_one(&again, &[]).unwrap();
    let (by, removed): (Vec<i64>, Vec<i64>) = (row.get(0), row.get(1));
    assert!(by.iter().copied().eq((1..=600).map(|seq| if seq <= 300 { 601 } else { 602 })), "{by:?}");
    assert!(removed.iter().copied().eq(1..=600), "{removed:?}");
}

/// A pod that lost its stream may still write down how far its follower came, after the stream's new owner did.
#[test]
fn a_followers_place_is_not_taken_back() {
    let server = Postgres::start().unwrap();
    let store = open(&server);
    for (stream, seq) in [(3, 1_000), (3, 7), (4, 7)] {
        store.keep_follower("bus-3", &Cursor::at(StreamId(stream), Seq(seq))).unwrap();
    }
    let place = store.follower("bus-3").unwrap().unwrap();
    assert_eq!((place.seq(StreamId(3)), place.seq(StreamId(4))), (Seq(1_000), Seq(7)));
}

/// Its upkeep erased for everybody what had not expired.
#[test]
fn a_pod_whose_clock_is_ahead_expires_nothing_before_its_time() {
    let server = Postgres::start().unwrap();
    let (store, now) = (open(&server), SystemClock.unix_s());
    let expiring = |at: u64| event(at, 1, &[&["expiration", &at.to_string()]]);
    let (due, later) = (expiring(now - 10), expiring(now + 3_600));
    let ids = [&due, &later].map(|write| write.event().id());
    store.commit(Batch::of(vec![due, later], 1_000)).unwrap();
    while store.maintain(now + 7_200).unwrap() {}
    assert_eq!(ids.map(|id| store.place_of(&id).unwrap().is_some()), [false, true]);
}

/// A tool has no upkeep. What it committed had no tiles until it ended, and none at all if it was killed.
#[test]
fn the_tree_of_a_tool_that_goes_on_committing_is_kept() {
    let server = Postgres::start().unwrap();
    let config = Config { takes_stream: false, lease: Duration::from_secs(1), ..Config::new(server.url()) };
    towpath_store_postgres::migrate(&config, 1).unwrap();
    let store = PostgresStore::open(config, Arc::new(SystemClock), Metrics::default()).expect("the database opens");
    store.commit(Batch::of((1..=256).map(|at| event(at, 1, &[])).collect(), 1_000)).unwrap();
    let mut observer = Client::connect(&server.url(), NoTls).unwrap();
    let begun = SystemClock.instant();
    while observer.query_one("select count(*) from towpath.tiles", &[]).unwrap().get::<_, i64>(0) == 0 {
        assert!(SystemClock.instant() - begun < WAIT_MAX, "it is not kept");
    }
}

/// A backup reads for hours. Who adds a part to the tables waited for its end, and everybody else for that.
#[test]
fn a_missing_part_is_made_while_somebody_reads() {
    let server = Postgres::start().unwrap();
    let statement_timeout = Duration::from_secs(10);
    let config = Config { readers: Some(1), statement_timeout, ..Config::new(server.url()) };
    let store = PostgresStore::open(config, Arc::new(SystemClock), Metrics::default()).expect("the database opens");
    let mut other = Client::connect(&server.url(), NoTls).unwrap();
    let sql = "drop table towpath.events_past, towpath.tags_past; delete from towpath.parts where name = 'past'";
    other.batch_execute(sql).unwrap();
    other.batch_execute("begin; lock table towpath.events, towpath.tags in access share mode").unwrap();
    let note = event(1_000, 1, &[&["t", "x"]]);
    let id = note.event().id();
    store.commit(Batch::of(vec![note], 1_000)).expect("it does not wait");
    assert!(store.place_of(&id).unwrap().is_some());
    other.batch_execute("commit").unwrap();

    // It is like any other.
    let sql = "select n.name, count(*), bool_and(c.relispartition), min(a.attstorage::text) \
               from (values ('events_1970_01'), ('tags_1970_01')) n(name) \
               join pg_index i on i.indrelid = ('towpath.' || n.name)::regclass join pg_class c on c.oid = i.indexrelid \
               left join pg_attribute a on a.attrelid = i.indrelid and a.attname = 'json' group by 1 order by 1";
    let rows = other.query(sql, &[]).unwrap();
    let told: Vec<(&str, i64, bool, Option<&str>)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
    assert_eq!(told, [("events_1970_01", 4, true, Some("e")), ("tags_1970_01", 1, true, None)]);
}
