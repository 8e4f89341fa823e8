//! redb: a copy-on-write B-tree in Rust; one transaction a commit, durable at once.

use std::path::Path;

use anyhow::{Context, Result};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::{CACHE_BYTES, Engine};
use crate::keys;
use crate::workload::Event;

const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
const INDEX: TableDefinition<&[u8], u64> = TableDefinition::new("index");

pub(super) struct Redb {
    database: Database,
    next: u64,
}

impl Redb {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path.join("events.redb"))?;
        Ok(Self { database, next: 0 })
    }
}

impl Engine for Redb {
    fn commit(&mut self, batch: &[Event]) -> Result<usize> {
        let first = self.next;
        let mut txn = self.database.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        {
            let mut events = txn.open_table(EVENTS)?;
            let mut index = txn.open_table(INDEX)?;
            for event in batch {
                if index.get(keys::id_key(event).as_slice())?.is_some() {
                    continue;
                }
                events.insert(self.next, event.json.as_slice())?;
                for key in keys::of(event) {
                    index.insert(key.as_slice(), self.next)?;
                }
                self.next += 1;
            }
        }
        txn.commit()?;
        Ok((self.next - first) as usize)
    }

    fn newest(&self, prefix: &[u8], limit: usize, sink: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let txn = self.database.begin_read()?;
        let events = txn.open_table(EVENTS)?;
        let index = txn.open_table(INDEX)?;
        let mut found = 0;
        for entry in index.range(prefix..)?.take(limit) {
            let (key, number) = entry?;
            if !key.value().starts_with(prefix) {
                break;
            }
            sink(events.get(number.value())?.context("an index entry without its event")?.value());
            found += 1;
        }
        Ok(found)
    }
}
