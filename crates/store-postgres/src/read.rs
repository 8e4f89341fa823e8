//! Reading the log: a page behind a cursor, the place of an event.

use std::time::Duration;

use towpath_protocol::EventId;
use towpath_store::{Cursor, Entry, Error, Page, Seq, StreamId};

use crate::Shared;
use crate::pool::{Held, Session};
use crate::row;

/// Entries of one page, whatever is asked for.
const ENTRIES_MAX: usize = 4_096;

pub(crate) fn snapshot(shared: &Shared) -> Result<Cursor, Error> {
    shared.pool.with(|session| end_on(shared, session))
}

/// For so long nobody asks a replica that did not answer: finding out may take seconds.
const AWAY_FOR: Duration = Duration::from_secs(10);

/// A connection to the replica, if that has everything that `cursor` covers. What it says is so of this connection only: behind the name
/// there may be several servers, and the next may lead to one that has less.
pub(crate) fn replica_with<'a>(shared: &'a Shared, cursor: &Cursor) -> Option<Held<'a>> {
    let replica = shared.replica.as_ref()?;
    if shared.replica_away_until.lock().is_some_and(|until| shared.clock.instant() < until) {
        return None;
    }
    match replica.hold(|session| end_on(shared, session)) {
        Ok((held, end)) => end.covers_all(cursor).then(|| {
            shared.metrics.replica_reads.inc();
            held
        }),
        Err(error) => {
            tracing::warn!(%error, "the replica does not answer; the primary is asked");
            replica_is_away(shared);
            None
        }
    }
}

/// It failed: it is left alone for a while.
pub(crate) fn replica_is_away(shared: &Shared) {
    *shared.replica_away_until.lock() = Some(shared.clock.instant() + AWAY_FOR);
}

fn end_on(shared: &Shared, session: &mut Session) -> Result<Cursor, Error> {
    Ok(row::cursor(&session.query("look at the streams", &shared.sql.snapshot, &[])?))
}

/// Of all streams, or of `only` one.
pub(crate) fn page(shared: &Shared, cursor: &Cursor, page: Page, only: Option<StreamId>) -> Result<Vec<Entry>, Error> {
    let only = only.map(|stream| stream.0 as i32);
    let streams: Vec<i32> = cursor.places().map(|(stream, _)| stream.0 as i32).collect();
    let seqs: Vec<i64> = cursor.places().map(|(_, seq)| i64::try_from(seq.0).unwrap_or(i64::MAX)).collect();
    let entries_max = page.entries_max.clamp(1, ENTRIES_MAX) as i64;
    let bytes_max = i64::try_from(page.bytes_max).unwrap_or(i64::MAX);
    let rows = shared.pool.with(|session| {
        session.query("read the log", &shared.sql.since, &[&streams, &seqs, &entries_max, &bytes_max, &only])
    })?;
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for row in &rows {
        let entry = row::entry(row)?;
        bytes += entry.record.event().map_or(0, |event| event.json().len());
        entries.push(entry);
        if entries.len() >= page.entries_max || bytes >= page.bytes_max {
            break;
        }
    }
    Ok(entries)
}

pub(crate) fn place_of(shared: &Shared, id: &EventId) -> Result<Option<(StreamId, Seq)>, Error> {
    let id = &id.as_bytes()[..];
    let rows = shared.pool.with(|session| session.query("look for an event", &shared.sql.place_of, &[&id]))?;
    Ok(rows.first().map(row::place))
}
