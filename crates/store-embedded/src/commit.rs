//! Committing a batch: decide, append, sync. Everything else happens after the commit has returned.
//!
//! ```text
//! committer   decide ─ append ─ sync ─▶ returns   decide ─ append ─ sync ─▶ returns
//! keeper                              └▶ index ─ zero ahead               └▶ index …
//! ```
//! One batch is a single write and a single sync. The index is a fold over the log and need not be durable, so nobody waits for
//! it but scans that ask for what it does not show yet, and the commit after the next.
//!
//! The audit tree grows in the same step: the leaves are hashed before the record is written, and the record carries the root.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use towpath_audit::{Head, Node, Tree};
use towpath_store::leaves::{self, Stamp};
use towpath_store::{Batch, Committed, Error, Run, Seq, Stored};

use crate::Shared;
use crate::audit::leaf_of;
use crate::decide::Decider;
use crate::disk::Room;
use crate::log::append::Appender;
use crate::log::record::{Body, Encoder, Extent, Header, Lasting, LogEntry, Record, STREAM};
use crate::overlay::Overlay;
use crate::pending::Unindexed;
use crate::target::Target;

/// The committer's own: the log's open end, that of the audit tree if there is one, and a buffer that is used again and again.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) appender: Appender,
    pub(crate) tree: Option<Tree>,
    pub(crate) buffer: Vec<u8>,
}

/// A larger buffer is given back after use.
const BUFFER_BYTES_MAX: usize = 4 << 20;

impl Shared {
    pub(crate) fn commit(&self, batch: &Batch) -> Result<Committed, Error> {
        let mut writer = self.writer.lock();
        writer.appender.check_open()?;
        if let Err(error) = self.roll_if_full(&mut writer) {
            tracing::warn!(%error, "the next log file could not be started");
            writer.appender.check_open()?;
        }
        let pending = self.pending.wait_for_room(batch.writes.len())?;
        let txn = self.index.read()?;
        let files = self.log.files();
        let first_seq = writer.appender.next_seq();
        let mut decider = Decider::new(&self.index, &files, &txn, &pending, first_seq, batch);
        let mut outcomes = Vec::with_capacity(batch.writes.len());
        let mut entries = Vec::with_capacity(batch.writes.len() + batch.acts.len());
        for write in &batch.writes {
            outcomes.push(decider.decide(write, &mut entries)?);
        }
        let overlay = decider.finish();
        drop((txn, pending));
        let stored = stored(first_seq, &entries);
        entries.extend(acts(batch, Seq(first_seq.0 + entries.len() as u64)));
        let last = self.append(&mut writer, entries, batch.committed_at_ms, overlay, Room::Free)?;
        let run = Run { stream: STREAM, first: first_seq, last, stored };
        Ok(Committed { run, outcomes, head: head_of(writer.tree.as_ref()) })
    }

    /// Records that those of `due` that are still stored expired: the first step to giving back their room, so it may take from the
    /// reserve. False if there is none.
    pub(crate) fn expire(&self, due: &[Target], now: u64) -> Result<bool, Error> {
        let nothing = Batch::of(Vec::new(), now.saturating_mul(1000));
        let mut writer = self.writer.lock();
        let pending = self.pending.wait_for_room(1)?;
        let txn = self.index.read()?;
        let files = self.log.files();
        let first_seq = writer.appender.next_seq();
        let mut decider = Decider::new(&self.index, &files, &txn, &pending, first_seq, &nothing);
        let removed = decider.expire(due)?;
        let overlay = decider.finish();
        drop((txn, pending));
        if removed.is_empty() {
            return Ok(false);
        }
        let entry = LogEntry { body: Body::Expired, removed, lasting: Lasting::None };
        self.append(&mut writer, vec![entry], nothing.committed_at_ms, overlay, Room::Reserve)?;
        Ok(true)
    }

