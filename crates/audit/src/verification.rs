//! Verifying a whole log, entry by entry, in constant memory.
//!
//! Owns: what must hold of entries, leaves, the tree and the checkpoints that are in the log or that somebody kept.
//! Must not know: where entries come from. Signatures of events are checked by whoever reads them, on as many threads as there are;
//! those of checkpoints here.

use std::collections::VecDeque;
use std::fmt;

use towpath_policy::Source;
use towpath_protocol::{Event, EventId, PublicKey, SubmittedEvent, Verifier};

use crate::checkpoint::KIND_CHECKPOINT;
use crate::{Checkpoint, Hash, Head, LeafState, Node, Tree};

/// More problems than this are counted and not kept.
const PROBLEMS_MAX: usize = 1_000;
/// A checkpoint may come so many entries behind those it covers to be compared at once. 4 MiB of hashes.
const WINDOW: u64 = 131_072;
/// Entries between two trees kept within the window.
const TREE_EVERY: usize = 1_024;

/// One entry, as whoever reads the log sees it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its place.
    pub seq: u64,
    /// When it was committed.
    pub committed_at_ms: u64,
    /// Its leaf.
    pub leaf: &'a LeafState,
    /// Its event, if it is there.
    pub event: Option<&'a Event>,
}

/// Something that is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Entries are missing: at the beginning, or in between.
    #[error("entries {from} to {to} are missing")]
    Gap {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// An entry is where another was, or comes again.
    #[error("entry {seq} comes where {expected} is due")]
    OutOfOrder {
        /// Which.
        seq: u64,
        /// Which one should be there.
        expected: u64,
    },
    /// A leaf says something else than its entry.
    #[error("the leaf of entry {seq} does not fit: the {what} differs")]
    Leaf {
        /// Of which entry.
        seq: u64,
        /// What differs.
        what: &'static str,
    },
    /// An event is not genuine.
    #[error("the event of entry {seq} is not genuine: {why}")]
    Forged {
        /// Of which entry.
        seq: u64,
        /// Its id or its signature.
        why: String,
    },
    /// The log is not the one that the relay signed.
    #[error("fork: the relay has signed another root over the first {size} entries")]
    Fork {
        /// As many.
        size: u64,
    },
    /// The log, or what it holds before a checkpoint, is shorter than it was.
    #[error("truncated: the relay has signed {signed} entries, and there are {found}")]
    Truncated {
        /// So many there were.
        signed: u64,
        /// So many there are.
        found: u64,
    },
    /// A checkpoint of the relay's is none.
    #[error("the checkpoint {id} is not good: {why}")]
    Checkpoint {
        /// Its event.
        id: EventId,
        /// What is wrong.
        why: String,
    },
    /// The tree that is kept is not the one over the leaves.
    #[error("the kept tree has another {what} than the log's leaves")]
    Tree {
        /// What differs.
        what: String,
    },
}

/// What a verification found.
#[derive(Debug, Clone)]
pub struct Report {
    /// Of the tree over all leaves.
    pub head: Head,
    /// Entries of which only the hash was left.
    pub erased: u64,
    /// Events that were there.
    pub events: u64,
    /// Checkpoints that were found good.
    pub checkpoints: u64,
    /// Of checkpoints in the log that waited so long that the root over what they cover was not known any more: a verification that is
    /// told of them compares them.
    pub late: Vec<Head>,
    /// What is wrong, at most a thousand.
    pub problems: Vec<Problem>,
    /// How much is wrong.
    pub problems_total: u64,
}

impl Report {
    /// Adds something wrong.
    pub fn add(&mut self, problem: Problem) {
        self.problems_total += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    /// Whether nothing is.
    pub fn is_good(&self) -> bool {
        self.problems_total == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { head, erased, events, checkpoints, problems_total, .. } = self;
        write!(f, "{} entries ({events} with their event, {erased} by their hash alone), ", head.size)?;
        write!(f, "{checkpoints} checkpoints, root {}: ", head.root)?;
        if self.is_good() { f.write_str("no problems") } else { write!(f, "{problems_total} problems") }
    }
}

/// A verification under way.
pub struct Verification {
    stream: u32,
    relay: PublicKey,
    verifier: Verifier,
    tree: Tree,
    recent: Recent,
    /// Heads that the relay once signed, largest size first.
    signed: Vec<Head>,
    report: Report,
}

impl Verification {
    /// Of a stream's log from its first entry on. `kept` are checkpoints that somebody has seen, of this relay; the caller has checked
    /// their signatures.
    pub fn new(stream: u32, relay: PublicKey, kept: &[Checkpoint]) -> Self {
        let tree = Tree::new();
        let report = Report {
            head: tree.head(),
            erased: 0,
            events: 0,
            checkpoints: 0,
            late: Vec::new(),
            problems: Vec::new(),
            problems_total: 0,
        };
        let mut signed: Vec<Head> = kept.iter().filter_map(|checkpoint| checkpoint.head_of(stream)).collect();
        signed.sort_unstable_by_key(|head| std::cmp::Reverse(head.size));
        let mut verification =
            Self { stream, relay, verifier: Verifier::new(), tree, recent: Recent::of(WINDOW), signed, report };
        verification.compare_signed();
        verification
    }

