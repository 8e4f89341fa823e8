//! The bytes of a log record: one batch, checksummed as a whole.
//!
//! Owns: the layout below, both ways. Must not know: files, or why an entry removes what it removes.
//!
//! ```text
//! record  magic 4 │ version 2 │ zero 2 │ payload length 4 │ crc32c 4 │ stream 4 │ first seq 8 │ committed at, ms 8 │ entries 4
//!         │ audit root 32 │ payload
//! entry   type 1 │ flags 1 │ lasting 1 │ source 1 │ action 1 │ zero 3 │ removed count 4 │ lasting length 4 │ content length 4
//!         │ [expires at 8] │ removed seqs 8 each │ lasting │ content
//! ```
//! The root is that of the audit tree with the record's leaves, or zeroes if none is kept. The content is an event's JSON, or of an
//! entry without an event its leaf, of which only the hash may be left.
//!
//! Integers are little-endian. The checksum covers the whole record but itself. The magic holds bytes that no UTF-8 text does, and
//! what clients choose freely stands here as text: events in JSON, lasting effects in hex. So nothing that they send can be mistaken for
//! a record: of a header, an expiry holds but the first bytes, and behind it come text or places in the log. Records of version 2, which
//! are read, have lasting effects as they are; those of versions 2 and 3 name all that a request to vanish removes.
//!
//! A record holds decisions, not intentions: which entries each one removed, and what it means for events yet to come. Folding
//! the log into an index therefore decides nothing, and stays exact after events have been erased. Only a request to vanish that
//! reaches many entries does not name them: whatever it reaches of what is before it is removed ([`crate::index::vanish`]).

use bytes::Bytes;
use towpath_audit::{Action, Hash, Leaf, LeafState};
use towpath_policy::Source;
use towpath_protocol::{Address, Event, EventId, PublicKey};
use towpath_store::{Seq, StreamId};

/// The one stream of this store.
pub(crate) const STREAM: StreamId = StreamId(0);

pub(crate) const HEADER_BYTES: usize = 72;
pub(crate) const MAGIC: [u8; 4] = [0xF5, b'T', b'P', 0xFF];
pub(crate) const VERSION: u16 = 4;
const VERSION_MIN: u16 = 2;
const NO_ROOT: [u8; 32] = [0; 32];
const CRC_AT: std::ops::Range<usize> = 12..16;
const ENTRY_BYTES: usize = 20;

const EVENT: u8 = 1;
const ERASED: u8 = 2;
const EXPIRED: u8 = 3;
const ACT: u8 = 4;
const FILING: u8 = 3;
const HAS_EXPIRY: u8 = 4;
const LEAF_IS_ERASED: u8 = 8;
/// The type of a lasting effect is so much higher where it stands in hex.
const IN_HEX: u8 = 2;

/// SHA-256 of an address; see `index::keys`.
pub(crate) type AddressKey = [u8; 32];

/// One entry as logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogEntry {
    pub(crate) body: Body,
    pub(crate) removed: Vec<Seq>,
    pub(crate) lasting: Lasting,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Event(Filed),
    /// There was an event here; its bytes are gone.
    Erased(LeafState),
    /// Not an event: what it removed had expired.
    Expired,
    /// Not an event: something that only the audit log tells.
    Act(Leaf),
}

/// An event, what the index needs to file it, and what the audit log tells of it besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filed {
    pub(crate) event: Event,
    pub(crate) filing: Filing,
    pub(crate) expires_at: Option<u64>,
    pub(crate) action: Action,
    pub(crate) source: Source,
}

impl Body {
    /// The event, if it is there.
    pub(crate) fn filed(&self) -> Option<&Filed> {
        match self {
            Self::Event(filed) => Some(filed),
            Self::Erased(_) | Self::Expired | Self::Act(_) => None,
        }
    }
}

/// Whether an event is a version under an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub(crate) enum Filing {
    /// It is not.
    #[default]
    Regular = 0,
    /// Under kind and author.
    Replaceable = 1,
    /// Under kind, author and `d`.
    Addressable = 2,
}