    /// Makes `entries` durable and visible. Returns the last sequence number.
    fn append(
        &self,
        writer: &mut Writer,
        entries: Vec<LogEntry>,
        committed_at_ms: u64,
        overlay: Overlay,
        room: Room,
    ) -> Result<Seq, Error> {
        let first_seq = writer.appender.next_seq();
        if entries.is_empty() {
            return Ok(Seq(first_seq.0 - 1));
        }
        let (tree, nodes) = grown(writer.tree.as_ref(), &entries, first_seq, committed_at_ms);
        let root = tree.as_ref().map(Tree::root);
        let mut encoder = Encoder::start(std::mem::take(&mut writer.buffer), first_seq, committed_at_ms, root);
        let extents: Vec<Extent> = entries.iter().map(|entry| encoder.push(entry)).collect();
        let bytes = encoder.finish();
        let bytes = bytes.ok_or_else(|| Error::io("append to the log", std::io::ErrorKind::FileTooLarge.into()))?;
        let header = Header::parse(&bytes).ok_or_else(|| Error::Corrupt("a record just made cannot be read".into()))?;
        let segment = Arc::clone(writer.appender.segment());
        let at = writer.appender.append(&self.log, &bytes, header.next_seq(), room)?;
        writer.tree = tree;
        let record = Record { header, entries, extents };
        self.publish(head_of(writer.tree.as_ref()), Unindexed { segment, at, record, nodes }, overlay);
        writer.buffer = if bytes.capacity() <= BUFFER_BYTES_MAX { bytes } else { Vec::new() };
        Ok(self.last())
    }

    /// Shows others what has just become durable. In this order: who sees an entry finds its leaf under the head, and who waits until the
    /// index has it finds something to wait for.
    fn publish(&self, head: Head, batch: Unindexed, effects: Overlay) {
        let header = &batch.record.header;
        let last = header.next_seq().0 - 1;
        // The keeper has the next log file made, and must not come too late for it.
        let (at, half) = (u64::from(batch.at), self.log.segment_bytes / 2);
        let urgent = (at..at + header.record_bytes() as u64).contains(&half);
        *self.head.lock() = head;
        self.pending.push(batch, effects, urgent);
        self.last.store(last, Ordering::Release);
    }
}

/// The tree with the leaves of `entries`, and the hashes that completes.
fn grown(tree: Option<&Tree>, entries: &[LogEntry], first_seq: Seq, committed_at_ms: u64) -> (Option<Tree>, Vec<Node>) {
    let mut nodes = Vec::new();
    // A copy: a commit that fails leaves nothing behind.
    let Some(mut tree) = tree.cloned() else { return (None, nodes) };
    nodes.reserve(entries.len());
    for (seq, entry) in (first_seq.0..).map(Seq).zip(entries) {
        tree.append(leaf_of(seq, committed_at_ms, entry).hash(), |node| nodes.push(node));
    }
    (Some(tree), nodes)
}

/// Without a tree, that of a tree without leaves.
pub(crate) fn head_of(tree: Option<&Tree>) -> Head {
    tree.map_or_else(|| Tree::new().head(), Tree::head)
}

fn acts(batch: &Batch, first_seq: Seq) -> impl Iterator<Item = LogEntry> {
    batch.acts.iter().zip(first_seq.0..).map(|(act, seq)| {
        let stamp = Stamp { stream: STREAM, seq: Seq(seq), committed_at_ms: batch.committed_at_ms };
        LogEntry { body: Body::Act(leaves::of_act(stamp, act)), removed: Vec::new(), lasting: Lasting::None }
    })
}

fn stored(first_seq: Seq, entries: &[LogEntry]) -> Vec<Stored> {
    let events = (first_seq.0..).map(Seq).zip(entries);
    let event = |(seq, entry): (Seq, &LogEntry)| {
        entry.body.filed().map(|filed| Stored { stream: STREAM, seq, event: filed.event.clone() })
    };
    events.filter_map(event).collect()
}
