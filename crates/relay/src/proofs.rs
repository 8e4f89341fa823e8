//! Proofs from a store: what a leaf, its path and a checkpoint come to. Blocks.
//!
//! Must not know: who asks, or how it is asked.

use towpath_audit::{Checkpoint, Head, KIND_CHECKPOINT, Lie, ProofFile, prove_inclusion};
use towpath_protocol::{Event, EventId, PublicKey};
use towpath_store::{Entry, Error, EventStore, Page, Seq, StoredTree, StreamId};

use crate::own_events;

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum NoProof {
    /// No such event is stored, or not for whoever asks.
    #[error("no such event is stored")]
    Unknown,
    /// Its entry is behind the last checkpoint.
    #[error("no checkpoint covers the event yet: it is entry {seq}, and the last one covers {covered}")]
    NotCovered {
        /// Its place.
        seq: Seq,
        /// Entries.
        covered: u64,
    },
    /// The relay has signed no checkpoint.
    #[error(
        "there is no checkpoint yet: a running relay signs one within audit.checkpoint_interval_s, and one when it ends"
    )]
    NoCheckpoint,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
    /// What is stored makes no proof.
    #[error("the audit log is damaged: {0}")]
    Damaged(#[from] Lie),
}

/// The proof that the stored event with this id is in the audit log, up to the relay's last checkpoint.
pub fn prove(store: &dyn EventStore, relay: PublicKey, id: &EventId) -> Result<ProofFile, NoProof> {
    let entry = entry_of(store, id)?;
    let events = own_events::newest(store, relay, KIND_CHECKPOINT)?;
    let of_stream = |event: &Event| {
        let checkpoint = Checkpoint::of_event(event).ok()?;
        (checkpoint.name() == entry.stream.0.to_string()).then_some(checkpoint.head)
    };
    let newest = events.iter().find_map(|event| of_stream(event).map(|head| (event, head)));
    let (event, head) = newest.ok_or(NoProof::NoCheckpoint)?;
    proof_of(store, &entry, head, event)
}

/// The entry of a stored event.
pub(crate) fn entry_of(store: &dyn EventStore, id: &EventId) -> Result<Entry, NoProof> {
    let (stream, seq) = store.place_of(id)?.ok_or(NoProof::Unknown)?;
    let mut entries = entries_from(store, stream, seq, 1)?;
    entries.pop().filter(|entry| entry.seq == seq).ok_or(NoProof::Unknown)
}

/// At most so many entries of a stream.
pub(crate) fn entries_from(
    store: &dyn EventStore,
    stream: StreamId,
    first: Seq,
    count: usize,
) -> Result<Vec<Entry>, Error> {
    store.since_in(stream, Seq(first.0.saturating_sub(1)), Page { entries_max: count, bytes_max: 4 << 20 })
}

/// That `entry` is in the tree that a checkpoint's event stands for.
pub(crate) fn proof_of(
    store: &dyn EventStore,
    entry: &Entry,
    head: Head,
    checkpoint: &Event,
) -> Result<ProofFile, NoProof> {
    if entry.seq.0 > head.size {
        return Err(NoProof::NotCovered { seq: entry.seq, covered: head.size });
    }
    let tree = StoredTree { store, stream: entry.stream };
    let path = prove_inclusion(&tree, entry.seq.0 - 1, head.size)?;
    let leaf = entry.leaf.leaf().ok_or(NoProof::Unknown)?;
    Ok(ProofFile::new(leaf, &path, checkpoint, entry.record.event())?)
}
