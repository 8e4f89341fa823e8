//! Committing a batch: decide, append, sync. Everything else happens after the commit has returned.
//!
//! ```text
//! committer   decide ─ append ─ sync ─▶ returns   decide ─ append ─ sync ─▶ returns
//! keeper                              └▶ index ─ zero ahead               └▶ index …
//! ```
//! One batch is a single write and a single sync. The index is a fold over the log and need not be durable, so nobody waits for
//! it but scans that ask for what it does not show yet, and the commit after the next.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use towpath_policy::Removal;
use towpath_store::{Batch, Committed, Cursor, Error, Seq, Stored};

use crate::Shared;
use crate::decide::Decider;
use crate::log::append::Appender;
use crate::log::record::{Body, Encoder, Extent, Header, Lasting, LogEntry, Record, STREAM};
use crate::overlay::Overlay;
use crate::pending::Unindexed;

/// The committer's own: the log's open end and a buffer that is used again and again.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) appender: Appender,
    pub(crate) buffer: Vec<u8>,
}

/// A larger buffer is given back after use.
const BUFFER_BYTES_MAX: usize = 4 << 20;

impl Shared {
    pub(crate) fn commit(&self, batch: &Batch) -> Result<Committed, Error> {
        let mut writer = self.writer.lock();
        writer.appender.check_open()?;
        if batch.writes.iter().any(|write| *write.removal() == Removal::Vanish) {
            self.pending.wait_until_empty()?;
        }
        if let Err(error) = self.roll_if_full(&mut writer) {
            tracing::warn!(%error, "the next log file could not be started");
            writer.appender.check_open()?;
        }
        let pending = self.pending.wait_for_room()?;
        let txn = self.index.read()?;
        let files = self.log.files();
        let first_seq = writer.appender.next_seq();
        let mut decider = Decider::new(&self.index, &files, &txn, &pending, first_seq);
        let mut outcomes = Vec::with_capacity(batch.writes.len());
        let mut entries = Vec::with_capacity(batch.writes.len());
        for write in &batch.writes {
            let (outcome, entry) = decider.decide(write)?;
            outcomes.push(outcome);
            entries.extend(entry);
        }
        let overlay = decider.finish();
        drop(txn);
        let stored = stored(first_seq, &entries);
        let last = self.append(&mut writer, entries, batch.committed_at_ms, overlay)?;
        Ok(Committed { stream: STREAM, outcomes, stored, cursor: Cursor::at(STREAM, last) })
    }

    /// Records that the events at `removed` expired.
    pub(crate) fn expire(
        &self,
        writer: &mut Writer,
        removed: Vec<Seq>,
        overlay: Overlay,
        now: u64,
    ) -> Result<(), Error> {
        let entry = LogEntry { body: Body::Expired, removed, lasting: Lasting::None };
        self.append(writer, vec![entry], now.saturating_mul(1000), overlay).map(drop)
    }

    /// Makes `entries` durable and visible. Returns the last sequence number.
    fn append(
        &self,
        writer: &mut Writer,
        entries: Vec<LogEntry>,
        committed_at_ms: u64,
        overlay: Overlay,
    ) -> Result<Seq, Error> {
        let first_seq = writer.appender.next_seq();
        if entries.is_empty() {
            return Ok(Seq(first_seq.0 - 1));
        }
        let mut encoder = Encoder::start(std::mem::take(&mut writer.buffer), first_seq, committed_at_ms);
        let entries: Vec<(LogEntry, Extent)> = entries
            .into_iter()
            .map(|entry| {
                let extent = encoder.push(&entry);
                (entry, extent)
            })
            .collect();
        let bytes = encoder.finish();
        let bytes = bytes.ok_or_else(|| Error::io("append to the log", std::io::ErrorKind::FileTooLarge.into()))?;
        let header = Header::parse(&bytes).ok_or_else(|| Error::Corrupt("a record just made cannot be read".into()))?;
        let segment = Arc::clone(writer.appender.segment());
        let at = writer.appender.append(&self.log, &bytes, header.next_seq())?;
        let last = Seq(header.next_seq().0 - 1);
        self.pending.push(Unindexed { segment, at, record: Record { header, entries }, overlay: Arc::new(overlay) });
        self.last.store(last.0, Ordering::Release);
        writer.buffer = if bytes.capacity() <= BUFFER_BYTES_MAX { bytes } else { Vec::new() };
        Ok(last)
    }
}

fn stored(first_seq: Seq, entries: &[LogEntry]) -> Vec<Stored> {
    let events = (first_seq.0..).map(Seq).zip(entries);
    events
        .filter_map(|(seq, entry)| match &entry.body {
            Body::Event(filed) => Some(Stored { stream: STREAM, seq, event: filed.event.clone() }),
            Body::Erased | Body::Expired => None,
        })
        .collect()
}
