//! What becomes of a write: the rules of [`towpath_store::rules`] put to what is stored.
//!
//! Owns: the order in which the rules are asked. Must not know: files, syncing, threads, how the index is changed.

use std::sync::Arc;

use towpath_policy::{DeletionRequest, KIND_GIFT_WRAP, Placement, Removal, Write};
use towpath_protocol::{Event, EventId, PublicKey};
use towpath_store::{Batch, Error, Outcome, Seq, leaves, rules};

use crate::index::keys::{Hint, Moment, Prefix, address_key};
use crate::index::tables::Version;
use crate::index::{Index, Snapshot, failed, malformed};
use crate::log::Files;
use crate::log::record::{AddressKey, Body, Filed, Filing, Lasting, LogEntry};
use crate::overlay::{Overlay, Placed};
use crate::read::read_event;

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

/// A stored event that is about to go.
struct Target {
    seq: Seq,
    event: Event,
    address: Option<AddressKey>,
}

impl From<&Placed> for Target {
    fn from(placed: &Placed) -> Self {
        Self { seq: placed.seq, event: placed.event.clone(), address: placed.address }
    }
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
        if self.seq_of(&event.id())?.is_some() {
            return Ok(Outcome::Duplicate);
        }
        if let Some(refusal) = self.refusal(event)? {
            return Ok(refusal);
        }
        let mut removed = Vec::new();
        let address = match write.placement() {
            Placement::Replaceable(address) => Some(address_key(address)),
            Placement::Regular | Placement::Ephemeral => None,
        };
        if let Some(key) = address {
            if self.address_deleted_until(&key)?.is_some_and(|until| until >= event.created_at()) {
                return Ok(Outcome::Deleted);
            }
            if let Some(old) = self.version(&key)? {
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

    /// Whether an owner of the event has vanished or asked for it to be deleted.
    fn refusal(&self, event: &Event) -> Result<Option<Outcome>, Error> {
        let owners = rules::owners(event);
        if rules::vanishes(event.kind()) {
            for owner in &owners {
                if self.vanished_until(owner)?.is_some_and(|until| until >= event.created_at()) {
                    return Ok(Some(Outcome::Vanished));
                }
            }
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

    fn remove(&mut self, write: &Write, removed: &mut Vec<Seq>) -> Result<Lasting, Error> {
        match write.removal() {
            Removal::None => Ok(Lasting::None),
            Removal::Delete(request) => self.delete(write.event(), request, removed),
            Removal::Vanish => self.vanish(write.event(), removed),
        }
    }

    fn delete(&mut self, by: &Event, request: &DeletionRequest, removed: &mut Vec<Seq>) -> Result<Lasting, Error> {
        let deleter = by.pubkey();
        for id in &request.ids {
            self.batch.deleted.insert((*id, deleter));
            let Some(target) = self.stored(id)? else { continue };
            if rules::is_deletable(target.event.kind()) && rules::owners(&target.event).contains(&deleter) {
                self.take_out(&target, removed)?;
            }
        }
        let own = request.addresses.iter().filter(|address| address.pubkey == deleter);
        let addresses: Vec<AddressKey> = own.map(address_key).collect();
        for key in &addresses {
            self.batch.delete_address(*key, by.created_at());
            let version = self.version(key)?.filter(|version| version.created_at <= by.created_at());
            if let Some(version) = version {
                self.batch.remove(version.id, Some(*key));
                removed.push(version.seq);
            }
        }
        Ok(Lasting::Deleted { by: deleter, created_at: by.created_at(), ids: request.ids.clone(), addresses })
    }

    /// Needs an index with nothing pending.
    fn vanish(&mut self, request: &Event, removed: &mut Vec<Seq>) -> Result<Lasting, Error> {
        let (who, until) = (request.pubkey(), request.created_at());
        self.batch.vanish(who, until);
        let fresh: Vec<Target> = self.batch.events.values().flatten().map(Target::from).collect();
        for target in fresh {
            self.take_along(who, until, &target, removed)?;
        }
        // One after the other: a client may have stored more than there is memory.
        let mut indexed = self.indexed(Prefix::author(&who), until, rules::vanishes)?;
        indexed.extend(self.indexed(Prefix::tag(b'p', &who.to_hex()), until, |kind| kind == KIND_GIFT_WRAP)?);
        for seq in indexed {
            if let Some(target) = self.target_at(seq)? {
                self.take_along(who, until, &target, removed)?;
            }
        }
        Ok(Lasting::Vanished { who, until })
    }

    /// Takes an event out if `who`, who vanishes, takes it along.
    fn take_along(&mut self, who: PublicKey, until: u64, target: &Target, removed: &mut Vec<Seq>) -> Result<(), Error> {
        let event = &target.event;
        let reached = event.pubkey() == who || (event.kind() == KIND_GIFT_WRAP && rules::owners(event).contains(&who));
        let goes = reached && event.created_at() <= until && rules::vanishes(event.kind());
        if goes && self.seq_of(&event.id())? == Some(target.seq) {
            self.take_out(target, removed)?;
        }
        Ok(())
    }

    fn take_out(&mut self, target: &Target, removed: &mut Vec<Seq>) -> Result<(), Error> {
        let current = match &target.address {
            Some(key) => self.version(key)?.is_some_and(|version| version.seq == target.seq),
            None => false,
        };
        self.batch.remove(target.event.id(), target.address.filter(|_| current));
        removed.push(target.seq);
        Ok(())
    }

    /// Where every indexed event under `prefix` up to `until` is whose kind is `meant`; none is read.
    fn indexed(&self, prefix: Prefix, until: u64, meant: impl Fn(u16) -> bool) -> Result<Vec<Seq>, Error> {
        let from = prefix.at(Moment::start_of(until));
        let range = self.index.orders_from(self.txn, &from)?;
        let mut found = Vec::new();
        for item in range {
            let (key, hint) = item.map_err(failed("read the index"))?;
            if !key.starts_with(prefix.as_bytes()) {
                break;
            }
            if !meant(Hint::parse(hint).ok_or_else(|| malformed("orders"))?.kind) {
                continue;
            }
            found.push(Moment::parse(key).ok_or_else(|| malformed("orders"))?.seq);
        }
        Ok(found)
    }

    fn target_at(&self, seq: Seq) -> Result<Option<Target>, Error> {
        let Some(position) = self.index.position(self.txn, seq)? else { return Ok(None) };
        let segment = self.files.holding_in(seq, position.generation).ok_or_else(|| malformed("events"))?;
        let event = read_event(segment, seq, position)?;
        let address = position.filing.address_of(&event).map(|address| address_key(&address));
        Ok(Some(Target { seq, event, address }))
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

    fn version(&self, address: &AddressKey) -> Result<Option<Version>, Error> {
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
