//! Who vanishes with more events than go at once is gone from every answer with the `OK`; upkeep erases in steps what is hidden.

use std::sync::Arc;
use std::time::Duration;

use postgres::{Client, NoTls};
use towpath_audit::Tree;
use towpath_policy::{KIND_DELETION, KIND_GIFT_WRAP, KIND_VANISH, Policy, Source, Write, plan};
use towpath_protocol::{SecretKey, wire};
use towpath_runtime::SystemClock;
use towpath_servers::Postgres;
use towpath_store::{
    Batch, Budget, Count, Cursor, Entry, EventStore, FilterLimit, Outcome, Page, Progress, Query, Record, Scan,
};
use towpath_store_postgres::{Config, Metrics, PostgresStore};

const ALICE: u8 = 1;
const BOB: u8 = 2;
const CAROL: u8 = 3;

/// Alice's notes are dated from 1 to this, gift wraps to her from 1 to [`WRAPS`].
const NOTES: u64 = 2_600;
const WRAPS: u64 = 100;
/// Up to here Alice vanishes.
const UNTIL: u64 = 3_000;
/// Of all that and three more events a thousand go at once.
const HIDDEN: i64 = 1_703;
/// Go in one step of upkeep.
const STEP: i64 = 200;

fn key(who: u8) -> SecretKey {
    SecretKey::from_bytes([who; 32]).expect("a small number is a key")
}

fn hex(who: u8) -> String {
    key(who).public_key().to_hex()
}

fn event(who: u8, at: u64, kind: u16, tags: &[&[&str]]) -> Write {
    plan(key(who).sign(at, kind, tags, "", &[0; 32]), Source::Client, &Policy::default())
}

fn note(at: u64) -> Write {
    event(ALICE, at, 1, &[&["t", "x"]])
}

fn profile(at: u64) -> Write {
    event(ALICE, at, 0, &[])
}

fn article(at: u64) -> Write {
    event(ALICE, at, 30_023, &[&["d", "x"]])
}

fn wrap(at: u64, to: u8) -> Write {
    event(BOB, at, KIND_GIFT_WRAP, &[&["p", &hex(to)]])
}

fn vanish(at: u64) -> Write {
    event(ALICE, at, KIND_VANISH, &[&["relay", "ALL_RELAYS"]])
}

fn delete(who: u8, at: u64, target: &Write) -> Write {
    event(who, at, KIND_DELETION, &[&["e", &id(target)]])
}

fn id(write: &Write) -> String {
    write.event().id().to_hex()
}

fn open(server: &Postgres, pod: &str) -> PostgresStore {
    let lease = Duration::from_secs(60);
    let config = Config { pod: pod.into(), readers: Some(2), lease, ..Config::new(server.url()) };
    PostgresStore::open(config, Arc::new(SystemClock), Metrics::default()).expect("the database opens")
}

struct Cluster {
    pods: Vec<PostgresStore>,
    client: Client,
    server: Postgres,
}

impl Cluster {
    fn start() -> Self {
        let server = Postgres::start().expect("a server");
        let pods = vec![open(&server, "a"), open(&server, "b")];
        let client = Client::connect(&server.url(), NoTls).expect("the server answers");
        Self { pods, client, server }
    }

    /// Alice has just vanished. There is a note of Bob's, and one of hers that is dated later.
    fn that_alice_left() -> Self {
        let cluster = Self::start();
        let events: Vec<Write> = (1..=NOTES).map(note).chain((1..=WRAPS).map(|at| wrap(at, ALICE))).collect();
        for batch in events.chunks(1_000) {
            cluster.commit(batch.to_vec());
        }
        let expiring = event(ALICE, 12, 1, &[&["expiration", "500"]]);
        let of_bob = event(BOB, 13, 1, &[&["t", "x"]]);
        cluster.commit(vec![article(10), profile(11), expiring, of_bob, note(UNTIL + 1)]);
        cluster.commit(vec![vanish(UNTIL)]);
        cluster
    }

    /// By the first pod.
    fn commit(&self, writes: Vec<Write>) -> Vec<Outcome> {
        self.pods[0].commit(Batch::of(writes, 1_000)).expect("the commit succeeds").outcomes
    }

    fn number(&mut self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).expect("the server answers").get(0)
    }

    fn hidden(&mut self) -> i64 {
        self.number("select count(*) from towpath.shown where hidden")
    }
}

