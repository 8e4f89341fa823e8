//! The proposed design: an append-only log holds the events and is synced before a commit returns; an LMDB index beside
//! it holds positions only and is never waited for by a sync.
//!
//! After a power loss the index may be older than the log, or torn; it is derived and rebuilt. What a store needs beyond
//! the measurement (recovery, compaction) is left out.

use std::mem;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, RwTxn};

use super::log::{Appended, Log, Position, Segments, Syncer};
use super::{Engine, lmdb};
use crate::keys;
use crate::workload::Event;

/// When the index learns of a batch.
#[derive(Clone, Copy)]
pub(super) enum Apply {
    /// Append, sync, then index: one thread, one thing after the other.
    AfterSync,
    /// Append, then index while a helper syncs; the index transaction commits only once the sync has succeeded.
    DuringSync,
    /// Append, sync, answer, and only then index. A scan that starts in between has to wait for the index.
    BehindAck,
}

pub(super) struct LogIndex {
    log: Log,
    index: Index,
    apply: Apply,
    syncer: Syncer,
    /// What the last commit appended and `catch_up` has yet to index.
    behind: Vec<Appended>,
    _write_back: Option<SyncSender<()>>,
}

impl LogIndex {
    /// `write_back_every` makes a thread sync the index that often. Without it the kernel writes it back at its leisure,
    /// partly outside the measured phases.
    pub(super) fn open(
        path: &Path,
        segments: Segments,
        apply: Apply,
        write_back_every: Option<Duration>,
    ) -> Result<Self> {
        let log = Log::create(path, segments)?;
        let index = Index::create(path)?;
        let syncer = Syncer::start();
        let write_back = write_back_every.map(|every| start_write_back(index.env.clone(), every));
        Ok(Self { log, index, apply, syncer, behind: Vec::new(), _write_back: write_back })
    }
}

impl Engine for LogIndex {
    fn commit(&mut self, batch: &[Event]) -> Result<usize> {
        let fresh = self.index.unknown(batch)?;
        let appended = self.log.append(batch, &fresh)?;
        match self.apply {
            Apply::AfterSync => {
                self.log.active()?.sync_data()?;
                self.index.apply(batch, &appended)?.commit()?;
            }
            Apply::DuringSync => {
                let syncing = self.syncer.begin(self.log.active()?)?;
                let applied = self.index.apply(batch, &appended)?;
                syncing.finish()?;
                applied.commit()?;
            }
            Apply::BehindAck => {
                self.log.active()?.sync_data()?;
                self.behind = appended;
            }
        }
        Ok(fresh.len())
    }

    fn catch_up(&mut self, batch: &[Event]) -> Result<()> {
        let behind = mem::take(&mut self.behind);
        if !behind.is_empty() {
            self.index.apply(batch, &behind)?.commit()?;
        }
        Ok(())
    }

    fn newest(&self, prefix: &[u8], limit: usize, sink: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let txn = self.index.env.read_txn()?;
        let mut buffer = Vec::new();
        let mut found = 0;
        for entry in self.index.entries.prefix_iter(&txn, prefix)?.take(limit) {
            let (_, position) = entry?;
            self.log.read(Position::decode(position)?, &mut buffer)?;
            sink(&buffer);
            found += 1;
        }
        Ok(found)
    }
}

/// The index: keys to positions in the log, in an LMDB environment that no commit syncs.
struct Index {
    env: Env,
    entries: Database<Bytes, Bytes>,
}

impl Index {
    fn create(path: &Path) -> Result<Self> {
        let mut options = EnvOpenOptions::new();
        options.map_size(lmdb::MAP_BYTES).max_dbs(1);
        // SAFETY: the directory is this run's own, nothing else opens or changes the mapped files, and an index torn
        // by a crash of the machine is discarded and rebuilt from the log.
        let env = unsafe { options.flags(EnvFlags::NO_SYNC).open(path)? };
        let mut txn = env.write_txn()?;
        let entries = env.create_database(&mut txn, Some("index"))?;
        txn.commit()?;
        Ok(Self { env, entries })
    }

    /// The places in the batch of the events not stored yet.
    fn unknown(&self, batch: &[Event]) -> Result<Vec<usize>> {
        let txn = self.env.read_txn()?;
        let mut unknown = Vec::with_capacity(batch.len());
        for (place, event) in batch.iter().enumerate() {
            if self.entries.get(&txn, &keys::id_key(event))?.is_none() {
                unknown.push(place);
            }
        }
        Ok(unknown)
    }

    /// Enters what was appended; seen by readers once the returned transaction is committed.
    fn apply(&self, batch: &[Event], appended: &[Appended]) -> Result<RwTxn<'_>> {
        let mut txn = self.env.write_txn()?;
        for &(place, position) in appended {
            let position = position.encode();
            for key in keys::of(&batch[place]) {
                self.entries.put(&mut txn, &key, &position)?;
            }
        }
        Ok(txn)
    }
}

/// Writes the index back every so often, until the returned sender is dropped.
fn start_write_back(env: Env, every: Duration) -> SyncSender<()> {
    let (stop, stopped) = mpsc::sync_channel(0);
    thread::spawn(move || {
        while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            if let Err(error) = env.force_sync() {
                eprintln!("index write-back: {error}");
                return;
            }
        }
    });
    stop
}