impl Filing {
    pub(crate) fn parse(byte: u8) -> Option<Self> {
        [Self::Regular, Self::Replaceable, Self::Addressable].into_iter().find(|filing| *filing as u8 == byte)
    }

    pub(crate) fn address_of(self, event: &Event) -> Option<Address> {
        (self != Self::Regular).then(|| event.address(self == Self::Addressable))
    }
}

/// What an event means for events that arrive later. Outlives the event's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lasting {
    None,
    Deleted { by: PublicKey, created_at: u64, ids: Vec<EventId>, addresses: Vec<AddressKey> },
    Vanished { who: PublicKey, until: u64 },
}

/// Where an event's JSON is, counted from the start of its record, and its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extent {
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) crc: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) payload_bytes: u32,
    pub(crate) crc: u32,
    pub(crate) stream: StreamId,
    pub(crate) first_seq: Seq,
    pub(crate) committed_at_ms: u64,
    pub(crate) entries: u32,
    pub(crate) root: Option<Hash>,
}

/// A record read back.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) header: Header,
    pub(crate) entries: Vec<LogEntry>,
    /// Of each entry.
    pub(crate) extents: Vec<Extent>,
}

impl Header {
    /// `None` if these bytes do not start a record of a version this code reads.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes.get(..HEADER_BYTES)?);
        let (magic, version, zero) = (fields.take(4)?, fields.u16()?, fields.u16()?);
        let good = magic == MAGIC && is_read(version) && zero == 0;
        let header = Self {
            payload_bytes: fields.u32()?,
            crc: fields.u32()?,
            stream: StreamId(fields.u32()?),
            first_seq: Seq(fields.u64()?),
            committed_at_ms: fields.u64()?,
            entries: fields.u32()?,
            root: Some(fields.array()?).filter(|root| *root != NO_ROOT).map(Hash),
        };
        good.then_some(header)
    }

    /// The version of the record that starts here, if this code does not read it. Zero is what a torn write leaves.
    pub(crate) fn other_version(bytes: &[u8]) -> Option<u16> {
        let mut fields = Fields(bytes);
        let (magic, version) = (fields.take(4)?, fields.u16()?);
        (magic == MAGIC && !is_read(version) && version != 0).then_some(version)
    }

    pub(crate) fn record_bytes(&self) -> usize {
        HEADER_BYTES + self.payload_bytes as usize
    }

    /// The sequence number after the record's last.
    pub(crate) fn next_seq(&self) -> Seq {
        Seq(self.first_seq.0.saturating_add(u64::from(self.entries)))
    }
}

fn is_read(version: u16) -> bool {
    (VERSION_MIN..=VERSION).contains(&version)
}

/// Puts a record together.
#[derive(Debug)]
pub(crate) struct Encoder {
    bytes: Vec<u8>,
    entries: u32,
}

impl Encoder {
    /// Starts a record in `buffer`, whose contents go and whose capacity stays.
    pub(crate) fn start(mut buffer: Vec<u8>, first_seq: Seq, committed_at_ms: u64, root: Option<Hash>) -> Self {
        buffer.clear();
        buffer.extend_from_slice(&MAGIC);
        buffer.extend_from_slice(&VERSION.to_le_bytes());
        buffer.extend_from_slice(&[0; 2 + 4 + 4]);
        buffer.extend_from_slice(&STREAM.0.to_le_bytes());
        buffer.extend_from_slice(&first_seq.0.to_le_bytes());
        buffer.extend_from_slice(&committed_at_ms.to_le_bytes());
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(&root.map_or(NO_ROOT, |root| root.0));
        Self { bytes: buffer, entries: 0 }
    }

