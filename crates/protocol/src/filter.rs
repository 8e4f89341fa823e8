//! What a REQ or COUNT asks for, and whether an event is meant by it (NIP-01).
//!
//! Must not know: how events are found. The store and the live index use the public fields to plan; [`Filter::matches`] is
//! the one definition of the answer that both are tested against.

use crate::event::{Event, IndexedTags};
use crate::hll;
use crate::ids::{EventId, PublicKey};
use crate::json::{JsonError, Scanner};
use crate::limits::shorten;

/// The values of one list: sorted, each once. An empty list matches nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Set<T>(Box<[T]>);

impl<T: Ord> Set<T> {
    /// From values in any order.
    pub fn new(mut values: Vec<T>) -> Self {
        values.sort_unstable();
        values.dedup();
        Self(values.into())
    }

    /// Whether `value` is one of them.
    pub fn contains<Q: Ord + ?Sized>(&self, value: &Q) -> bool
    where
        T: std::borrow::Borrow<Q>,
    {
        self.0.binary_search_by(|v| v.borrow().cmp(value)).is_ok()
    }
}

impl<T> std::ops::Deref for Set<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

/// `#x`: at least one of the event's `x` tags must have one of these as its first value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagFilter {
    /// The tag's letter, `a`–`z` or `A`–`Z`.
    pub name: u8,
    /// The values.
    pub values: Set<Box<str>>,
}

/// One filter: all conditions must hold. What is absent does not restrict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Event ids.
    pub ids: Option<Set<EventId>>,
    /// Authors.
    pub authors: Option<Set<PublicKey>>,
    /// Kinds.
    pub kinds: Option<Set<u16>>,
    /// Tag conditions, in the order they were sent.
    pub tags: Vec<TagFilter>,
    /// Earliest `created_at`, inclusive.
    pub since: u64,
    /// Latest `created_at`, inclusive; `None` once nothing can be early enough (a negative `until`).
    pub until: Option<u64>,
    /// Newest so many of the stored events; means nothing for live ones.
    pub limit: Option<u64>,
    /// The first tag condition's first value, as it was sent.
    pub first_tag_value: Option<Box<str>>,
}

impl Default for Filter {
    /// `{}`: everything.
    fn default() -> Self {
        Self {
            ids: None,
            authors: None,
            kinds: None,
            tags: Vec::new(),
            since: 0,
            until: Some(u64::MAX),
            limit: None,
            first_tag_value: None,
        }
    }
}

impl Filter {
    /// Whether `event` is meant. `tags` are the event's, read once for all filters.
    pub fn matches(&self, event: &Event, tags: &IndexedTags<'_>) -> bool {
        self.ids.as_ref().is_none_or(|ids| ids.contains(&event.id()))
            && self.authors.as_ref().is_none_or(|authors| authors.contains(&event.pubkey()))
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind()))
            && self.since <= event.created_at()
            && self.until.is_some_and(|until| event.created_at() <= until)
            && self.tags.iter().all(|tag| tags.has_any(tag.name, &tag.values))
    }

    /// Whether no event can match: an empty list, or a time range that ends before it starts.
    pub fn matches_nothing(&self) -> bool {
        self.ids.as_ref().is_some_and(|ids| ids.is_empty())
            || self.authors.as_ref().is_some_and(|authors| authors.is_empty())
            || self.kinds.as_ref().is_some_and(|kinds| kinds.is_empty())
            || self.tags.iter().any(|tag| tag.values.is_empty())
            || self.until.is_none_or(|until| until < self.since)
    }

    /// Where in an author's key the HyperLogLog of this filter starts to look (NIP-45); needs a tag condition.
    pub fn hll_offset(&self) -> Option<usize> {
        self.first_tag_value.as_deref().map(hll::offset)
    }
}

/// Why a text is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFilter {
    /// Not JSON, or not an object.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// `ids`, `authors`, `#e` and `#p` take exact ids and keys; prefixes are gone from the protocol.
    #[error("{0} must hold 64-character lowercase hex values")]
    Hex(String),
    /// A value of the wrong type or out of range.
    #[error("{0} must be {1}")]
    Type(String, &'static str),
    /// An element this relay does not know. Ignoring it would widen the result, so the filter is refused.
    #[error("filter element {0:?} is not supported")]
    Unknown(String),
}

/// Parses one filter object, the whole of `text`.
pub fn parse_filter(text: &str) -> Result<Filter, InvalidFilter> {
    let mut scanner = Scanner::new(text);
    let filter = scan_filter(&mut scanner)?;
    scanner.end()?;
    Ok(filter)
}

