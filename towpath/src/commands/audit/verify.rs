//! `towpath audit verify`: the whole log against its leaves, its tree, and every checkpoint there is.
//!
//! Entries are read and hashed on one thread; signatures of events are checked on all others, some pages behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::available_parallelism;

use anyhow::{Context, bail, ensure};
use parking_lot::Mutex;
use serde_json::Value;
use towpath_audit::{Checkpoint, Hash, HashSource as _, Head, LeafState, Node, Problem, Report, Seen, Verification};
use towpath_protocol::{Event, Limits, PublicKey, SubmittedEvent, Verifier, wire};
use towpath_store::{Entry, EventStore, Record, Seq, StoredTree, StreamId};

use super::remote::Remote;
use crate::args::AuditVerifyArgs;
use crate::settings::Environment;
use crate::{progress, store};

/// Events handed to another thread at once.
const CHUNK: usize = 512;
/// Hashes compared with the kept tree at once.
const HASHES: usize = 4_096;

pub(crate) fn run(args: &AuditVerifyArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let kept = args.from.iter().map(|path| kept_checkpoint(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let (relay, mut reports) = match &args.audited.url {
        Some(url) => {
            let remote = Remote::new(url, &args.audited)?;
            ensure_of(&kept, &remote.relay)?;
            (remote.relay, remote.verify(&kept, !args.no_signatures)?)
        }
        None => {
            let config = super::config(&args.audited, environment)?;
            let relay = super::relay_of(&args.audited, &config)?;
            ensure_of(&kept, &relay)?;
            let store = store::open_existing(&config)?;
            (relay, verify(&*store, relay, &kept, !args.no_signatures)?)
        }
    };
    reports.extend(gone(&reports, relay, &kept));
    ensure!(!reports.is_empty(), "there is no stream to verify");
    print(&reports)
}

/// Streams that a kept checkpoint names and nobody has any more.
fn gone(reports: &[(u32, Report)], relay: PublicKey, kept: &[Checkpoint]) -> Vec<(u32, Report)> {
    let named: BTreeSet<u32> = kept.iter().flat_map(Checkpoint::streams).collect();
    let is_gone = |stream: &u32| !reports.iter().any(|(reported, _)| reported == stream);
    named
        .into_iter()
        .filter(is_gone)
        .map(|stream| (stream, Verification::new(stream, relay, kept).finish(None)))
        .collect()
}

fn print(reports: &[(u32, Report)]) -> anyhow::Result<ExitCode> {
    let lines = reports.iter().flat_map(|(stream, report)| {
        let problems = report.problems.iter().map(move |problem| format!("stream {stream}: {problem}"));
        problems.chain([format!("stream {stream}: {report}")])
    });
    crate::print_lines(lines)?;
    let good = reports.iter().all(|(_, report)| report.is_good());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(crate::FAILURE) })
}

/// A checkpoint somebody kept: the relay's event, whose signature is checked, or only its text.
fn kept_checkpoint(path: &Path) -> anyhow::Result<Checkpoint> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let read = || match serde_json::from_str::<Value>(&text) {
        Ok(event) => {
            let event = wire::event(&event.to_string(), &Limits::default())?;
            Ok(Checkpoint::of_signed(event, &Verifier::new())?)
        }
        Err(_) => anyhow::Ok(Checkpoint::parse(&text)?),
    };
    read().with_context(|| format!("{} holds no good checkpoint", path.display()))
}

fn ensure_of(kept: &[Checkpoint], relay: &PublicKey) -> anyhow::Result<()> {
    match kept.iter().find(|checkpoint| checkpoint.relay != *relay) {
        Some(other) => bail!("the checkpoint is of the relay {}, not of {relay}", other.relay),
        None => Ok(()),
    }
}

/// Every stream of a store that is open for us alone.
pub(super) fn verify(
    store: &dyn EventStore,
    relay: PublicKey,
    kept: &[Checkpoint],
    signatures: bool,
) -> anyhow::Result<Vec<(u32, Report)>> {
    let heads = store.heads();
    anyhow::ensure!(!heads.is_empty(), "no audit log is kept here: audit.enabled is false");
    let bar = progress::entries(heads.iter().map(|(_, head)| head.size).sum());
    let mut reports = Vec::new();
    for (stream, head) in heads {
        let tree = StoredTree { store, stream };
        let hashes = |level, first, count| Ok(tree.hashes(level, first, count)?);
        let report = with_late(stream.0, relay, kept, |verification| {
            let verification = verify_entries(verification, &hashes, signatures, |take| {
                store::each_entry_of(store, stream, last(store, stream, head), |entry| {
                    bar.inc(1);
                    take(read(entry))
                })
            })?;
            Ok(verification.finish(Some(head)))
        })?;
        reports.push((stream.0, report));
    }
    bar.finish_and_clear();
    Ok(reports)
}

