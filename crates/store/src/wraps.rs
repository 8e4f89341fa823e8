//! A store around another one, for tests that watch or disturb some of its calls.

use towpath_audit::{Hash, Head};
use towpath_protocol::EventId;

use crate::{Batch, Committed, Cursor, Entry, Error, EventStore, Page, Query, Scan, Seq, Stats, StreamId};

/// Passes on what it does not do itself. Whoever wraps a store is one.
pub trait Wraps: Send + Sync {
    /// The store within.
    fn inner(&self) -> &dyn EventStore;

    /// See [`EventStore::commit`].
    fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        self.inner().commit(batch)
    }

    /// See [`EventStore::place_of`].
    fn place_of(&self, id: &EventId) -> Result<Option<(StreamId, Seq)>, Error> {
        self.inner().place_of(id)
    }

    /// See [`EventStore::scan`].
    fn scan(&self, query: Query) -> Result<Box<dyn Scan>, Error> {
        self.inner().scan(query)
    }

    /// See [`EventStore::since`].
    fn since(&self, cursor: &Cursor, page: Page) -> Result<Vec<Entry>, Error> {
        self.inner().since(cursor, page)
    }
}

impl<W: Wraps> EventStore for W {
    fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        Wraps::commit(self, batch)
    }

    fn place_of(&self, id: &EventId) -> Result<Option<(StreamId, Seq)>, Error> {
        Wraps::place_of(self, id)
    }

    fn is_known(&self, id: &EventId) -> Result<bool, Error> {
        Ok(Wraps::place_of(self, id)?.is_some())
    }

    fn snapshot(&self) -> Result<Cursor, Error> {
        self.inner().snapshot()
    }

    fn follower(&self, name: &str) -> Result<Option<Cursor>, Error> {
        self.inner().follower(name)
    }

    fn keep_follower(&self, name: &str, cursor: &Cursor) -> Result<(), Error> {
        self.inner().keep_follower(name, cursor)
    }

    fn scan(&self, query: Query) -> Result<Box<dyn Scan>, Error> {
        Wraps::scan(self, query)
    }

    fn since(&self, cursor: &Cursor, page: Page) -> Result<Vec<Entry>, Error> {
        Wraps::since(self, cursor, page)
    }

    /// Out of pages of all streams: enough for the stores of tests.
    fn since_in(&self, stream: StreamId, after: Seq, page: Page) -> Result<Vec<Entry>, Error> {
        let mut entries = Wraps::since(self, &Cursor::at(stream, after), page)?;
        entries.retain(|entry| entry.stream == stream);
        Ok(entries)
    }

    fn own_stream(&self) -> Option<StreamId> {
        self.inner().own_stream()
    }

    fn heads(&self) -> Vec<(StreamId, Head)> {
        self.inner().heads()
    }

    fn tree_hashes(&self, stream: StreamId, level: u8, first: u64, count: usize) -> Result<Option<Vec<Hash>>, Error> {
        self.inner().tree_hashes(stream, level, first, count)
    }

    fn maintain(&self, now: u64) -> Result<bool, Error> {
        self.inner().maintain(now)
    }

    fn health(&self) -> Result<(), Error> {
        self.inner().health()
    }

    fn stats(&self) -> Result<Stats, Error> {
        self.inner().stats()
    }

    fn unindexed(&self) -> u64 {
        self.inner().unindexed()
    }
}
