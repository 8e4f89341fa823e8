//! What a logged entry changes in the index.

use std::ops::Bound;

use heed::{PutFlags, RwTxn};
use towpath_protocol::{Event, PublicKey};
use towpath_store::{Error, Seq};

use super::keys::{Moment, Position, address_key, be64, grave, pair, prefixes, tombstone};
use super::run::Run;
use super::tables::{Version, Waste};
use super::{Index, failed, malformed};
use crate::log::Files;
use crate::log::record::{AddressKey, Body, Extent, Filed, Lasting, LogEntry, Record};
use crate::log::segment::Segment;
use crate::read::read_event;

/// About what a leaf takes. Only whether a file has anything to erase matters.
const LEAF_BYTES: u64 = 100;

/// A record and where it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Logged<'a> {
    pub(crate) segment: &'a Segment,
    pub(crate) at: u32,
    pub(crate) record: &'a Record,
}

impl Logged<'_> {
    pub(crate) fn position(&self, filed: &Filed, extent: Extent) -> Position {
        Position {
            generation: self.segment.generation,
            record: self.at,
            extent,
            created_at: filed.event.created_at(),
            expires_at: filed.expires_at,
            filing: filed.filing,
        }
    }
}

impl Index {
    /// Applies a record that follows the last one applied. Keys of its events are left in `run`, which is to be flushed.
    pub(crate) fn apply(
        &self,
        txn: &mut RwTxn<'_>,
        files: &Files,
        logged: Logged<'_>,
        run: &mut Run,
    ) -> Result<(), Error> {
        let committed_at_ms = logged.record.header.committed_at_ms;
        for (seq, entry, extent) in logged.record.numbered() {
            if let Body::Event(filed) = &entry.body {
                run.add(self, txn, seq, filed, logged, extent)?;
            }
            // What goes may have come just now.
            if !entry.removed.is_empty() {
                run.flush(self, txn)?;
            }
            for removed in &entry.removed {
                self.remove(txn, files, *removed, must_erase(entry), committed_at_ms)?;
            }
            self.remember(txn, seq, &entry.lasting)?;
            if let Lasting::Vanished { who, .. } = &entry.lasting {
                self.unearth(txn, files, who, seq, committed_at_ms)?;
            }
        }
        self.set_applied(txn, Seq(logged.record.header.next_seq().0.saturating_sub(1)))
    }

    /// Everything but `ids` and `orders`, which are filled in sorted runs.
    pub(crate) fn file(&self, txn: &mut RwTxn<'_>, seq: Seq, filed: &Filed, position: Position) -> Result<(), Error> {
        let appended = self.events.put_with_flags(txn, PutFlags::APPEND, &seq.0.to_be_bytes(), &position.to_bytes());
        appended.map_err(failed("write the index"))?;
        if let Some(expires_at) = filed.expires_at {
            self.put(self.expiry, txn, &pair(expires_at, seq.0), &[])?;
        }
        if let Some(address) = filed.filing.address_of(&filed.event) {
            let version = Version { created_at: filed.event.created_at(), id: filed.event.id(), seq };
            self.put(self.addresses, txn, &address_key(&address), &version.to_bytes())?;
        }
        Ok(())
    }

    /// Removes an event, if it is still there, whose bytes must go as well if `erase`, or if it was to expire.
    fn remove(&self, txn: &mut RwTxn<'_>, files: &Files, seq: Seq, erase: bool, at_ms: u64) -> Result<(), Error> {
        let Some(position) = self.position(txn, seq)? else { return Ok(()) };
        let segment = files.holding_in(seq, position.generation).ok_or_else(|| malformed("events"))?;
        let event = read_event(segment, seq, position)?;
        self.forget(txn, seq, &event, position)?;
        self.bury(txn, &event.pubkey(), seq)?;
        let erase = erase || position.expires_at.is_some();
        self.add_waste(txn, segment.first_seq, u64::from(position.extent.len), erase.then_some(at_ms))
    }

    fn forget(&self, txn: &mut RwTxn<'_>, seq: Seq, event: &Event, position: Position) -> Result<(), Error> {
        self.delete(self.events, txn, &seq.0.to_be_bytes())?;
        self.delete(self.ids, txn, event.id().as_bytes())?;
        let moment = Moment::of(event, seq);
        for prefix in prefixes(event) {
            self.delete(self.orders, txn, prefix.at(moment).as_bytes())?;
        }
        if let Some(expires_at) = position.expires_at {
            self.delete(self.expiry, txn, &pair(expires_at, seq.0))?;
        }
        let Some(address) = position.filing.address_of(event) else { return Ok(()) };
        let address = address_key(&address);
        // The successor may have taken the address over already.
        if self.version(txn, &address)?.is_some_and(|version| version.seq == seq) {
            self.delete(self.addresses, txn, &address)?;
        }
        Ok(())
    }

