//! The memory store: the contract in its plainest form, for tests and as the oracle that other stores are compared with.
//!
//! Owns: one straightforward reading of [`rules`]. Nothing but the order of scans is indexed and nothing survives the process.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;
use towpath_audit::{Hash, Head, Leaf, LeafState, Node, Tree};
use towpath_policy::{DeletionRequest, Placement, Removal, Write};
use towpath_protocol::{Address, Event, EventId, PublicKey};

use crate::leaves::{self, Stamp};
use crate::{
    Act, Batch, Budget, Committed, Count, Cursor, Entry, Error, EventStore, Outcome, Page, Progress, Query, Record,
    Run, Scan, Seq, Stats, Stored, StreamId, Tally, rules,
};

const STREAM: StreamId = StreamId(0);

/// Asking the clock costs more than a step.
const STEPS_PER_LOOK_AT_THE_CLOCK: usize = 32;

/// A store in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl EventStore for MemoryStore {
    fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        let mut state = self.state.lock();
        let first = state.last_seq().next();
        let mut outcomes = Vec::with_capacity(batch.writes.len());
        let mut stored = Vec::new();
        for write in batch.writes {
            debug_assert!(!write.is_ephemeral(), "ephemeral events are never stored");
            let event = write.event().clone();
            let outcome = state.apply(&write, batch.committed_at_ms);
            if let Outcome::Accepted(seq) = outcome {
                stored.push(Stored { stream: STREAM, seq, event });
            }
            outcomes.push(outcome);
        }
        for act in &batch.acts {
            state.keep_act(act, batch.committed_at_ms);
        }
        let run = Run { stream: STREAM, first, last: state.last_seq(), stored };
        Ok(Committed { run, outcomes, head: state.audit.tree.head() })
    }

    fn place_of(&self, id: &EventId) -> Result<Option<(StreamId, Seq)>, Error> {
        Ok(self.state.lock().by_id.get(id).map(|seq| (STREAM, *seq)))
    }

    fn is_known(&self, id: &EventId) -> Result<bool, Error> {
        Ok(self.place_of(id)?.is_some())
    }

    fn snapshot(&self) -> Result<Cursor, Error> {
        Ok(Cursor::at(STREAM, self.state.lock().last_seq()))
    }

    fn follower(&self, name: &str) -> Result<Option<Cursor>, Error> {
        Ok(self.state.lock().followers.get(name).cloned())
    }

    fn keep_follower(&self, name: &str, cursor: &Cursor) -> Result<(), Error> {
        self.state.lock().followers.insert(name.to_owned(), cursor.clone());
        Ok(())
    }

    fn scan(&self, query: Query) -> Result<Box<dyn Scan>, Error> {
        let tally = Tally::new(&query.filters);
        let end = Cursor::at(STREAM, self.state.lock().last_seq());
        let cursor = query.cursor.clone().unwrap_or(end);
        Ok(Box::new(MemoryScan { store: self.clone(), query, cursor, tally, after: Bound::Unbounded }))
    }

    fn since_in(&self, stream: StreamId, after: Seq, page: Page) -> Result<Vec<Entry>, Error> {
        if stream == STREAM { self.since(&Cursor::at(stream, after), page) } else { Ok(Vec::new()) }
    }

    fn since(&self, cursor: &Cursor, page: Page) -> Result<Vec<Entry>, Error> {
        let state = self.state.lock();
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut seq = cursor.seq(STREAM).next();
        while let Some(entry) = state.entry(seq) {
            bytes += entry.record.event().map_or(0, |event| event.json().len());
            entries.push(entry);
            if entries.len() >= page.entries_max || bytes >= page.bytes_max {
                break;
            }
            seq = seq.next();
        }
        Ok(entries)
    }

    fn own_stream(&self) -> Option<StreamId> {
        Some(STREAM)
    }

    fn heads(&self) -> Vec<(StreamId, Head)> {
        vec![(STREAM, self.state.lock().audit.tree.head())]
    }

    fn tree_hashes(&self, _: StreamId, level: u8, first: u64, count: usize) -> Result<Option<Vec<Hash>>, Error> {
        let state = self.state.lock();
        let row = state.audit.rows.get(usize::from(level)).map_or(&[][..], Vec::as_slice);
        let hashes = usize::try_from(first).ok().and_then(|first| row.get(first..first.checked_add(count)?));
        Ok(hashes.map(<[Hash]>::to_vec))
    }

    fn maintain(&self, now: u64) -> Result<bool, Error> {
        self.state.lock().expire(now);
        Ok(false)
    }

    fn health(&self) -> Result<(), Error> {
        Ok(())
    }

    fn stats(&self) -> Result<Stats, Error> {
        let state = self.state.lock();
        let bytes = state.live().map(|(_, live)| live.event.json().len() as u64).sum();
        let events = state.by_id.len() as u64;
        Ok(Stats { events, last_seq: state.last_seq(), log_bytes: bytes, live_bytes: bytes, index_bytes: 0 })
    }
}

