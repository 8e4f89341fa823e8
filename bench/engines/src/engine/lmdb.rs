//! LMDB alone: events and index in one environment, every transaction synced.

use std::path::Path;

use anyhow::{Context, Result};
use heed::byteorder::BigEndian;
use heed::types::{Bytes, U64};
use heed::{Database, Env, EnvOpenOptions, PutFlags};

use super::Engine;
use crate::keys;
use crate::workload::Event;

/// Address space to map, far above what a run writes.
pub(super) const MAP_BYTES: usize = 16 << 30;

pub(super) struct Lmdb {
    env: Env,
    events: Database<U64<BigEndian>, Bytes>,
    index: Database<Bytes, U64<BigEndian>>,
    next: u64,
}

impl Lmdb {
    pub(super) fn open(path: &Path) -> Result<Self> {
        // SAFETY: the directory is this run's own; nothing else opens or changes the files while they are mapped.
        let env = unsafe { EnvOpenOptions::new().map_size(MAP_BYTES).max_dbs(2).open(path)? };
        let mut txn = env.write_txn()?;
        let events = env.create_database(&mut txn, Some("events"))?;
        let index = env.create_database(&mut txn, Some("index"))?;
        txn.commit()?;
        Ok(Self { env, events, index, next: 0 })
    }
}

impl Engine for Lmdb {
    fn commit(&mut self, batch: &[Event]) -> Result<usize> {
        let first = self.next;
        let mut next = first;
        let mut txn = self.env.write_txn()?;
        for event in batch {
            if self.index.get(&txn, &keys::id_key(event))?.is_some() {
                continue;
            }
            self.events.put_with_flags(&mut txn, PutFlags::APPEND, &next, &event.json)?;
            for key in keys::of(event) {
                self.index.put(&mut txn, &key, &next)?;
            }
            next += 1;
        }
        txn.commit()?;
        self.next = next;
        Ok((next - first) as usize)
    }

    fn newest(&self, prefix: &[u8], limit: usize, sink: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let txn = self.env.read_txn()?;
        let mut found = 0;
        for entry in self.index.prefix_iter(&txn, prefix)?.take(limit) {
            let (_, number) = entry?;
            sink(self.events.get(&txn, &number)?.context("an index entry without its event")?);
            found += 1;
        }
        Ok(found)
    }
}
