//! The event store port: what every store promises, whichever engine is behind it.
//!
//! Owns: the trait [`EventStore`] and its contract, the rules of replacement and deletion every store applies
//! ([`rules`]), the memory store, and (feature `suite`) a test for every MUST of the contract.
//! Must not know: engines, files, SQL, sockets, who may read what (a [`Query`] carries that as a predicate).

mod batch;
mod cursor;
mod error;
pub mod leaves;
pub mod memory;
mod query;
pub mod rules;
#[cfg(feature = "suite")]
pub mod suite;
mod tree;
#[cfg(feature = "suite")]
mod wraps;

pub use batch::{Act, Batch, Committed, Outcome};
pub use cursor::{Cursor, Entry, Page, Record, Run, Seq, Stored, StreamId};
pub use error::Error;
pub use query::{Budget, Completeness, Count, FilterLimit, Progress, Query, Scan, Tally, spread};
pub use tree::StoredTree;
#[cfg(feature = "suite")]
pub use wraps::Wraps;

use towpath_audit::{Hash, Head};
use towpath_protocol::EventId;

/// A store of events over a commit log.
///
/// ```text
///   stream 7   │ 1 │ 2 │ 3 │ 4 │ 5 │ 6 │ …          one committer owns a stream
///                          ▲       ▲
///              snapshot() ─┘       └─ commit in flight: invisible until it is durable
/// ```
///
/// # Contract
///
/// Calls block; none may be made from a runtime's worker but [`EventStore::is_known`], [`EventStore::heads`] and
/// [`EventStore::health`], which are short.
///
/// *Streams.* A store that several processes share has a stream for each; [`Cursor`]s cover all of them. A process commits to
/// its own stream, which [`Committed::run`] names.
///
/// *Commit.* One committer at a time.
/// 1. A commit MUST be durable, whole, before it returns: the events it accepts, all they remove, and their log entries.
/// 2. A commit that fails MUST leave nothing behind, and the next one may succeed.
/// 3. Every write MUST get its own [`Outcome`], decided as if the writes before it in the batch had been committed.
/// 4. Accepted events MUST take consecutive sequence numbers in batch order; the first ever is 1; none is reused.
/// 5. What a commit accepts MUST be in every scan opened after it returned.
/// 6. Replacement, deletion and vanishing MUST follow [`rules`], in any order of arrival. A version that is over by the time of a commit
///    ([`rules::is_over`]) supersedes nothing in it, and goes as if replaced.
///
/// *Scan.*
/// 7. A scan MUST return every event that matches, is visible, is covered by the query's cursor and has not been removed by the
///    time the scan comes to it: newest first, ties by lowest id, each once however many filters match, up to the limits.
/// 8. A scan MUST NOT return anything else; in particular nothing behind the query's cursor.
/// 9. A scan MUST hold no engine snapshot between slices, and a slice MUST end soon after its budget is spent.
/// 10. A scan MUST NOT claim completeness it did not see ([`Completeness`]), and what it claims MUST NOT depend on what the query hides.
/// 11. A count MUST be of the events that the same scan would return.
///
/// *Log.*
/// 12. `since(cursor)` MUST return the entries behind the cursor in order without a gap, erased ones included as such.
/// 13. After a crash at any instant, reopening MUST find every commit that returned, whole, and of the one in flight all or nothing.
///
/// *Audit.*
/// 14. Every entry MUST have its leaf ([`leaves`]) in the stream's audit tree, at the index `seq - 1`, from the commit of the entry on;
///     [`Committed::head`] covers all leaves up to the commit's last.
/// 15. A leaf MUST keep its hash for ever. Its preimage MUST outlast the event, until an owner of the event vanishes: then the
///     preimages of all their events that are gone MUST go, with the bytes of the events.
pub trait EventStore: Send + Sync {
    /// Commits `batch` as one durable transaction.
    fn commit(&self, batch: Batch) -> Result<Committed, Error>;

