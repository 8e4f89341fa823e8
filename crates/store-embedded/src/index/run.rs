//! Keys waiting to be inserted in order, into the two tables that are sorted by something else than when an event came.
//!
//! Inserting costs by the page touched, and in order the next key is mostly on the page of the one before.

use heed::RwTxn;
use towpath_store::{Error, Seq};

use super::Index;
use super::apply::Logged;
use super::keys::{Hint, Moment, OrderKey, prefixes};
use crate::log::record::{Extent, Filed};

/// See the module. Must be flushed before anything in it is looked for, or the transaction is committed.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) entries: u64,
    ids: Vec<([u8; 32], Seq)>,
    orders: Vec<(OrderKey, [u8; 10])>,
    pauses: Pauses,
}

/// Where a run that nobody waits for gives way. The system lets who runs go on for milliseconds, and does not look for another processor for
/// who wakes behind it: a commit would wait for most of a run, though the other processor is idle.
///
/// A few times only: on a machine that is never idle each may take as long.
#[derive(Default)]
struct Pauses {
    left: usize,
    keys: usize,
}

impl Pauses {
    const MAX: usize = 4;
    /// Some 0.2 ms.
    const KEYS_BETWEEN: usize = 256;

    fn after_key(&mut self) {
        self.keys += 1;
        if self.keys.is_multiple_of(Self::KEYS_BETWEEN) && self.left > 0 {
            self.left -= 1;
            std::thread::yield_now();
        }
    }
}

impl Run {
    /// Somebody waits for it, or not.
    pub(crate) fn new(wanted: bool) -> Self {
        let pauses = Pauses { left: if wanted { 0 } else { Pauses::MAX }, keys: 0 };
        Self { pauses, ..Self::default() }
    }

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
        self.pauses.after_key();
        Ok(())
    }

    /// Inserts the keys.
    pub(crate) fn flush(&mut self, index: &Index, txn: &mut RwTxn<'_>) -> Result<(), Error> {
        self.ids.sort_unstable();
        self.orders.sort_unstable();
        for (id, seq) in self.ids.drain(..) {
            self.pauses.after_key();
            index.put(index.ids, txn, &id, &seq.0.to_be_bytes())?;
        }
        for (key, hint) in self.orders.drain(..) {
            self.pauses.after_key();
            index.put(index.orders, txn, key.as_bytes(), &hint)?;
        }
        self.entries = 0;
        Ok(())
    }
}
