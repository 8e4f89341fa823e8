//! Rows of the log, and what their columns stand for.

use bytes::Bytes;
use postgres::Row;
use towpath_audit::{Action, Group, Hash, Leaf, LeafState};
use towpath_policy::Source;
use towpath_protocol::{Event, EventId, PublicKey};
use towpath_store::leaves::{self, Stamp};
use towpath_store::{Cursor, Entry, Error, Record, Seq, StreamId};

/// The columns that [`entry`] reads, of a log row `l`, and of the row `e` of its event if it is there.
pub(crate) const COLUMNS: &str = "l.stream, l.seq, l.committed_at, l.record, l.action, l.source, l.event_id, l.kind, l.pubkey, \
                                  l.group_id, l.removed_streams, l.removed_seqs, l.leaf";
/// Finds the event of `l`: by its place, because an id may have been stored, removed and stored again; and row by row, because the
/// events are many and the rows are few.
pub(crate) const JOIN: &str = "left join lateral (select e.json from $schema.shown e where l.record = 1 \
                               and e.created_at = l.created_at and e.id = l.event_id and e.stream = l.stream and e.seq = l.seq \
                               limit 1) e on true";

/// Where an entry is, of a row that begins with that.
pub(crate) fn place(row: &Row) -> (StreamId, Seq) {
    (StreamId(row.get::<_, i32>(0) as u32), Seq(row.get::<_, i64>(1) as u64))
}

/// How far streams go, by rows that begin with that.
pub(crate) fn cursor(rows: &[Row]) -> Cursor {
    let mut cursor = Cursor::start();
    for (stream, seq) in rows.iter().map(place) {
        cursor.advance(stream, seq);
    }
    cursor
}

/// Of two columns of arrays, which are null where there are none.
pub(crate) fn places(streams: Option<Vec<i32>>, seqs: Option<Vec<i64>>) -> Vec<(StreamId, Seq)> {
    let (streams, seqs) = (streams.unwrap_or_default(), seqs.unwrap_or_default());
    streams.into_iter().zip(seqs).map(|(stream, seq)| (StreamId(stream as u32), Seq(seq as u64))).collect()
}

pub(crate) fn malformed(what: &str) -> Error {
    Error::Corrupt(format!("the database's {what} cannot be read"))
}

/// The group of an event as the log keeps it: a byte for its form, then the id or its hash.
pub(crate) fn group_bytes(event: &Event) -> Option<Vec<u8>> {
    let group = Group::new(&event.first_value("h")?);
    let (form, bytes) = match &group {
        Group::Id(id) => (1, id.as_bytes()),
        Group::Hashed(hash) => (2, &hash[..]),
    };
    Some([&[form], bytes].concat())
}

fn group(bytes: Option<&[u8]>) -> Result<Option<Group>, Error> {
    let Some(bytes) = bytes else { return Ok(None) };
    let group = match bytes.split_first() {
        Some((1, id)) => std::str::from_utf8(id).ok().map(|id| Group::Id(id.into())),
        Some((2, hash)) => hash.try_into().ok().map(Group::Hashed),
        _ => None,
    };
    group.map(Some).ok_or_else(|| malformed("groups"))
}

fn key(bytes: &[u8]) -> Result<[u8; 32], Error> {
    bytes.try_into().map_err(|_| malformed("ids and keys"))
}

/// What a row of [`COLUMNS`] and, last, the event's bytes is.
pub(crate) fn entry(row: &Row) -> Result<Entry, Error> {
    let (stream, seq) = place(row);
    let committed_at_ms = row.get::<_, i64>(2) as u64;
    let removed = removed(row);
    let json: Option<&[u8]> = row.get(13);
    let record = match (row.get::<_, i16>(3), json) {
        (1, Some(json)) => Record::Event { event: event(json)?, removed: removed.clone() },
        (1, None) => Record::Erased { removed: removed.clone() },
        (2, _) => Record::Expired { removed: removed.clone() },
        (3, _) => Record::Act,
        _ => return Err(malformed("log")),
    };
    let leaf = leaf(row, Stamp { stream, seq, committed_at_ms }, removed)?;
    Ok(Entry { stream, seq, committed_at_ms, record, leaf })
}

fn removed(row: &Row) -> Vec<(StreamId, Seq)> {
    places(row.get(10), row.get(11))
}

/// The leaf that a row of [`COLUMNS`] says.
pub(crate) fn leaf_of(row: &Row) -> Result<LeafState, Error> {
    let (stream, seq) = place(row);
    leaf(row, Stamp { stream, seq, committed_at_ms: row.get::<_, i64>(2) as u64 }, removed(row))
}

fn leaf(row: &Row, stamp: Stamp, removed: Vec<(StreamId, Seq)>) -> Result<LeafState, Error> {
    if let Some(hash) = row.get::<_, Option<&[u8]>>(12) {
        return Ok(LeafState::Erased(Hash(key(hash)?)));
    }
    let action = u8::try_from(row.get::<_, i16>(4)).ok().and_then(Action::from_code);
    let action = action.ok_or_else(|| malformed("log"))?;
    // Only what removed says what went; a request to vanish does not.
    let removed = removed.into_iter().filter(|_| action != Action::Vanished);
    let plain = leaves::of_expiry(stamp, removed);
    let source = match row.get::<_, i16>(5) {
        0 => None,
        code => Some(u8::try_from(code).ok().and_then(Source::from_code).ok_or_else(|| malformed("log"))?),
    };
    let id: Option<&[u8]> = row.get(6);
    let kind: Option<i32> = row.get(7);
    let event = match id.zip(kind) {
        Some((id, kind)) => Some((EventId::from_bytes(key(id)?), u16::try_from(kind).map_err(|_| malformed("log"))?)),
        None => None,
    };
    let actor = row.get::<_, Option<&[u8]>>(8).map(key).transpose()?.map(PublicKey::from_bytes);
    Ok(LeafState::Whole(Leaf { action, source, event, actor, group: group(row.get(9))?, ..plain }))
}

pub(crate) fn event(json: &[u8]) -> Result<Event, Error> {
    Event::from_canonical(Bytes::copy_from_slice(json)).map_err(|_| malformed("events"))
}