/// Verifies a log by `pass`, and once more if it holds checkpoints that came too late to be compared the first time.
pub(super) fn with_late(
    stream: u32,
    relay: PublicKey,
    kept: &[Checkpoint],
    pass: impl Fn(Verification) -> anyhow::Result<Report>,
) -> anyhow::Result<Report> {
    let report = pass(Verification::new(stream, relay, kept))?;
    if report.late.is_empty() {
        return Ok(report);
    }
    let late = report.late.iter().map(|head| Checkpoint::of_stream(relay, stream, *head));
    let known: Vec<Checkpoint> = kept.iter().cloned().chain(late).collect();
    pass(Verification::new(stream, relay, &known))
}

/// What is behind the head is verified, too, unless pods are running: then it is not written down yet.
fn last(store: &dyn EventStore, stream: StreamId, head: Head) -> Seq {
    if store.own_stream() == Some(stream) { Seq(u64::MAX) } else { Seq(head.size) }
}

fn read(entry: Entry) -> ReadEntry {
    let event = match entry.record {
        Record::Event { event, .. } => Some(event),
        Record::Erased { .. } | Record::Expired { .. } | Record::Act => None,
    };
    ReadEntry { seq: entry.seq.0, committed_at_ms: entry.committed_at_ms, leaf: entry.leaf, event }
}

/// An entry, from wherever it was read.
pub(super) struct ReadEntry {
    pub(super) seq: u64,
    pub(super) committed_at_ms: u64,
    pub(super) leaf: LeafState,
    pub(super) event: Option<Event>,
}

/// Hashes of the tree that is kept, by level, first and count.
pub(super) type Hashes<'a> = dyn Fn(u8, u64, usize) -> anyhow::Result<Vec<Hash>> + 'a;
/// What is done with each entry read.
pub(super) type Take<'a> = dyn FnMut(ReadEntry) -> anyhow::Result<()> + 'a;

/// Verifies what `entries` reads, and that the tree kept of it has the same hashes. Memory is bounded by what waits for a signature.
pub(super) fn verify_entries(
    mut verification: Verification,
    kept: &Hashes<'_>,
    signatures: bool,
    entries: impl FnOnce(&mut Take<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Verification> {
    let threads = available_parallelism().map_or(1, usize::from);
    let (sender, receiver) = sync_channel(2 * threads);
    let (receiver, forged) = (Mutex::new(receiver), Mutex::new(Vec::new()));
    let verifier = Verifier::new();
    let mut unsigned = Unsigned { sender, chunk: Vec::new() };
    let mut nodes = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| check_signatures(&receiver, &verifier, &forged));
        }
        entries(&mut |entry| {
            let ReadEntry { seq, committed_at_ms, leaf, event } = entry;
            verification
                .entry(Seen { seq, committed_at_ms, leaf: &leaf, event: event.as_ref() }, |node| nodes.push(node));
            if nodes.len() >= HASHES {
                compare(&mut verification, kept, &mut nodes)?;
            }
            match event {
                Some(event) if signatures => unsigned.push(seq, event),
                _ => Ok(()),
            }
        })?;
        unsigned.finish()
    })?;
    compare(&mut verification, kept, &mut nodes)?;
    forged.into_inner().into_iter().for_each(|problem| verification.add(problem));
    Ok(verification)
}

/// Events with their places, for one thread.
type Chunk = Vec<(u64, Event)>;

/// Events on their way to the threads that check signatures.
struct Unsigned {
    sender: SyncSender<Chunk>,
    chunk: Chunk,
}