fn places(seqs: &[Seq]) -> impl Iterator<Item = (StreamId, Seq)> + '_ {
    seqs.iter().map(|seq| (STREAM, *seq))
}

/// Newest first, ties by lowest id.
type Place = (Reverse<u64>, EventId);

fn place(event: &Event) -> Place {
    (Reverse(event.created_at()), event.id())
}

#[derive(Debug, Default)]
struct State {
    log: Vec<LogEntry>,
    order: BTreeMap<Place, Seq>,
    by_id: HashMap<EventId, Seq>,
    by_address: HashMap<Address, Seq>,
    /// Ids that somebody asked to delete. Whether they may is known once the event is.
    deleted_ids: HashSet<(EventId, PublicKey)>,
    /// No version up to this time is wanted.
    deleted_addresses: HashMap<Address, u64>,
    /// Nothing of theirs up to this time is wanted.
    vanished: HashMap<PublicKey, u64>,
    followers: HashMap<String, Cursor>,
    audit: Audit,
}

/// The stream's tree, and all its hashes.
#[derive(Debug, Default)]
struct Audit {
    tree: Tree,
    rows: Vec<Vec<Hash>>,
}

impl Audit {
    fn append(&mut self, leaf: &Leaf) {
        let Self { tree, rows } = self;
        tree.append(leaf.hash(), |Node { level, hash, .. }| {
            let level = usize::from(level);
            rows.resize_with(rows.len().max(level + 1), Vec::new);
            rows[level].push(hash);
        });
    }
}

#[derive(Debug)]
struct LogEntry {
    committed_at_ms: u64,
    removed: Vec<Seq>,
    kept: Kept,
    leaf: LeafState,
}

#[derive(Debug)]
enum Kept {
    Event(Live),
    Erased,
    Expired,
    Act,
}

#[derive(Debug)]
struct Live {
    event: Event,
    placement: Placement,
    expires_at: Option<u64>,
}

impl State {
    fn last_seq(&self) -> Seq {
        Seq(self.log.len() as u64)
    }

    fn log_entry(&self, seq: Seq) -> Option<&LogEntry> {
        self.log.get(usize::try_from(seq.0.checked_sub(1)?).ok()?)
    }

    fn entry(&self, seq: Seq) -> Option<Entry> {
        let entry = self.log_entry(seq)?;
        let removed: Vec<(StreamId, Seq)> = entry.removed.iter().map(|seq| (STREAM, *seq)).collect();
        let record = match &entry.kept {
            Kept::Event(live) => Record::Event { event: live.event.clone(), removed },
            Kept::Erased => Record::Erased { removed },
            Kept::Expired => Record::Expired { removed },
            Kept::Act => Record::Act,
        };
        let leaf = entry.leaf.clone();
        Some(Entry { stream: STREAM, seq, committed_at_ms: entry.committed_at_ms, record, leaf })
    }

    fn get(&self, seq: Seq) -> Option<&Live> {
        match &self.log_entry(seq)?.kept {
            Kept::Event(live) => Some(live),
            Kept::Erased | Kept::Expired | Kept::Act => None,
        }
    }

    fn live(&self) -> impl Iterator<Item = (Seq, &Live)> {
        self.order.values().filter_map(|seq| Some((*seq, self.get(*seq)?)))
    }

    fn apply(&mut self, write: &Write, committed_at_ms: u64) -> Outcome {
        if let Some(refusal) = self.refusal(write, committed_at_ms) {
            return refusal;
        }
        let mut removed = self.doomed(write);
        removed.sort_unstable();
        removed.dedup();
        for seq in &removed {
            self.remove(*seq);
        }
        self.remember(write);
        if *write.removal() == Removal::Vanish {
            self.erase_leaves(write.event().pubkey(), &removed);
        }
        Outcome::Accepted(self.insert(write, removed, committed_at_ms))
    }