    pub(crate) fn push(&mut self, entry: &LogEntry) -> Extent {
        let leaf;
        let (tag, mut flags, content) = match &entry.body {
            Body::Event(filed) => (EVENT, filed.filing as u8, &filed.event.json()[..]),
            Body::Erased(LeafState::Erased(hash)) => (ERASED, LEAF_IS_ERASED, &hash.0[..]),
            Body::Erased(LeafState::Whole(whole)) => {
                leaf = whole.to_bytes();
                (ERASED, 0, &leaf[..])
            }
            Body::Act(whole) => {
                leaf = whole.to_bytes();
                (ACT, 0, &leaf[..])
            }
            Body::Expired => (EXPIRED, 0, &[][..]),
        };
        let filed = entry.body.filed();
        let expires_at = filed.and_then(|filed| filed.expires_at);
        flags |= expires_at.map_or(0, |_| HAS_EXPIRY);
        let (source, action) = filed.map_or((0, 0), |filed| (filed.source.code(), filed.action.code()));
        let out = &mut self.bytes;
        out.extend_from_slice(&[tag, flags, entry.lasting.tag(), source, action, 0, 0, 0]);
        out.extend_from_slice(&length(entry.removed.len()));
        out.extend_from_slice(&length(entry.lasting.bytes()));
        out.extend_from_slice(&length(content.len()));
        if let Some(at) = expires_at {
            out.extend_from_slice(&at.to_le_bytes());
        }
        for seq in &entry.removed {
            out.extend_from_slice(&seq.0.to_le_bytes());
        }
        entry.lasting.push_to(out);
        let offset = u32::try_from(out.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(content);
        self.entries += 1;
        Extent { offset, len: u32::try_from(content.len()).unwrap_or(u32::MAX), crc: crc32c::crc32c(content) }
    }

    /// The finished record; `None` if it outgrew what its length field can say.
    pub(crate) fn finish(mut self) -> Option<Vec<u8>> {
        let payload = u32::try_from(self.bytes.len() - HEADER_BYTES).ok()?;
        self.bytes[8..12].copy_from_slice(&payload.to_le_bytes());
        self.bytes[36..40].copy_from_slice(&self.entries.to_le_bytes());
        let crc = checksum(&self.bytes);
        self.bytes[CRC_AT].copy_from_slice(&crc.to_le_bytes());
        Some(self.bytes)
    }
}

impl Record {
    /// Reads a whole record; `None` if it is not exactly what was written.
    pub(crate) fn parse(bytes: &Bytes) -> Option<Self> {
        let header = Header::parse(bytes)?;
        if bytes.len() != header.record_bytes() || checksum(bytes) != header.crc {
            return None;
        }
        let mut rest = Fields(&bytes[HEADER_BYTES..]);
        let count = header.entries.min(65_536) as usize;
        let (mut entries, mut extents) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for _ in 0..header.entries {
            let (entry, extent) = parse_entry(bytes, &mut rest)?;
            entries.push(entry);
            extents.push(extent);
        }
        rest.0.is_empty().then_some(Self { header, entries, extents })
    }

    /// Each entry with its sequence number and extent.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (Seq, &LogEntry, Extent)> {
        let first = self.header.first_seq.0;
        let entries = self.entries.iter().zip(&self.extents);
        (first..).map(Seq).zip(entries).map(|(seq, (entry, extent))| (seq, entry, *extent))
    }
}

