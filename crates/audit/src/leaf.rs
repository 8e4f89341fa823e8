//! What the log says of one entry: the leaf, its bytes and back. The layout is specified in `docs/audit.md`.
//!
//! Owns: the one encoding of a leaf. Must not know: who made the entry, or where it is kept.

use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};
use towpath_policy::Source;
use towpath_protocol::{Event, EventId, PublicKey};

use crate::Hash;

/// Entries of its stream, and of others, that one leaf can name as removed.
pub const REMOVED_MAX: usize = 4096;
const VERSION: u8 = 1;
/// Of a leaf that names entries of other streams.
const VERSION_ELSEWHERE: u8 = 2;
/// A longer group id is stood for by its hash.
const GROUP_BYTES_MAX: usize = 255;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// An event was accepted.
    Accepted,
    /// An event was accepted and took the place of older versions.
    Replaced,
    /// A deletion request (NIP-09) was accepted, and deleted what it could.
    Deleted,
    /// A moderator deleted events (NIP-29).
    Moderated,
    /// Events expired (NIP-40).
    Expired,
    /// A request to vanish (NIP-62) was accepted.
    Vanished,
    /// An event that changes a group was accepted (NIP-29).
    GroupChanged,
    /// An administrator's command was carried out.
    Administered,
    /// Somebody failed to authenticate in a way worth keeping.
    AuthFailed(AuthFailure),
}

/// Why somebody could not authenticate (NIP-42), although the signature was theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthFailure {
    /// The challenge was not this connection's: perhaps a proof that somebody else got hold of.
    Challenge,
    /// The proof was meant for another relay, which perhaps tried to use it here.
    Relay,
}

impl Action {
    const ALL: [Self; 10] = [
        Self::Accepted,
        Self::Replaced,
        Self::Deleted,
        Self::Moderated,
        Self::Expired,
        Self::Vanished,
        Self::GroupChanged,
        Self::Administered,
        Self::AuthFailed(AuthFailure::Challenge),
        Self::AuthFailed(AuthFailure::Relay),
    ];

    /// As encoded.
    pub fn code(self) -> u8 {
        match self {
            Self::Accepted => 1,
            Self::Replaced => 2,
            Self::Deleted => 3,
            Self::Moderated => 4,
            Self::Expired => 5,
            Self::Vanished => 6,
            Self::GroupChanged => 7,
            Self::Administered => 8,
            Self::AuthFailed(AuthFailure::Challenge) => 16,
            Self::AuthFailed(AuthFailure::Relay) => 17,
        }
    }

    /// The inverse.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.code() == code)
    }

    /// For exports and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Replaced => "replaced",
            Self::Deleted => "deleted",
            Self::Moderated => "moderated",
            Self::Expired => "expired",
            Self::Vanished => "vanished",
            Self::GroupChanged => "group-changed",
            Self::Administered => "administered",
            Self::AuthFailed(AuthFailure::Challenge) => "auth-failed-challenge",
            Self::AuthFailed(AuthFailure::Relay) => "auth-failed-relay",
        }
    }
}

/// A source as exports and reports name it.
pub fn source_name(source: Source) -> &'static str {
    match source {
        Source::Client => "client",
        Source::Import => "import",
        Source::Sync => "sync",
        Source::Relay => "relay",
    }
}

/// The group an event belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Group {
    /// Its id, of at most 255 bytes.
    Id(Box<str>),
    /// SHA-256 of a longer one.
    Hashed([u8; 32]),
}

impl Group {
    /// The group called `id`.
    pub fn new(id: &str) -> Self {
        if id.len() <= GROUP_BYTES_MAX { Self::Id(id.into()) } else { Self::Hashed(Sha256::digest(id).into()) }
    }
}

