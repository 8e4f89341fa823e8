//! Keys and values of the index's tables.
//!
//! The table `orders` holds every order events are asked for in. A key is a *prefix* (which order, and of what), then the moment:
//!
//! ```text
//! prefix                                   moment
//! 't'                                      !created_at 8 │ id 8 │ seq 8      everything
//! 'a' author 16                            …                                 of an author
//! 'b' author 16 kind 2                     …                                 of an author and kind
//! 'k' kind 2                               …                                 of a kind
//! '#' letter 1 value 16                    …                                 with a tag
//! ```
//! All integers are big-endian, so keys of one prefix sort as events are returned: newest first, ties by lowest id. Authors and
//! hashes of values are cut to 16 bytes; what a scan finds is compared with its filter in full, so a collision costs a look and changes
//! nothing.

use sha2::{Digest, Sha256};
use towpath_protocol::{Event, IndexedTags, PublicKey};
use towpath_store::Seq;

use crate::log::record::{Extent, Filing};

pub(crate) const MOMENT_BYTES: usize = 24;
const PREFIX_BYTES_MAX: usize = 19;

/// When an event is, in the order of a scan; unique to the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    /// `!created_at`: newest first.
    pub(crate) age: u64,
    pub(crate) id_head: u64,
    pub(crate) seq: Seq,
}

impl Moment {
    pub(crate) fn of(event: &Event, seq: Seq) -> Self {
        Self { age: !event.created_at(), id_head: head8(event.id().as_bytes()), seq }
    }

    /// Before every event of that time.
    pub(crate) fn start_of(created_at: u64) -> Self {
        Self { age: !created_at, id_head: 0, seq: Seq(0) }
    }

    pub(crate) fn just_after(self) -> Self {
        Self { seq: self.seq.next(), ..self }
    }

    pub(crate) fn to_bytes(self) -> [u8; MOMENT_BYTES] {
        let mut bytes = [0; MOMENT_BYTES];
        bytes[..8].copy_from_slice(&self.age.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.id_head.to_be_bytes());
        bytes[16..].copy_from_slice(&self.seq.0.to_be_bytes());
        bytes
    }

    /// From the end of a key.
    pub(crate) fn parse(key: &[u8]) -> Option<Self> {
        let bytes = key.last_chunk::<MOMENT_BYTES>()?;
        Some(Self { age: be64(bytes, 0)?, id_head: be64(bytes, 8)?, seq: Seq(be64(bytes, 16)?) })
    }
}

/// Which order, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Prefix {
    bytes: [u8; PREFIX_BYTES_MAX],
    len: u8,
}

impl Prefix {
    pub(crate) fn time() -> Self {
        Self::build(b't', &[])
    }

    pub(crate) fn author(author: &PublicKey) -> Self {
        Self::build(b'a', &[&author.as_bytes()[..16]])
    }

    pub(crate) fn author_kind(author: &PublicKey, kind: u16) -> Self {
        Self::build(b'b', &[&author.as_bytes()[..16], &kind.to_be_bytes()])
    }

    pub(crate) fn kind(kind: u16) -> Self {
        Self::build(b'k', &[&kind.to_be_bytes()])
    }

    pub(crate) fn tag(name: u8, value: &str) -> Self {
        Self::build(b'#', &[&[name], &value16(value)])
    }

    fn build(order: u8, parts: &[&[u8]]) -> Self {
        let mut prefix = Self { bytes: [0; PREFIX_BYTES_MAX], len: 1 };
        prefix.bytes[0] = order;
        for part in parts {
            let at = usize::from(prefix.len);
            prefix.bytes[at..at + part.len()].copy_from_slice(part);
            prefix.len += part.len() as u8;
        }
        prefix
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    pub(crate) fn at(&self, moment: Moment) -> OrderKey {
        let mut key = OrderKey { bytes: [0; _], len: self.len + MOMENT_BYTES as u8 };
        let at = usize::from(self.len);
        key.bytes[..at].copy_from_slice(self.as_bytes());
        key.bytes[at..at + MOMENT_BYTES].copy_from_slice(&moment.to_bytes());
        key
    }
}

/// A key of `orders`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OrderKey {
    bytes: [u8; PREFIX_BYTES_MAX + MOMENT_BYTES],
    len: u8,
}

