//! What becomes of a write: the rules of [`towpath_store::rules`] put to what is stored.
//!
//! Owns: the order in which the rules are asked. Must not know: files, syncing, threads, how the index is changed.

use std::sync::Arc;

use towpath_policy::{DeletionRequest, Placement, Removal, Write};
use towpath_protocol::{Address, Event, EventId, PublicKey};
use towpath_store::{Batch, Error, Outcome, Seq, leaves, rules};

use crate::index::tables::Version;
use crate::index::vanish::is_of;
use crate::index::{Index, Snapshot};
use crate::log::Files;
use crate::log::record::{AddressKey, Body, Filed, Filing, Lasting, LogEntry};
use crate::overlay::{Overlay, Placed};
use crate::target::Target;

/// Decides the writes of one batch in order.
pub(crate) struct Decider<'a> {
    index: &'a Index,
    files: &'a Files,
    /// Taken after `pending`, so that between them nothing is missed.
    txn: &'a Snapshot<'a>,
    /// Committed batches that the snapshot may not show, oldest first.
    pending: &'a [Arc<Overlay>],
    /// This batch so far.
    batch: Overlay,
    committed_at_ms: u64,
    next_seq: Seq,
}

impl<'a> Decider<'a> {
    pub(crate) fn new(
        index: &'a Index,
        files: &'a Files,
        txn: &'a Snapshot<'a>,
        pending: &'a [Arc<Overlay>],
        next_seq: Seq,
        batch: &Batch,
    ) -> Self {
        let (effects, committed_at_ms) = (Overlay::for_events(batch.writes.len()), batch.committed_at_ms);
        Self { index, files, txn, pending, batch: effects, committed_at_ms, next_seq }
    }

    /// The batch's effects.
    pub(crate) fn finish(self) -> Overlay {
        self.batch
    }

    /// Decides a write and, if it is accepted, appends to `log` what to log.
    pub(crate) fn decide(&mut self, write: &Write, log: &mut Vec<LogEntry>) -> Result<Outcome, Error> {
        let event = write.event();
        let gone_until = self.vanished_until(&event.pubkey())?;
        if let Some(refusal) = self.refusal(event, gone_until)? {
            return Ok(refusal);
        }
        let mut removed = Vec::new();
        let address = match write.placement() {
            Placement::Replaceable(address) => Some(address.hash()),
            Placement::Regular | Placement::Ephemeral => None,
        };
        if let Some(key) = address {
            if self.address_deleted_until(&key)?.is_some_and(|until| until >= event.created_at()) {
                return Ok(Outcome::Deleted);
            }
            if let Some(old) = self.version(&key, gone_until)? {
                let supersedes = rules::supersedes((event.created_at(), event.id()), (old.created_at, old.id));
                if !supersedes && !self.is_over(&old)? {
                    return Ok(Outcome::Superseded);
                }
                self.batch.remove(old.id, Some(key));
                removed.push(old.seq);
            }
        }
        let seq = self.next_seq;
        self.next_seq = seq.next();
        let expires_at = write.expires_at().filter(|at| *at != u64::MAX);
        self.batch.add(Placed { seq, event: event.clone(), address, expires_at });
        let lasting = self.remove(write, &mut removed)?;
        removed.sort_unstable();
        removed.dedup();
        let (action, source) = (leaves::action_of(write, !removed.is_empty()), write.source());
        let filed = Filed { event: event.clone(), filing: filing(write), expires_at, action, source };
        log.push(LogEntry { body: Body::Event(filed), removed, lasting });
        Ok(Outcome::Accepted(seq))
    }

    /// Whether an owner of the event has vanished (its author up to `gone_until`), it is stored, or an owner has asked for it to be
    /// deleted. Who vanished comes first: what waits to be taken out is not there any more.
    fn refusal(&self, event: &Event, gone_until: Option<u64>) -> Result<Option<Outcome>, Error> {
        let owners = rules::owners(event);
        if self.is_taken_along(event, gone_until, &owners)? {
            return Ok(Some(Outcome::Vanished));
        }
        if self.seq_of(&event.id())?.is_some() {
            return Ok(Some(Outcome::Duplicate));
        }
        if rules::is_deletable(event.kind()) {
            for owner in &owners {
                if self.is_deleted(&event.id(), owner)? {
                    return Ok(Some(Outcome::Deleted));
                }
            }
        }
        Ok(None)
    }