    /// Remembers whose event is gone but for its leaf.
    pub(crate) fn bury(&self, txn: &mut RwTxn<'_>, of: &PublicKey, seq: Seq) -> Result<(), Error> {
        self.put(self.graves, txn, &grave(of, seq.0), &[])
    }

    /// Whoever vanished with entry `at` takes along what is left of their events that were gone before: the files that hold it are
    /// to be rewritten.
    pub(crate) fn unearth(
        &self,
        txn: &mut RwTxn<'_>,
        files: &Files,
        who: &PublicKey,
        at: Seq,
        at_ms: u64,
    ) -> Result<(), Error> {
        let (from, to) = (grave(who, 0), grave(who, at.0));
        let range = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        let mut graves = Vec::new();
        for item in self.graves.range(txn, &range).map_err(failed("read the index"))? {
            let (key, _) = item.map_err(failed("read the index"))?;
            graves.push(be64(key, 32).map(Seq).ok_or_else(|| malformed("graves"))?);
        }
        for seq in graves {
            let segment = files.holding(seq).ok_or_else(|| malformed("graves"))?;
            self.add_waste(txn, segment.first_seq, LEAF_BYTES, Some(at_ms))?;
            self.delete(self.graves, txn, &grave(who, seq.0))?;
        }
        Ok(())
    }

    pub(crate) fn version(&self, txn: &heed::RoTxn<'_>, address: &AddressKey) -> Result<Option<Version>, Error> {
        let version = self.get(self.addresses, txn, address)?;
        version.map(|bytes| Version::parse(bytes).ok_or_else(|| malformed("addresses"))).transpose()
    }

    pub(crate) fn remember(&self, txn: &mut RwTxn<'_>, seq: Seq, lasting: &Lasting) -> Result<(), Error> {
        match lasting {
            Lasting::None => {}
            Lasting::Deleted { by, created_at, ids, addresses } => {
                for id in ids {
                    self.put(self.deleted, txn, &tombstone(id.as_bytes(), by), &[])?;
                }
                for address in addresses {
                    self.raise(self.deleted_addresses, txn, address, *created_at)?;
                }
            }
            Lasting::Vanished { who, until } => {
                let until = self.vanished_until(txn, who)?.map_or(*until, |before| before.max(*until));
                self.put(self.vanished, txn, who.as_bytes(), &pair(until, seq.0))?;
            }
        }
        Ok(())
    }

    fn raise(&self, table: super::Table, txn: &mut RwTxn<'_>, key: &[u8], to: u64) -> Result<(), Error> {
        let before = self.get(table, txn, key)?.and_then(|bytes| be64(bytes, 0));
        if before.is_some_and(|before| before >= to) { Ok(()) } else { self.put(table, txn, key, &to.to_be_bytes()) }
    }

    pub(crate) fn waste_of(&self, txn: &heed::RoTxn<'_>, first_seq: Seq) -> Result<Waste, Error> {
        let waste = self.get(self.waste, txn, &first_seq.0.to_be_bytes())?;
        waste.map_or(Ok(Waste::default()), |bytes| Waste::parse(bytes).ok_or_else(|| malformed("waste")))
    }

    pub(crate) fn set_waste(&self, txn: &mut RwTxn<'_>, first_seq: Seq, waste: Waste) -> Result<(), Error> {
        self.put(self.waste, txn, &first_seq.0.to_be_bytes(), &waste.to_bytes())
    }

    fn add_waste(
        &self,
        txn: &mut RwTxn<'_>,
        first_seq: Seq,
        bytes: u64,
        erase_since_ms: Option<u64>,
    ) -> Result<(), Error> {
        let mut waste = self.waste_of(txn, first_seq)?;
        waste.add(bytes, erase_since_ms.is_some(), erase_since_ms.unwrap_or_default());
        self.set_waste(txn, first_seq, waste)
    }
}

/// Whether what `entry` removes was meant to disappear, rather than superseded.
pub(crate) fn must_erase(entry: &LogEntry) -> bool {
    matches!(entry.body, Body::Expired) || entry.lasting != Lasting::None
}
