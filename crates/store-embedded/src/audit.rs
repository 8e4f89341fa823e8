//! The audit tree beside the log: the leaf of every entry, and the tree's hashes in files.
//!
//! ```text
//! <dir>/index/tree/<level>    the hashes of all complete subtrees of 256^level leaves, 32 bytes each, one behind the other
//! ```
//! A full C2SP tile is 256 neighbouring hashes, so it is one contiguous read. The files are a fold over the log as the index is:
//! written by the same thread, trusted together with it, never synced on the way of a commit. They may lag behind the index, and
//! are brought up to the log at a start. What a commit makes durable is the entries and, in its record, the root over all leaves
//! so far; a fold that comes to another root is corruption.
//!
//! Must not know: how leaves are encoded, checkpoints, who asks.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use towpath_audit::{Hash, HashSource, LeafState, Node, Tree};
use towpath_store::leaves::{self, Stamp};
use towpath_store::{Error, Seq, StreamId};

use crate::log::record::{Body, Header, LogEntry, Record, STREAM};

const HASH_BYTES: usize = 32;
/// A size has 64 bits and a level eight of them.
const LEVELS: usize = 8;
/// Hashes gathered before they are written: every write that makes a file longer is work for the file system, which commits wait for.
const NODES_AT_ONCE: usize = 4_096;

/// The leaf of an entry.
pub(crate) fn leaf_of(seq: Seq, committed_at_ms: u64, entry: &LogEntry) -> LeafState {
    let stamp = Stamp { stream: STREAM, seq, committed_at_ms };
    match &entry.body {
        Body::Event(filed) => {
            let leaf = leaves::of_event(stamp, filed.action, filed.source, &filed.event, places(&entry.removed));
            LeafState::Whole(leaf)
        }
        Body::Expired => LeafState::Whole(leaves::of_expiry(stamp, places(&entry.removed))),
        Body::Erased(leaf) => leaf.clone(),
        Body::Act(leaf) => LeafState::Whole(leaf.clone()),
    }
}

fn places(seqs: &[Seq]) -> impl Iterator<Item = (StreamId, Seq)> + '_ {
    seqs.iter().map(|seq| (STREAM, *seq))
}

/// The files.
#[derive(Debug)]
pub(crate) struct TreeFiles {
    dir: PathBuf,
    levels: Mutex<[Option<Arc<File>>; LEVELS]>,
    unwritten: Mutex<Vec<Node>>,
}

impl TreeFiles {
    /// Those in `dir`, which need not be there yet.
    pub(crate) fn at(dir: PathBuf) -> Self {
        Self { dir, levels: Mutex::default(), unwritten: Mutex::default() }
    }

    /// The last entry that has a leaf in the files.
    pub(crate) fn covered(&self) -> Seq {
        Seq(self.with(0, |file| file.metadata()).map_or(0, |metadata| metadata.len()) / HASH_BYTES as u64)
    }

    /// Takes hashes, those of a level in their order, without a gap and once.
    pub(crate) fn keep(&self, nodes: impl Iterator<Item = Node>) {
        self.unwritten.lock().extend(nodes);
    }

    /// Writes what is gathered if it is much. Before more is taken, so that a disk which refuses bounds what waits.
    pub(crate) fn flush_if_many(&self) -> Result<(), Error> {
        let mut unwritten = self.unwritten.lock();
        if unwritten.len() >= NODES_AT_ONCE { self.write(&mut unwritten) } else { Ok(()) }
    }

    /// Writes what is gathered.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.write(&mut self.unwritten.lock())
    }

    /// Leaves last: as far as they are there, so is everything above them.
    fn write(&self, nodes: &mut Vec<Node>) -> Result<(), Error> {
        let levels = nodes.iter().map(|node| node.level).max().map_or(0, |highest| highest + 1);
        for level in (0..levels).rev() {
            let mut of_level = nodes.iter().filter(|node| node.level == level).peekable();
            let Some(first) = of_level.peek().map(|node| node.index) else { continue };
            let bytes: Vec<u8> = of_level.flat_map(|node| node.hash.0).collect();
            let written = self.with(level, |file| file.write_all_at(&bytes, first * HASH_BYTES as u64));
            written.map_err(|e| Error::io("write the audit tree", e))?;
        }
        nodes.clear();
        Ok(())
    }

    /// Lets go of them, for somebody who has removed them.
    pub(crate) fn close(&self) {
        self.unwritten.lock().clear();
        *self.levels.lock() = Default::default();
    }

    /// Waits until what was written would survive a power failure. What is gathered is to be flushed before.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        // Whoever writes to them need not wait.
        let levels = self.levels.lock().clone();
        levels.iter().flatten().try_for_each(|file| file.sync_data()).map_err(|e| Error::io("sync the audit tree", e))
    }

    fn with<T>(&self, level: u8, act: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        let mut levels = self.levels.lock();
        let file = levels.get_mut(usize::from(level)).ok_or(ErrorKind::InvalidInput)?;
        let file = match file {
            Some(file) => file,
            None => {
                std::fs::create_dir_all(&self.dir)?;
                let path = self.dir.join(level.to_string());
                let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
                file.insert(Arc::new(opened))
            }
        };
        act(file)
    }
}

impl HashSource for TreeFiles {
    type Error = Error;

    fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, Error> {
        self.flush()?;
        let mut bytes = vec![0; count * HASH_BYTES];
        let read = self.with(level, |file| file.read_exact_at(&mut bytes, first.saturating_mul(HASH_BYTES as u64)));
        read.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Error::Corrupt("the audit tree lacks hashes of its leaves".into()),
            _ => Error::io("read the audit tree", error),
        })?;
        Ok(bytes.as_chunks().0.iter().map(|hash| Hash(*hash)).collect())
    }
}

/// The tree while it is brought up to the log, record by record.
pub(crate) struct Growth<'a> {
    tree: Tree,
    files: &'a TreeFiles,
}

impl<'a> Growth<'a> {
    /// From the tree over all entries up to `seq`.
    pub(crate) fn from(files: &'a TreeFiles, seq: Seq) -> Result<Self, Error> {
        Ok(Self { tree: Tree::resume(seq.0, files)?, files })
    }

    /// The last entry that has its leaf.
    pub(crate) fn at(&self) -> Seq {
        Seq(self.tree.size())
    }

    /// Appends the leaves of a record that are not in the tree yet, and holds it to the root that was committed with the record.
    pub(crate) fn take(&mut self, record: &Record) -> Result<(), Error> {
        let Self { tree, files } = self;
        if record.header.next_seq().0 <= tree.size() + 1 {
            return Ok(());
        }
        let mut nodes = Vec::new();
        let size = tree.size();
        for (seq, entry, _) in record.numbered().filter(|(seq, _, _)| seq.0 > size) {
            tree.append(leaf_of(seq, record.header.committed_at_ms, entry).hash(), |node| nodes.push(node));
        }
        if !has_committed_root(tree, &record.header) {
            let (first, last) = (record.header.first_seq, record.header.next_seq().0 - 1);
            let why = format!("entries {first} to {last} are not what the audit tree was committed over");
            return Err(Error::Corrupt(why));
        }
        files.keep(nodes.into_iter());
        files.flush_if_many()
    }

    pub(crate) fn into_tree(self) -> Tree {
        self.tree
    }
}

/// Whether the tree with a record's leaves has the root that was committed with the record, if one was.
pub(crate) fn has_committed_root(tree: &Tree, header: &Header) -> bool {
    header.root.is_none_or(|root| root == tree.root())
}
