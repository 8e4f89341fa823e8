//! An event and its canonical bytes (NIP-01).
//!
//! Owns: the one JSON form in which an event is stored, sent and shared, and reading fields and tags back out of it.
//! Must not know: whether the event is genuine (see `verify`) or what its kind means (see the policy crate).
//!
//! ```text
//! {"id":"<64>","pubkey":"<64>","created_at":<n>,"kind":<n>,"tags":[…],"content":"…","sig":"<128>"}
//! ```
//! No white space, this key order, strings escaped as NIP-01 prescribes. The fixed layout is why fields are found without parsing.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use sha2::{Digest, Sha256};

use crate::filter::Set;
use crate::ids::{EventId, PublicKey, decode_hex};
use crate::json::Scanner;

/// Bytes that should be a canonical event are not. For stored bytes this means corruption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a canonical event")]
pub struct MalformedEvent;

/// An event: its fixed fields decoded, the rest in its canonical bytes, which every clone shares.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    id: EventId,
    pubkey: PublicKey,
    created_at: u64,
    kind: u16,
    tags_at: u32,
    json: ByteString,
}

/// The fixed fields that the author chose, before there are bytes.
#[derive(Clone, Copy)]
pub(crate) struct Fields {
    pub(crate) pubkey: PublicKey,
    pub(crate) created_at: u64,
    pub(crate) kind: u16,
}

impl Fields {
    /// The hash of these fields, `tags` and `content` (JSON both) as NIP-01 serialises them.
    pub(crate) fn id(&self, tags: &[u8], content: &[u8]) -> EventId {
        // `format!` takes several times as long.
        let (mut created_at, mut kind) = (itoa::Buffer::new(), itoa::Buffer::new());
        let mut pubkey = const_hex::Buffer::<32>::new();
        let pubkey = pubkey.format(self.pubkey.as_bytes()).as_bytes();
        let (created_at, kind) = (created_at.format(self.created_at).as_bytes(), kind.format(self.kind).as_bytes());
        let mut sha = Sha256::new();
        for part in [br#"[0,""#, pubkey, br#"","#, created_at, b",", kind, b",", tags, b",", content, b"]"] {
            sha.update(part);
        }
        EventId::from_bytes(sha.finalize().into())
    }
}

const ID_AT: usize = r#"{"id":""#.len();
const PUBKEY_AT: usize = ID_AT + 64 + r#"","pubkey":""#.len();
const CREATED_AT_AT: usize = PUBKEY_AT + 64 + r#"","created_at":"#.len();
const SIG_FROM_END: usize = 128 + r#""}"#.len();
/// What an event takes beside tags and content, whatever its numbers are.
const FIXED_MAX: usize = CREATED_AT_AT + 20 + r#","kind":65535,"tags":,"content":,"sig":""#.len() + SIG_FROM_END;

