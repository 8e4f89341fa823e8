//! The thread that keeps the lease: renews it while this pod lives, seals the streams of pods that do not, and looks at the others.
//!
//! Whose lease ran out may have been as far from the database as this pod was: after an outage, all of them have, and who is back first
//! must not seal the streams of the others. So nobody seals before it has been heard of for a lease without a break.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use towpath_audit::{Hash, Head, Tree};
use towpath_store::{Error, Seq, StreamId};

use crate::{PodStream, Shared, lost, row, upkeep};

/// A third of the lease: two renewals may fail.
const BEATS_PER_LEASE: u32 = 3;
/// Clocks that differ by more are an operator's business.
const SKEW_MAX_S: f64 = 2.0;

/// Runs until the store is dropped.
pub(crate) fn run(shared: &Weak<Shared>, pause: Duration) {
    let mut pulse = Pulse::default();
    loop {
        let Some(shared) = shared.upgrade() else { return };
        let result = beat(&shared, &mut pulse);
        if let Err(error) = &result {
            tracing::warn!(%error, "the database does not answer the heartbeat");
        }
        shared.health.lock().beaten(&result);
        shared.pause(pause / BEATS_PER_LEASE);
        if shared.is_stopping() {
            return;
        }
    }
}

/// Since when the beats got through without a break, and the last that did.
#[derive(Default)]
pub(crate) struct Pulse(Option<(Instant, Instant)>);

impl Pulse {
    /// One got through; whether they have for as long as a lease. One that was missed is a break.
    fn beat(&mut self, now: Instant, lease: Duration) -> bool {
        let pause_max = lease / BEATS_PER_LEASE * 2;
        let unbroken = self.0.filter(|(_, last)| now.saturating_duration_since(*last) < pause_max);
        let since = unbroken.map_or(now, |(since, _)| since);
        self.0 = Some((since, now));
        now.saturating_duration_since(since) >= lease
    }
}

pub(crate) fn beat(shared: &Arc<Shared>, pulse: &mut Pulse) -> Result<(), Error> {
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
        if !shared.config.takes_stream {
            // A tool has no upkeep, and may commit for hours.
            upkeep::keep_tree(shared)?;
        }
    }
    let streams = look(shared)?;
    if pulse.beat(shared.clock.instant(), shared.config.lease) {
        shared.pool.with(|session| session.query("seal streams", &shared.sql.seal_streams, &[]))?;
    }
    note_others(shared, ours, &streams);
    if shared.config.audit {
        match finish_trees(shared, ours, &streams) {
            Ok(true) => note_others(shared, ours, &look(shared)?),
            Ok(false) => {}
            // This pod's own stream is as well as it was.
            Err(error) => tracing::warn!(%error, "a tree that nobody grows was not finished"),
        }
    }
    Ok(())
}

/// A stream whose last place is in `row` has the `size` entries that its tree is over. A server that took another's place without its last
/// commits has not, and what is to come in their place would not fit that tree.
pub(crate) fn check_end(stream: StreamId, row: &postgres::Row, size: u64) -> Result<(), Error> {
    let last = Seq(row.get::<_, i64>(0) as u64);
    if last.0 >= size { Ok(()) } else { Err(lost(stream, last, Seq(size))) }
}

fn note_others(shared: &Shared, ours: Option<(StreamId, i64)>, streams: &[PodStream]) {
    let others = streams.iter().filter(|stream| ours.is_none_or(|(own, _)| own != stream.stream));
    *shared.others.lock() =
        others.map(|other| (other.stream, other.head.unwrap_or_else(|| Tree::new().head()))).collect();
}

/// Writes down a part of what is missing of the tree of a stream that nobody owns; whether any was.
fn finish_trees(shared: &Arc<Shared>, ours: Option<(StreamId, i64)>, streams: &[PodStream]) -> Result<bool, Error> {
    let is_ours = |stream: &PodStream| ours.is_some_and(|(own, _)| own == stream.stream);
    let is_short = |stream: &PodStream| stream.head.is_none_or(|head| head.size < stream.last.0);
    let short = streams.iter().filter(|stream| !is_ours(stream) && stream.owner.is_none() && is_short(stream));
    let mut failure = None;
    for stream in short {
        match upkeep::finish_tree(shared, stream.stream, stream.last) {
            Ok(()) => return Ok(true),
            // It does not keep the others from theirs.
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(false), Err)
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
    let root = root.map(|root| root.try_into().map(Hash).map_err(|_| row::malformed("audit tree"))).transpose()?;
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

#[cfg(test)]
mod tests {
    use towpath_runtime::{Clock, SystemClock};

    use super::*;

    #[test]
    fn nobody_seals_before_it_was_heard_of_for_a_lease_without_a_break() {
        let (mut pulse, start, s) = (Pulse::default(), SystemClock.instant(), Duration::from_secs);
        let mut may_seal = |at| pulse.beat(start + s(at), s(15));
        assert_eq!([0, 5, 10, 15, 24].map(&mut may_seal), [false, false, false, true, true]);
        assert_eq!([34, 39, 44, 48, 49].map(&mut may_seal), [false, false, false, false, true], "one was missed");
    }
}
