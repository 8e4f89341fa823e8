//! What committed batches change and the index does not show yet.
//!
//! A commit is acknowledged when its record is durable; the index follows on another thread. So that the next batch can be decided
//! meanwhile, batches leave their effects here, in the form decisions ask for them, until the index has them too. Looking in an
//! overlay that the index has caught up with gives the same answer as the index.

use foldhash::{HashMap, HashMapExt, HashSet};
use towpath_protocol::{Event, EventId, PublicKey};
use towpath_store::Seq;

use crate::index::tables::Version;
use crate::log::record::AddressKey;

/// The effects of one batch, or of several in a row.
#[derive(Debug, Default, Clone)]
pub(crate) struct Overlay {
    /// `None` if it was removed.
    pub(crate) events: HashMap<EventId, Option<Placed>>,
    pub(crate) versions: HashMap<AddressKey, Option<Version>>,
    pub(crate) deleted: HashSet<(EventId, PublicKey)>,
    pub(crate) deleted_addresses: HashMap<AddressKey, u64>,
    pub(crate) vanished: HashMap<PublicKey, u64>,
}

/// An accepted event.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) seq: Seq,
    pub(crate) event: Event,
    pub(crate) address: Option<AddressKey>,
    pub(crate) expires_at: Option<u64>,
}

impl Overlay {
    /// With room for so many events.
    pub(crate) fn for_events(events: usize) -> Self {
        Self { events: HashMap::with_capacity(events), ..Self::default() }
    }

    /// Adds what came of the batches behind these.
    pub(crate) fn merge(&mut self, later: Overlay) {
        self.events.extend(later.events);
        self.versions.extend(later.versions);
        self.deleted.extend(later.deleted);
        for (address, until) in later.deleted_addresses {
            self.delete_address(address, until);
        }
        for (who, until) in later.vanished {
            self.vanish(who, until);
        }
    }

    pub(crate) fn add(&mut self, placed: Placed) {
        if let Some(address) = placed.address {
            let version = Version { created_at: placed.event.created_at(), id: placed.event.id(), seq: placed.seq };
            self.versions.insert(address, Some(version));
        }
        self.events.insert(placed.event.id(), Some(placed));
    }

    /// `address` is the removed event's, if it is still the version under it.
    pub(crate) fn remove(&mut self, id: EventId, address: Option<AddressKey>) {
        self.events.insert(id, None);
        if let Some(address) = address {
            self.versions.insert(address, None);
        }
    }

    pub(crate) fn delete_address(&mut self, address: AddressKey, until: u64) {
        let at = self.deleted_addresses.entry(address).or_default();
        *at = until.max(*at);
    }

    pub(crate) fn vanish(&mut self, who: PublicKey, until: u64) {
        let at = self.vanished.entry(who).or_default();
        *at = until.max(*at);
    }
}