/// Parses the filter object that comes next and leaves `scanner` behind it.
pub(crate) fn scan_filter(scanner: &mut Scanner<'_>) -> Result<Filter, InvalidFilter> {
    let mut filter = Filter::default();
    scanner.expect(b'{')?;
    let mut more = !scanner.accept(b'}');
    while more {
        let key = scanner.key()?;
        take_element(&mut filter, &key, scanner)?;
        more = scanner.another(b'}')?;
    }
    Ok(filter)
}

fn take_element(filter: &mut Filter, key: &str, scanner: &mut Scanner<'_>) -> Result<(), InvalidFilter> {
    match key.as_bytes() {
        b"ids" => filter.ids = Some(list(key, scanner, |s| hex(key, s, |id| EventId::from_hex(id).ok()))?),
        b"authors" => filter.authors = Some(list(key, scanner, |s| hex(key, s, |k| PublicKey::from_hex(k).ok()))?),
        b"kinds" => filter.kinds = Some(list(key, scanner, |s| kind(key, s))?),
        b"since" => filter.since = timestamp(key, scanner)?.unwrap_or(0),
        b"until" => filter.until = timestamp(key, scanner)?,
        b"limit" => {
            let limit = scanner.integer().ok().and_then(|n| u64::try_from(n).ok());
            filter.limit = Some(limit.ok_or_else(|| InvalidFilter::Type(key.to_owned(), "a non-negative integer"))?);
        }
        [b'#', name] if name.is_ascii_alphabetic() => take_tag(filter, *name, key, scanner)?,
        _ => return Err(InvalidFilter::Unknown(shorten(key).to_owned())),
    }
    Ok(())
}

fn take_tag(filter: &mut Filter, name: u8, key: &str, scanner: &mut Scanner<'_>) -> Result<(), InvalidFilter> {
    let exact = matches!(name, b'e' | b'p');
    let mut values = Vec::new();
    each_element(key, scanner, |s| {
        values.push(match exact {
            true => hex(key, s, |id| EventId::from_hex(id).is_ok().then(|| Box::<str>::from(id)))?,
            false => text(key, s)?.into_boxed_str(),
        });
        Ok(())
    })?;
    if filter.first_tag_value.is_none() {
        filter.first_tag_value = values.first().cloned();
    }
    filter.tags.retain(|tag| tag.name != name);
    filter.tags.push(TagFilter { name, values: Set::new(values) });
    Ok(())
}

fn list<T: Ord>(
    key: &str,
    scanner: &mut Scanner<'_>,
    mut element: impl FnMut(&mut Scanner<'_>) -> Result<T, InvalidFilter>,
) -> Result<Set<T>, InvalidFilter> {
    let mut values = Vec::new();
    each_element(key, scanner, |s| element(s).map(|value| values.push(value)))?;
    Ok(Set::new(values))
}

fn each_element(
    key: &str,
    scanner: &mut Scanner<'_>,
    mut take: impl FnMut(&mut Scanner<'_>) -> Result<(), InvalidFilter>,
) -> Result<(), InvalidFilter> {
    scanner.expect(b'[').map_err(|_| InvalidFilter::Type(key.to_owned(), "an array"))?;
    let mut more = !scanner.accept(b']');
    while more {
        take(scanner)?;
        more = scanner.another(b']')?;
    }
    Ok(())
}

/// An id or a key, read where it stands if it is written plainly.
fn hex<T>(key: &str, scanner: &mut Scanner<'_>, read: impl Fn(&str) -> Option<T>) -> Result<T, InvalidFilter> {
    match scanner.string_of(64, &read) {
        Some(value) => Ok(value),
        None => read(&text(key, scanner)?).ok_or_else(|| InvalidFilter::Hex(key.to_owned())),
    }
}

fn text(key: &str, scanner: &mut Scanner<'_>) -> Result<String, InvalidFilter> {
    if scanner.peek() != Some(b'"') {
        return Err(InvalidFilter::Type(key.to_owned(), "an array of strings"));
    }
    Ok(scanner.string()?.decode()?.into_owned())
}

fn kind(key: &str, scanner: &mut Scanner<'_>) -> Result<u16, InvalidFilter> {
    let number = scanner.integer().ok().and_then(|n| u16::try_from(n).ok());
    number.ok_or_else(|| InvalidFilter::Type(key.to_owned(), "an array of integers from 0 to 65535"))
}

/// Times beyond the range say all there is to say: `None` is before every event, `u64::MAX` behind every event.
fn timestamp(key: &str, scanner: &mut Scanner<'_>) -> Result<Option<u64>, InvalidFilter> {
    let number = scanner.integer().map_err(|_| InvalidFilter::Type(key.to_owned(), "an integer"))?;
    Ok((number >= 0).then(|| u64::try_from(number).unwrap_or(u64::MAX)))
}