impl Unsigned {
    fn push(&mut self, seq: u64, event: Event) -> anyhow::Result<()> {
        self.chunk.push((seq, event));
        if self.chunk.len() >= CHUNK { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> anyhow::Result<()> {
        self.sender.send(std::mem::take(&mut self.chunk)).context("the threads that check signatures have ended")
    }

    /// Dropping it tells the threads that there is no more.
    fn finish(mut self) -> anyhow::Result<()> {
        self.send()
    }
}

fn check_signatures(chunks: &Mutex<Receiver<Chunk>>, verifier: &Verifier, forged: &Mutex<Vec<Problem>>) {
    // A wrong id is found where leaves are checked.
    let submitted = |(seq, event): (u64, Event)| Some((SubmittedEvent::from_canonical(event).ok()?, seq));
    loop {
        let chunk = chunks.lock().recv();
        let Ok(chunk) = chunk else { return };
        for (verified, seq) in verifier.verify_all(chunk.into_iter().filter_map(submitted).collect()) {
            if let Err(error) = verified {
                forged.lock().push(Problem::Forged { seq, why: error.to_string() });
            }
        }
    }
}

/// Whether the kept tree has these hashes, which are of one run a level.
fn compare(verification: &mut Verification, kept: &Hashes<'_>, nodes: &mut Vec<Node>) -> anyhow::Result<()> {
    let levels = nodes.iter().map(|node| node.level).max().map_or(0, |level| level + 1);
    for level in 0..levels {
        let expected: Vec<&Node> = nodes.iter().filter(|node| node.level == level).collect();
        let Some(first) = expected.first().map(|node| node.index) else { continue };
        let found = kept(level, first, expected.len())?;
        for (expected, found) in expected.iter().zip(found) {
            if expected.hash != found {
                verification.add(Problem::Tree { what: format!("hash, number {} of level {level},", expected.index) });
            }
        }
    }
    nodes.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use towpath_audit::Tree;
    use towpath_protocol::SecretKey;

    use super::*;

    #[test]
    fn a_stream_that_a_kept_checkpoint_names_and_nobody_has_is_a_problem() {
        let relay = SecretKey::from_bytes([1; 32]).expect("a key").public_key();
        let mut tree = Tree::new();
        (0..40).for_each(|leaf| tree.append(Hash([leaf; 32]), |_| ()));
        let kept = [Checkpoint::of_cluster(relay, vec![(0, tree.head()), (3, tree.head())])];
        let gone = gone(&[], relay, &kept);
        assert_eq!(gone.iter().map(|(stream, _)| *stream).collect::<Vec<_>>(), [0, 3]);
        assert!(gone.iter().all(|(_, report)| !report.is_good()));
    }

    #[test]
    fn of_events_checked_at_once_those_with_another_signature_are_named() {
        let alice = SecretKey::from_bytes([1; 32]).expect("a key");
        let note = |at| alice.sign(at, 1, &[], "a note", &[0; 32]).into_event();
        let signature = |event: &Event| event.as_str()[event.as_str().len() - 130..].to_owned();
        let changed = |json: String| Event::from_canonical(json.into()).expect("an event");
        let event = |seq: u64| match seq {
            7 | 63 => changed(note(seq).as_str().replace(&signature(&note(seq)), &signature(&note(seq + 1)))),
            // Its id is wrong, which is another's to say.
            20 => changed(note(seq).as_str().replace("a note", "a lie!")),
            _ => note(seq),
        };
        let (sender, receiver) = sync_channel::<Chunk>(2);
        for first in [0, 100] {
            sender.send((first..first + 100).map(|seq| (seq, event(seq))).collect()).expect("there is room");
        }
        drop(sender);
        let forged = Mutex::new(Vec::new());
        check_signatures(&Mutex::new(receiver), &Verifier::new(), &forged);
        let expected = [7, 63].map(|seq| Problem::Forged { seq, why: "bad signature".to_owned() });
        assert_eq!(forged.into_inner(), expected);
    }

    #[test]
    fn what_came_too_late_to_be_compared_is_compared_in_another_pass() {
        let relay = SecretKey::from_bytes([1; 32]).expect("a key").public_key();
        let mut tree = Tree::new();
        (0..40).for_each(|leaf| tree.append(Hash([leaf; 32]), |_| ()));
        let report = with_late(3, relay, &[], |verification| {
            Ok(Report { late: vec![tree.head()], ..verification.finish(None) })
        });
        assert_eq!(report.expect("both passes").problems, [Problem::Truncated { signed: 40, found: 0 }]);
    }
}