    fn refusal(&self, write: &Write, committed_at_ms: u64) -> Option<Outcome> {
        let event = write.event();
        let owners = rules::owners(event);
        if self.by_id.contains_key(&event.id()) {
            return Some(Outcome::Duplicate);
        }
        let up_to = owners.iter().filter_map(|owner| self.vanished.get(owner)).max();
        if rules::vanishes(event.kind()) && up_to.is_some_and(|up_to| event.created_at() <= *up_to) {
            return Some(Outcome::Vanished);
        }
        let asked_for = owners.iter().any(|owner| self.deleted_ids.contains(&(event.id(), *owner)));
        if rules::is_deletable(event.kind()) && asked_for {
            return Some(Outcome::Deleted);
        }
        let Placement::Replaceable(address) = write.placement() else { return None };
        if self.deleted_addresses.get(address).is_some_and(|up_to| event.created_at() <= *up_to) {
            return Some(Outcome::Deleted);
        }
        let Live { event: current, expires_at, .. } = self.get(*self.by_address.get(address)?)?;
        let supersedes = rules::supersedes((event.created_at(), event.id()), (current.created_at(), current.id()));
        (!supersedes && !rules::is_over(*expires_at, committed_at_ms)).then_some(Outcome::Superseded)
    }

    /// What goes when `write` is accepted.
    fn doomed(&self, write: &Write) -> Vec<Seq> {
        let event = write.event();
        let mut doomed = match write.removal() {
            Removal::None => Vec::new(),
            Removal::Delete(request) => self.named(request, event),
            Removal::Vanish => self.belongings(event),
        };
        if let Placement::Replaceable(address) = write.placement() {
            doomed.extend(self.by_address.get(address));
        }
        doomed
    }

    /// The stored events that `request` names and its author may delete.
    fn named(&self, request: &DeletionRequest, by: &Event) -> Vec<Seq> {
        let ids = request.ids.iter().filter_map(|id| self.by_id.get(id)).copied().filter(|seq| {
            let target = self.get(*seq).map(|live| &live.event);
            target.is_some_and(|t| rules::is_deletable(t.kind()) && rules::owners(t).contains(&by.pubkey()))
        });
        let own = request.addresses.iter().filter(|address| address.pubkey == by.pubkey());
        let versions = own.filter_map(|address| self.by_address.get(address)).copied();
        let versions = versions.filter(|seq| self.get(*seq).is_some_and(|l| l.event.created_at() <= by.created_at()));
        ids.chain(versions).collect()
    }

    /// What a request to vanish removes: everything that its author owns up to its date.
    fn belongings(&self, vanish: &Event) -> Vec<Seq> {
        let goes = |event: &Event| {
            rules::vanishes(event.kind())
                && event.created_at() <= vanish.created_at()
                && rules::owners(event).contains(&vanish.pubkey())
        };
        self.live().filter(|(_, live)| goes(&live.event)).map(|(seq, _)| seq).collect()
    }

    /// Refuses from now on what `write` removed or would have removed, had it been here.
    fn remember(&mut self, write: &Write) {
        let event = write.event();
        let latest = |up_to: &mut u64| *up_to = event.created_at().max(*up_to);
        match write.removal() {
            Removal::None => {}
            Removal::Delete(request) => {
                self.deleted_ids.extend(request.ids.iter().map(|id| (*id, event.pubkey())));
                for address in request.addresses.iter().filter(|address| address.pubkey == event.pubkey()) {
                    latest(self.deleted_addresses.entry(address.clone()).or_default());
                }
            }
            Removal::Vanish => latest(self.vanished.entry(event.pubkey()).or_default()),
        }
    }

    fn insert(&mut self, write: &Write, removed: Vec<Seq>, committed_at_ms: u64) -> Seq {
        let event = write.event().clone();
        let seq = self.last_seq().next();
        self.order.insert(place(&event), seq);
        self.by_id.insert(event.id(), seq);
        if let Placement::Replaceable(address) = write.placement() {
            self.by_address.insert(address.clone(), seq);
        }
        let action = leaves::action_of(write, !removed.is_empty());
        let leaf = leaves::of_event(self.stamp(committed_at_ms), action, write.source(), &event, places(&removed));
        let live = Live { event, placement: write.placement().clone(), expires_at: write.expires_at() };
        self.log(removed, Kept::Event(live), leaf);
        seq
    }

