//! The engines under comparison, behind the least they must do for a relay.
//!
//! Each keeps the same two things: the events' bytes, and six index entries an event that lead to them. Each is set up
//! the way its own documentation asks for durable commits, with the same cache, and nothing tuned beyond that.

mod fjall;
mod lmdb;
mod log;
mod log_index;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use self::log::Segments;
use self::log_index::Apply;
use crate::keys;
use crate::workload::Event;

/// The cache given to the engines that keep their own; LMDB and the log use the page cache.
const CACHE_BYTES: usize = 256 << 20;

/// Often enough for every phase to contain some: its cost is then in every phase's tail.
const WRITE_BACK_EVERY: Duration = Duration::from_secs(1);

/// What the benchmark asks of an event store.
pub(crate) trait Engine {
    /// Stores what is not stored yet and returns how many events that was. They MUST be durable when it returns.
    fn commit(&mut self, batch: &[Event]) -> Result<usize>;

    /// Called with the batch just committed, once its events are answered and before the next commit. The reads MUST
    /// find them when it returns; most engines have nothing left to do.
    fn catch_up(&mut self, _batch: &[Event]) -> Result<()> {
        Ok(())
    }

    /// Hands the bytes of the first `limit` events under an index prefix, newest first, to `sink`; returns how many.
    fn newest(&self, prefix: &[u8], limit: usize, sink: &mut dyn FnMut(&[u8])) -> Result<usize>;

    fn newest_of_author(&self, author: &[u8; 32], limit: usize, sink: &mut dyn FnMut(&[u8])) -> Result<usize> {
        self.newest(&keys::author_prefix(author), limit, sink)
    }

    fn newest_of_kind(&self, kind: u16, limit: usize, sink: &mut dyn FnMut(&[u8])) -> Result<usize> {
        self.newest(&keys::kind_prefix(kind), limit, sink)
    }
}

/// Opens an engine in an empty directory.
pub(crate) type Open = fn(&Path) -> Result<Box<dyn Engine>>;

/// Every engine, in the order of the table.
pub(crate) const ALL: &[(&str, Open)] = &[
    ("LMDB, synced", |path| Ok(Box::new(lmdb::Lmdb::open(path)?))),
    ("fjall, SyncData", |path| Ok(Box::new(fjall::Fjall::open(path)?))),
    ("redb, immediate", |path| Ok(Box::new(redb::Redb::open(path)?))),
    #[cfg(feature = "rocksdb")]
    ("RocksDB, WAL synced", |path| Ok(Box::new(rocksdb::Rocks::open(path)?))),
    ("synced log, LMDB index after the sync", |path| log_index(path, Segments::Prepared, Apply::AfterSync, None)),
    ("synced log, LMDB index during the sync", |path| log_index(path, Segments::Prepared, Apply::DuringSync, None)),
    ("synced log, LMDB index behind the ack", |path| log_index(path, Segments::Prepared, Apply::BehindAck, None)),
    ("synced log, index behind the ack, written back every second", |path| {
        log_index(path, Segments::Prepared, Apply::BehindAck, Some(WRITE_BACK_EVERY))
    }),
    ("synced log, index behind the ack, log file growing", |path| {
        log_index(path, Segments::Growing, Apply::BehindAck, None)
    }),
];

fn log_index(
    path: &Path,
    segments: Segments,
    apply: Apply,
    write_back_every: Option<Duration>,
) -> Result<Box<dyn Engine>> {
    Ok(Box::new(log_index::LogIndex::open(path, segments, apply, write_back_every)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload;

    /// What an engine answers after 2 000 events in batches of two sizes.
    fn answers(open: Open) -> Result<Vec<Vec<u8>>> {
        let directory = tempfile::tempdir()?;
        let mut engine = open(directory.path())?;
        let events: Vec<Event> = (0..2_000).map(workload::event).collect();
        let (lone, bulk) = events.split_at(100);
        for batch in lone.chunks(1).chain(bulk.chunks(256)) {
            assert_eq!(engine.commit(batch)?, batch.len());
            engine.catch_up(batch)?;
        }
        assert_eq!(engine.commit(&events[..300])?, 0, "known events are refused");
        engine.catch_up(&events[..300])?;
        let mut answers = Vec::new();
        engine.newest_of_author(&events[0].author, 50, &mut |bytes| answers.push(bytes.to_vec()))?;
        engine.newest_of_kind(1, 500, &mut |bytes| answers.push(bytes.to_vec()))?;
        Ok(answers)
    }

    #[test]
    fn every_engine_answers_alike() -> Result<()> {
        let expected = answers(ALL[0].1)?;
        assert!(expected.len() > 500);
        for (name, open) in ALL {
            assert_eq!(answers(*open)?, expected, "{name}");
        }
        Ok(())
    }
}