/// One step of upkeep; whether there is more to do.
fn step(pod: &PostgresStore) -> bool {
    pod.maintain(100).expect("upkeep succeeds")
}

fn scan(pod: &PostgresStore, filter: &str) -> Box<dyn Scan> {
    let filter = wire::filter(filter).expect("it is a filter");
    let filters = Arc::new([(filter, FilterLimit::newest(10_000))]);
    pod.scan(Query { filters, cursor: None, visible: Arc::new(|_| true) }).expect("the scan opens")
}

fn unbounded() -> Budget<'static> {
    Budget { events_max: usize::MAX, bytes_max: usize::MAX, spent: &|| false }
}

/// The dates of what the filter finds.
fn read(pod: &PostgresStore, filter: &str) -> Vec<u64> {
    let (mut scan, mut found) = (scan(pod, filter), Vec::new());
    while scan.next(unbounded(), &mut found).expect("the slice succeeds") == Progress::More {}
    found.iter().map(|stored| stored.event.created_at()).collect()
}

fn count(pod: &PostgresStore, filter: &str) -> u64 {
    let (mut scan, mut count) = (scan(pod, filter), Count::default());
    while scan.count(unbounded(), &mut count).expect("the slice succeeds") == Progress::More {}
    count.events
}

fn log(pod: &PostgresStore) -> Vec<Entry> {
    let (mut cursor, mut log) = (Cursor::start(), Vec::new());
    loop {
        let entries = pod.since(&cursor, Page { entries_max: 1_000, bytes_max: usize::MAX }).expect("the log is read");
        let Some(last) = entries.last() else { return log };
        cursor.advance(last.stream, last.seq);
        log.extend(entries);
    }
}

/// The dates of the events that the log has.
fn told(log: &[Entry]) -> Vec<u64> {
    let event = |entry: &Entry| match &entry.record {
        Record::Event { event, .. } => Some(event.created_at()),
        Record::Erased { .. } | Record::Expired { .. } | Record::Act => None,
    };
    log.iter().filter_map(event).collect()
}

