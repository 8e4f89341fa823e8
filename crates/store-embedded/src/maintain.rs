//! Upkeep, in bounded steps: expiry, checkpoints, compaction; and the figures for operators.

use parking_lot::MutexGuard;
use towpath_store::{Error, Seq, Stats};

use crate::Shared;
use crate::compact::PassedOver;
use crate::index::keys::{address_key, be64};
use crate::index::marker::Marker;
use crate::index::tables::Waste;
use crate::index::{failed, malformed};
use crate::overlay::Overlay;
use crate::read::read_event;

const EXPIRED_AT_ONCE_MAX: usize = 500;

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
        let expired = self.expire_some(now);
        if matches!(expired, Ok(true)) {
            return expired;
        }
        // Whatever failed: this may make the room that was wanting, and what is broken must not keep the rest from being done.
        let compacted = self.compact_one(&mut upkeep.passed_over, now);
        let checkpointed = match compacted {
            Ok(true) => Ok(()),
            _ => self.checkpoint_if_idle(&mut upkeep, now),
        };
        expired.and(compacted).and_then(|more| checkpointed.map(|()| more))
    }

    fn checkpoint_if_idle(&self, upkeep: &mut Upkeep, now: u64) -> Result<(), Error> {
        if upkeep.seen != self.last() {
            (upkeep.seen, upkeep.seen_at) = (self.last(), now);
        } else if now.saturating_sub(upkeep.seen_at) >= self.config.checkpoint_idle_s {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Removes events that have expired. True if there may be more.
    fn expire_some(&self, now: u64) -> Result<bool, Error> {
        if self.expired(now, 1)?.is_empty() {
            return Ok(false);
        }
        let mut writer = self.writer.lock();
        // Nothing may be removed between looking and logging: no batch is pending and no other can come.
        self.pending.wait_until_empty()?;
        let expired = self.expired(now, EXPIRED_AT_ONCE_MAX)?;
        let overlay = self.overlay_without(&expired)?;
        if expired.is_empty() {
            return Ok(false);
        }
        self.expire(&mut writer, expired, overlay, now)?;
        Ok(true)
    }

    fn expired(&self, now: u64, max: usize) -> Result<Vec<Seq>, Error> {
        let context = "read the index";
        let txn = self.index.read()?;
        let mut seqs = Vec::new();
        for item in self.index.expiry.iter(&txn).map_err(failed(context))? {
            let (key, _) = item.map_err(failed(context))?;
            let (at, seq) = be64(key, 0).zip(be64(key, 8)).ok_or_else(|| malformed("expiry"))?;
            if at > now || seqs.len() == max {
                break;
            }
            seqs.push(Seq(seq));
        }
        seqs.sort_unstable();
        Ok(seqs)
    }

    /// Syncs the index and marks it clean, so that it outlives a power failure.
    pub(crate) fn checkpoint(&self) -> Result<(), Error> {
        let mut marker = self.marker.lock();
        if !marker.is_dirty() {
            return Ok(());
        }
        let failed = |e| Error::io("mark the index", e);
        // What cannot be written is kept and comes again.
        self.tree_files.flush()?;
        let synced = self.log.disk.sync_index(|| self.tree_files.sync().and_then(|()| self.index.sync()));
        if let Err(error) = synced {
            tracing::error!(%error, "the index may not be whole on disk: the next start makes it anew");
            marker.distrust(&self.log.disk).map_err(failed)?;
            return Err(error);
        }
        marker.set_clean(self.pending.applied().0, &self.log.disk).map_err(failed)
    }

    /// To be held while writing to the index.
    pub(crate) fn dirty_marker(&self) -> Result<MutexGuard<'_, Marker>, Error> {
        let mut marker = self.marker.lock();
        marker.set_dirty(&self.log.disk).map_err(|e| Error::io("mark the index", e))?;
        Ok(marker)
    }

    /// What the next batches must not find any more.
    fn overlay_without(&self, removed: &[Seq]) -> Result<Overlay, Error> {
        let txn = self.index.read()?;
        let files = self.log.files();
        let mut overlay = Overlay::default();
        for seq in removed {
            let Some(position) = self.index.position(&txn, *seq)? else { continue };
            let segment = files.holding_in(*seq, position.generation).ok_or_else(|| malformed("events"))?;
            let event = read_event(segment, *seq, position)?;
            let address = position.filing.address_of(&event).map(|address| address_key(&address));
            let version = address.map(|address| self.index.version(&txn, &address)).transpose()?.flatten();
            overlay.remove(event.id(), address.filter(|_| version.is_some_and(|version| version.seq == *seq)));
        }
        Ok(overlay)
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
