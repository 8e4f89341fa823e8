//! Rewriting closed log files without the events that are no longer needed, so that what was deleted is gone.
//!
//! ```text
//! rewrite   every live event into a file of the next generation; what is gone leaves an erased entry with its lasting effects and its
//!           audit leaf, or the leaf's hash once an owner of the event has vanished
//! publish   sync, rename into place, sync the folder: from here on a crash ends with the new file
//! repoint   the index's positions, some at a time, from one file to the other; both can be read meanwhile
//! drop      the old file
//! ```
//! The index says what is live, so nothing is rewritten once it may have lost pages, and an event that it lacks is only left out if the
//! index knows that it was removed: the log has the only copy.
//!
//! Nothing here delays a commit: only dropping the old file takes the writer's lock, for as long as it takes to forget a name.
//!
//! A rewrite may take the disk's reserve, which is kept for what makes room, but for what the index needs meanwhile. It is not begun if
//! what is still needed of the file would not fit, and given up for a while when that runs out. A file that is written to is closed
//! first, and the next one has to leave the reserve alone.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use towpath_audit::LeafState;
use towpath_protocol::{Event, PublicKey};
use towpath_store::{Error, Seq, rules};

use crate::Shared;
use crate::audit::leaf_of;
use crate::index::Snapshot;
use crate::index::apply::Logged;
use crate::index::keys::{NOBODY, be64, grave};
use crate::index::tables::Waste;
use crate::index::{failed, malformed};
use crate::log::reader::{Walk, damaged};
use crate::log::record::{Body, Encoder, LogEntry, Record};
use crate::log::segment::{Segment, file_name};

const RECORDS_REPOINTED_AT_ONCE: usize = 500;
/// Written before a sync, so that no sync of a commit has to wait for much of ours.
const BYTES_UNSYNCED_MAX: u64 = 4 << 20;

/// Of the disk, so much is left to the index, without which nothing could be read.
const INDEX_ROOM: u64 = 32 << 20;
/// For want of room, a file is tried again after so many seconds.
const FULL_PAUSE_S: u64 = 300;

/// Files that could not be compacted, by their first entry: why, and when. Until the others have had their turn; for good if they are
/// damaged.
pub(crate) type PassedOver = BTreeMap<Seq, (Error, u64)>;

impl Shared {
    /// Compacts one file, if one is due. True if so.
    pub(crate) fn compact_one(&self, passed_over: &mut PassedOver, now: u64) -> Result<bool, Error> {
        if self.marker.lock().is_distrusted() {
            return Ok(false);
        }
        let mut begun = self.log.files().outdated().into_iter();
        let (first_seq, done) = if let Some(old) = begun.find(|old| !passed_over.contains_key(&old.first_seq)) {
            (old.first_seq, self.finish_compaction(&old))
        } else if let Some(segment) = self.due(passed_over, now)? {
            (segment.first_seq, self.compact(&segment, now))
        } else {
            passed_over.retain(|_, (why, at)| match why {
                Error::Corrupt(_) => true,
                Error::Full => now < at.saturating_add(FULL_PAUSE_S),
                _ => false,
            });
            return Ok(false);
        };
        if let Err(why) = &done {
            passed_over.insert(first_seq, (why.clone(), now));
        }
        done.map(|()| true)
    }

    fn compact(&self, segment: &Arc<Segment>, now: u64) -> Result<(), Error> {
        self.close_if_open(segment)?;
        // What is not indexed yet would look removed.
        self.pending.wait_until_applied(self.last())?;
        let txn = self.index.read()?;
        let counted = self.index.waste_of(&txn, segment.first_seq)?;
        let needed = segment.len().saturating_sub(counted.dead_bytes);
        self.log.disk.check_free(&self.log.dir, needed + INDEX_ROOM).map_err(|e| Error::io("rewrite a log file", e))?;
        let rewritten = self.rewrite(segment, &txn)?;
        drop(txn);
        self.log.change_files(|files| files.insert(Arc::clone(&rewritten)));
        self.repoint(&rewritten)?;
        self.subtract_waste(segment.first_seq, counted, now)?;
        self.drop_file(segment)
    }

    /// Ends compactions that were cut short: whatever has another generation that counts goes. Where all are damaged, all stay.
    pub(crate) fn finish_compactions(&self) -> Result<(), Error> {
        for old in self.log.files().outdated() {
            match self.finish_compaction(&old) {
                Err(Error::Corrupt(why)) => tracing::error!(%why, "a log file stays beside its rewrite"),
                done => done?,
            }
        }
        Ok(())
    }

    /// Whether what it left out is off the count already is not known here. If not, the file is merely due again.
    fn finish_compaction(&self, old: &Segment) -> Result<(), Error> {
        let files = self.log.files();
        self.repoint(files.holding(old.first_seq).ok_or_else(|| malformed("waste"))?)?;
        self.drop_file(old)
    }

