//! What one slice sees: a snapshot of the index and the log files it refers to.

use std::sync::Arc;

use towpath_protocol::Event;
use towpath_store::{Error, Seq};

use crate::Shared;
use crate::index::vanish::Vanishings;
use crate::index::{Index, Snapshot};
use crate::log::Files;
use crate::read::Stretch;

pub(crate) struct View<'a> {
    shared: &'a Shared,
    txn: Snapshot<'a>,
    /// What they take along waits to be taken out, and is not there any more.
    vanishings: Vanishings,
    files: Arc<Files>,
    stretch: Stretch,
}

impl<'a> View<'a> {
    pub(crate) fn open(shared: &'a Shared) -> Result<Self, Error> {
        let txn = shared.index.read()?;
        let vanishings = shared.index.vanishings(&txn)?;
        Ok(Self { shared, txn, vanishings, files: shared.log.files(), stretch: Stretch::default() })
    }

    pub(crate) fn index(&self) -> &'a Index {
        &self.shared.index
    }

    pub(crate) fn txn(&self) -> &Snapshot<'a> {
        &self.txn
    }

    /// The event, unless it has been removed.
    pub(crate) fn event(&mut self, seq: Seq) -> Result<Option<Event>, Error> {
        // A compaction that ends between taking the snapshot and the files leaves the one pointing at a file that the other lacks.
        // Each look takes both anew, and compactions are seldom: two in a row cannot end within a look.
        for _ in 0..3 {
            let Some(position) = self.shared.index.position(&self.txn, seq)? else { return Ok(None) };
            if let Some(segment) = self.files.holding_in(seq, position.generation) {
                let event = self.stretch.event(segment, seq, position)?;
                return Ok(Some(event).filter(|event| self.vanishings.reaching(event).is_none()));
            }
            *self = Self::open(self.shared)?;
        }
        Err(Error::Corrupt(format!("the log file of entry {seq} is missing")))
    }
}
