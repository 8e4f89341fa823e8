//! A stream's audit tree as proofs read it.

use towpath_audit::{Hash, HashSource};

use crate::{Error, EventStore, StreamId};

/// The tree of one stream.
#[derive(Clone, Copy)]
pub struct StoredTree<'a> {
    /// Where it is.
    pub store: &'a dyn EventStore,
    /// Whose it is.
    pub stream: StreamId,
}

impl HashSource for StoredTree<'_> {
    type Error = Error;

    fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, Error> {
        let hashes = self.store.tree_hashes(self.stream, level, first, count)?;
        hashes.ok_or_else(|| Error::Corrupt("the audit tree lacks hashes".into()))
    }
}