    /// A file with enough waste, or with any that has waited long enough.
    fn due(&self, passed_over: &PassedOver, now: u64) -> Result<Option<Arc<Segment>>, Error> {
        let context = "read the index";
        let files = self.log.files();
        let open = self.writer.lock().appender.segment().first_seq;
        let txn = self.index.read()?;
        for item in self.index.waste.iter(&txn).map_err(failed(context))? {
            let (key, waste) = item.map_err(failed(context))?;
            let (first_seq, waste) = be64(key, 0).zip(Waste::parse(waste)).ok_or_else(|| malformed("waste"))?;
            let Some(segment) = files.holding(Seq(first_seq)).filter(|segment| segment.first_seq.0 == first_seq) else {
                continue;
            };
            if passed_over.contains_key(&segment.first_seq) {
                continue;
            }
            let erase_at_ms = waste.erase_since_ms.saturating_add(self.config.erase_after_s.saturating_mul(1000));
            let must_erase = waste.erase_bytes > 0 && now.saturating_mul(1000) >= erase_at_ms;
            let percent = waste.dead_bytes.saturating_mul(100) / segment.len().max(1);
            let worth_it = segment.first_seq != open && percent >= u64::from(self.config.dead_percent_max);
            if must_erase || worth_it {
                return Ok(Some(Arc::clone(segment)));
            }
        }
        Ok(None)
    }

    /// The next generation of `segment`, durable and in place. A draft that comes to nothing is removed.
    fn rewrite(&self, segment: &Arc<Segment>, txn: &Snapshot<'_>) -> Result<Arc<Segment>, Error> {
        let draft = self.log.dir.join(format!("{}.tmp", file_name(segment.first_seq, segment.generation + 1)));
        let rewritten = self.rewrite_by_way_of(draft.clone(), segment, txn);
        if rewritten.is_err() {
            // Its bytes may be what the disk is full of. If it cannot go now, the next start removes it.
            let _ = std::fs::remove_file(draft);
        }
        rewritten
    }

    fn rewrite_by_way_of(
        &self,
        draft: PathBuf,
        segment: &Arc<Segment>,
        txn: &Snapshot<'_>,
    ) -> Result<Arc<Segment>, Error> {
        let failed = |e| Error::io("rewrite a log file", e);
        let new = Segment::create(draft, segment.first_seq, segment.generation + 1).map_err(failed)?;
        let (mut end, mut synced, mut buffer) = (0, 0, Vec::new());
        let (mut walk, mut next_seq) = (Walk::new(Arc::clone(segment), 0), segment.first_seq);
        while let Some((at, record)) = walk.next()? {
            if record.header.first_seq != next_seq {
                return Err(damaged(segment, u64::from(at)));
            }
            next_seq = record.header.next_seq();
            let bytes = self.without_dead(record, txn, buffer)?;
            new.append(&bytes, end, &self.log.disk).map_err(failed)?;
            end += bytes.len() as u64;
            if end - synced >= BYTES_UNSYNCED_MAX {
                self.log.disk.check_free(&self.log.dir, INDEX_ROOM).map_err(failed)?;
                self.log.disk.sync_file(new.file()).map_err(failed)?;
                synced = end;
            }
            buffer = bytes;
        }
        self.ensure_ended(&walk, next_seq)?;
        new.close(end).map_err(failed)?;
        // Whatever is configured: what it takes the place of has been on disk for long.
        self.log.disk.sync_file(new.file()).map_err(failed)?;
        let new = new.renamed(&self.log.dir, segment.first_seq).map_err(failed)?;
        self.log.disk.sync_names(&self.log.dir).map_err(failed)?;
        tracing::info!(file = %new.path.display(), from = segment.len(), to = end, "rewrote a log file");
        Ok(Arc::new(new))
    }

    /// A block that the disk lost may read as zeroes, which look like the end; what is behind it must not go.
    fn ensure_ended(&self, walk: &Walk, next_seq: Seq) -> Result<(), Error> {
        let next = self.log.files().after(walk.segment().first_seq).map(|next| next.first_seq);
        if next == Some(next_seq) { Ok(()) } else { Err(damaged(walk.segment(), walk.at())) }
    }

    fn without_dead(&self, record: Record, txn: &Snapshot<'_>, buffer: Vec<u8>) -> Result<Vec<u8>, Error> {
        let header = record.header;
        let mut encoder = Encoder::start(buffer, header.first_seq, header.committed_at_ms, header.root);
        for (seq, entry) in (header.first_seq.0..).map(Seq).zip(record.entries) {
            let left = self.left_of(seq, &entry, header.committed_at_ms, txn)?;
            encoder.push(&if let Some(leaf) = left { LogEntry { body: Body::Erased(leaf), ..entry } } else { entry });
        }
        encoder.finish().ok_or_else(|| Error::io("rewrite a log file", std::io::ErrorKind::FileTooLarge.into()))
    }

