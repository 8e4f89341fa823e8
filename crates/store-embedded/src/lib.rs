//! The embedded event store: a synced commit log and a rebuildable index beside it.
//!
//! ```text
//! <dir>/lock                          held while the store is open
//! <dir>/log/<first seq>.<gen>.seg     the commit log: canonical bytes and decisions, checksummed; what a commit waits for
//! <dir>/index/                        LMDB: every order events are asked for in; a fold over the log, never synced on a commit
//! ```
//!
//! Owns: durability, recovery, the index, compaction and verification of one data folder.
//! Must not know: sockets, subscriptions, who may read what, wall clocks (times are arguments).

mod check;
mod commit;
mod compact;
mod config;
mod decide;
mod disk;
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
#[cfg(test)]
mod tests;

use std::fs::File;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use towpath_protocol::EventId;
use towpath_store::{Batch, Committed, Cursor, Entry, Error, EventStore, Page, Query, Scan, Seq, Stats};

pub use check::{CheckReport, Problem, check};
pub use config::Config;
pub use index::rebuild::Progress;

use commit::Writer;
use index::Index;
use index::marker::Marker;
use log::Log;
use log::record::STREAM;
use maintain::Upkeep;
use pending::Pending;

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
    marker: Mutex<Marker>,
    /// Held, not read.
    _lock: File,
}

impl Shared {
    fn last(&self) -> Seq {
        Seq(self.last.load(Ordering::Acquire))
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

    fn known(&self, id: &EventId) -> Result<bool, Error> {
        let Shared { pending, index, .. } = &**self.shared();
        let unindexed = if pending.applied() < self.shared().last() { pending.knows(id) } else { None };
        if let Some(known) = unindexed {
            return Ok(known);
        }
        let txn = index.read()?;
        Ok(index.seq_of(&txn, id)?.is_some())
    }

    fn snapshot(&self) -> Cursor {
        Cursor::at(STREAM, self.shared().last())
    }

    fn scan(&self, query: Query) -> Result<Box<dyn Scan>, Error> {
        Ok(scan::open(Arc::clone(self.shared()), query))
    }

    fn since(&self, cursor: &Cursor, page: Page) -> Result<Vec<Entry>, Error> {
        self.shared().since(cursor.seq(STREAM), page)
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
}
