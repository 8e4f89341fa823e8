//! Keys waiting to be inserted in order, into the two tables that are sorted by something else than when an event came.
//!
//! Inserting costs by the page touched, and in order the next key is mostly on the page of the one before.

use heed::RwTxn;
use towpath_store::{Error, Seq};

use super::Index;
use super::apply::Logged;
use super::keys::{Hint, Moment, OrderKey, prefixes};
use crate::log::record::{Extent, Filed};

/// Some 30 us.
const KEYS_AT_A_STRETCH: usize = 16;

/// See the module. Must be flushed before anything in it is looked for, or the transaction is committed.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) entries: u64,
    ids: Vec<([u8; 32], Seq)>,
    orders: Vec<(OrderKey, [u8; 10])>,
}

impl Run {
    /// Files an event, but for those keys.
    pub(crate) fn add(
        &mut self,
        index: &Index,
        txn: &mut RwTxn<'_>,
        seq: Seq,
        filed: &Filed,
        logged: Logged<'_>,
        extent: Extent,
    ) -> Result<(), Error> {
        index.file(txn, seq, filed, logged.position(filed, extent))?;
        let event = &filed.event;
        let (moment, hint) = (Moment::of(event, seq), Hint::of(event).to_bytes());
        self.ids.push((*event.id().as_bytes(), seq));
        self.orders.extend(prefixes(event).iter().map(|prefix| (prefix.at(moment), hint)));
        self.entries += 1;
        Ok(())
    }

    /// Inserts the keys.
    pub(crate) fn flush(&mut self, index: &Index, txn: &mut RwTxn<'_>) -> Result<(), Error> {
        self.ids.sort_unstable();
        self.orders.sort_unstable();
        for (count, (id, seq)) in self.ids.drain(..).enumerate() {
            give_way_after(count);
            index.put(index.ids, txn, &id, &seq.0.to_be_bytes())?;
        }
        for (count, (key, hint)) in self.orders.drain(..).enumerate() {
            give_way_after(count);
            index.put(index.orders, txn, key.as_bytes(), &hint)?;
        }
        self.entries = 0;
        Ok(())
    }
}

/// Every so often whoever waits for this processor gets it: else a commit that woke on it would wait for all of a run, a millisecond or more, as
/// the system lets who runs go on for that long and does not look for another processor.
pub(crate) fn give_way_after(count: usize) {
    if count.is_multiple_of(KEYS_AT_A_STRETCH) {
        std::thread::yield_now();
    }
}