    /// Of an entry whose event is gone: its leaf, or the leaf's hash once an owner has vanished. `None` if it stays as it is.
    fn left_of(
        &self,
        seq: Seq,
        entry: &LogEntry,
        committed_at_ms: u64,
        txn: &Snapshot<'_>,
    ) -> Result<Option<LeafState>, Error> {
        let owners = match &entry.body {
            Body::Event(filed) if self.index.position(txn, seq)?.is_none() => {
                self.ensure_removed(seq, &filed.event, txn)?;
                rules::owners(&filed.event)
            }
            Body::Erased(LeafState::Whole(leaf)) => leaf.actor.into_iter().collect(),
            _ => return Ok(None),
        };
        let leaf = leaf_of(seq, committed_at_ms, entry);
        for owner in &owners {
            if self.has_vanished_since(owner, seq, txn)? {
                return Ok(Some(LeafState::Erased(leaf.hash())));
            }
        }
        Ok(Some(leaf))
    }

    /// Whatever removes an event leaves its author a grave, which goes when the author vanishes; or nobody, if it could not be read.
    /// Without any of them, it is the index that has lost the event.
    fn ensure_removed(&self, seq: Seq, event: &Event, txn: &Snapshot<'_>) -> Result<(), Error> {
        let author = event.pubkey();
        for of in [author, NOBODY] {
            if self.index.get(self.index.graves, txn, &grave(&of, seq.0))?.is_some() {
                return Ok(());
            }
        }
        if self.has_vanished_since(&author, seq, txn)? {
            return Ok(());
        }
        self.marker.lock().distrust(&self.log.disk).map_err(|e| Error::io("mark the index", e))?;
        Err(Error::Corrupt(format!("the index has lost entry {seq}: the next start makes it anew")))
    }

    fn has_vanished_since(&self, who: &PublicKey, seq: Seq, txn: &Snapshot<'_>) -> Result<bool, Error> {
        Ok(self.index.vanished_at(txn, who)?.is_some_and(|at| at > seq))
    }

    /// Moves the positions of all live events in `new` there. Fails if it does not hold all it should.
    fn repoint(&self, new: &Arc<Segment>) -> Result<(), Error> {
        let (mut walk, mut next_seq) = (Walk::new(Arc::clone(new), 0), new.first_seq);
        loop {
            let _marker = self.dirty_marker()?;
            let mut txn = self.index.write()?;
            for _ in 0..RECORDS_REPOINTED_AT_ONCE {
                let Some((at, record)) = walk.next()? else {
                    self.ensure_ended(&walk, next_seq)?;
                    return self.index.commit(txn);
                };
                next_seq = record.header.next_seq();
                self.repoint_record(&mut txn, Logged { segment: new, at, record: &record })?;
            }
            self.index.commit(txn)?;
        }
    }

    fn repoint_record(&self, txn: &mut heed::RwTxn<'_>, logged: Logged<'_>) -> Result<(), Error> {
        for (seq, entry, extent) in logged.record.numbered() {
            let Some(filed) = entry.body.filed() else { continue };
            if self.index.position(txn, seq)?.is_some() {
                let position = logged.position(filed, extent);
                self.index.put(self.index.events, txn, &seq.0.to_be_bytes(), &position.to_bytes())?;
            }
        }
        Ok(())
    }

    /// Takes what a rewrite left out off the count. What was removed while it ran is still in the new file.
    fn subtract_waste(&self, first_seq: Seq, counted: Waste, now: u64) -> Result<(), Error> {
        let _marker = self.dirty_marker()?;
        let mut txn = self.index.write()?;
        let waste = self.index.waste_of(&txn, first_seq)?.rewritten(counted, now.saturating_mul(1000));
        self.index.set_waste(&mut txn, first_seq, waste)?;
        self.index.commit(txn)
    }

    fn drop_file(&self, old: &Segment) -> Result<(), Error> {
        let failed = |e| Error::io("remove a rewritten log file", e);
        // The new positions must be on disk before the old file is off it only if the index outlives a power failure, and it does
        // not unless it is checkpointed, which is later.
        match std::fs::remove_file(&old.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => self.log.disk.sync_dir(&self.log.dir).map_err(failed)?,
        }
        // Only now, so that what could not be removed is tried again. A commit being decided has looked up positions and files as one.
        let _no_commit = self.writer.lock();
        self.log.change_files(|files| files.remove(old));
        Ok(())
    }
}
