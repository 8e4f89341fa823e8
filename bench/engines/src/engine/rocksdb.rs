//! RocksDB: an LSM tree in C++; one write batch a commit, its write-ahead log synced.

use std::path::Path;

use anyhow::{Context, Result};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, DB, DBCompressionType, Direction, IteratorMode, Options, WriteBatch,
    WriteOptions,
};

use super::{CACHE_BYTES, Engine};
use crate::keys;
use crate::workload::Event;

const EVENTS: &str = "events";
const INDEX: &str = "index";
/// Ten bits a key: the usual filter, about one false read in a hundred for an id not stored yet.
const BLOOM_BITS_PER_KEY: f64 = 10.0;

pub(super) struct Rocks {
    database: DB,
    next: u64,
}

impl Rocks {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
        blocks.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_block_based_table_factory(&blocks);
        let families = [EVENTS, INDEX].map(|name| (name, options.clone()));
        let database = DB::open_cf_with_opts(&options, path, families)?;
        Ok(Self { database, next: 0 })
    }

    fn family(&self, name: &str) -> Result<&ColumnFamily> {
        self.database.cf_handle(name).context("a column family is missing")
    }
}

impl Engine for Rocks {
    fn commit(&mut self, batch: &[Event]) -> Result<usize> {
        let (events, index) = (self.family(EVENTS)?, self.family(INDEX)?);
        let first = self.next;
        let mut next = first;
        let mut writes = WriteBatch::default();
        for event in batch {
            if self.database.get_pinned_cf(index, keys::id_key(event))?.is_some() {
                continue;
            }
            let number = next.to_be_bytes();
            writes.put_cf(events, number, &event.json);
            for key in keys::of(event) {
                writes.put_cf(index, key, number);
            }
            next += 1;
        }
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        self.database.write_opt(writes, &synced)?;
        self.next = next;
        Ok((next - first) as usize)
    }

    fn newest(&self, prefix: &[u8], limit: usize, sink: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let (events, index) = (self.family(EVENTS)?, self.family(INDEX)?);
        let entries = self.database.iterator_cf(index, IteratorMode::From(prefix, Direction::Forward));
        let mut found = 0;
        for entry in entries.take(limit) {
            let (key, number) = entry?;
            if !key.starts_with(prefix) {
                break;
            }
            sink(&self.database.get_pinned_cf(events, number)?.context("an index entry without its event")?);
            found += 1;
        }
        Ok(found)
    }
}