/// One entry of the log as the audit tree has it. Never content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Whose commit it was.
    pub stream: u32,
    /// Its place in the stream, from 1 on; its index in the tree is one less.
    pub seq: u64,
    /// The committer's clock, in milliseconds since 1970.
    pub committed_at_ms: u64,
    /// What was done.
    pub action: Action,
    /// Who handed it in; `None` for what the relay does by the clock.
    pub source: Option<Source>,
    /// The event, if there is one, and its kind.
    pub event: Option<(EventId, u16)>,
    /// Who did it.
    pub actor: Option<PublicKey>,
    /// Where.
    pub group: Option<Group>,
    /// The entries that went, ascending, at most [`REMOVED_MAX`]. Empty for [`Action::Vanished`]: what that reaches is the actor's,
    /// and to name it here would tie it to them for ever.
    pub removed: Vec<u64>,
    /// Those that went of other streams, as stream and seq, ascending.
    pub removed_elsewhere: Vec<(u32, u64)>,
}

/// These bytes are no leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a leaf: {0}")]
pub struct NotALeaf(&'static str);

/// What is known of an entry's leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeafState {
    /// All of it.
    Whole(Leaf),
    /// Only its hash: its author asked to be forgotten.
    Erased(Hash),
}

impl LeafState {
    /// In the tree.
    pub fn hash(&self) -> Hash {
        match self {
            Self::Whole(leaf) => leaf.hash(),
            Self::Erased(hash) => *hash,
        }
    }

    /// If it is known.
    pub fn leaf(&self) -> Option<&Leaf> {
        match self {
            Self::Whole(leaf) => Some(leaf),
            Self::Erased(_) => None,
        }
    }
}

impl Leaf {
    /// In the tree.
    pub fn hash(&self) -> Hash {
        Hash::of_leaf(&self.to_bytes())
    }

    /// Its one encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.removed.len() * 8);
        out.push(if self.removed_elsewhere.is_empty() { VERSION } else { VERSION_ELSEWHERE });
        out.extend_from_slice(&self.stream.to_be_bytes());
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.committed_at_ms.to_be_bytes());
        out.push(self.action.code());
        out.push(self.source.map_or(0, |source| source.code()));
        push_framed(&mut out, self.event.as_ref().map(|(id, _)| &id.as_bytes()[..]));
        out.extend_from_slice(&self.event.map_or(0, |(_, kind)| kind).to_be_bytes());
        push_framed(&mut out, self.actor.as_ref().map(|actor| &actor.as_bytes()[..]));
        match &self.group {
            None => out.push(0),
            Some(Group::Id(id)) => {
                out.push(1);
                push_framed(&mut out, Some(id.as_bytes()));
            }
            Some(Group::Hashed(hash)) => {
                out.push(2);
                push_framed(&mut out, Some(hash));
            }
        }
        let removed = &self.removed[..self.removed.len().min(REMOVED_MAX)];
        // At most 4 096.
        out.extend_from_slice(&(removed.len() as u16).to_be_bytes());
        for seq in removed {
            out.extend_from_slice(&seq.to_be_bytes());
        }
        if !self.removed_elsewhere.is_empty() {
            let elsewhere = &self.removed_elsewhere[..self.removed_elsewhere.len().min(REMOVED_MAX)];
            out.extend_from_slice(&(elsewhere.len() as u16).to_be_bytes());
            for (stream, seq) in elsewhere {
                out.extend_from_slice(&stream.to_be_bytes());
                out.extend_from_slice(&seq.to_be_bytes());
            }
        }
        out
    }

    /// The leaf whose encoding this is.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotALeaf> {
        let mut fields = Fields(bytes);
        let version = fields.u8()?;
        if !matches!(version, VERSION | VERSION_ELSEWHERE) {
            return Err(NotALeaf("another version"));
        }
        let (stream, seq, committed_at_ms) = (fields.u32()?, fields.u64()?, fields.u64()?);
        let action = Action::from_code(fields.u8()?).ok_or(NotALeaf("an unknown action"))?;
        let source = source(fields.u8()?)?;
        let id = fields.framed(0..=32)?;
        let kind = fields.u16()?;
        let event = match *id {
            [] if kind == 0 => None,
            [] => return Err(NotALeaf("a kind without an event")),
            _ => Some((EventId::from_bytes(key(id)?), kind)),
        };
        let actor = fields.framed(0..=32)?;
        let actor = if actor.is_empty() { None } else { Some(PublicKey::from_bytes(key(actor)?)) };
        let group = fields.group()?;
        let removed = fields.removed()?;
        let removed_elsewhere = if version == VERSION { Vec::new() } else { fields.removed_elsewhere(stream)? };
        if !fields.0.is_empty() {
            return Err(NotALeaf("bytes behind its end"));
        }
        Ok(Self { stream, seq, committed_at_ms, action, source, event, actor, group, removed, removed_elsewhere })
    }

    /// Whether it is about `event`; what does not fit, if not.
    pub fn check_event(&self, event: &Event) -> Result<(), &'static str> {
        let group = event.first_value("h").map(|group| Group::new(&group));
        match self.event {
            Some((id, _)) if id != event.id() => Err("event id"),
            Some((_, kind)) if kind != event.kind() => Err("kind"),
            None => Err("event id"),
            _ if self.actor != Some(event.pubkey()) => Err("author"),
            _ if self.group != group => Err("group"),
            _ => Ok(()),
        }
    }
}

