//! fjall: an LSM tree in Rust; one batch a commit, its journal synced.

use std::path::Path;

use anyhow::{Context, Result};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{CACHE_BYTES, Engine};
use crate::keys;
use crate::workload::Event;

pub(super) struct Fjall {
    database: Database,
    events: Keyspace,
    index: Keyspace,
    next: u64,
}

impl Fjall {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let database = Database::builder(path).cache_size(CACHE_BYTES as u64).open()?;
        let events = database.keyspace("events", KeyspaceCreateOptions::default)?;
        let index = database.keyspace("index", KeyspaceCreateOptions::default)?;
        Ok(Self { database, events, index, next: 0 })
    }
}

impl Engine for Fjall {
    fn commit(&mut self, batch: &[Event]) -> Result<usize> {
        let first = self.next;
        let mut writes = self.database.batch().durability(Some(PersistMode::SyncData));
        for event in batch {
            if self.index.contains_key(keys::id_key(event))? {
                continue;
            }
            let number = self.next.to_be_bytes();
            writes.insert(&self.events, number, event.json.as_slice());
            for key in keys::of(event) {
                writes.insert(&self.index, key, number);
            }
            self.next += 1;
        }
        writes.commit()?;
        Ok((self.next - first) as usize)
    }

    fn newest(&self, prefix: &[u8], limit: usize, sink: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let mut found = 0;
        for entry in self.index.prefix(prefix).take(limit) {
            let number = entry.value()?;
            sink(&self.events.get(&number)?.context("an index entry without its event")?);
            found += 1;
        }
        Ok(found)
    }
}
