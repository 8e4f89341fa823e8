//! What the index tells of an event whose bytes cannot be read, or need not be.

use std::ops::Bound;

use heed::RoTxn;
use towpath_policy::KIND_GIFT_WRAP;
use towpath_protocol::{EventId, PublicKey};
use towpath_store::{Error, Seq};

use super::keys::{Hint, Moment, OrderKey, Position, Prefix, be64};
use super::tables::Version;
use super::{Index, failed, malformed};
use crate::log::record::{AddressKey, Filing};
use crate::target::Target;

impl Index {
    /// The event at `seq` as a target. Looks through much, for what happens once in the life of a disk.
    pub(crate) fn unread(&self, txn: &RoTxn<'_>, seq: Seq, position: Position) -> Result<Option<Target>, Error> {
        let Some(moment) = self.moment_of(txn, seq, position.created_at)? else { return Ok(None) };
        let Some(id) = self.id_at(txn, moment)? else { return Ok(None) };
        Ok(Some(Target { moment, id, address: None, event: None }))
    }

    /// The address of an event that is about to go, if it is a version. Of one that cannot be read, looks through all there are.
    pub(crate) fn address_of(&self, txn: &RoTxn<'_>, target: &Target) -> Result<Option<AddressKey>, Error> {
        if target.event.is_some() {
            return Ok(target.address);
        }
        match self.position(txn, target.seq())? {
            Some(position) if position.filing != Filing::Regular => self.address_held_by(txn, target.seq()),
            _ => Ok(None),
        }
    }

    /// The event's kind, if it is one of `who`'s: theirs, or a gift wrap to them. As the index has but half of a key or a hash, two keys
    /// that begin alike would be one; nobody can make a key that begins like another's.
    pub(crate) fn kind_if_of(&self, txn: &RoTxn<'_>, moment: Moment, who: &PublicKey) -> Result<Option<u16>, Error> {
        let theirs = self.kind_under(txn, &Prefix::author(who).at(moment))?;
        if theirs.is_some() {
            return Ok(theirs);
        }
        let to_them = self.kind_under(txn, &Prefix::tag(b'p', &who.to_hex()).at(moment))?;
        Ok(to_them.filter(|kind| *kind == KIND_GIFT_WRAP))
    }

    fn kind_under(&self, txn: &RoTxn<'_>, key: &OrderKey) -> Result<Option<u16>, Error> {
        let hint = self.get(self.orders, txn, key.as_bytes())?;
        hint.map(|hint| Hint::parse(hint).map(|hint| hint.kind).ok_or_else(|| malformed("orders"))).transpose()
    }

    fn moment_of(&self, txn: &RoTxn<'_>, seq: Seq, created_at: u64) -> Result<Option<Moment>, Error> {
        let (prefix, start) = (Prefix::time(), Moment::start_of(created_at));
        for item in self.orders_from(txn, &prefix.at(start))? {
            let (key, _) = item.map_err(failed("read the index"))?;
            match Moment::parse(key) {
                Some(moment) if key.starts_with(prefix.as_bytes()) && moment.age == start.age => {
                    if moment.seq == seq {
                        return Ok(Some(moment));
                    }
                }
                _ => break,
            }
        }
        Ok(None)
    }

    fn id_at(&self, txn: &RoTxn<'_>, moment: Moment) -> Result<Option<EventId>, Error> {
        let head = moment.id_head.to_be_bytes();
        let range = (Bound::Included(&head[..]), Bound::Unbounded);
        for item in self.ids.range(txn, &range).map_err(failed("read the index"))? {
            let (id, seq) = item.map_err(failed("read the index"))?;
            if !id.starts_with(&head) {
                break;
            }
            if be64(seq, 0) == Some(moment.seq.0) {
                return Ok(id.first_chunk().map(|id| EventId::from_bytes(*id)));
            }
        }
        Ok(None)
    }

    fn address_held_by(&self, txn: &RoTxn<'_>, seq: Seq) -> Result<Option<AddressKey>, Error> {
        for item in self.addresses.iter(txn).map_err(failed("read the index"))? {
            let (address, version) = item.map_err(failed("read the index"))?;
            if Version::parse(version).is_some_and(|version| version.seq == seq) {
                return Ok(address.first_chunk().copied());
            }
        }
        Ok(None)
    }
}
