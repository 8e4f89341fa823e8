//! A stored event that is about to go.
//!
//! Its bytes may be damaged, or the disk may refuse them. What is to go goes all the same: the index names what it has of it, or one
//! event would keep all others from being indexed. Whatever cannot be named stays in the index and leads nowhere.
//!
//! Must not know: why it goes.

use heed::RoTxn;
use towpath_protocol::{Event, EventId};
use towpath_store::{Error, Seq};

use crate::index::keys::Moment;
use crate::index::{Index, malformed};
use crate::log::Files;
use crate::log::record::AddressKey;
use crate::overlay::Placed;
use crate::read::read_event;

/// See the module.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) moment: Moment,
    pub(crate) id: EventId,
    /// Of which it is a version, or was one if another is by now. If it cannot be read, [`Index::address_of`] finds it.
    pub(crate) address: Option<AddressKey>,
    /// `None` if it cannot be read.
    pub(crate) event: Option<Event>,
}

impl From<&Placed> for Target {
    fn from(placed: &Placed) -> Self {
        let event = placed.event.clone();
        let (moment, id) = (Moment::of(&event, placed.seq), event.id());
        Self { moment, id, address: placed.address, event: Some(event) }
    }
}

impl Target {
    /// What is stored at `seq`, if anything is. `files` are to be no older than `txn`.
    pub(crate) fn at(index: &Index, txn: &RoTxn<'_>, files: &Files, seq: Seq) -> Result<Option<Self>, Error> {
        let Some(position) = index.position(txn, seq)? else { return Ok(None) };
        let segment = files.holding_in(seq, position.generation).ok_or_else(|| malformed("events"))?;
        let event = match read_event(segment, seq, position) {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(%seq, %error, "an event that is to go cannot be read");
                return index.unread(txn, seq, position);
            }
        };
        let address = position.filing.address_of(&event).map(|address| address.hash());
        Ok(Some(Self { moment: Moment::of(&event, seq), id: event.id(), address, event: Some(event) }))
    }

    pub(crate) fn seq(&self) -> Seq {
        self.moment.seq
    }
}