    fn has_vanished(&self, event: &Event) -> Result<bool, Error> {
        let gone_until = self.vanished_until(&event.pubkey())?;
        self.is_taken_along(event, gone_until, &rules::owners(event))
    }

    /// Whether one of `owners`, of whom the author is the first and has vanished up to `gone_until`, takes the event along.
    fn is_taken_along(&self, event: &Event, gone_until: Option<u64>, owners: &[PublicKey]) -> Result<bool, Error> {
        if !rules::vanishes(event.kind()) {
            return Ok(false);
        }
        let reaches = |until: Option<u64>| until.is_some_and(|until| until >= event.created_at());
        if reaches(gone_until) {
            return Ok(true);
        }
        for owner in owners.iter().skip(1) {
            if reaches(self.vanished_until(owner)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn remove(&mut self, write: &Write, removed: &mut Vec<Seq>) -> Result<Lasting, Error> {
        match write.removal() {
            Removal::None => Ok(Lasting::None),
            Removal::Delete(request) => self.delete(write.event(), request, removed),
            Removal::Vanish => self.vanish(write.event(), removed),
        }
    }

    fn delete(&mut self, by: &Event, request: &DeletionRequest, removed: &mut Vec<Seq>) -> Result<Lasting, Error> {
        let deleter = by.pubkey();
        let gone_until = self.vanished_until(&deleter)?;
        for id in &request.ids {
            self.batch.deleted.insert((*id, deleter));
            let Some(target) = self.stored(id)? else { continue };
            if self.may_delete(&target, &deleter)? && self.is_stored(&target)? {
                self.take_out(&target, removed)?;
            }
        }
        let own = request.addresses.iter().filter(|address| address.pubkey == deleter);
        let addresses: Vec<AddressKey> = own.map(Address::hash).collect();
        for key in &addresses {
            self.batch.delete_address(*key, by.created_at());
            let version = self.version(key, gone_until)?.filter(|version| version.created_at <= by.created_at());
            if let Some(version) = version {
                self.batch.remove(version.id, Some(*key));
                removed.push(version.seq);
            }
        }
        Ok(Lasting::Deleted { by: deleter, created_at: by.created_at(), ids: request.ids.clone(), addresses })
    }

    /// Takes out what the request reaches. Names it, unless it is much: then it is hidden, and taken out as the index finds it.
    fn vanish(&mut self, request: &Event, removed: &mut Vec<Seq>) -> Result<Lasting, Error> {
        let (who, until) = (request.pubkey(), request.created_at());
        let mut reached = self.fresh_of(&who, until);
        let indexed = self.index.belongings(self.txn, &who, until)?;
        let is_much = !indexed.are_all || reached.len() + indexed.seqs.len() > self.index.at_once.events;
        if !is_much {
            for seq in indexed.seqs {
                let target = self.target_at(seq)?;
                reached.extend(target.filter(|target| target.event.as_ref().is_none_or(|event| is_of(event, &who))));
            }
        }
        let mut named = Vec::new();
        for target in &reached {
            if self.is_stored(target)? {
                self.take_out(target, &mut named)?;
            }
        }
        if !is_much {
            removed.append(&mut named);
        }
        // Last: from here on, what it reaches does not count as stored.
        self.batch.vanish(who, until);
        Ok(Lasting::Vanished { who, until })
    }

    /// What `who` takes along, who vanishes up to `until`, of what the index may lack.
    fn fresh_of(&self, who: &PublicKey, until: u64) -> Vec<Target> {
        let fresh = self.overlays().flat_map(|overlay| overlay.events.values().flatten());
        let reached = fresh.filter(|placed| placed.event.created_at() <= until && is_of(&placed.event, who));
        reached.map(Target::from).collect()
    }

    /// Takes out those of `due`, which have expired, that are still stored. Returns where they were.
    pub(crate) fn expire(&mut self, due: &[Target]) -> Result<Vec<Seq>, Error> {
        let mut removed = Vec::with_capacity(due.len());
        for target in due {
            if self.is_stored(target)? {
                self.take_out(target, &mut removed)?;
            }
        }
        removed.sort_unstable();
        Ok(removed)
    }

    fn take_out(&mut self, target: &Target, removed: &mut Vec<Seq>) -> Result<(), Error> {
        let address = self.index.address_of(self.txn, target)?;
        let current = match &address {
            Some(key) => self.filed_under(key)?.is_some_and(|version| version.seq == target.seq()),
            None => false,
        };
        self.batch.remove(target.id, address.filter(|_| current));
        removed.push(target.seq());
        Ok(())
    }

    /// Whether `who` is an owner of the event, and it is of a kind that can be deleted.
    fn may_delete(&self, target: &Target, who: &PublicKey) -> Result<bool, Error> {
        let kind = match &target.event {
            Some(event) => rules::owners(event).contains(who).then(|| event.kind()),
            None => self.index.kind_if_of(self.txn, target.moment, who)?,
        };
        Ok(kind.is_some_and(rules::is_deletable))
    }

    /// Whether it has not been taken out since it was read, nor waits to be, because an owner has vanished.
    fn is_stored(&self, target: &Target) -> Result<bool, Error> {
        if self.seq_of(&target.id)? != Some(target.seq()) {
            return Ok(false);
        }
        Ok(match &target.event {
            Some(event) => !self.has_vanished(event)?,
            None => true,
        })
    }

    fn target_at(&self, seq: Seq) -> Result<Option<Target>, Error> {
        Target::at(self.index, self.txn, self.files, seq)
    }

    /// Newest first.
    fn overlays(&self) -> impl Iterator<Item = &Overlay> {
        std::iter::once(&self.batch).chain(self.pending.iter().rev().map(Arc::as_ref))
    }

    fn seq_of(&self, id: &EventId) -> Result<Option<Seq>, Error> {
        match self.overlays().find_map(|overlay| overlay.events.get(id)) {
            Some(placed) => Ok(placed.as_ref().map(|placed| placed.seq)),
            None => self.index.seq_of(self.txn, id),
        }
    }

    fn stored(&self, id: &EventId) -> Result<Option<Target>, Error> {
        if let Some(placed) = self.overlays().find_map(|overlay| overlay.events.get(id)) {
            return Ok(placed.as_ref().map(Target::from));
        }
        let Some(seq) = self.index.seq_of(self.txn, id)? else { return Ok(None) };
        self.target_at(seq)
    }

    /// The version under `address`, unless its author, who has vanished up to `gone_until`, took it along.
    fn version(&self, address: &AddressKey, gone_until: Option<u64>) -> Result<Option<Version>, Error> {
        let version = self.filed_under(address)?;
        Ok(version.filter(|version| gone_until.is_none_or(|until| until < version.created_at)))
    }

    fn filed_under(&self, address: &AddressKey) -> Result<Option<Version>, Error> {
        match self.overlays().find_map(|overlay| overlay.versions.get(address)) {
            Some(version) => Ok(*version),
            None => self.index.version(self.txn, address),
        }
    }

    fn is_over(&self, version: &Version) -> Result<bool, Error> {
        let expires_at = match self.overlays().find_map(|overlay| overlay.events.get(&version.id)) {
            Some(placed) => placed.as_ref().and_then(|placed| placed.expires_at),
            None => self.index.position(self.txn, version.seq)?.and_then(|position| position.expires_at),
        };
        Ok(rules::is_over(expires_at, self.committed_at_ms))
    }

    fn is_deleted(&self, id: &EventId, by: &PublicKey) -> Result<bool, Error> {
        let fresh = self.overlays().any(|overlay| overlay.deleted.contains(&(*id, *by)));
        Ok(fresh || self.index.is_deleted(self.txn, id, by)?)
    }

    fn address_deleted_until(&self, address: &AddressKey) -> Result<Option<u64>, Error> {
        let fresh = self.overlays().filter_map(|overlay| overlay.deleted_addresses.get(address).copied()).max();
        Ok(fresh.max(self.index.address_deleted_until(self.txn, address)?))
    }

    fn vanished_until(&self, who: &PublicKey) -> Result<Option<u64>, Error> {
        let fresh = self.overlays().filter_map(|overlay| overlay.vanished.get(who).copied()).max();
        Ok(fresh.max(self.index.vanished_until(self.txn, who)?))
    }
}

/// An address without a `d` is the same under either.
fn filing(write: &Write) -> Filing {
    match write.placement() {
        Placement::Replaceable(address) if address.d.is_empty() => Filing::Replaceable,
        Placement::Replaceable(_) => Filing::Addressable,
        Placement::Regular | Placement::Ephemeral => Filing::Regular,
    }
}