fn push_framed(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let bytes = bytes.unwrap_or_default();
    // At most 255, by the types.
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

fn source(code: u8) -> Result<Option<Source>, NotALeaf> {
    if code == 0 { Ok(None) } else { Source::from_code(code).map(Some).ok_or(NotALeaf("an unknown source")) }
}

fn key(bytes: &[u8]) -> Result<[u8; 32], NotALeaf> {
    bytes.try_into().map_err(|_| NotALeaf("a key or an id of another length"))
}

/// Bytes being taken from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], NotALeaf> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(NotALeaf("it is cut off"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NotALeaf> {
        self.take(N)?.try_into().map_err(|_| NotALeaf("it is cut off"))
    }

    fn u8(&mut self) -> Result<u8, NotALeaf> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, NotALeaf> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, NotALeaf> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, NotALeaf> {
        self.array().map(u64::from_be_bytes)
    }

    fn framed(&mut self, lengths: RangeInclusive<u8>) -> Result<&'a [u8], NotALeaf> {
        let length = self.u8()?;
        if !lengths.contains(&length) {
            return Err(NotALeaf("a field of a length it cannot have"));
        }
        self.take(usize::from(length))
    }

    fn group(&mut self) -> Result<Option<Group>, NotALeaf> {
        match self.u8()? {
            0 => Ok(None),
            1 => {
                let id = std::str::from_utf8(self.framed(0..=255)?).map_err(|_| NotALeaf("a group that is no text"))?;
                Ok(Some(Group::Id(id.into())))
            }
            2 => Ok(Some(Group::Hashed(key(self.framed(32..=32)?)?))),
            _ => Err(NotALeaf("an unknown form of group")),
        }
    }

    fn removed(&mut self) -> Result<Vec<u64>, NotALeaf> {
        let count = self.u16()?;
        if usize::from(count) > REMOVED_MAX {
            return Err(NotALeaf("more removed entries than a leaf can name"));
        }
        let removed: Vec<u64> = (0..count).map(|_| self.u64()).collect::<Result<_, _>>()?;
        if removed.is_sorted_by(|a, b| a < b) { Ok(removed) } else { Err(NotALeaf("removed entries out of order")) }
    }

    fn removed_elsewhere(&mut self, here: u32) -> Result<Vec<(u32, u64)>, NotALeaf> {
        let count = self.u16()?;
        if count == 0 || usize::from(count) > REMOVED_MAX {
            return Err(NotALeaf("none or more removed entries than a leaf can name"));
        }
        let removed: Vec<(u32, u64)> = (0..count).map(|_| Ok((self.u32()?, self.u64()?))).collect::<Result<_, _>>()?;
        if removed.iter().any(|(stream, _)| *stream == here) {
            return Err(NotALeaf("an entry of the stream itself among those of others"));
        }
        if removed.is_sorted_by(|a, b| a < b) { Ok(removed) } else { Err(NotALeaf("removed entries out of order")) }
    }
}

#[cfg(test)]
mod tests;
