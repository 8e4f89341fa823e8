//! The embedded event store: a synced commit log and a rebuildable index beside it.
//!
//! ```text
//! <dir>/lock                          held while the store is open
//! <dir>/log/<first seq>.<gen>.seg     the commit log: canonical bytes and decisions, checksummed; what a commit waits for
//! <dir>/index/                        LMDB: every order events are asked for in; a fold over the log, never synced on a commit
//! <dir>/index/tree/                   the hashes of the audit tree, likewise
//! <dir>/followers/<name>              how far each follower of the log has come
//! ```
//!
//! Owns: durability, recovery, the index, compaction and verification of one data folder.
//! Must not know: sockets, subscriptions, who may read what, wall clocks (times are arguments).

mod audit;
mod backup;
mod check;
mod commit;
mod compact;
mod config;
mod decide;
mod disk;
mod followers;
mod index;
mod keeper;
mod log;
mod maintain;
mod open;
mod overlay;
mod pending;
mod read;
mod roll;
mod scan;
mod since;
mod target;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use towpath_audit::{Hash, HashSource as _, Head};
use towpath_protocol::EventId;
use towpath_store::{Batch, Committed, Cursor, Entry, Error, EventStore, Page, Query, Scan, Seq, Stats, StreamId};

pub use backup::{BackupReport, backup, restore};
pub use check::{CheckReport, Problem, check};
#[doc(hidden)]
pub use config::AtOnce;
pub use config::Config;
pub use disk::free_bytes;
pub use index::rebuild::Progress;
pub use open::create_dir;

use audit::TreeFiles;
use commit::Writer;
use index::Index;
use index::marker::Marker;
use log::Log;
use log::record::STREAM;
use maintain::Upkeep;
use pending::{Pending, Said};
use since::Places;

/// An open data folder. Clones share it; it closes with the last of them.
#[derive(Debug, Clone)]
pub struct EmbeddedStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

/// What the store's callers and its thread have in common. Locks are taken in the order of the fields; the keeper,
/// for which a commit may wait, takes none before `preparing`.
#[derive(Debug)]
struct Shared {
    config: Config,
    upkeep: Mutex<Upkeep>,
    writer: Mutex<Writer>,
    /// The next log file, as soon as the present one is near its end.
    preparing: Mutex<Option<roll::Preparing>>,
    pending: Pending,
    log: Arc<Log>,
    /// The last durable entry.
    last: AtomicU64,
    index: Index,
    tree_files: TreeFiles,
    /// Of the audit tree, as of the last durable entry.
    head: Mutex<Head>,
    marker: Mutex<Marker>,
    places: Mutex<Places>,
    /// Held, not read.
    _lock: File,
}

impl Shared {
    fn last(&self) -> Seq {
        Seq(self.last.load(Ordering::Acquire))
    }
}

impl Shared {
    /// Where the event is stored, unless somebody who vanished took it along.
    fn seq_of(&self, id: &EventId) -> Result<Option<Seq>, Error> {
        let said = if self.pending.applied() < self.last() { self.pending.said_of(id) } else { Said::default() };
        if let Some(place) = said.place {
            return Ok(place);
        }
        let txn = self.index.read()?;
        let Some(seq) = self.index.seq_of(&txn, id)? else { return Ok(None) };
        let is_hidden = self.index.is_hidden(&txn, (id, seq), &said.vanished)?;
        Ok(Some(seq).filter(|_| !is_hidden))
    }

    fn tree_hashes(&self, level: u8, first: u64, count: usize) -> Result<Option<Vec<Hash>>, Error> {
        let end = first.checked_add(count as u64);
        let leaves = end.and_then(|end| end.checked_mul(256_u64.checked_pow(u32::from(level))?));
        let Some(leaves) = leaves.filter(|leaves| *leaves <= self.head.lock().size) else { return Ok(None) };
        self.pending.wait_until_applied(Seq(leaves))?;
        self.tree_files.hashes(level, first, count).map(Some)
    }
}

impl EmbeddedStore {
    /// Opens the data folder, recovering from whatever ended the last run.
    pub fn open(config: Config) -> Result<Self, Error> {
        Self::open_reporting(config, &mut |_, _| ControlFlow::Continue(()))
    }

    /// The same, where `progress` hears of a rebuild of the index, and of nothing if there is none.
    pub fn open_reporting(config: Config, progress: &mut Progress<'_>) -> Result<Self, Error> {
        let shared = Arc::new(open::open(config, progress)?);
        let keeper = Some(keeper::start(&shared)?);
        Ok(Self(Arc::new(Inner { shared, keeper })))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.pending.stop();
        if let Some(keeper) = self.keeper.take()
            && keeper.join().is_err()
        {
            tracing::error!("the store's thread panicked");
        }
        self.shared.stop_preparing();
        if let Err(error) = self.shared.checkpoint() {
            tracing::warn!(%error, "the index could not be checkpointed; it may be rebuilt at the next start");
        }
    }
}

impl EventStore for EmbeddedStore {
    fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        self.shared().commit(&batch)
    }

    fn place_of(&self, id: &EventId) -> Result<Option<(StreamId, Seq)>, Error> {
        Ok(self.shared().seq_of(id)?.map(|seq| (STREAM, seq)))
    }

    fn is_known(&self, id: &EventId) -> Result<bool, Error> {
        Ok(self.place_of(id)?.is_some())
    }

    fn snapshot(&self) -> Result<Cursor, Error> {
        Ok(Cursor::at(STREAM, self.shared().last()))
    }

    fn follower(&self, name: &str) -> Result<Option<Cursor>, Error> {
        followers::load(&self.shared().config.dir, name)
    }

    fn keep_follower(&self, name: &str, cursor: &Cursor) -> Result<(), Error> {
        followers::keep(&self.shared().config.dir, name, cursor)
    }

    fn scan(&self, query: Query) -> Result<Box<dyn Scan>, Error> {
        Ok(scan::open(Arc::clone(self.shared()), query))
    }

    fn since(&self, cursor: &Cursor, page: Page) -> Result<Vec<Entry>, Error> {
        self.shared().since(cursor.seq(STREAM), page)
    }

    fn since_in(&self, stream: StreamId, after: Seq, page: Page) -> Result<Vec<Entry>, Error> {
        if stream == STREAM { self.shared().since(after, page) } else { Ok(Vec::new()) }
    }

    fn own_stream(&self) -> Option<StreamId> {
        Some(STREAM)
    }

    fn heads(&self) -> Vec<(StreamId, Head)> {
        if self.shared().config.audit { vec![(STREAM, *self.shared().head.lock())] } else { Vec::new() }
    }

    fn tree_hashes(&self, _: StreamId, level: u8, first: u64, count: usize) -> Result<Option<Vec<Hash>>, Error> {
        self.shared().tree_hashes(level, first, count)
    }

    fn maintain(&self, now: u64) -> Result<bool, Error> {
        self.shared().maintain(now)
    }

    fn health(&self) -> Result<(), Error> {
        self.shared().health()
    }

    fn stats(&self) -> Result<Stats, Error> {
        self.shared().stats()
    }

    fn unindexed(&self) -> u64 {
        self.shared().last().0.saturating_sub(self.shared().pending.applied().0)
    }
}
