//! One sorted run of candidates: an order of the index under one prefix, or a list of ids.

use std::collections::VecDeque;

use towpath_protocol::{EventId, PublicKey};
use towpath_store::Error;

use super::view::View;
use crate::index::keys::{Hint, Moment, Prefix, head8};
use crate::index::{failed, malformed};

/// Keys looked at in one fill, wanted or not.
const LOOKED_AT_MAX: usize = 256;
const CHUNK_MAX: usize = 256;
const IDS_AT_ONCE: usize = 64;

/// Reads ahead a chunk at a time, so that the index is not searched again for every event.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The number of its filter.
    pub(crate) filter: usize,
    source: Source,
    found: VecDeque<Moment>,
}

#[derive(Debug)]
enum Source {
    Order {
        prefix: Prefix,
        next: Moment,
        oldest_age: u64,
        chunk: usize,
    },
    /// To be looked up, all before the first is returned: their order is not known.
    Ids(Vec<EventId>),
    End,
}

/// What is at the front of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    Found(Moment),
    /// Unknown yet, but not before this.
    NotBefore(Moment),
    End,
}

/// Kinds and authors of a filter, as far as index entries tell them.
#[derive(Debug)]
pub(crate) struct Want {
    kinds: Option<Vec<u16>>,
    author_heads: Option<Vec<u64>>,
}

impl Want {
    pub(crate) fn new(kinds: Option<&[u16]>, authors: Option<&[PublicKey]>) -> Self {
        let heads = |authors: &[PublicKey]| {
            let mut heads: Vec<u64> = authors.iter().map(|author| head8(author.as_bytes())).collect();
            heads.sort_unstable();
            heads
        };
        Self { kinds: kinds.map(<[u16]>::to_vec), author_heads: authors.map(heads) }
    }

    fn admits(&self, hint: Hint) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.binary_search(&hint.kind).is_ok())
            && self.author_heads.as_ref().is_none_or(|heads| heads.binary_search(&hint.author_head).is_ok())
    }
}

impl Stream {
    pub(crate) fn of_order(filter: usize, prefix: Prefix, since: u64, until: u64, chunk: usize) -> Self {
        let source = Source::Order { prefix, next: Moment::start_of(until), oldest_age: !since, chunk };
        Self { filter, source, found: VecDeque::new() }
    }

    pub(crate) fn of_ids(filter: usize, ids: Vec<EventId>) -> Self {
        Self { filter, source: Source::Ids(ids), found: VecDeque::new() }
    }

    pub(crate) fn head(&self) -> Head {
        match (&self.source, self.found.front()) {
            (Source::Ids(_), _) => Head::NotBefore(Moment::start_of(u64::MAX)),
            (_, Some(found)) => Head::Found(*found),
            (Source::Order { next, .. }, None) => Head::NotBefore(*next),
            (Source::End, None) => Head::End,
        }
    }

    pub(crate) fn pop(&mut self) {
        self.found.pop_front();
    }

    /// Reads on. Returns how many keys it looked at.
    pub(crate) fn fill(&mut self, view: &View<'_>, want: &Want) -> Result<usize, Error> {
        match std::mem::replace(&mut self.source, Source::End) {
            Source::Order { prefix, next, oldest_age, chunk } => {
                let looked_at = self.fill_from_order(view, want, prefix, next, oldest_age, chunk)?;
                Ok(looked_at)
            }
            Source::Ids(ids) => self.fill_from_ids(view, ids),
            Source::End => Ok(0),
        }
    }

    fn fill_from_order(
        &mut self,
        view: &View<'_>,
        want: &Want,
        prefix: Prefix,
        next: Moment,
        oldest_age: u64,
        chunk: usize,
    ) -> Result<usize, Error> {
        let context = "read the index";
        let from = prefix.at(next);
        let range = view.index().orders_from(view.txn(), &from)?;
        for (looked_at, item) in (1..).zip(range) {
            let (key, hint) = item.map_err(failed(context))?;
            if !key.starts_with(prefix.as_bytes()) {
                return Ok(looked_at);
            }
            let (moment, hint) = Moment::parse(key).zip(Hint::parse(hint)).ok_or_else(|| malformed("orders"))?;
            if moment.age > oldest_age {
                return Ok(looked_at);
            }
            if want.admits(hint) {
                self.found.push_back(moment);
            }
            if self.found.len() >= chunk || looked_at >= LOOKED_AT_MAX {
                let chunk = (chunk * 2).min(CHUNK_MAX);
                self.source = Source::Order { prefix, next: moment.just_after(), oldest_age, chunk };
                return Ok(looked_at);
            }
        }
        Ok(1)
    }

    fn fill_from_ids(&mut self, view: &View<'_>, mut ids: Vec<EventId>) -> Result<usize, Error> {
        let some = ids.split_off(ids.len().saturating_sub(IDS_AT_ONCE));
        for id in &some {
            let Some(seq) = view.index().seq_of(view.txn(), id)? else { continue };
            let Some(position) = view.index().position(view.txn(), seq)? else { continue };
            self.found.push_back(Moment { age: !position.created_at, id_head: head8(id.as_bytes()), seq });
        }
        if ids.is_empty() {
            self.found.make_contiguous().sort_unstable();
        } else {
            self.source = Source::Ids(ids);
        }
        Ok(some.len())
    }
}
