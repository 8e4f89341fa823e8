//! The index: where events are, in every order they are asked for, in LMDB beside the log.
//!
//! Owns: its tables and what a logged entry changes in them. It is a fold over the log and nothing else, so it is never synced on
//! the way of a commit and is rebuilt from the log when it may be torn.
//! Must not know: how writes are decided, filters, threads.

pub(crate) mod apply;
pub(crate) mod keys;
pub(crate) mod marker;
pub(crate) mod rebuild;
pub(crate) mod run;
pub(crate) mod tables;
mod unread;
pub(crate) mod vanish;

use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls};
use towpath_protocol::{EventId, PublicKey};
use towpath_store::{Error, Seq};

use crate::Config;
use crate::config::AtOnce;
use crate::log::record::AddressKey;
use keys::{OrderKey, Position, be64, tombstone};

/// Changes whenever what is stored under a key does; an index of another format is rebuilt.
const FORMAT: u64 = 4;
const READERS_MAX: u32 = 1024;

pub(crate) type OrderIter<'t> = heed::RoRange<'t, Bytes, Bytes>;
pub(crate) type Table = Database<Bytes, Bytes>;
pub(crate) type Snapshot<'a> = RoTxn<'a, WithoutTls>;

/// The tables.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    env: Env<WithoutTls>,
    pub(crate) at_once: AtOnce,
    /// Event id → seq.
    pub(crate) ids: Table,
    /// Seq → [`Position`].
    pub(crate) events: Table,
    /// See [`keys`].
    pub(crate) orders: Table,
    /// Address → [`tables::Version`].
    pub(crate) addresses: Table,
    /// Event id and deleter → nothing.
    pub(crate) deleted: Table,
    /// Address → up to which `created_at`.
    pub(crate) deleted_addresses: Table,
    /// Author → up to which `created_at`, and the latest request's seq.
    pub(crate) vanished: Table,
    /// Author who is vanishing → [`vanish::Vanishing`].
    vanishing: Table,
    /// Author and seq of an event that is gone, but for its audit leaf → nothing.
    pub(crate) graves: Table,
    /// Expiry time and seq → nothing.
    pub(crate) expiry: Table,
    /// First seq of a log file → [`tables::Waste`].
    pub(crate) waste: Table,
    meta: Table,
}

/// Names the failure of an index operation.
pub(crate) fn failed(context: &'static str) -> impl Fn(heed::Error) -> Error {
    move |error| match error {
        heed::Error::Io(source) => Error::io(context, source),
        heed::Error::Mdb(MdbError::MapFull) => Error::Full,
        heed::Error::Mdb(error) if is_damage(error) => Error::Corrupt(format!("{context}: {error}")),
        other => Error::io(context, std::io::Error::other(other.to_string())),
    }
}

fn is_damage(error: MdbError) -> bool {
    use MdbError::{Corrupted, Incompatible, Invalid, PageNotFound, Panic, VersionMismatch};
    matches!(error, Corrupted | Incompatible | Invalid | PageNotFound | Panic | VersionMismatch)
}

pub(crate) fn malformed(table: &'static str) -> Error {
    Error::Corrupt(format!("the index table {table} holds a malformed value"))
}

impl Index {
    /// Opens or creates the index. `None` if it is of another format; then it is not written to, as nobody has marked it.
    pub(crate) fn open(config: &Config) -> Result<Option<Self>, Error> {
        let context = "open the index";
        let dir = config.index_dir();
        std::fs::create_dir_all(&dir).map_err(|e| Error::io(context, e))?;
        let env = open_env(&options(config.index_bytes_max), &dir).map_err(failed(context))?;
        let mut txn = env.write_txn().map_err(failed(context))?;
        let there: Option<Table> = env.open_database(&txn, Some("meta")).map_err(failed(context))?;
        if let Some(meta) = there {
            let format = meta.get(&txn, &b"format"[..]).map_err(failed(context))?;
            if format.and_then(|format| be64(format, 0)) != Some(FORMAT) {
                return Ok(None);
            }
        }
        let mut table = |name| env.create_database(&mut txn, Some(name)).map_err(failed(context));
        let index = Self {
            env: env.clone(),
            at_once: config.at_once,
            ids: table("ids")?,
            events: table("events")?,
            orders: table("orders")?,
            addresses: table("addresses")?,
            deleted: table("deleted")?,
            deleted_addresses: table("deleted_addresses")?,
            vanished: table("vanished")?,
            vanishing: table("vanishing")?,
            graves: table("graves")?,
            expiry: table("expiry")?,
            waste: table("waste")?,
            meta: table("meta")?,
        };
        if there.is_none() {
            index.put(index.meta, &mut txn, b"format", &FORMAT.to_be_bytes())?;
        }
        txn.commit().map_err(failed(context))?;
        Ok(Some(index))
    }

