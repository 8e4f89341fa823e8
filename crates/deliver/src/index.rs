//! The live index: which subscriptions want an event.
//!
//! Inverted: a filter is filed under its most selective condition, so that an event looks only at filters that name its id,
//! author, a tag value, or its kind. The cost of an event grows with those, not with the number of subscriptions.
//!
//! Keys are 64-bit hashes under a random seed. A collision proposes a filter that the full match then refuses, no more.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use foldhash::quality::RandomState;
use towpath_protocol::{Event, EventId, Filter, IndexedTags, PublicKey};

use crate::subscription::Subscription;

/// One condition that a filter can be filed under.
#[derive(Hash)]
enum Key<'a> {
    Id(&'a EventId),
    AuthorKind(&'a PublicKey, u16),
    Author(&'a PublicKey),
    TagKind(u8, &'a str, u16),
    Tag(u8, &'a str),
    Kind(u16),
    Everything,
}

/// More pairs of value and kind than this, and a filter is filed under the values alone.
const PAIRS_MAX: usize = 64;

/// Room is made for so many subscriptions at once, which is more than usually want an event.
const WANTED_AT_ONCE: usize = 1_024;

/// Keys are hashes already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// A filter of a subscription, by their places.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Posting {
    slot: u32,
    filter: u32,
}

impl Hash for Posting {
    /// Spread over all bits, as the set behind [`Identity`] expects.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let packed = (u64::from(self.slot) << 32) | u64::from(self.filter);
        state.write_u64(packed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
    }
}

/// Almost every key is named by one filter only; a few by very many.
enum Postings {
    One(Posting),
    Many(HashSet<Posting, BuildHasherDefault<Identity>>),
}

struct Slot {
    subscription: Arc<Subscription>,
    /// Where its filters are filed.
    keys: Box<[(u64, u32)]>,
    cost: usize,
    /// The event last matched, so that an event is delivered once however many filters want it.
    matched: u64,
}

/// See the module.
pub(crate) struct LiveIndex {
    seed: RandomState,
    postings: HashMap<u64, Postings, BuildHasherDefault<Identity>>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    filters: usize,
    cost: usize,
    events: u64,
}

impl LiveIndex {
    pub(crate) fn new() -> Self {
        Self {
            seed: RandomState::default(),
            postings: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            filters: 0,
            cost: 0,
            events: 0,
        }
    }

    /// Filters filed.
    pub(crate) fn filters(&self) -> usize {
        self.filters
    }

    /// Conditions that filters are filed under.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> usize {
        self.postings.len()
    }

    /// What is in use, in postings.
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// Where filters would be filed, with the number of the filter. Filters that match nothing are filed nowhere.
    pub(crate) fn keys_of(&self, filters: &[Filter]) -> Box<[(u64, u32)]> {
        let keys = |(filter, number)| self.keys_of_filter(filter).into_iter().map(move |key| (key, number));
        filters.iter().zip(0..).flat_map(keys).collect()
    }

    /// Files `subscription` under `keys`, which are those of its filters, at a `cost`.
    pub(crate) fn insert(&mut self, subscription: &Arc<Subscription>, keys: Box<[(u64, u32)]>, cost: usize) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        for (key, filter) in &keys {
            self.file(*key, Posting { slot, filter: *filter });
        }
        self.filters += subscription.filters().len();
        self.cost += cost;
        self.slots[slot as usize] = Some(Slot { subscription: Arc::clone(subscription), keys, cost, matched: 0 });
        slot
    }

    /// Undoes [`LiveIndex::insert`]; returns the cost given back.
    pub(crate) fn remove(&mut self, slot: u32) -> usize {
        let Some(Slot { subscription, keys, cost, .. }) = self.slots.get_mut(slot as usize).and_then(Option::take)
        else {
            return 0;
        };
        for (key, filter) in &keys {
            self.unfile(*key, Posting { slot, filter: *filter });
        }
        self.filters -= subscription.filters().len();
        self.cost -= cost;
        self.free.push(slot);
        cost
    }

    fn file(&mut self, key: u64, posting: Posting) {
        match self.postings.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(Postings::One(posting));
            }
            Entry::Occupied(mut occupied) => occupied.get_mut().push(posting),
        }
    }

    fn unfile(&mut self, key: u64, posting: Posting) {
        if let Entry::Occupied(mut occupied) = self.postings.entry(key)
            && occupied.get_mut().remove(posting)
        {
            occupied.remove();
        }
    }

    fn hash(&self, key: &Key<'_>) -> u64 {
        self.seed.hash_one(key)
    }

    /// Where a filter is filed: under each value of its most selective condition.
    fn keys_of_filter(&self, filter: &Filter) -> Vec<u64> {
        if filter.matches_nothing() {
            return Vec::new();
        }
        let kinds = filter.kinds.as_deref();
        let with_kinds = |count: usize| kinds.filter(|kinds| kinds.len() * count <= PAIRS_MAX);
        if let Some(ids) = filter.ids.as_deref() {
            return ids.iter().map(|id| self.hash(&Key::Id(id))).collect();
        }
        if let Some(tag) = filter.tags.iter().min_by_key(|tag| tag.values.len()) {
            return match with_kinds(tag.values.len()) {
                Some(kinds) => self.pairs(&tag.values, kinds, |value, kind| Key::TagKind(tag.name, value, kind)),
                None => tag.values.iter().map(|value| self.hash(&Key::Tag(tag.name, value))).collect(),
            };
        }
        if let Some(authors) = filter.authors.as_deref() {
            return match with_kinds(authors.len()) {
                Some(kinds) => self.pairs(authors, kinds, Key::AuthorKind),
                None => authors.iter().map(|author| self.hash(&Key::Author(author))).collect(),
            };
        }
        match kinds {
            Some(kinds) => kinds.iter().map(|kind| self.hash(&Key::Kind(*kind))).collect(),
            None => vec![self.hash(&Key::Everything)],
        }
    }

    fn pairs<'a, T>(&self, values: &'a [T], kinds: &[u16], key: impl Fn(&'a T, u16) -> Key<'a>) -> Vec<u64> {
        values
            .iter()
            .flat_map(|value| kinds.iter().map(move |kind| (value, *kind)))
            .map(|(v, k)| self.hash(&key(v, k)))
            .collect()
    }

    /// Where filters that match `event` can be filed.
    fn keys_of_event(&self, event: &Event, tags: &IndexedTags<'_>) -> Vec<u64> {
        let (id, author, kind) = (event.id(), event.pubkey(), event.kind());
        let fixed = [
            self.hash(&Key::Id(&id)),
            self.hash(&Key::AuthorKind(&author, kind)),
            self.hash(&Key::Author(&author)),
            self.hash(&Key::Kind(kind)),
            self.hash(&Key::Everything),
        ];
        let of_tag = |(name, value)| [self.hash(&Key::TagKind(name, value, kind)), self.hash(&Key::Tag(name, value))];
        fixed.into_iter().chain(tags.iter().flat_map(of_tag)).collect()
    }

    /// How many filters would have to be looked at for `event`, at most.
    pub(crate) fn looks(&self, event: &Event) -> usize {
        let tags = IndexedTags::of(event);
        self.keys_of_event(event, &tags).iter().filter_map(|key| self.postings.get(key)).map(Postings::len).sum()
    }

    /// Appends the subscriptions that want `event`, each once, and returns how many filters were looked at in vain.
    pub(crate) fn matching(&mut self, event: &Event, into: &mut Vec<Arc<Subscription>>) -> u64 {
        let tags = IndexedTags::of(event);
        self.events += 1;
        let mut in_vain = 0;
        for key in self.keys_of_event(event, &tags) {
            let Some(postings) = self.postings.get(&key) else { continue };
            into.reserve(postings.len().min(WANTED_AT_ONCE));
            for posting in postings.iter() {
                let Some(slot) = self.slots.get_mut(posting.slot as usize).and_then(Option::as_mut) else { continue };
                if slot.matched == self.events {
                    continue;
                }
                if slot.subscription.filters()[posting.filter as usize].matches(event, &tags) {
                    slot.matched = self.events;
                    into.push(Arc::clone(&slot.subscription));
                } else {
                    in_vain += 1;
                }
            }
        }
        in_vain
    }
}

impl Postings {
    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(postings) => postings.len(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Posting> {
        let (one, many) = match self {
            Self::One(posting) => (Some(posting), None),
            Self::Many(postings) => (None, Some(postings)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn push(&mut self, posting: Posting) {
        match self {
            Self::One(first) => *self = Self::Many([*first, posting].into_iter().collect()),
            Self::Many(postings) => {
                postings.insert(posting);
            }
        }
    }

    /// True if nothing is left.
    fn remove(&mut self, posting: Posting) -> bool {
        match self {
            Self::One(only) => *only == posting,
            Self::Many(postings) => {
                postings.remove(&posting);
                postings.is_empty()
            }
        }
    }
}