fn parse_entry(record: &Bytes, rest: &mut Fields<'_>) -> Option<(LogEntry, Extent)> {
    let mut head = Fields(rest.take(ENTRY_BYTES)?);
    let (tag, flags, lasting, source, action, _) =
        (head.u8()?, head.u8()?, head.u8()?, head.u8()?, head.u8()?, head.take(3)?);
    let (removed_count, lasting_bytes, content_bytes) = (head.u32()?, head.u32()?, head.u32()?);
    let expires_at = if flags & HAS_EXPIRY != 0 { Some(rest.u64()?) } else { None };
    let mut seqs = Fields(rest.take((removed_count as usize).checked_mul(8)?)?);
    let removed = std::iter::from_fn(|| seqs.u64().map(Seq)).collect();
    let lasting = Lasting::parse(lasting, rest.take(lasting_bytes as usize)?)?;
    let offset = record.len() - rest.0.len();
    let content = rest.take(content_bytes as usize)?;
    let extent = Extent { offset: u32::try_from(offset).ok()?, len: content_bytes, crc: crc32c::crc32c(content) };
    let body = match tag {
        EVENT => Body::Event(Filed {
            event: Event::from_canonical(record.slice(offset..offset + content.len())).ok()?,
            filing: Filing::parse(flags & FILING)?,
            expires_at,
            action: Action::from_code(action)?,
            source: Source::from_code(source)?,
        }),
        ERASED if flags & LEAF_IS_ERASED != 0 => Body::Erased(LeafState::Erased(Hash(content.try_into().ok()?))),
        ERASED => Body::Erased(LeafState::Whole(Leaf::from_bytes(content).ok()?)),
        EXPIRED => Body::Expired,
        ACT => Body::Act(Leaf::from_bytes(content).ok()?),
        _ => return None,
    };
    Some((LogEntry { body, removed, lasting }, extent))
}

impl Lasting {
    fn tag(&self) -> u8 {
        match self {
            Self::None => 0,
            Self::Deleted { .. } => 1 + IN_HEX,
            Self::Vanished { .. } => 2 + IN_HEX,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Deleted { ids, addresses, .. } => 2 * (32 + 8 + 4 + 32 * (ids.len() + addresses.len())),
            Self::Vanished { .. } => 2 * (32 + 8),
        }
    }

    fn push_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::None => {}
            Self::Deleted { by, created_at, ids, addresses } => {
                push_hex(out, by.as_bytes());
                push_hex(out, &created_at.to_le_bytes());
                push_hex(out, &length(ids.len()));
                ids.iter().for_each(|id| push_hex(out, id.as_bytes()));
                addresses.iter().for_each(|address| push_hex(out, address));
            }
            Self::Vanished { who, until } => {
                push_hex(out, who.as_bytes());
                push_hex(out, &until.to_le_bytes());
            }
        }
    }

    fn parse(tag: u8, bytes: &[u8]) -> Option<Self> {
        if tag > IN_HEX {
            return Self::parse_plain(tag - IN_HEX, &from_hex(bytes)?);
        }
        Self::parse_plain(tag, bytes)
    }

    fn parse_plain(tag: u8, bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        match tag {
            0 => Some(Self::None),
            1 => {
                let by = PublicKey::from_bytes(fields.array()?);
                let (created_at, ids_count) = (fields.u64()?, fields.u32()?);
                let ids = (0..ids_count).map(|_| fields.array().map(EventId::from_bytes)).collect::<Option<_>>()?;
                let addresses = std::iter::from_fn(|| fields.array()).collect();
                Some(Self::Deleted { by, created_at, ids, addresses })
            }
            2 => Some(Self::Vanished { who: PublicKey::from_bytes(fields.array()?), until: fields.u64()? }),
            _ => None,
        }
    }
}

/// Of everything but the checksum's own four bytes.
fn checksum(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[..CRC_AT.start]), &record[CRC_AT.end..])
}

/// Lengths are bounded by the record's own, which [`Encoder::finish`] checks.
fn length(n: usize) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[usize::from(digit)]));
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let (pairs, rest) = text.as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