    fn keep_act(&mut self, act: &Act, committed_at_ms: u64) {
        let leaf = leaves::of_act(self.stamp(committed_at_ms), act);
        self.log(Vec::new(), Kept::Act, leaf);
    }

    /// Of the next entry.
    fn stamp(&self, committed_at_ms: u64) -> Stamp {
        Stamp { stream: STREAM, seq: self.last_seq().next(), committed_at_ms }
    }

    fn log(&mut self, removed: Vec<Seq>, kept: Kept, leaf: Leaf) {
        self.audit.append(&leaf);
        let committed_at_ms = leaf.committed_at_ms;
        self.log.push(LogEntry { committed_at_ms, removed, kept, leaf: LeafState::Whole(leaf) });
    }

    /// What `who` took along, and what of theirs was gone before, is no longer told.
    fn erase_leaves(&mut self, who: PublicKey, removed: &[Seq]) {
        for (seq, entry) in (1..).map(Seq).zip(&mut self.log) {
            let theirs = entry.leaf.leaf().is_some_and(|leaf| leaf.actor == Some(who));
            if matches!(entry.kept, Kept::Erased) && (theirs || removed.binary_search(&seq).is_ok()) {
                entry.leaf = LeafState::Erased(entry.leaf.hash());
            }
        }
    }

    fn remove(&mut self, seq: Seq) {
        let index = usize::try_from(seq.0).unwrap_or_default().wrapping_sub(1);
        let Some(entry) = self.log.get_mut(index) else { return };
        if let Kept::Event(live) = std::mem::replace(&mut entry.kept, Kept::Erased) {
            self.order.remove(&place(&live.event));
            self.by_id.remove(&live.event.id());
            if let Placement::Replaceable(address) = &live.placement {
                self.by_address.remove(address);
            }
        }
    }

    fn expire(&mut self, now: u64) {
        let due = |live: &Live| live.expires_at.is_some_and(|at| at <= now);
        let mut removed: Vec<Seq> = self.live().filter(|(_, live)| due(live)).map(|(seq, _)| seq).collect();
        if removed.is_empty() {
            return;
        }
        removed.sort_unstable();
        for seq in &removed {
            self.remove(*seq);
        }
        let leaf = leaves::of_expiry(self.stamp(now.saturating_mul(1000)), places(&removed));
        self.log(removed, Kept::Expired, leaf);
    }
}

/// Between slices it holds the place of the last event it looked at.
struct MemoryScan {
    store: MemoryStore,
    query: Query,
    cursor: Cursor,
    tally: Tally,
    after: Bound<Place>,
}

impl Scan for MemoryScan {
    fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    fn next(&mut self, budget: Budget<'_>, out: &mut Vec<Stored>) -> Result<Progress, Error> {
        self.slice(budget, &mut |seq, event| out.push(Stored { stream: STREAM, seq, event: event.clone() }))
    }

    fn count(&mut self, budget: Budget<'_>, count: &mut Count) -> Result<Progress, Error> {
        self.slice(budget, &mut |_, event| count.add(event))
    }
}

impl MemoryScan {
    fn slice(&mut self, budget: Budget<'_>, found: &mut dyn FnMut(Seq, &Event)) -> Result<Progress, Error> {
        let store = self.store.clone();
        let state = store.state.lock();
        let (mut events, mut bytes) = (0, 0);
        let rest = state.order.range((self.after, Bound::Unbounded));
        for (steps, (place, seq)) in (1..).zip(rest) {
            self.after = Bound::Excluded(*place);
            if let Some(event) = state.get(*seq).map(|live| &live.event)
                && self.wants(event, *seq)
            {
                events += 1;
                bytes += event.json().len();
                found(*seq, event);
            }
            if let Some(completeness) = self.tally.finished() {
                return Ok(Progress::Done(completeness));
            }
            let time_is_over = steps % STEPS_PER_LOOK_AT_THE_CLOCK == 0 && (budget.spent)();
            if events >= budget.events_max || bytes >= budget.bytes_max || time_is_over {
                return Ok(Progress::More);
            }
        }
        Ok(Progress::Done(self.tally.at_end()))
    }

    fn wants(&mut self, event: &Event, seq: Seq) -> bool {
        self.cursor.covers(STREAM, seq) && self.tally.admits(&self.query, event)
    }
}
