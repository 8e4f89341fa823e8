//! What becomes of commits when their connection is cut, their stream is sealed, or the server is not what it was or has to be.

use std::sync::Arc;
use std::time::Duration;

use postgres::{Client, NoTls};
use towpath_policy::{Policy, Source, plan};
use towpath_protocol::SecretKey;
use towpath_runtime::{Clock, SystemClock};
use towpath_servers::Postgres;
use towpath_store::{Batch, Committed, Error, EventStore, Outcome, Seq, StreamId};
use towpath_store_postgres::{Config, Metrics, PostgresStore};

const WAIT_MAX: Duration = Duration::from_secs(20);

fn config(server: &Postgres) -> Config {
    Config { readers: Some(2), lease: Duration::from_secs(60), ..Config::new(server.url()) }
}

fn open(config: Config) -> Result<PostgresStore, Error> {
    PostgresStore::open(config, Arc::new(SystemClock), Metrics::default())
}

fn commit(store: &PostgresStore, dates: impl IntoIterator<Item = u64>) -> Committed {
    try_commit(store, dates).expect("the commit succeeds")
}

fn try_commit(store: &PostgresStore, dates: impl IntoIterator<Item = u64>) -> Result<Committed, Error> {
    let key = SecretKey::from_bytes([1; 32]).expect("a small number is a key");
    let note = |at| plan(key.sign(at, 1, &[], "", &[0; 32]), Source::Client, &Policy::default());
    store.commit(Batch::of(dates.into_iter().map(note).collect(), 1))
}

fn run(server: &Postgres, sql: &str) {
    assert!(server.psql("towpath", sql).expect("psql runs"), "not accepted: {sql}");
}

/// To notice may take as long as there is patience: then the commit was never asked about again.
#[test]
fn a_commit_that_was_cut_off_is_asked_about_once_even_if_there_is_no_patience_left() {
    let server = Postgres::start().unwrap();
    let store = open(Config { commit_patience: Duration::ZERO, ..config(&server) }).unwrap();
    commit(&store, [1]);
    let ours = "from pg_stat_activity where application_name like 'towpath%'";
    run(&server, &format!("select pg_terminate_backend(pid, 10000) {ours}"));
    assert_eq!(commit(&store, [2]).outcomes, [Outcome::Accepted(Seq(2))]);
}

/// After an outage that was longer than all leases, the pod that was back first sealed the streams of the others, whose next commits
/// failed though they and the database were well.
#[test]
fn a_commit_to_a_stream_that_was_sealed_goes_to_another() {
    let server = Postgres::start().unwrap();
    let store = open(config(&server)).unwrap();
    assert_eq!(commit(&store, [1]).run.stream, StreamId(0));
    let seal = "fence = fence + 1, owner = null, lease_until = clock_timestamp() - interval '1 s'";
    run(&server, &format!("update towpath.streams set {seal}"));
    let other = open(config(&server)).unwrap();
    assert_eq!(commit(&other, [2]).run.stream, StreamId(0));

    let committed = commit(&store, [2, 3]);
    assert_eq!(committed.run.stream, StreamId(1));
    assert_eq!(committed.outcomes, [Outcome::Duplicate, Outcome::Accepted(Seq(1))], "stored once");
}

/// Once, the writer went on from where the database was, and nobody noticed before it was past where it had been.
#[test]
fn a_stream_that_lost_its_end_is_not_gone_on_with() {
    let server = Postgres::start().unwrap();
    let store = open(config(&server)).unwrap();
    commit(&store, 1..=10);
    // A commit of which nothing is known, as when patience with a database that is away is over.
    let fail = "create function towpath.fail() returns trigger language plpgsql as 'begin raise ''no''; end'";
    run(&server, &format!("{fail}; create trigger fail before insert on towpath.log execute function towpath.fail()"));
    assert!(try_commit(&store, [11]).is_err());
    let lose = "delete from towpath.log where seq > 7; update towpath.streams set last_seq = 7";
    run(&server, &format!("drop trigger fail on towpath.log; {lose}"));
    let refused = try_commit(&store, [12]).err();
    assert!(
        matches!(&refused, Some(Error::Corrupt(what)) if what.contains("lost what it had committed")),
        "{refused:?}"
    );
    assert_eq!(commit(&store, [13]).run.stream, StreamId(1));
}