/// Bytes being taken from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use towpath_store::leaves::{self, Stamp};

    use super::*;
    use crate::tests::fixture::{key, note};

    fn entries() -> Vec<LogEntry> {
        let event = note(1, 7).event().clone();
        let (action, source) = (Action::Replaced, Source::Import);
        let filed =
            |filing, expires_at| Body::Event(Filed { event: event.clone(), filing, expires_at, action, source });
        let stamp = Stamp { stream: STREAM, seq: Seq(9), committed_at_ms: 7 };
        let leaf = leaves::of_event(stamp, action, source, &event, [(StreamId(0), Seq(3))].into_iter());
        let deleted =
            Lasting::Deleted { by: key(1), created_at: 9, ids: vec![event.id(); 2], addresses: vec![[3; 32]] };
        vec![
            LogEntry { body: filed(Filing::Regular, None), removed: vec![], lasting: Lasting::None },
            LogEntry {
                body: filed(Filing::Addressable, Some(5)),
                removed: vec![Seq(1), Seq(2)],
                lasting: deleted.clone(),
            },
            LogEntry {
                body: Body::Erased(LeafState::Erased(leaf.hash())),
                removed: vec![Seq(3)],
                lasting: Lasting::Vanished { who: key(2), until: 8 },
            },
            LogEntry { body: Body::Erased(LeafState::Whole(leaf.clone())), removed: vec![], lasting: deleted },
            LogEntry { body: Body::Act(leaf), removed: vec![], lasting: Lasting::None },
            LogEntry { body: Body::Expired, removed: vec![Seq(4)], lasting: Lasting::None },
        ]
    }

    fn encoded() -> (Vec<u8>, Vec<Extent>) {
        let mut encoder = Encoder::start(vec![1, 2, 3], Seq(40), 12_345, Some(Hash([7; 32])));
        let extents = entries().iter().map(|entry| encoder.push(entry)).collect();
        (encoder.finish().unwrap(), extents)
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let (bytes, extents) = encoded();
        let record = Record::parse(&Bytes::from(bytes.clone())).unwrap();
        assert_eq!((record.header.first_seq, record.header.next_seq()), (Seq(40), Seq(46)));
        assert_eq!((record.header.committed_at_ms, record.header.record_bytes()), (12_345, bytes.len()));
        assert_eq!(record.header.root, Some(Hash([7; 32])));
        assert_eq!(record.entries, entries());
        assert_eq!(record.extents, extents);
        let json = &bytes[extents[0].offset as usize..][..extents[0].len as usize];
        assert_eq!(json, note(1, 7).event().json());
    }

    fn with_checksum(mut record: Vec<u8>) -> Bytes {
        let crc = checksum(&record);
        record[CRC_AT].copy_from_slice(&crc.to_le_bytes());
        Bytes::from(record)
    }

    /// Once, lasting effects stood in a record as they are.
    #[test]
    fn records_of_the_versions_before_are_read() {
        for entry in entries() {
            let mut encoder = Encoder::start(Vec::new(), Seq(40), 12_345, None);
            encoder.push(&entry);
            let new = encoder.finish().unwrap();
            let mut before = new.clone();
            before[4] = 3;
            assert_eq!(Record::parse(&with_checksum(before)).unwrap().entries, std::slice::from_ref(&entry));
            let expiry = entry.body.filed().and_then(|filed| filed.expires_at).map_or(0, |_| 8);
            let from = HEADER_BYTES + ENTRY_BYTES + expiry + 8 * entry.removed.len();
            let to = from + entry.lasting.bytes();
            let plain = from_hex(&new[from..to]).unwrap();
            let mut old = [&new[..from], &plain[..], &new[to..]].concat();
            let payload = length(old.len() - HEADER_BYTES);
            old[4] = 2;
            old[8..12].copy_from_slice(&payload);
            old[HEADER_BYTES + 2] = old[HEADER_BYTES + 2].saturating_sub(IN_HEX);
            old[HEADER_BYTES + 12..HEADER_BYTES + 16].copy_from_slice(&length(plain.len()));
            assert_eq!(Record::parse(&with_checksum(old)).unwrap().entries, [entry]);
        }
    }

    #[test]
    fn no_changed_or_missing_byte_goes_unnoticed() {
        let (bytes, _) = encoded();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Record::parse(&Bytes::from(changed)).is_none(), "byte {at}");
            assert!(Record::parse(&Bytes::copy_from_slice(&bytes[..at])).is_none(), "cut at {at}");
        }
    }
}
