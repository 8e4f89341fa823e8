//! The thread that keeps the lease: renews it while this pod lives, seals the streams of pods that do not, and looks at the others.

use std::sync::{Arc, Weak};
use std::time::Duration;

use towpath_audit::{Hash, Head, Tree};
use towpath_store::{Error, Seq, StreamId};

use crate::{PodStream, Shared, upkeep};

/// A third of the lease: two renewals may fail.
const BEATS_PER_LEASE: u32 = 3;
/// Clocks that differ by more are an operator's business.
const SKEW_MAX_S: f64 = 2.0;

/// Runs until the store is dropped.
pub(crate) fn run(shared: &Weak<Shared>, pause: Duration) {
    loop {
        let Some(shared) = shared.upgrade() else { return };
        match beat(&shared) {
            Ok(()) => shared.note_success(),
            Err(error) => {
                tracing::warn!(%error, "the database does not answer the heartbeat");
                shared.note_failure(&error);
            }
        }
        shared.pause(pause / BEATS_PER_LEASE);
        if shared.is_stopping() {
            return;
        }
    }
}

pub(crate) fn beat(shared: &Arc<Shared>) -> Result<(), Error> {
    let lease_s = shared.config.lease.as_secs_f64();
    let ours = *shared.lease.lock();
    if let Some((stream, fence)) = ours {
        // Before the database is asked, which must have all of it.
        let head = shared.own.lock().filter(|(own, _)| *own == stream);
        let rows = shared.pool.with(|session| {
            session.query("renew the lease", &shared.sql.renew, &[&(stream.0 as i32), &fence, &lease_s])
        })?;
        match rows.first() {
            None => shared.lost_stream(stream, fence),
            Some(row) => check_end(stream, row, head.map_or(0, |(_, head)| head.size))?,
        }
    }
    shared.pool.with(|session| session.query("seal streams", &shared.sql.seal_streams, &[]))?;
    let streams = look(shared)?;
    note_others(shared, ours, &streams);
    if shared.config.audit && finish_trees(shared, ours, &streams)? {
        note_others(shared, ours, &look(shared)?);
    }
    Ok(())
}

/// A stream whose last place is in `row` has the `size` entries that its tree is over. A server that took another's place without its last
/// commits has not, and what is to come in their place would not fit that tree.
pub(crate) fn check_end(stream: StreamId, row: &postgres::Row, size: u64) -> Result<(), Error> {
    let (stream, last) = (stream.0, row.get::<_, i64>(0) as u64);
    if last >= size {
        return Ok(());
    }
    let what = format!("the database lost what it had committed: stream {stream} ends at {last} and was at {size}");
    Err(Error::Corrupt(what))
}

fn note_others(shared: &Shared, ours: Option<(StreamId, i64)>, streams: &[PodStream]) {
    let others = streams.iter().filter(|stream| ours.is_none_or(|(own, _)| own != stream.stream));
    *shared.others.lock() =
        others.map(|other| (other.stream, other.head.unwrap_or_else(|| Tree::new().head()))).collect();
}

/// Writes down what is missing of the trees of streams that nobody owns; whether any was.
fn finish_trees(shared: &Arc<Shared>, ours: Option<(StreamId, i64)>, streams: &[PodStream]) -> Result<bool, Error> {
    let is_ours = |stream: &PodStream| ours.is_some_and(|(own, _)| own == stream.stream);
    let is_short = |stream: &PodStream| stream.head.is_none_or(|head| head.size < stream.last.0);
    let mut finished = false;
    for stream in streams.iter().filter(|stream| !is_ours(stream) && stream.owner.is_none() && is_short(stream)) {
        upkeep::finish_tree(shared, stream.stream, stream.last)?;
        finished = true;
    }
    Ok(finished)
}

/// The streams as the database has them; compares its clock with ours on the way.
pub(crate) fn look(shared: &Shared) -> Result<Vec<PodStream>, Error> {
    let rows = shared.pool.with(|session| session.query("look at the streams", &shared.sql.streams, &[]))?;
    if let Some(row) = rows.first() {
        note_clock(shared, row.get(7));
    }
    rows.iter().map(pod_stream).collect()
}

fn pod_stream(row: &postgres::Row) -> Result<PodStream, Error> {
    let root: Option<&[u8]> = row.get(6);
    let root =
        root.map(|root| root.try_into().map(Hash).map_err(|_| crate::row::malformed("audit tree"))).transpose()?;
    Ok(PodStream {
        stream: StreamId(row.get::<_, i32>(0) as u32),
        owner: row.get(1),
        fence: row.get(2),
        last: Seq(row.get::<_, i64>(3) as u64),
        lease_s: row.get(4),
        head: root.map(|root| Head { size: row.get::<_, i64>(5) as u64, root }),
    })
}

fn note_clock(shared: &Shared, database: f64) {
    let ahead = database - shared.clock.unix_ms() as f64 / 1e3;
    shared.metrics.clock_ahead.set(ahead);
    if ahead.abs() > SKEW_MAX_S {
        tracing::warn!(
            ahead_s = ahead,
            "this machine's clock and the database's differ: events expire early or late on one of two pods"
        );
    }
}
