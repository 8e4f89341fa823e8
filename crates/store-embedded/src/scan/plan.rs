//! Which order of the index answers a filter with the least reading.
//!
//! Must not know: how streams are read or merged.

use towpath_protocol::{Filter, TagFilter};
use towpath_store::spread;

use super::stream::{Stream, Want};
use crate::index::keys::Prefix;

/// More pairs of author and kind than this are read by author alone.
const PAIRS_MAX: usize = 1024;
const CHUNK_MAX: u64 = 64;
const CHUNK_MIN: u64 = 2;

/// The ways to read a filter. What the chosen one does not narrow is checked event by event.
enum Way<'a> {
    Ids,
    AuthorsKinds,
    Authors,
    Tag(&'a TagFilter),
    Kinds,
    Time,
}

/// The streams that together hold every match of `filter`, whose number is `number`, each once or more.
pub(crate) fn streams(number: usize, filter: &Filter, events_max: u64) -> Vec<Stream> {
    let Some(until) = filter.until.filter(|_| !filter.matches_nothing()) else { return Vec::new() };
    let way = choose(filter);
    if let (Way::Ids, Some(ids)) = (&way, &filter.ids) {
        return vec![Stream::of_ids(number, ids.to_vec())];
    }
    let prefixes = prefixes(filter, &way);
    let chunk = (events_max / prefixes.len().max(1) as u64).clamp(CHUNK_MIN, CHUNK_MAX);
    let order = |prefix| Stream::of_order(number, prefix, filter.since, until, chunk as usize);
    prefixes.into_iter().map(order).collect()
}

fn choose(filter: &Filter) -> Way<'_> {
    let authors = filter.authors.as_ref().map(|authors| authors.len());
    let kinds = filter.kinds.as_ref().map(|kinds| kinds.len());
    let mut ways = vec![(usize::MAX, Way::Time)];
    if let Some(ids) = &filter.ids {
        ways.push((ids.len().min(1), Way::Ids));
    }
    if let Some(kinds) = kinds {
        ways.push((kinds.saturating_mul(1_000), Way::Kinds));
    }
    if let Some(authors) = authors {
        ways.push((authors.saturating_mul(8), Way::Authors));
    }
    if let (Some(authors), Some(kinds)) = (authors, kinds)
        && authors.saturating_mul(kinds) <= PAIRS_MAX
    {
        ways.push((authors * kinds * 4, Way::AuthorsKinds));
    }
    ways.extend(filter.tags.iter().map(|tag| (tag.values.len().saturating_mul(spread(tag.name)), Way::Tag(tag))));
    let best = ways.into_iter().min_by_key(|(cost, _)| *cost);
    best.map_or(Way::Time, |(_, way)| way)
}

fn prefixes(filter: &Filter, way: &Way<'_>) -> Vec<Prefix> {
    let authors = || filter.authors.iter().flat_map(|authors| authors.iter());
    let kinds = || filter.kinds.iter().flat_map(|kinds| kinds.iter());
    let mut prefixes: Vec<Prefix> = match way {
        Way::Ids | Way::Time => vec![Prefix::time()],
        Way::Kinds => kinds().map(|kind| Prefix::kind(*kind)).collect(),
        Way::Authors => authors().map(Prefix::author).collect(),
        Way::AuthorsKinds => {
            authors().flat_map(|author| kinds().map(|kind| Prefix::author_kind(author, *kind))).collect()
        }
        Way::Tag(tag) => tag.values.iter().map(|value| Prefix::tag(tag.name, value)).collect(),
    };
    // Values that begin alike share a prefix.
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes
}

/// What an index entry alone can rule out for `filter`.
pub(crate) fn want(filter: &Filter) -> Want {
    Want::new(filter.kinds.as_deref(), filter.authors.as_deref())
}
