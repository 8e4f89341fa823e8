//! Carrying out requests to vanish (NIP-62), which may reach more than can go at once.
//!
//! The entry of a request removes what it names, and with that whatever else of its author the log has before it. The rest is hidden from
//! the entry on, and upkeep takes it out in steps. Nothing is logged for them: the entry says it all, and a rebuild leaves it out at once.
//!
//! Must not know: how writes are decided, threads.

use std::ops::Bound;

use foldhash::HashMap;
use heed::{RoTxn, RwTxn};
use towpath_policy::KIND_GIFT_WRAP;
use towpath_protocol::{Event, EventId, PublicKey};
use towpath_store::{Error, Seq, rules};

use super::keys::{Hint, MOMENT_BYTES, Moment, Prefix, be64, grave, head8};
use super::{Index, failed, malformed};
use crate::log::Files;
use crate::target::Target;

/// About what a leaf takes. Only whether a file has anything to erase matters.
const LEAF_BYTES: u64 = 100;

/// What is known of somebody's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vanishing {
    /// Their events up to this time are gone.
    pub(crate) until: u64,
    /// Where the latest request is.
    pub(crate) at: Seq,
    /// When the first was committed, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// From here on, gift wraps to them are still to be looked for: among whatever names them, most of which stays.
    wraps_from: Moment,
}

const VANISHING_BYTES: usize = 24 + MOMENT_BYTES;

impl Vanishing {
    /// One request.
    pub(crate) fn asked(until: u64, at: Seq, at_ms: u64) -> Self {
        Self { until, at, at_ms, wraps_from: Moment::start_of(until) }
    }

    fn and(self, other: Self) -> Self {
        let (until, at) = (self.until.max(other.until), self.at.max(other.at));
        Self { until, at, at_ms: self.at_ms.min(other.at_ms), wraps_from: self.wraps_from.min(other.wraps_from) }
    }

    fn to_bytes(self) -> [u8; VANISHING_BYTES] {
        let mut bytes = [0; VANISHING_BYTES];
        bytes[..8].copy_from_slice(&self.until.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.at.0.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.at_ms.to_be_bytes());
        bytes[24..].copy_from_slice(&self.wraps_from.to_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (until, at, at_ms) = (be64(bytes, 0)?, Seq(be64(bytes, 8)?), be64(bytes, 16)?);
        Some(Self { until, at, at_ms, wraps_from: Moment::parse(bytes.get(24..)?)? })
    }
}

/// Requests by who made them.
#[derive(Debug, Default)]
pub(crate) struct Vanishings(HashMap<PublicKey, Vanishing>);

impl Vanishings {
    pub(crate) fn add(&mut self, who: PublicKey, latest: Vanishing) {
        let all = self.0.entry(who).or_insert(latest);
        *all = all.and(latest);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PublicKey, &Vanishing)> {
        self.0.iter()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One that takes `event` along. No event that it would is accepted behind it.
    pub(crate) fn reaching(&self, event: &Event) -> Option<Vanishing> {
        if self.is_empty() || !rules::vanishes(event.kind()) {
            return None;
        }
        let late_enough = |vanishing: &Vanishing| vanishing.until >= event.created_at();
        let of = |who: &PublicKey| self.0.get(who).copied().filter(late_enough);
        let of_author = of(&event.pubkey());
        // Scans ask this of every event, and only gift wraps have other owners.
        if of_author.is_some() || event.kind() != KIND_GIFT_WRAP {
            return of_author;
        }
        rules::owners(event).iter().find_map(of)
    }
}

/// Where some of somebody's events are.
#[derive(Debug, Default)]
pub(crate) struct Belongings {
    pub(crate) seqs: Vec<Seq>,
    /// Of those events.
    bytes: usize,
    /// Whether there are no others.
    pub(crate) are_all: bool,
    /// The first gift wrap that was not looked at, if any is left.
    wraps_from: Option<Moment>,
}

/// What upkeep takes out next.
#[derive(Debug)]
pub(crate) struct Step {
    who: PublicKey,
    vanishing: Vanishing,
    targets: Vec<Target>,
    /// What is left for the next step, if no other request comes before.
    left: Option<Vanishing>,
}

impl Index {
    /// Requests that are not carried out yet.
    pub(crate) fn vanishings(&self, txn: &RoTxn<'_>) -> Result<Vanishings, Error> {
        let mut all = Vanishings::default();
        for item in self.vanishing.iter(txn).map_err(failed("read the index"))? {
            let (who, vanishing) = parse(item.map_err(failed("read the index"))?)?;
            all.add(who, vanishing);
        }
        Ok(all)
    }