/// A failover to a server that had not got everything: its tree would have had leaves of entries that are others by now.
#[test]
fn a_log_that_lost_its_end_is_noticed_and_gets_no_leaves_of_what_it_lost() {
    let server = Postgres::start().unwrap();
    let store = open(Config { lease: Duration::from_secs(1), ..config(&server) }).unwrap();
    commit(&store, 1..=256);
    run(&server, "delete from towpath.log where seq > 200; update towpath.streams set last_seq = 200");
    let is_lost = |error: &Error| matches!(error, Error::Corrupt(what) if what.contains("lost what it had committed"));
    assert!(store.maintain(1).err().as_ref().is_some_and(is_lost));
    let mut observer = Client::connect(&server.url(), NoTls).unwrap();
    let tiles = observer.query_one("select count(*) from towpath.tiles", &[]).unwrap();
    assert_eq!(tiles.get::<_, i64>(0), 0);

    let begun = SystemClock.instant();
    while !store.health().err().as_ref().is_some_and(is_lost) {
        assert!(SystemClock.instant() - begun < WAIT_MAX, "the heartbeat does not say so");
        std::thread::yield_now();
    }
}

#[test]
fn an_audit_tree_of_more_than_its_log_is_not_grown_on() {
    let server = Postgres::start().unwrap();
    drop(open(config(&server)).unwrap());
    let zeros = |bytes: usize| format!("decode(repeat('00', {bytes}), 'hex')");
    run(&server, &format!("insert into towpath.tiles values (0, 0, {}, {})", zeros(256 * 32), zeros(32)));
    let refusal = open(config(&server)).err().expect("it is refused").to_string();
    assert!(refusal.contains("audit tree of stream 0"), "{refusal}");
}

/// Once, no pod was well any more, and none could start.
#[test]
fn a_tree_of_a_stream_of_nobodys_that_cannot_be_finished_is_in_nobodys_way() {
    let server = Postgres::start().unwrap();
    drop(open(config(&server)).unwrap());
    let orphan = "(stream, fence, lease_until, last_seq) values (7, 1, now() + interval '1 day', 300)";
    run(&server, &format!("insert into towpath.streams {orphan}"));
    let store = open(config(&server)).expect("it starts");
    assert_eq!(commit(&store, [1]).outcomes, [Outcome::Accepted(Seq(1))]);
    assert_eq!(store.health().map_err(|error| error.to_string()), Ok(()));
}

/// One that failed for days once kept all the others from their turn.
#[test]
fn upkeep_does_what_it_can_though_a_part_of_it_fails() {
    let server = Postgres::start().unwrap();
    let store = open(config(&server)).unwrap();
    commit(&store, 1..=500);
    let graves = "insert into towpath.graves select stream, seq from towpath.log";
    run(&server, &format!("drop function towpath.vanish(int); {graves}"));
    assert!(store.maintain(1).expect("another part goes on"), "there may be more to forget");
    let failure = store.maintain(1).expect_err("who vanished is not erased").to_string();
    assert!(failure.contains("erase who vanished"), "{failure}");
    let mut observer = Client::connect(&server.url(), NoTls).unwrap();
    let tiles = observer.query_one("select count(*) from towpath.tiles", &[]).unwrap();
    assert_eq!(tiles.get::<_, i64>(0), 1, "the tree is kept");
}

/// Pods of an older version may be running, and a slip in a name makes no schema.
#[test]
fn who_takes_no_stream_makes_no_tables_and_changes_none() {
    let server = Postgres::start().unwrap();
    let settings = Config { takes_stream: false, ..config(&server) };
    let refusal = || open(settings.clone()).err().expect("it is refused").to_string();
    assert!(refusal().contains("`towpath migrate`"), "{}", refusal());
    assert!(!server.psql("towpath", "select 'towpath.meta'::regclass").unwrap(), "they were made");

    towpath_store_postgres::migrate(&settings, 1).unwrap();
    open(settings.clone()).expect("they are as they must be");
    run(&server, "update towpath.meta set version = 1");
    assert!(refusal().contains("version 1") && refusal().contains("`towpath migrate`"), "{}", refusal());
}

/// With `repeatable read`, a commit decides on what it saw before it waited for its locks; without `synchronous_commit`, an OK is not
/// durable.
#[test]
fn a_server_whose_defaults_would_break_a_promise_is_refused() {
    let server = Postgres::start().unwrap();
    let opened = |pooler| open(Config { pooler, ..config(&server) }).map(drop).map_err(|error| error.to_string());
    run(&server, "alter role towpath set default_transaction_isolation = 'repeatable read'");
    assert_eq!(opened(false), Ok(()), "a pod sets it, where it can");
    let refusal = opened(true).expect_err("behind a pooler it cannot");
    assert!(refusal.contains("default_transaction_isolation = 'repeatable read'"), "{refusal}");

    run(&server, "alter role towpath reset all");
    assert_eq!(opened(true), Ok(()));
    run(&server, "alter role towpath set synchronous_commit = off");
    for refusal in [opened(false), opened(true)].map(|opened| opened.expect_err("it is refused")) {
        assert!(refusal.contains("synchronous_commit = 'off'"), "{refusal}");
    }
}
