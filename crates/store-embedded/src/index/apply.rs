//! What a logged entry changes in the index.

use heed::{PutFlags, RoTxn, RwTxn};
use towpath_protocol::{Event, PublicKey};
use towpath_store::{Error, Seq};

use super::keys::{NOBODY, OrderKey, Position, Prefix, be64, grave, pair, prefixes, tombstone};
use super::run::Run;
use super::tables::{Version, Waste};
use super::vanish::Vanishing;
use super::{Index, failed, malformed};
use crate::log::Files;
use crate::log::record::{AddressKey, Body, Extent, Filed, Lasting, LogEntry, Record};
use crate::log::segment::Segment;
use crate::target::Target;

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
            if !entry.removed.is_empty() || matches!(entry.lasting, Lasting::Vanished { .. }) {
                run.flush(self, txn)?;
            }
            for removed in &entry.removed {
                if let Some(target) = Target::at(self, txn, files, *removed)? {
                    self.take_out(txn, files, &target, must_erase(entry), committed_at_ms)?;
                }
            }
            self.remember(txn, seq, &entry.lasting)?;
            if let Lasting::Vanished { who, until } = &entry.lasting {
                self.vanish(txn, who, Vanishing::asked(*until, seq, committed_at_ms))?;
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
            self.put(self.addresses, txn, &address.hash(), &version.to_bytes())?;
        }
        Ok(())
    }

    /// Removes an event, if it is still there, whose bytes must go as well if `erase`, or if it was to expire.
    pub(super) fn take_out(
        &self,
        txn: &mut RwTxn<'_>,
        files: &Files,
        target: &Target,
        erase: bool,
        at_ms: u64,
    ) -> Result<(), Error> {
        let seq = target.seq();
        let Some(position) = self.position(txn, seq)? else { return Ok(()) };
        self.forget(txn, target, position)?;
        // What cannot be read may be readable when the file is rewritten: then it is to be known that the event was removed.
        self.bury(txn, &target.event.as_ref().map_or(NOBODY, Event::pubkey), seq)?;
        let segment = files.holding(seq).ok_or_else(|| malformed("events"))?;
        let erase = erase || position.expires_at.is_some();
        self.add_waste(txn, segment.first_seq, u64::from(position.extent.len), erase.then_some(at_ms))
    }

    fn forget(&self, txn: &mut RwTxn<'_>, target: &Target, position: Position) -> Result<(), Error> {
        let (seq, address) = (target.seq(), self.address_of(txn, target)?);
        self.delete(self.events, txn, &seq.0.to_be_bytes())?;
        self.delete(self.ids, txn, target.id.as_bytes())?;
        for key in order_keys(target) {
            self.delete(self.orders, txn, key.as_bytes())?;
        }
        if let Some(expires_at) = position.expires_at {
            self.delete(self.expiry, txn, &pair(expires_at, seq.0))?;
        }
        let Some(address) = address else { return Ok(()) };
        // The successor may have taken the address over already.
        if self.version(txn, &address)?.is_some_and(|version| version.seq == seq) {
            self.delete(self.addresses, txn, &address)?;
        }
        Ok(())
    }

    /// Looks at the keys that [`Index::take_out`] removes, which lie anywhere: so it need not wait for the disk while others wait for it.
    pub(super) fn warm(&self, txn: &RoTxn<'_>, target: &Target) -> Result<(), Error> {
        self.get(self.ids, txn, target.id.as_bytes())?;
        for key in order_keys(target) {
            self.get(self.orders, txn, key.as_bytes())?;
        }
        Ok(())
    }

    /// Remembers whose event is gone but for its leaf.
    pub(crate) fn bury(&self, txn: &mut RwTxn<'_>, of: &PublicKey, seq: Seq) -> Result<(), Error> {
        self.put(self.graves, txn, &grave(of, seq.0), &[])
    }

    pub(crate) fn version(&self, txn: &RoTxn<'_>, address: &AddressKey) -> Result<Option<Version>, Error> {
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

    pub(crate) fn waste_of(&self, txn: &RoTxn<'_>, first_seq: Seq) -> Result<Waste, Error> {
        let waste = self.get(self.waste, txn, &first_seq.0.to_be_bytes())?;
        waste.map_or(Ok(Waste::default()), |bytes| Waste::parse(bytes).ok_or_else(|| malformed("waste")))
    }

    pub(crate) fn set_waste(&self, txn: &mut RwTxn<'_>, first_seq: Seq, waste: Waste) -> Result<(), Error> {
        self.put(self.waste, txn, &first_seq.0.to_be_bytes(), &waste.to_bytes())
    }

    pub(super) fn add_waste(
        &self,
        txn: &mut RwTxn<'_>,
        first_seq: Seq,
        bytes: u64,
        erase_since_ms: Option<u64>,
    ) -> Result<(), Error> {
        let mut waste = self.waste_of(txn, first_seq)?;
        waste.removed(bytes, erase_since_ms);
        self.set_waste(txn, first_seq, waste)
    }
}

/// The other keys of one that cannot be read stay: whoever comes upon them finds no event.
fn order_keys(target: &Target) -> impl Iterator<Item = OrderKey> {
    let prefixes = target.event.as_ref().map_or_else(|| vec![Prefix::time()], prefixes);
    let moment = target.moment;
    prefixes.into_iter().map(move |prefix| prefix.at(moment))
}

/// Whether what `entry` removes was meant to disappear, rather than superseded.
pub(crate) fn must_erase(entry: &LogEntry) -> bool {
    matches!(entry.body, Body::Expired) || entry.lasting != Lasting::None
}