impl Event {
    /// Lays out canonical bytes; `tags` and `content` are canonical JSON already.
    pub(crate) fn assemble(id: EventId, fields: &Fields, tags: &str, content: &str, sig: &[u8; 64]) -> Self {
        let Fields { pubkey, created_at, kind } = *fields;
        let (mut created_at_digits, mut kind_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (mut id_hex, mut pubkey_hex) = (const_hex::Buffer::<32>::new(), const_hex::Buffer::<32>::new());
        let mut sig_hex = const_hex::Buffer::<64>::new();
        let head = [
            r#"{"id":""#,
            id_hex.format(id.as_bytes()),
            r#"","pubkey":""#,
            pubkey_hex.format(pubkey.as_bytes()),
            r#"","created_at":"#,
            created_at_digits.format(created_at),
            r#","kind":"#,
            kind_digits.format(kind),
            r#","tags":"#,
        ];
        let tags_at = head.iter().map(|part| part.len()).sum::<usize>();
        let rest = [tags, r#","content":"#, content, r#","sig":""#, sig_hex.format(sig), r#""}"#];
        let mut json = String::with_capacity(FIXED_MAX + tags.len() + content.len());
        head.into_iter().for_each(|part| json.push_str(part));
        rest.into_iter().for_each(|part| json.push_str(part));
        let tags_at = u32::try_from(tags_at).expect("the head is some 230 bytes");
        Self { id, pubkey, created_at, kind, tags_at, json: json.into() }
    }

    /// An event from its canonical bytes, as kept by a store. Reads the fixed fields only; it does not check id or signature.
    pub fn from_canonical(json: Bytes) -> Result<Self, MalformedEvent> {
        let text = ByteString::try_from(json).map_err(|_| MalformedEvent)?;
        let hex_at = |at: usize| text.get(at..at + 64).and_then(|hex| decode_hex(hex).ok()).ok_or(MalformedEvent);
        let id = EventId::from_bytes(hex_at(ID_AT)?);
        let pubkey = PublicKey::from_bytes(hex_at(PUBKEY_AT)?);
        let (created_at, rest) = leading_number(text.get(CREATED_AT_AT..).ok_or(MalformedEvent)?)?;
        let (kind, rest) = leading_number(rest.strip_prefix(r#","kind":"#).ok_or(MalformedEvent)?)?;
        let rest = rest.strip_prefix(r#","tags":"#).ok_or(MalformedEvent)?;
        if rest.len() < SIG_FROM_END {
            return Err(MalformedEvent);
        }
        let tags_at = u32::try_from(text.len() - rest.len()).map_err(|_| MalformedEvent)?;
        let kind = u16::try_from(kind).map_err(|_| MalformedEvent)?;
        Ok(Self { id, pubkey, created_at, kind, tags_at, json: text })
    }

    /// SHA-256 of its serialisation.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// Who signed it.
    pub fn pubkey(&self) -> PublicKey {
        self.pubkey
    }

    /// The author's claim of its time, in seconds since 1970.
    pub fn created_at(&self) -> u64 {
        self.created_at
    }

    /// What it is.
    pub fn kind(&self) -> u16 {
        self.kind
    }

    /// Its canonical bytes, shared.
    pub fn json(&self) -> &Bytes {
        self.json.as_bytes()
    }

    /// Its canonical text.
    pub fn as_str(&self) -> &str {
        &self.json
    }

    /// Its signature's 64 bytes, not checked.
    pub fn signature(&self) -> Result<[u8; 64], MalformedEvent> {
        let text = self.as_str();
        let at = text.len().checked_sub(SIG_FROM_END).ok_or(MalformedEvent)?;
        decode_hex(text.get(at..at + 128).ok_or(MalformedEvent)?).map_err(|_| MalformedEvent)
    }

    /// Its content, unescaped.
    pub fn content(&self) -> Result<Cow<'_, str>, MalformedEvent> {
        let mut scanner = Scanner::starting_at(self.as_str(), self.content_at()?);
        scanner.string().and_then(|s| s.decode()).map_err(|_| MalformedEvent)
    }

    /// Its tags in order, read from the canonical bytes as asked for.
    pub fn tags(&self) -> Tags<'_> {
        Tags { scanner: Some(Scanner::starting_at(self.as_str(), self.tags_at as usize)), started: false }
    }

    /// The value (second element) of the first tag called `name`: empty if that tag has none, `None` if there is no such tag.
    pub fn first_value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.tags().find(|tag| tag.name() == name).map(|tag| tag.value().unwrap_or_default())
    }

    /// The address it replaces others under: kind, author and, if asked for, its first `d` tag (missing means empty).
    pub fn address(&self, with_d: bool) -> Address {
        let d = if with_d { self.first_value("d").unwrap_or_default() } else { Cow::default() };
        Address { kind: self.kind, pubkey: self.pubkey, d: d.into() }
    }

    fn content_at(&self) -> Result<usize, MalformedEvent> {
        let mut scanner = Scanner::starting_at(self.as_str(), self.tags_at as usize);
        scanner.skip_value().map_err(|_| MalformedEvent)?;
        Ok(scanner.offset() + r#","content":"#.len())
    }

    /// The parts the id is computed over: canonical `tags` and `content`.
    pub(crate) fn signed_parts(&self) -> Result<(&str, &str), MalformedEvent> {
        let text = self.as_str();
        let content_at = self.content_at()?;
        let content_end = text.len().checked_sub(SIG_FROM_END + r#","sig":""#.len()).ok_or(MalformedEvent)?;
        let tags = text.get(self.tags_at as usize..content_at - r#","content":"#.len()).ok_or(MalformedEvent)?;
        Ok((tags, text.get(content_at..content_end).ok_or(MalformedEvent)?))
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn leading_number(text: &str) -> Result<(u64, &str), MalformedEvent> {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Ok((digits.parse().map_err(|_| MalformedEvent)?, rest))
}

/// Iterates over an event's tags. Ends early on bytes that are not canonical, which only corruption can cause.
#[derive(Debug, Clone)]
pub struct Tags<'a> {
    scanner: Option<Scanner<'a>>,
    started: bool,
}

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        let scanner = self.scanner.as_mut()?;
        let more = if self.started {
            scanner.another(b']').ok()?
        } else {
            self.started = true;
            scanner.expect(b'[').ok()?;
            !scanner.accept(b']')
        };
        if !more {
            self.scanner = None;
            return None;
        }
        let tag = Tag { scanner: scanner.clone() };
        scanner.skip_value().ok()?;
        Some(tag)
    }
}

/// One tag: a name and its values.
#[derive(Debug, Clone)]
pub struct Tag<'a> {
    scanner: Scanner<'a>,
}

impl<'a> Tag<'a> {
    /// All elements, the name first.
    pub fn elements(&self) -> impl Iterator<Item = Cow<'a, str>> + use<'a> {
        let mut scanner = self.scanner.clone();
        let mut more = scanner.accept(b'[') && !scanner.accept(b']');
        std::iter::from_fn(move || {
            if !more {
                return None;
            }
            let element = scanner.string().and_then(|s| s.decode()).ok()?;
            more = scanner.another(b']').unwrap_or(false);
            Some(element)
        })
    }

    /// The first element.
    pub fn name(&self) -> Cow<'a, str> {
        self.elements().next().unwrap_or_default()
    }

    /// The second element.
    pub fn value(&self) -> Option<Cow<'a, str>> {
        self.elements().nth(1)
    }
}

/// What filters can ask for: the first value of each tag whose name is one ASCII letter (NIP-01). Sorted, each once, so that a
/// filter's question costs little however many tags the event has.
#[derive(Debug, Clone, Default)]
pub struct IndexedTags<'a>(Vec<(u8, Cow<'a, str>)>);

