//! SIGKILL while committing: every commit that returned is found again, whole, and the data folder passes a check.

#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test, which runs itself as the process to kill")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::prelude::*;
use towpath_audit::{Head, Tree, root_at};
use towpath_policy::{Policy, Source, plan};
use towpath_protocol::{EventId, SecretKey};
use towpath_store::{Batch, Cursor, EventStore, Page, Record, Seq, StoredTree, StreamId};
use towpath_store_embedded::{AtOnce, Config, EmbeddedStore, check};

const FOLDER: &str = "TOWPATH_TEST_KILL_FOLDER";
const ROUNDS: usize = 8;

fn config(dir: &Path) -> Config {
    let at_once = AtOnce { events: 3, bytes: 4 << 20, keys: 10 };
    Config { segment_bytes: 256 << 10, erase_after_s: 0, dead_percent_max: 20, at_once, ..Config::at(dir) }
}

const VANISHING: u8 = 20;

/// Commits until it is killed, and prints each id once its commit has returned. Does nothing unless it is told where.
#[test]
fn commit_until_killed() {
    let Some(dir) = std::env::var_os(FOLDER) else { return };
    let store = EmbeddedStore::open(config(Path::new(&dir))).unwrap();
    let upkeep = store.clone();
    std::thread::spawn(move || {
        loop {
            upkeep.maintain(1_000).unwrap();
        }
    });
    let mut random = StdRng::from_os_rng();
    let mut out = std::io::stdout().lock();
    loop {
        // One author writes nothing but versions, and vanishes again and again.
        let (author, kind) = match random.random_range(0..10) {
            0 => (VANISHING, 62),
            1 | 2 => (VANISHING, 30_000),
            3 | 4 => (random.random_range(1..9), 30_000),
            _ => (random.random_range(1..9), 1),
        };
        let author = SecretKey::from_bytes([author; 32]).unwrap();
        let size = if kind == 62 { 1 } else { random.random_range(1..20) };
        // Of several addresses, so that more is there than goes at once.
        let d = random.random_range(0..20).to_string();
        let tags: [&[&str]; 2] = [&["d", &d], &["relay", "ALL_RELAYS"]];
        let event = |_| author.sign(random.random_range(0..1_000_000), kind, &tags, "text", &[0; 32]);
        let writes: Vec<_> =
            (0..size).map(event).map(|event| plan(event, Source::Client, &Policy::default())).collect();
        let last = writes.last().unwrap().event().id();
        let committed = store.commit(Batch::of(writes, 1)).unwrap();
        let Head { size, root } = committed.head;
        writeln!(out, "committed {} {last} {} {size} {root}", committed.run.last, kind == 1).unwrap();
    }
}

/// What was acknowledged before the kill.
struct Acknowledged {
    last: Seq,
    /// Regular events.
    ids: Vec<EventId>,
    /// Of the audit tree, commit by commit.
    heads: Vec<Head>,
}

fn run_and_kill(dir: &Path, after: Duration) -> Acknowledged {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "commit_until_killed", "--nocapture"])
        .env(FOLDER, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let mut seen = Acknowledged { last: Seq(0), ids: Vec::new(), heads: Vec::new() };
    for line in lines.map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').skip_while(|word| *word != "committed").collect();
        if let [_, seq, id, regular, size, root] = words[..]
            && let Ok(root) = root.parse()
        {
            seen.last = Seq(seq.parse().unwrap());
            seen.ids.extend(EventId::from_hex(id).ok().filter(|_| regular == "true"));
            seen.heads.push(Head { size: size.parse().unwrap(), root });
        }
    }
    killer.join().unwrap();
    seen
}

/// Every entry has its leaf, and the tree begins with every tree that was acknowledged.
fn audit(store: &EmbeddedStore, acknowledged: &[Head]) {
    let mut tree = Tree::new();
    let mut cursor = Cursor::start();
    loop {
        let entries = store.since(&cursor, Page { entries_max: 10_000, bytes_max: 8 << 20 }).unwrap();
        let Some(last) = entries.last() else { break };
        cursor.advance(last.stream, last.seq);
        for entry in &entries {
            if let (Record::Event { event, .. }, Some(leaf)) = (&entry.record, entry.leaf.leaf()) {
                assert_eq!((leaf.check_event(event), leaf.seq), (Ok(()), entry.seq.0));
            }
            tree.append(entry.leaf.hash(), |_| ());
        }
    }
    assert_eq!(store.heads(), [(StreamId(0), tree.head())]);
    let kept = StoredTree { store, stream: StreamId(0) };
    for head in acknowledged {
        assert_eq!(root_at(&kept, head.size).unwrap(), head.root, "at {} entries", head.size);
    }
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for _ in 0..ROUNDS {
        let after = Duration::from_millis(rand::rng().random_range(100..600));
        let seen = run_and_kill(dir.path(), after);
        acknowledged.extend(seen.ids);
        let report = check(config(dir.path()), &mut |_, _| {}).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        let store = EmbeddedStore::open(config(dir.path())).unwrap();
        assert!(store.snapshot().unwrap().seq(StreamId(0)) >= seen.last);
        audit(&store, &seen.heads);
        for id in &acknowledged {
            assert!(store.place_of(id).unwrap().is_some(), "{id}");
        }
    }
    assert!(acknowledged.len() > ROUNDS);
}