#[test]
fn what_is_hidden_is_gone_from_every_answer_of_every_pod() {
    let mut cluster = Cluster::that_alice_left();
    assert_eq!(cluster.hidden(), HIDDEN);
    let (note, wrap, alice) = (note(7), wrap(7, ALICE), hex(ALICE));
    for pod in &cluster.pods {
        for (filter, dates) in [
            ("{}".to_owned(), vec![UNTIL + 1, UNTIL, 13]),
            (r#"{"kinds":[0,1,1059,30023]}"#.to_owned(), vec![UNTIL + 1, 13]),
            (format!(r#"{{"authors":["{alice}"]}}"#), vec![UNTIL + 1, UNTIL]),
            (r##"{"#t":["x"]}"##.to_owned(), vec![UNTIL + 1, 13]),
            (format!(r##"{{"#p":["{alice}"]}}"##), vec![]),
            (format!(r#"{{"ids":["{}","{}","{}"]}}"#, id(&note), id(&wrap), id(&profile(11))), vec![]),
        ] {
            assert_eq!(read(pod, &filter), dates, "{filter}");
            assert_eq!(count(pod, &filter), dates.len() as u64, "{filter}");
        }
        for gone in [&note, &wrap] {
            assert_eq!(pod.place_of(&gone.event().id()).unwrap(), None);
        }
        let log = log(pod);
        assert_eq!((log.len() as u64, told(&log)), (NOTES + WRAPS + 6, vec![13, UNTIL + 1, UNTIL]));
    }
}

#[test]
fn what_is_hidden_is_no_duplicate_no_version_and_no_target() {
    let cluster = Cluster::that_alice_left();
    let before = log(&cluster.pods[0]).len();
    assert_eq!(cluster.commit(vec![note(7), wrap(7, ALICE), profile(11)]), [Outcome::Vanished; 3]);

    let by_address = event(ALICE, 4_003, KIND_DELETION, &[&["a", &format!("30023:{}:x", hex(ALICE))]]);
    let (of_note, of_wrap) = (delete(ALICE, 4_001, &note(7)), delete(BOB, 4_002, &wrap(7, ALICE)));
    let outcomes = cluster.commit(vec![profile(4_000), of_note, of_wrap, by_address, article(4_004), profile(3_999)]);
    assert!(outcomes[..5].iter().all(|outcome| matches!(outcome, Outcome::Accepted(_))), "{outcomes:?}");
    assert_eq!(outcomes[5], Outcome::Superseded);

    // By now the hidden note with a date has expired, too.
    while cluster.pods[1].maintain(600).unwrap() {}
    let log = log(&cluster.pods[0]);
    assert_eq!(log.len(), before + 5, "nothing expired that was not there any more");
    assert!(log[before..].iter().all(|entry| entry.record.removed().is_empty()), "they took nobody's place");
    let held = [4_004, 4_003, 4_002, 4_001, 4_000, UNTIL + 1, UNTIL, 13];
    assert_eq!(read(&cluster.pods[0], "{}"), held);
    // The erasure left the addresses to those who took them meanwhile.
    assert_eq!(cluster.commit(vec![profile(3_998)]), [Outcome::Superseded]);
}

#[test]
fn what_is_hidden_is_erased_in_steps_whoever_takes_them() {
    let mut cluster = Cluster::that_alice_left();
    assert!(step(&cluster.pods[1]));
    assert_eq!(cluster.hidden(), HIDDEN - STEP);
    cluster.client.batch_execute("begin; select pg_advisory_xact_lock(hashtext('towpath'), 3)").unwrap();
    step(&cluster.pods[0]);
    assert_eq!(cluster.hidden(), HIDDEN - STEP, "another is at it");
    cluster.client.batch_execute("commit").unwrap();

    // Between two steps a pod ends and Alice asks again.
    drop(cluster.pods.pop());
    cluster.commit(vec![vanish(UNTIL + 500)]);
    assert_eq!(cluster.hidden(), HIDDEN - STEP + 1 - 1_000);
    assert_eq!(read(&cluster.pods[0], "{}"), [UNTIL + 500, UNTIL, 13]);
    let another = open(&cluster.server, "c");
    cluster.pods.push(another);
    std::thread::scope(|scope| {
        for pod in &cluster.pods {
            scope.spawn(move || while step(pod) {});
        }
    });
    cluster.pods.iter().for_each(|pod| while step(pod) {});

    for (table, rows) in [("vanishing", 0), ("graves", 0), ("events", 3), ("tags", 1), ("versions", 0)] {
        assert_eq!(cluster.number(&format!("select count(*) from towpath.{table}")), rows, "{table}");
    }
    let theirs = format!("select count(*) from towpath.gone where pubkey = '\\x{}'", hex(ALICE));
    assert_eq!(cluster.number(&theirs), 0);
    let (pod, log) = (&cluster.pods[0], log(&cluster.pods[0]));
    assert_eq!(read(pod, "{}"), [UNTIL + 500, UNTIL, 13]);
    assert_eq!(pod.stats().unwrap().events, 3);
    assert_eq!(log.iter().filter(|entry| entry.leaf.leaf().is_some()).count(), 3, "the rest is forgotten");
    let (mut tree, own) = (Tree::new(), pod.own_stream().unwrap());
    log.iter().filter(|entry| entry.stream == own).for_each(|entry| tree.append(entry.leaf.hash(), |_| ()));
    assert!(pod.heads().contains(&(own, tree.head())), "with the hashes that the leaves always had");
}

/// Terms are 64 bits of a hash: somebody may make a key that shares them with another's.
#[test]
fn a_gift_wrap_is_for_whom_it_names_whatever_bits_their_keys_share() {
    let mut cluster = Cluster::start();
    let to_carol = wrap(101, CAROL);
    cluster.commit(vec![wrap(100, ALICE), to_carol.clone()]);
    let share = "insert into towpath.tags select t.term, e.created_at, e.id, e.kind \
                 from towpath.tags t, towpath.events e where t.created_at = 100 and e.created_at = 101; \
                 update towpath.events e set terms = e.terms || t.terms from towpath.events t \
                 where t.created_at = 100 and e.created_at = 101";
    cluster.client.batch_execute(share).unwrap();
    let alice = hex(ALICE);
    let hide = format!(
        "insert into towpath.vanishing select '\\x{alice}', 200, term from towpath.tags where created_at = 100"
    );
    cluster.client.batch_execute(&hide).unwrap();
    assert_eq!(read(&cluster.pods[0], "{}"), [101]);
    cluster.commit(vec![delete(ALICE, 250, &to_carol), vanish(200)]);
    assert_eq!(read(&cluster.pods[0], "{}"), [250, 200, 101]);
}
