//! The six index entries of an event, the same for every engine: one byte names the index, the rest sorts newest first.
//!
//! Knows nothing of engines or of what an entry's value is.

use crate::workload::Event;

const BY_ID: u8 = 1;
const BY_TIME: u8 = 2;
const BY_AUTHOR: u8 = 3;
const BY_AUTHOR_KIND: u8 = 4;
const BY_KIND: u8 = 5;
const BY_TAG: u8 = 6;

/// What finds an event by its id; the entry every commit looks up to refuse what is already stored.
pub(crate) fn id_key(event: &Event) -> Vec<u8> {
    key(BY_ID, &[&event.id])
}

/// All the entries of an event, 33 to 51 bytes each.
pub(crate) fn of(event: &Event) -> [Vec<u8>; 6] {
    // Complemented, so that a forward scan meets the newest first.
    let newest_first = (u64::MAX - event.created_at).to_be_bytes();
    let short_id = &event.id[..8];
    let kind = event.kind.to_be_bytes();
    [
        id_key(event),
        key(BY_TIME, &[&newest_first, &event.id]),
        key(BY_AUTHOR, &[&event.author, &newest_first, short_id]),
        key(BY_AUTHOR_KIND, &[&event.author, &kind, &newest_first, short_id]),
        key(BY_KIND, &[&kind, &newest_first, &event.id]),
        key(BY_TAG, &[b"e", &event.tag, &newest_first, short_id]),
    ]
}

/// The prefix every event of an author shares.
pub(crate) fn author_prefix(author: &[u8; 32]) -> Vec<u8> {
    key(BY_AUTHOR, &[author])
}

/// The prefix every event of a kind shares.
pub(crate) fn kind_prefix(kind: u16) -> Vec<u8> {
    key(BY_KIND, &[&kind.to_be_bytes()])
}

fn key(index: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(56);
    key.push(index);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}