    /// Where the event with this id was committed, if it is stored.
    fn place_of(&self, id: &EventId) -> Result<Option<(StreamId, Seq)>, Error>;

    /// Whether an event with this id is stored, as far as that is known without waiting: `false` says nothing.
    fn is_known(&self, id: &EventId) -> Result<bool, Error>;

    /// The end of the log, of every stream: what a scan opened from now on returns at least.
    fn snapshot(&self) -> Result<Cursor, Error>;

    /// Opens a scan; see [`Scan::next`] and [`Scan::count`].
    fn scan(&self, query: Query) -> Result<Box<dyn Scan>, Error>;

    /// Log entries behind `cursor`, oldest first, at most a page. Empty when there are none.
    fn since(&self, cursor: &Cursor, page: Page) -> Result<Vec<Entry>, Error>;

    /// The same of one stream alone, behind `after`.
    fn since_in(&self, stream: StreamId, after: Seq, page: Page) -> Result<Vec<Entry>, Error>;

    /// The stream that this process commits to; `None` while it has none.
    fn own_stream(&self) -> Option<StreamId>;

    /// The audit trees, as of the last commit. None if this store is told to keep none.
    fn heads(&self) -> Vec<(StreamId, Head)>;

    /// `count` hashes of `stream`'s audit tree: of the complete subtrees of `256^level` leaves, from number `first` on. `None` if the
    /// tree has not so many.
    fn tree_hashes(&self, stream: StreamId, level: u8, first: u64, count: usize) -> Result<Option<Vec<Hash>>, Error>;

    /// How far the follower called `name` has come, as it last told; `None` if it never did.
    fn follower(&self, name: &str) -> Result<Option<Cursor>, Error>;

    /// Remembers, so that it outlasts this process, that the follower called `name` is done with all that `cursor` covers. A follower
    /// does not go back: a place behind the one that is kept may be dropped.
    fn keep_follower(&self, name: &str, cursor: &Cursor) -> Result<(), Error>;

    /// Does one bounded step of upkeep (deleting what expired by `now`, checkpoints, compaction). True if there is more to do.
    fn maintain(&self, now: u64) -> Result<bool, Error>;

    /// Whether commits can succeed at the moment; the error says why not.
    fn health(&self) -> Result<(), Error>;

    /// Figures for operators.
    fn stats(&self) -> Result<Stats, Error>;

    /// Committed entries that scans would have to wait for, at this moment.
    fn unindexed(&self) -> u64 {
        0
    }
}

/// What a store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events that can be queried.
    pub events: u64,
    /// The last sequence number.
    pub last_seq: Seq,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Bytes of the log that hold events still stored.
    pub live_bytes: u64,
    /// Bytes of the index on disk.
    pub index_bytes: u64,
}

/// Who delivers a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deliverer {
    /// The committer, once the acks have left.
    Committer,
    /// Another thread, which was handed it.
    Follower,
}

/// Where the committer hands what it has just committed, and ingest what is never stored. Ring-2 pieces meet here.
pub trait Delivery: Send + Sync {
    /// A fresh commit, in commit order, before its acks leave: a receiver that has another thread deliver it takes it here, so that
    /// both happen at once. Never blocks; every moment is one that the acks wait.
    fn hand_over(&self, batch: &Committed, at: std::time::Instant) -> Deliverer;

    /// The same commit, now that its acks have left, and who was to deliver it. Never blocks, and costs the committer little: a
    /// receiver that falls behind reads the log instead.
    fn acknowledged(&self, batch: &Committed, at: std::time::Instant, deliverer: Deliverer);

    /// A commit that nobody waits for.
    fn committed(&self, batch: &Committed, at: std::time::Instant) {
        let deliverer = self.hand_over(batch, at);
        self.acknowledged(batch, at, deliverer);
    }

    /// Delivers an ephemeral event to whoever listens now, and says how many do.
    fn ephemeral(&self, event: &towpath_protocol::Event) -> usize;
}
