//! What an operator can choose about the embedded store.

use std::path::PathBuf;

/// Where it lives and what it may use.
#[derive(Debug, Clone)]
pub struct Config {
    /// Everything it keeps is in here; created if missing.
    pub dir: PathBuf,
    /// A log file is closed once it has grown to this.
    pub segment_bytes: u32,
    /// Most the index may grow to. Address space is reserved for all of it, disk is not.
    pub index_bytes_max: usize,
    /// Commits wait for the disk. Without it, a power failure loses what the operating system had not written yet.
    pub sync: bool,
    /// The log leaves this much of the disk free: with less, commits are refused when the next file is needed.
    pub free_bytes_min: u64,
    /// Bytes of deleted, vanished and expired events are gone from disk so many seconds after the deletion; those of a version that had
    /// been replaced before it was deleted, once `dead_percent_max` says so.
    pub erase_after_s: u64,
    /// A closed log file is rewritten once this share of it, in percent, is no longer needed.
    pub dead_percent_max: u8,
    /// Whether an audit tree is kept over the log. If it was not, the next start makes it for what it lacks.
    pub audit: bool,
    /// The index is checkpointed after so many seconds without a commit.
    pub checkpoint_idle_s: u64,
    /// For tests to make small.
    #[doc(hidden)]
    pub at_once: AtOnce,
}

/// How much of what somebody who vanishes takes along, or of what has expired, goes with one entry or in one step of upkeep.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct AtOnce {
    /// Events; and graves that are dug up.
    pub events: usize,
    /// Bytes of events, which are in memory together: no more are begun once there are so many.
    pub bytes: usize,
    /// Keys of an order that are looked at.
    pub keys: usize,
}

impl Config {
    /// The defaults, in `dir`.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            index_bytes_max: 256 << 30,
            sync: true,
            free_bytes_min: 64 << 20,
            erase_after_s: 24 * 3600,
            dead_percent_max: 50,
            audit: true,
            checkpoint_idle_s: 5,
            at_once: AtOnce { events: 500, bytes: 4 << 20, keys: 10_000 },
        }
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    pub(crate) fn index_dir(&self) -> PathBuf {
        self.dir.join("index")
    }

    pub(crate) fn tree_dir(&self) -> PathBuf {
        self.index_dir().join("tree")
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.dir.join("lock")
    }
}