impl OrderKey {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Every order an event is in.
pub(crate) fn prefixes(event: &Event) -> Vec<Prefix> {
    let author = event.pubkey();
    let mut prefixes = vec![
        Prefix::time(),
        Prefix::author(&author),
        Prefix::author_kind(&author, event.kind()),
        Prefix::kind(event.kind()),
    ];
    prefixes.extend(IndexedTags::of(event).iter().map(|(name, value)| Prefix::tag(name, value)));
    prefixes
}

/// What can be told of an event from its entry in `orders` alone: enough to pass over most that a filter does not mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hint {
    pub(crate) kind: u16,
    pub(crate) author_head: u64,
}

impl Hint {
    pub(crate) fn of(event: &Event) -> Self {
        Self { kind: event.kind(), author_head: head8(event.pubkey().as_bytes()) }
    }

    pub(crate) fn to_bytes(self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&self.kind.to_be_bytes());
        bytes[2..].copy_from_slice(&self.author_head.to_be_bytes());
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let kind = u16::from_be_bytes(*bytes.first_chunk()?);
        Some(Self { kind, author_head: be64(bytes, 2)? })
    }
}

/// Where an event's JSON is in the log, and what else removing it takes to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// Of the file that holds its sequence number.
    pub(crate) generation: u32,
    /// Where its record starts.
    pub(crate) record: u32,
    /// Where the JSON is, counted from there.
    pub(crate) extent: Extent,
    pub(crate) created_at: u64,
    pub(crate) expires_at: Option<u64>,
    pub(crate) filing: Filing,
}

const POSITION_BYTES: usize = 37;

impl Position {
    pub(crate) fn to_bytes(self) -> [u8; POSITION_BYTES] {
        let mut bytes = [0; POSITION_BYTES];
        let words = [self.generation, self.record, self.extent.offset, self.extent.len, self.extent.crc];
        for (at, word) in words.into_iter().enumerate() {
            bytes[4 * at..4 * at + 4].copy_from_slice(&word.to_be_bytes());
        }
        bytes[20..28].copy_from_slice(&self.created_at.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.expires_at.unwrap_or(u64::MAX).to_be_bytes());
        bytes[36] = self.filing as u8;
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        Some(Self {
            generation: word(0)?,
            record: word(4)?,
            extent: Extent { offset: word(8)?, len: word(12)?, crc: word(16)? },
            created_at: be64(bytes, 20)?,
            expires_at: be64(bytes, 28).filter(|at| *at != u64::MAX),
            filing: Filing::parse(*bytes.get(36)?)?,
        })
    }
}

/// The first half of the value's hash. Of ids and keys, too, although half of one would tell it from others just as well: nobody can
/// make values that are filed with another's and are looked at in vain with each of its scans.
fn value16(value: &str) -> [u8; 16] {
    let hash: [u8; 32] = Sha256::digest(value.as_bytes()).into();
    hash.first_chunk().copied().unwrap_or_default()
}

pub(crate) fn head8(bytes: &[u8; 32]) -> u64 {
    be64(bytes, 0).unwrap_or_default()
}

pub(crate) fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Two 8-byte integers, for keys that sort by the first.
pub(crate) fn pair(first: u64, second: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&first.to_be_bytes());
    bytes[8..].copy_from_slice(&second.to_be_bytes());
    bytes
}

/// In a grave, the author of an event that could not be read.
pub(crate) const NOBODY: PublicKey = PublicKey::from_bytes([0; 32]);

/// An author and the seq of what was theirs.
pub(crate) fn grave(of: &PublicKey, seq: u64) -> [u8; 40] {
    let mut bytes = [0; 40];
    bytes[..32].copy_from_slice(of.as_bytes());
    bytes[32..].copy_from_slice(&seq.to_be_bytes());
    bytes
}

/// An event id and the key that wants it gone.
pub(crate) fn tombstone(id: &[u8; 32], by: &PublicKey) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(id);
    bytes[32..].copy_from_slice(by.as_bytes());
    bytes
}