    /// Whether the event at `seq` is one that somebody took along who is in the table or in `others`, with up to when.
    pub(crate) fn is_hidden(
        &self,
        txn: &RoTxn<'_>,
        (id, seq): (&EventId, Seq),
        others: &[(PublicKey, u64)],
    ) -> Result<bool, Error> {
        let vanishings = self.vanishings(txn)?;
        if vanishings.is_empty() && others.is_empty() {
            return Ok(false);
        }
        let Some(position) = self.position(txn, seq)? else { return Ok(false) };
        let moment = Moment { age: !position.created_at, id_head: head8(id.as_bytes()), seq };
        let filed = vanishings.iter().map(|(who, vanishing)| (*who, vanishing.until));
        for (who, until) in filed.chain(others.iter().copied()) {
            if position.created_at <= until && self.kind_if_of(txn, moment, &who)?.is_some_and(rules::vanishes) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Some of what `who` takes along who vanishes up to `until`: so much that it can go at once. Nothing is read.
    pub(crate) fn belongings(&self, txn: &RoTxn<'_>, who: &PublicKey, until: u64) -> Result<Belongings, Error> {
        self.belongings_from(txn, who, (until, Moment::start_of(until)), self.at_once.keys)
    }

    /// The same, where gift wraps from `wraps_from` on are left, and `keys_max` of their own events are looked at.
    fn belongings_from(
        &self,
        txn: &RoTxn<'_>,
        who: &PublicKey,
        (until, wraps_from): (u64, Moment),
        keys_max: usize,
    ) -> Result<Belongings, Error> {
        let mut found = Belongings::default();
        let theirs = (Prefix::author(who), Moment::start_of(until));
        let own = self.gather(txn, theirs, rules::vanishes, keys_max, &mut found)?;
        let to_them = (Prefix::tag(b'p', &who.to_hex()), wraps_from);
        let is_wrap = |kind| kind == KIND_GIFT_WRAP;
        found.wraps_from = self.gather(txn, to_them, is_wrap, self.at_once.keys, &mut found)?;
        found.are_all = own.is_none() && found.wraps_from.is_none();
        Ok(found)
    }

    /// Returns the first key under the prefix that was not looked at, if any is left.
    fn gather(
        &self,
        txn: &RoTxn<'_>,
        (prefix, from): (Prefix, Moment),
        is_meant: impl Fn(u16) -> bool,
        keys_max: usize,
        found: &mut Belongings,
    ) -> Result<Option<Moment>, Error> {
        let (events_max, bytes_max) = (self.at_once.events, self.at_once.bytes);
        for (looked_at, item) in self.orders_from(txn, &prefix.at(from))?.enumerate() {
            let (key, hint) = item.map_err(failed("read the index"))?;
            if !key.starts_with(prefix.as_bytes()) {
                break;
            }
            let (moment, hint) = Moment::parse(key).zip(Hint::parse(hint)).ok_or_else(|| malformed("orders"))?;
            if looked_at >= keys_max || found.seqs.len() >= events_max || found.bytes >= bytes_max {
                return Ok(Some(moment));
            }
            // What is left of an event that could not be read leads nowhere.
            if is_meant(hint.kind)
                && let Some(position) = self.position(txn, moment.seq)?
            {
                found.seqs.push(moment.seq);
                found.bytes += position.extent.len as usize;
            }
        }
        Ok(None)
    }

    /// Files a request whose entry has removed what it names. Whatever is left is for upkeep.
    pub(super) fn vanish(&self, txn: &mut RwTxn<'_>, who: &PublicKey, latest: Vanishing) -> Result<(), Error> {
        let vanishing = self.vanishing_of(txn, who)?.map_or(latest, |before| before.and(latest));
        self.put(self.vanishing, txn, who.as_bytes(), &vanishing.to_bytes())
    }

    /// The next step, if anybody is vanishing: read before others have to wait for it.
    pub(crate) fn next_step(&self, txn: &RoTxn<'_>, files: &Files) -> Result<Option<Step>, Error> {
        let first = self.vanishing.first(txn).map_err(failed("read the index"))?;
        let Some((who, vanishing)) = first.map(parse).transpose()? else { return Ok(None) };
        // Of their own events little stays, so that each step may begin with the first.
        let next = self.belongings_from(txn, &who, (vanishing.until, vanishing.wraps_from), usize::MAX)?;
        let mut targets = Vec::with_capacity(next.seqs.len());
        for seq in next.seqs {
            let target = Target::at(self, txn, files, seq)?;
            // An order has but half of the key.
            targets.extend(target.filter(|target| target.event.as_ref().is_none_or(|event| is_of(event, &who))));
        }
        targets.iter().try_for_each(|target| self.warm(txn, target))?;
        let wraps_from = next.wraps_from.unwrap_or(vanishing.wraps_from);
        let left = (!next.are_all).then_some(Vanishing { wraps_from, ..vanishing });
        Ok(Some(Step { who, vanishing, targets, left }))
    }

    /// Takes out what was read, but for what has gone since, and digs up some graves. If these were all and nothing is left besides,
    /// the request is carried out.
    pub(crate) fn take(&self, txn: &mut RwTxn<'_>, files: &Files, step: &Step) -> Result<(), Error> {
        let vanishing = self.vanishing_of(txn, &step.who)?.unwrap_or(step.vanishing);
        for target in &step.targets {
            self.take_out(txn, files, target, true, vanishing.at_ms)?;
        }
        let are_all = self.unearth(txn, files, &step.who, vanishing, self.at_once.events)?;
        // Another request may have come meanwhile.
        let left = if vanishing == step.vanishing { step.left } else { Some(vanishing) };
        match left.or((!are_all).then_some(vanishing)) {
            Some(left) => self.put(self.vanishing, txn, step.who.as_bytes(), &left.to_bytes()),
            None => self.delete(self.vanishing, txn, step.who.as_bytes()).map(drop),
        }
    }

    /// Whoever vanishes takes along what is left of their events that were gone before: the files that hold it are to be rewritten. True
    /// if that was no more than `max`.
    pub(crate) fn unearth(
        &self,
        txn: &mut RwTxn<'_>,
        files: &Files,
        who: &PublicKey,
        vanishing: Vanishing,
        max: usize,
    ) -> Result<bool, Error> {
        let (from, to) = (grave(who, 0), grave(who, vanishing.at.0));
        let range = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        let mut graves = Vec::new();
        let mut are_all = true;
        for item in self.graves.range(txn, &range).map_err(failed("read the index"))? {
            let (key, _) = item.map_err(failed("read the index"))?;
            if graves.len() >= max {
                are_all = false;
                break;
            }
            graves.push(be64(key, 32).map(Seq).ok_or_else(|| malformed("graves"))?);
        }
        for seq in graves {
            let segment = files.holding(seq).ok_or_else(|| malformed("graves"))?;
            self.add_waste(txn, segment.first_seq, LEAF_BYTES, Some(vanishing.at_ms))?;
            self.delete(self.graves, txn, &grave(who, seq.0))?;
        }
        Ok(are_all)
    }

    fn vanishing_of(&self, txn: &RoTxn<'_>, who: &PublicKey) -> Result<Option<Vanishing>, Error> {
        let vanishing = self.get(self.vanishing, txn, who.as_bytes())?;
        vanishing.map(|bytes| Vanishing::parse(bytes).ok_or_else(|| malformed("vanishing"))).transpose()
    }
}

/// Whether `who` takes the event along, if they vanish late enough.
pub(crate) fn is_of(event: &Event, who: &PublicKey) -> bool {
    let may_be = event.pubkey() == *who || event.kind() == KIND_GIFT_WRAP;
    may_be && rules::vanishes(event.kind()) && rules::owners(event).contains(who)
}

fn parse((who, vanishing): (&[u8], &[u8])) -> Result<(PublicKey, Vanishing), Error> {
    let who = who.first_chunk().map(|who| PublicKey::from_bytes(*who));
    who.zip(Vanishing::parse(vanishing)).ok_or_else(|| malformed("vanishing"))
}
