//! The commit log: append-only files of records, and the only thing a commit waits for.
//!
//! Owns: the files, their naming and rolling, appending, walking and recovering them.
//! Must not know: the index, or how a write was decided.

pub(crate) mod append;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod recovery;
pub(crate) mod segment;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::RwLock;
use towpath_store::Seq;

use crate::disk::Disk;
use segment::Segment;

/// The files of the log at one time. Replaced as a whole, so that readers need no lock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    /// By first sequence number; each in one generation, or in two while the index moves from one to the other.
    segments: BTreeMap<Seq, Vec<Arc<Segment>>>,
}

/// The log's files and where they are.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) dir: PathBuf,
    pub(crate) disk: Disk,
    pub(crate) segment_bytes: u64,
    /// How many files have been made, so that each has a name of its own before it gets its final one.
    pub(crate) prepared: AtomicU64,
    files: RwLock<Arc<Files>>,
}

impl Files {
    pub(crate) fn insert(&mut self, segment: Arc<Segment>) {
        let generations = self.segments.entry(segment.first_seq).or_default();
        generations.push(segment);
        generations.sort_by_key(|segment| segment.generation);
    }

    pub(crate) fn remove(&mut self, segment: &Segment) {
        if let Some(generations) = self.segments.get_mut(&segment.first_seq) {
            generations.retain(|other| other.generation != segment.generation);
        }
        self.segments.retain(|_, generations| !generations.is_empty());
    }

    /// The file that holds `seq`, in its newest generation.
    pub(crate) fn holding(&self, seq: Seq) -> Option<&Arc<Segment>> {
        self.segments.range(..=seq).next_back()?.1.last()
    }

    /// The same in a certain generation.
    pub(crate) fn holding_in(&self, seq: Seq, generation: u32) -> Option<&Arc<Segment>> {
        let (_, generations) = self.segments.range(..=seq).next_back()?;
        generations.iter().find(|segment| segment.generation == generation)
    }

    /// The newest generation of the first file that starts behind `seq`.
    pub(crate) fn after(&self, seq: Seq) -> Option<&Arc<Segment>> {
        self.segments.range(seq.next()..).next()?.1.last()
    }

    /// Oldest first, each in its newest generation.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Segment>> {
        self.segments.values().filter_map(|generations| generations.last())
    }

    /// Every file of every generation.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.segments.values().flatten()
    }

    /// Where the newest generation of a file is not `good` and an older one is, has that one count as the newest.
    pub(crate) fn prefer(&mut self, good: impl Fn(&Arc<Segment>) -> bool) {
        for generations in self.segments.values_mut().filter(|generations| generations.len() > 1) {
            if let Some(at) = generations.iter().rposition(&good) {
                generations.rotate_left(at + 1);
            }
        }
    }

    /// Files that another generation has replaced.
    pub(crate) fn outdated(&self) -> Vec<Arc<Segment>> {
        let old = |generations: &Vec<Arc<Segment>>| generations[..generations.len() - 1].to_vec();
        self.segments.values().flat_map(old).collect()
    }
}

impl Log {
    pub(crate) fn new(dir: PathBuf, disk: Disk, segment_bytes: u64, files: Files) -> Self {
        Self { dir, disk, segment_bytes, prepared: AtomicU64::new(0), files: RwLock::new(Arc::new(files)) }
    }

    pub(crate) fn files(&self) -> Arc<Files> {
        Arc::clone(&self.files.read())
    }

    pub(crate) fn change_files(&self, change: impl FnOnce(&mut Files)) {
        let mut files = self.files.write();
        let mut changed = Files::clone(&files);
        change(&mut changed);
        *files = Arc::new(changed);
    }
}
