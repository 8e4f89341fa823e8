//! Bringing the index up to the log: a short tail after a crash, or all of it.
//!
//! A rebuild reads the log twice. The first pass learns what was ever removed, so that the second never files an event only to take
//! it out again, and can hand LMDB its keys in sorted runs. That is also how its progress is counted: every entry twice.
//!
//! The log is the truth: nothing of it is passed over because it is damaged.

use std::ops::ControlFlow;
use std::sync::Arc;

use towpath_audit::{Leaf, LeafState};
use towpath_protocol::Event;
use towpath_store::{Error, Seq};

use super::Index;
use super::apply::{Logged, must_erase};
use super::run::Run;
use super::tables::Waste;
use super::vanish::{Vanishing, Vanishings};
use crate::audit::Growth;
use crate::log::Files;
use crate::log::reader::{Follow, Walk};
use crate::log::record::{Body, Lasting, Record};

/// Entries between two commits of a rebuild, which is also how far keys are sorted.
const RUN_ENTRIES: u64 = 100_000;
const TAIL_RECORDS: usize = 1_000;

/// Applies what follows `applied`; the tree, which may be further behind, takes what it lacks.
pub(crate) fn replay_tail(
    index: &Index,
    files: &Arc<Files>,
    (applied, last): (Seq, Seq),
    mut growth: Option<&mut Growth<'_>>,
) -> Result<(), Error> {
    let behind = growth.as_ref().map_or(applied, |growth| growth.at().min(applied));
    if behind >= last {
        return Ok(());
    }
    tracing::info!(entries = last.0 - behind.0, "bringing the index up to the log");
    let mut follow = Follow::from_file_of(Arc::clone(files), behind.next());
    let mut run = Run::default();
    loop {
        let mut txn = index.write()?;
        let mut done = false;
        for _ in 0..TAIL_RECORDS {
            let Some((segment, at, record)) = follow.next()? else {
                done = true;
                break;
            };
            if let Some(growth) = &mut growth {
                growth.take(&record)?;
            }
            if record.header.first_seq > applied {
                index.apply(&mut txn, files, Logged { segment: &segment, at, record: &record }, &mut run)?;
            }
        }
        run.flush(index, &mut txn)?;
        index.commit(txn)?;
        if done {
            return Ok(());
        }
    }
}

/// Told how many entries of a rebuild have been read, of how many, each being read twice; it may end the rebuild.
pub type Progress<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

/// A rebuild that ends here leaves an index that is not trusted, so the next start begins again.
fn tell(progress: &mut Progress<'_>, done: u64, last: Seq) -> Result<(), Error> {
    match progress(done, 2 * last.0) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Closed("the rebuild of the index was ended".into())),
    }
}

/// Fills an empty index from the whole log.
pub(crate) fn rebuild(
    index: &Index,
    files: &Arc<Files>,
    last: Seq,
    mut growth: Option<&mut Growth<'_>>,
    progress: &mut Progress<'_>,
) -> Result<(), Error> {
    let removals = Removals::of(files, &mut |done| tell(progress, done, last))?;
    let mut follow = Follow::from_file_of(Arc::clone(files), Seq(1));
    let mut run = Run::default();
    let mut waste = Waste::default();
    let mut file = Seq(1);
    let mut txn = index.write()?;
    while let Some((segment, at, record)) = follow.next()? {
        if segment.first_seq != file {
            index.set_waste(&mut txn, file, std::mem::take(&mut waste))?;
            file = segment.first_seq;
        }
        if let Some(growth) = &mut growth {
            growth.take(&record)?;
        }
        let logged = Logged { segment: &segment, at, record: &record };
        for (seq, entry, extent) in record.numbered() {
            index.remember(&mut txn, seq, &entry.lasting)?;
            let removal = entry.body.filed().and_then(|filed| removals.removal_of(seq, &filed.event));
            match (&entry.body, removal) {
                (Body::Event(filed), None) => run.add(index, &mut txn, seq, filed, logged, extent)?,
                (Body::Event(filed), Some(removal)) => {
                    index.bury(&mut txn, &filed.event.pubkey(), seq)?;
                    let erase = removal.erase || filed.expires_at.is_some();
                    waste.removed(u64::from(extent.len), erase.then_some(removal.at_ms));
                }
                (Body::Erased(LeafState::Whole(Leaf { actor: Some(actor), .. })), _) => {
                    index.bury(&mut txn, actor, seq)?;
                }
                _ => {}
            }
        }
        let applied = Seq(record.header.next_seq().0 - 1);
        index.set_applied(&mut txn, applied)?;
        tell(progress, last.0 + applied.0, last)?;
        if run.entries >= RUN_ENTRIES {
            run.flush(index, &mut txn)?;
            index.commit(txn)?;
            tracing::info!(done = applied.0, of = last.0, "rebuilding the index");
            txn = index.write()?;
        }
    }
    run.flush(index, &mut txn)?;
    index.set_waste(&mut txn, file, waste)?;
    for (who, vanishing) in removals.vanished.iter() {
        index.unearth(&mut txn, files, who, *vanishing, usize::MAX)?;
    }
    index.commit(txn)
}

/// Which entries the log says were removed: by name, or because somebody vanished.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    named: Vec<(Seq, Removal)>,
    vanished: Vanishings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Removal {
    at_ms: u64,
    /// Whether the bytes must go as well, whatever they are.
    erase: bool,
}

impl Removals {
    fn of(files: &Arc<Files>, read_up_to: &mut dyn FnMut(u64) -> Result<(), Error>) -> Result<Self, Error> {
        let mut removals = Self::default();
        let mut follow = Follow::from_file_of(Arc::clone(files), Seq(1));
        while let Some((_, _, record)) = follow.next().map_err(with_advice)? {
            removals.take(&record);
            read_up_to(record.header.next_seq().0 - 1)?;
        }
        removals.named.sort_unstable();
        Ok(removals)
    }

    /// The same of a log that may be damaged, as far as it can be read.
    pub(crate) fn readable(files: &Files) -> Self {
        let mut removals = Self::default();
        for segment in files.iter() {
            let mut walk = Walk::new(Arc::clone(segment), 0);
            while let Ok(Some((_, record))) = walk.next() {
                removals.take(&record);
            }
        }
        removals.named.sort_unstable();
        removals
    }

    fn take(&mut self, record: &Record) {
        let at_ms = record.header.committed_at_ms;
        for (at, entry, _) in record.numbered() {
            let removal = Removal { at_ms, erase: must_erase(entry) };
            self.named.extend(entry.removed.iter().map(|seq| (*seq, removal)));
            if let Lasting::Vanished { who, until } = entry.lasting {
                self.vanished.add(who, Vanishing::asked(until, at, at_ms));
            }
        }
    }

    /// `None` if the event at `seq` was not removed.
    fn removal_of(&self, seq: Seq, event: &Event) -> Option<Removal> {
        let named = self.named.binary_search_by_key(&seq, |(removed, _)| *removed).ok();
        let named = named.and_then(|found| self.named.get(found)).map(|(_, removal)| *removal);
        let of_vanished = |Vanishing { at_ms, .. }| Removal { at_ms, erase: true };
        named.or_else(|| self.vanished.reaching(event).map(of_vanished))
    }

    pub(crate) fn contain(&self, seq: Seq, event: &Event) -> bool {
        self.removal_of(seq, event).is_some()
    }
}

/// Files of one name hold the same, wherever they are.
fn with_advice(error: Error) -> Error {
    match error {
        Error::Corrupt(why) => Error::Corrupt(format!("{why}; if a backup has the file, put it in its place")),
        other => other,
    }
}