    /// Takes the next entry. `completed` is handed the hashes that readers of the tree must find, to compare them with what is kept.
    pub fn entry(&mut self, seen: Seen<'_>, completed: impl FnMut(Node)) {
        let expected = self.tree.size() + 1;
        if seen.seq > expected {
            self.report.add(Problem::Gap { from: expected, to: seen.seq - 1 });
        } else if seen.seq < expected {
            self.report.add(Problem::OutOfOrder { seq: seen.seq, expected });
        }
        self.leaf(seen);
        if let Some(event) = seen.event {
            self.report.events += 1;
            self.event(seen, event);
        }
        let hash = seen.leaf.hash();
        self.recent.push(&self.tree, hash);
        self.tree.append(hash, completed);
        self.compare_signed();
    }

    fn leaf(&mut self, seen: Seen<'_>) {
        let Some(leaf) = seen.leaf.leaf() else {
            self.report.erased += 1;
            return;
        };
        let differs = match leaf {
            _ if leaf.stream != self.stream => Some("stream"),
            _ if leaf.seq != seen.seq => Some("place"),
            _ if leaf.committed_at_ms != seen.committed_at_ms => Some("time"),
            _ if leaf.removed.last().is_some_and(|last| *last >= leaf.seq) => Some("list of what went"),
            _ => seen.event.and_then(|event| leaf.check_event(event).err()),
        };
        if let Some(what) = differs {
            self.report.add(Problem::Leaf { seq: seen.seq, what });
        }
    }

    fn event(&mut self, seen: Seen<'_>, event: &Event) {
        let submitted = match SubmittedEvent::from_canonical(event.clone()) {
            Ok(submitted) => submitted,
            Err(error) => return self.report.add(Problem::Forged { seq: seen.seq, why: error.to_string() }),
        };
        // One that came from elsewhere, such as an export of an earlier log, says nothing of this log.
        let own = seen.leaf.leaf().is_none_or(|leaf| leaf.source == Some(Source::Relay));
        if own && event.kind() == KIND_CHECKPOINT && event.pubkey() == self.relay {
            self.checkpoint(event, submitted);
        }
    }

    /// One that the log holds itself.
    fn checkpoint(&mut self, event: &Event, submitted: SubmittedEvent) {
        let id = event.id();
        let checkpoint = match Checkpoint::of_signed(submitted, &self.verifier) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return self.report.add(Problem::Checkpoint { id, why: error.to_string() }),
        };
        let Some(head) = checkpoint.head_of(self.stream) else { return };
        if head.size > self.tree.size() {
            return self.report.add(Problem::Truncated { signed: head.size, found: self.tree.size() });
        }
        match self.recent.root_at(&self.tree, head.size) {
            Some(root) if root == head.root => self.report.checkpoints += 1,
            Some(_) => self.report.add(Problem::Fork { size: head.size }),
            None => self.report.late.push(head),
        }
    }

    /// With what the relay signed over as many entries.
    fn compare_signed(&mut self) {
        while let Some(head) = self.signed.last().copied().filter(|head| head.size == self.tree.size()) {
            self.signed.pop();
            if head == self.tree.head() {
                self.report.checkpoints += 1;
            } else {
                self.report.add(Problem::Fork { size: head.size });
            }
        }
    }

    /// Adds something wrong that was found elsewhere.
    pub fn add(&mut self, problem: Problem) {
        self.report.add(problem);
    }

    /// Entries so far.
    pub fn entries(&self) -> u64 {
        self.tree.size()
    }

    /// The log has ended; `kept` is what its keeper says its tree is.
    pub fn finish(mut self, kept: Option<Head>) -> Report {
        let found = self.tree.size();
        if let Some(kept) = kept.filter(|kept| *kept != self.tree.head()) {
            let what = if kept.size == found { "root".to_owned() } else { format!("size, {},", kept.size) };
            self.report.add(Problem::Tree { what });
        }
        if let Some(longest) = self.signed.first() {
            self.report.add(Problem::Truncated { signed: longest.size, found });
        }
        self.report.head = self.tree.head();
        self.report
    }
}

/// What it takes to know the root over the first so many leaves, of late.
#[derive(Debug)]
struct Recent {
    window: u64,
    stretches: VecDeque<Stretch>,
}

#[derive(Debug)]
struct Stretch {
    /// Before `leaves`, of which there are at most [`TREE_EVERY`].
    tree: Tree,
    leaves: Vec<Hash>,
}

impl Recent {
    fn of(window: u64) -> Self {
        Self { window, stretches: VecDeque::new() }
    }

    /// `leaf` is about to follow in `tree`.
    fn push(&mut self, tree: &Tree, leaf: Hash) {
        if tree.size().is_multiple_of(TREE_EVERY as u64) {
            self.stretches.push_back(Stretch { tree: tree.clone(), leaves: Vec::with_capacity(TREE_EVERY) });
            let is_too_old = |next: &Stretch| next.tree.size() + self.window <= tree.size();
            if self.stretches.get(1).is_some_and(is_too_old) {
                self.stretches.pop_front();
            }
        }
        if let Some(latest) = self.stretches.back_mut() {
            latest.leaves.push(leaf);
        }
    }

    fn root_at(&self, tree: &Tree, size: u64) -> Option<Hash> {
        if size == tree.size() {
            return Some(tree.root());
        }
        let stretch = self.stretches.iter().rev().find(|stretch| stretch.tree.size() <= size)?;
        let mut at = stretch.tree.clone();
        let count = usize::try_from(size - at.size()).ok()?;
        stretch.leaves.iter().take(count).for_each(|leaf| at.append(*leaf, |_| ()));
        Some(at.root())
    }
}

#[cfg(test)]
mod tests;
