//! Upkeep, in bounded steps: what requests to vanish left, expiry, checkpoints, compaction; and the figures for operators.

use parking_lot::MutexGuard;
use towpath_store::{Error, Seq, Stats};

use crate::Shared;
use crate::compact::PassedOver;
use crate::index::keys::be64;
use crate::index::marker::Marker;
use crate::index::tables::Waste;
use crate::index::{failed, malformed};
use crate::target::Target;

/// What upkeep remembers between steps.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// The last entry when upkeep last saw the log grow, and when that was.
    seen: Seq,
    seen_at: u64,
    passed_over: PassedOver,
}

impl Shared {
    /// One step. True if there is more to do.
    pub(crate) fn maintain(&self, now: u64) -> Result<bool, Error> {
        let mut upkeep = self.upkeep.lock();
        self.pending.wait_until_applied(self.last())?;
        let removed = match self.vanish_some() {
            Ok(true) => return Ok(true),
            vanished => self.expire_some(now).and_then(|more| vanished.map(|_| more)),
        };
        if matches!(removed, Ok(true)) {
            return removed;
        }
        // Whatever failed: this may make the room that was wanting, and what is broken must not keep the rest from being done.
        let compacted = self.compact_one(&mut upkeep.passed_over, now);
        let checkpointed = match compacted {
            Ok(true) => Ok(()),
            _ => self.checkpoint_if_idle(&mut upkeep, now),
        };
        removed.and(compacted).and_then(|more| checkpointed.map(|()| more))
    }

    fn checkpoint_if_idle(&self, upkeep: &mut Upkeep, now: u64) -> Result<(), Error> {
        if upkeep.seen != self.last() {
            (upkeep.seen, upkeep.seen_at) = (self.last(), now);
        } else if now.saturating_sub(upkeep.seen_at) >= self.config.checkpoint_idle_s {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Takes out some of what requests to vanish left hidden. True if there was any.
    pub(crate) fn vanish_some(&self) -> Result<bool, Error> {
        let txn = self.index.read()?;
        let Some(step) = self.index.next_step(&txn, &self.log.files())? else { return Ok(false) };
        drop(txn);
        let _marker = self.dirty_marker()?;
        let mut txn = self.index.write()?;
        // As they are now: the author may have asked once more, in a file that was not there before.
        self.index.take(&mut txn, &self.log.files(), &step)?;
        self.index.commit(txn)?;
        Ok(true)
    }

    /// Removes events that have expired. True if there may be more.
    fn expire_some(&self, now: u64) -> Result<bool, Error> {
        // They are read before commits have to wait.
        let due = self.due_to_expire(now)?;
        if due.is_empty() { Ok(false) } else { self.expire(&due, now) }
    }

    pub(crate) fn due_to_expire(&self, now: u64) -> Result<Vec<Target>, Error> {
        let context = "read the index";
        let txn = self.index.read()?;
        let files = self.log.files();
        let (mut due, mut bytes) = (Vec::new(), 0);
        for item in self.index.expiry.iter(&txn).map_err(failed(context))? {
            let (key, _) = item.map_err(failed(context))?;
            let (at, seq) = be64(key, 0).zip(be64(key, 8)).ok_or_else(|| malformed("expiry"))?;
            if at > now || due.len() >= self.config.at_once.events || bytes >= self.config.at_once.bytes {
                break;
            }
            let Some(target) = Target::at(&self.index, &txn, &files, Seq(seq))? else { continue };
            bytes += target.event.as_ref().map_or(0, |event| event.json().len());
            due.push(target);
        }
        Ok(due)
    }

    /// Syncs the index and marks it clean, so that it outlives a power failure.
    pub(crate) fn checkpoint(&self) -> Result<(), Error> {
        if !self.marker.lock().is_dirty() {
            return Ok(());
        }
        let failed = |e| Error::io("mark the index", e);
        // Nobody waits for a mark while that is written which the last burst of commits left.
        self.tree_files.flush()?;
        let synced = self.sync_index();
        let mut marker = self.marker.lock();
        if synced.is_ok() {
            // What cannot be written is kept and comes again.
            self.tree_files.flush()?;
        }
        if let Err(error) = synced.and_then(|()| self.sync_index()) {
            tracing::error!(%error, "the index may not be whole on disk: the next start makes it anew");
            marker.distrust(&self.log.disk).map_err(failed)?;
            return Err(error);
        }
        marker.set_clean(self.pending.applied().0, &self.log.disk).map_err(failed)
    }

    fn sync_index(&self) -> Result<(), Error> {
        self.log.disk.sync_index(|| self.tree_files.sync().and_then(|()| self.index.sync()))
    }

    /// To be held while writing to the index.
    pub(crate) fn dirty_marker(&self) -> Result<MutexGuard<'_, Marker>, Error> {
        let mut marker = self.marker.lock();
        marker.set_dirty(&self.log.disk).map_err(|e| Error::io("mark the index", e))?;
        Ok(marker)
    }

    pub(crate) fn health(&self) -> Result<(), Error> {
        if let Some(writer) = self.writer.try_lock() {
            writer.appender.check_open()?;
        }
        // Whatever the reason, nothing can be read then: a disk with little room is another matter.
        if let Some(failure) = self.pending.failure() {
            return Err(Error::Unavailable(format!("the index cannot follow the log: {failure}")));
        }
        self.log.disk.check_room(&self.log.dir).map_err(|e| Error::io("look at the disk", e))
    }

    pub(crate) fn stats(&self) -> Result<Stats, Error> {
        self.pending.wait_until_applied(self.last())?;
        let context = "read the index";
        let txn = self.index.read()?;
        let events = self.index.events.len(&txn).map_err(failed(context))?;
        let mut dead_bytes = 0;
        for item in self.index.waste.iter(&txn).map_err(failed(context))? {
            let (_, waste) = item.map_err(failed(context))?;
            dead_bytes += Waste::parse(waste).ok_or_else(|| malformed("waste"))?.dead_bytes;
        }
        let log_bytes = self.log.files().all().map(|segment| segment.len()).sum();
        let written = self.written_bytes();
        Ok(Stats {
            events,
            last_seq: self.pending.applied(),
            log_bytes,
            live_bytes: written.saturating_sub(dead_bytes),
            index_bytes: self.index.bytes(),
        })
    }

    /// Bytes of records, without the zeroes ahead of them.
    fn written_bytes(&self) -> u64 {
        let writer = self.writer.lock();
        let open = writer.appender.segment().first_seq;
        let closed = self.log.files().iter().filter(|segment| segment.first_seq != open).map(|s| s.len()).sum::<u64>();
        closed + writer.appender.end()
    }
}