    pub(crate) fn read(&self) -> Result<Snapshot<'_>, Error> {
        self.env.read_txn().map_err(failed("read the index"))
    }

    pub(crate) fn write(&self) -> Result<RwTxn<'_>, Error> {
        self.env.write_txn().map_err(failed("write the index"))
    }

    pub(crate) fn commit(&self, txn: RwTxn<'_>) -> Result<(), Error> {
        txn.commit().map_err(failed("write the index"))
    }

    /// Waits until all that is committed would survive a power failure.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.env.force_sync().map_err(failed("sync the index"))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.env.real_disk_size().unwrap_or_default()
    }

    pub(crate) fn get<'t>(&self, table: Table, txn: &'t RoTxn<'_>, key: &[u8]) -> Result<Option<&'t [u8]>, Error> {
        table.get(txn, key).map_err(failed("read the index"))
    }

    /// The keys of `orders` from `from` on.
    pub(crate) fn orders_from<'t>(&self, txn: &'t RoTxn<'_>, from: &OrderKey) -> Result<OrderIter<'t>, Error> {
        let range = (Bound::Included(from.as_bytes()), Bound::Unbounded);
        self.orders.range(txn, &range).map_err(failed("read the index"))
    }

    pub(crate) fn put(&self, table: Table, txn: &mut RwTxn<'_>, key: &[u8], value: &[u8]) -> Result<(), Error> {
        table.put(txn, key, value).map_err(failed("write the index"))
    }

    pub(crate) fn delete(&self, table: Table, txn: &mut RwTxn<'_>, key: &[u8]) -> Result<bool, Error> {
        table.delete(txn, key).map_err(failed("write the index"))
    }

    /// The last entry of the log that is in it.
    pub(crate) fn applied(&self, txn: &RoTxn<'_>) -> Result<Seq, Error> {
        let applied = self.get(self.meta, txn, b"applied")?;
        applied.map_or(Ok(Seq(0)), |bytes| be64(bytes, 0).map(Seq).ok_or_else(|| malformed("meta")))
    }

    pub(crate) fn set_applied(&self, txn: &mut RwTxn<'_>, seq: Seq) -> Result<(), Error> {
        self.put(self.meta, txn, b"applied", &seq.0.to_be_bytes())
    }

    pub(crate) fn seq_of(&self, txn: &RoTxn<'_>, id: &EventId) -> Result<Option<Seq>, Error> {
        let seq = self.get(self.ids, txn, id.as_bytes())?;
        seq.map(|bytes| be64(bytes, 0).map(Seq).ok_or_else(|| malformed("ids"))).transpose()
    }

    pub(crate) fn position(&self, txn: &RoTxn<'_>, seq: Seq) -> Result<Option<Position>, Error> {
        let position = self.get(self.events, txn, &seq.0.to_be_bytes())?;
        position.map(|bytes| Position::parse(bytes).ok_or_else(|| malformed("events"))).transpose()
    }

    /// The last stored event at or before `seq`.
    pub(crate) fn position_before(&self, txn: &RoTxn<'_>, seq: Seq) -> Result<Option<(Seq, Position)>, Error> {
        let key = seq.0.to_be_bytes();
        let found = self.events.get_lower_than_or_equal_to(txn, &key).map_err(failed("read the index"))?;
        let parse = |(key, value)| Some((Seq(be64(key, 0)?), Position::parse(value)?));
        found.map(|found| parse(found).ok_or_else(|| malformed("events"))).transpose()
    }

    pub(crate) fn is_deleted(&self, txn: &RoTxn<'_>, id: &EventId, by: &PublicKey) -> Result<bool, Error> {
        Ok(self.get(self.deleted, txn, &tombstone(id.as_bytes(), by))?.is_some())
    }

    pub(crate) fn address_deleted_until(&self, txn: &RoTxn<'_>, address: &AddressKey) -> Result<Option<u64>, Error> {
        Ok(self.get(self.deleted_addresses, txn, address)?.and_then(|bytes| be64(bytes, 0)))
    }

    pub(crate) fn vanished_until(&self, txn: &RoTxn<'_>, who: &PublicKey) -> Result<Option<u64>, Error> {
        Ok(self.get(self.vanished, txn, who.as_bytes())?.and_then(|bytes| be64(bytes, 0)))
    }

    /// Where their latest request to vanish is.
    pub(crate) fn vanished_at(&self, txn: &RoTxn<'_>, who: &PublicKey) -> Result<Option<Seq>, Error> {
        Ok(self.get(self.vanished, txn, who.as_bytes())?.and_then(|bytes| be64(bytes, 8)).map(Seq))
    }
}

fn options(bytes_max: usize) -> EnvOpenOptions<WithoutTls> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(bytes_max.next_multiple_of(rustix::param::page_size())).max_readers(READERS_MAX).max_dbs(16);
    options
}

#[expect(unsafe_code, reason = "opening LMDB maps a file that others could truncate")]
fn open_env(options: &EnvOpenOptions<WithoutTls>, dir: &Path) -> heed::Result<Env<WithoutTls>> {
    let mut options = options.clone();
    // SAFETY: the folder is ours alone: the store holds an exclusive lock on the data folder for as long as the environment is open,
    // opens it once, and removes its files only while it is closed. Without NO_SYNC's guarantee after a power failure the files may be
    // torn, which is why `marker` records whether they may be opened at all.
    unsafe {
        options.flags(EnvFlags::NO_SYNC);
        options.open(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::Folder;

    /// Once, the tables that it lacked were made in it, though it was marked clean: a power failure could have torn it unnoticed.
    #[test]
    fn an_index_of_another_format_is_not_written_to() {
        let folder = Folder::new();
        let dir = folder.config.index_dir();
        std::fs::create_dir_all(&dir).unwrap();
        let env = open_env(&options(1 << 20), &dir).unwrap();
        let mut txn = env.write_txn().unwrap();
        let meta: Table = env.create_database(&mut txn, Some("meta")).unwrap();
        meta.put(&mut txn, &b"format"[..], &(FORMAT - 1).to_be_bytes()[..]).unwrap();
        txn.commit().unwrap();
        drop(env);
        let bytes = || std::fs::read(dir.join("data.mdb")).unwrap();
        let before = bytes();
        assert!(Index::open(&folder.config).unwrap().is_none());
        assert!(bytes() == before);
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(Index::open(&folder.config).unwrap().is_some());
        assert!(Index::open(&folder.config).unwrap().is_some(), "it has the present format");
    }
}