impl<'a> IndexedTags<'a> {
    /// Reads them from `event` once, for many filters.
    pub fn of(event: &'a Event) -> Self {
        let letter = |tag: Tag<'a>| {
            let mut elements = tag.elements();
            let name = elements.next()?;
            match name.as_bytes() {
                [letter] if letter.is_ascii_alphabetic() => Some((*letter, elements.next()?)),
                _ => None,
            }
        };
        let mut tags: Vec<_> = event.tags().filter_map(letter).collect();
        tags.sort_unstable();
        tags.dedup();
        Self(tags)
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_ref()))
    }

    /// Whether a tag called `name` has one of `values`.
    pub fn has_any(&self, name: u8, values: &Set<Box<str>>) -> bool {
        let from = self.0.partition_point(|(n, _)| *n < name);
        let of_name = &self.0[from..from + self.0[from..].partition_point(|(n, _)| *n == name)];
        if of_name.len() <= values.len() {
            return of_name.iter().any(|(_, value)| values.contains(value.as_ref()));
        }
        values.iter().any(|value| of_name.binary_search_by(|(_, of)| of.as_ref().cmp(value)).is_ok())
    }
}

/// What a replaceable or addressable event is known by: `kind:pubkey:d` (NIP-01, the `a` tag).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The kind.
    pub kind: u16,
    /// The author.
    pub pubkey: PublicKey,
    /// The first `d` tag's value; empty for plain replaceable kinds.
    pub d: Box<str>,
}

impl Address {
    /// From an `a` tag's value. `d` may itself hold colons.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let kind = parts.next().filter(|kind| kind.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
        let pubkey = PublicKey::from_hex(parts.next()?).ok()?;
        Some(Self { kind, pubkey, d: parts.next().unwrap_or_default().into() })
    }

    /// It in 32 bytes: SHA-256 of kind, author and `d`.
    pub fn hash(&self) -> [u8; 32] {
        let mut sha = Sha256::new();
        sha.update(self.kind.to_be_bytes());
        sha.update(self.pubkey.as_bytes());
        sha.update(self.d.as_bytes());
        sha.finalize().into()
    }
}
