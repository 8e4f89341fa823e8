//! Upkeep, a bounded step at a time: what expired goes, what is hidden is erased, whom nobody may remember is forgotten, tiles and parts
//! are written.
//!
//! Every pod does it; what another has done already is found done.

use std::time::Duration;

use towpath_audit::LeafState;
use towpath_store::{Error, Seq, StreamId};

use crate::Shared;
use crate::heartbeat::check_end;
use crate::parts::{self, kept};
use crate::row;
use crate::tree::{GrowingTree, write_tiles};

/// Events that one entry removes as expired. Fewer than a leaf can name.
const EXPIRED_MAX: i32 = 1_000;
/// Events of somebody who vanished that go in one step. Every pod's commits wait for it: 20 ms.
const VANISHED_MAX: i32 = 200;
/// Leaves forgotten in one step.
const GRAVES_MAX: i64 = 500;
/// Leaves of another's tree that are hashed in one step: a second, during which the lease is not renewed.
const FINISHED_MAX: u64 = 65_536;
/// Between two looks at the parts.
const PARTS_PAUSE: Duration = Duration::from_secs(600);

pub(crate) fn maintain(shared: &Shared, now: u64) -> Result<bool, Error> {
    // All of them: one that fails for days must not keep the others from their turn, nor from the next at once if they need it.
    let steps = [expire(shared, now), vanish(shared), forget(shared), keep_tree(shared).map(|()| false)];
    look_at_parts(shared, now);
    let more = steps.iter().any(|step| matches!(step, Ok(true)));
    match steps.into_iter().find_map(Result::err) {
        Some(error) if more => {
            tracing::warn!(%error, "a part of the upkeep failed");
            Ok(true)
        }
        Some(error) => Err(error),
        None => Ok(more),
    }
}

fn look_at_parts(shared: &Shared, now: u64) {
    let instant = shared.clock.instant();
    let due = shared.parts_seen.lock().is_none_or(|at| instant.saturating_duration_since(at) >= PARTS_PAUSE);
    if due {
        *shared.parts_seen.lock() = Some(instant);
        if let Err(error) = keep_parts(shared, now) {
            // Somebody used them just now: at the next look.
            tracing::warn!(%error, "the parts of the database were not kept up");
        }
    }
}

fn expire(shared: &Shared, now: u64) -> Result<bool, Error> {
    let rows = shared.pool.with(|session| session.query("look for what expired", &shared.sql.due, &[&kept(now)]))?;
    let due = rows.first().is_some_and(|row| row.get::<_, bool>(0));
    if due { shared.writer.lock().expire(shared, now, EXPIRED_MAX) } else { Ok(false) }
}

/// Erases a part of what requests to vanish left hidden.
fn vanish(shared: &Shared) -> Result<bool, Error> {
    let rows = shared.pool.with(|session| session.query("erase who vanished", &shared.sql.vanish, &[&VANISHED_MAX]))?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}

/// Leaves only the hashes of leaves whose owner has vanished.
fn forget(shared: &Shared) -> Result<bool, Error> {
    shared.pool.with(|session| {
        let rows = session.query("look for graves", &shared.sql.graves, &[&GRAVES_MAX])?;
        if rows.is_empty() {
            return Ok(false);
        }
        let (mut streams, mut seqs, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
        for row in &rows {
            streams.push(row.get::<_, i32>(0));
            seqs.push(row.get::<_, i64>(1));
            let hash = match row::leaf_of(row)? {
                LeafState::Whole(leaf) => leaf.hash(),
                LeafState::Erased(hash) => hash,
            };
            hashes.push(hash.0);
        }
        let hashes: Vec<&[u8]> = hashes.iter().map(|hash| &hash[..]).collect();
        session.query("forget leaves", &shared.sql.forget, &[&streams, &seqs, &hashes])?;
        Ok(rows.len() >= usize::try_from(GRAVES_MAX).unwrap_or(usize::MAX))
    })
}

/// Writes the tiles of this pod's tree that are complete, and where its head is.
pub(crate) fn keep_tree(shared: &Shared) -> Result<(), Error> {
    let (stream, fence, first, hashes, head) = {
        let mut writer = shared.writer.lock();
        let Some(lease) = writer.lease() else { return Ok(()) };
        let Some((tree, head)) = lease.tree.as_ref().zip(lease.head()) else { return Ok(()) };
        let (first, hashes) = tree.complete_tiles();
        (lease.stream, lease.fence, first, hashes, head)
    };
    let tiles = shared.pool.with(|session| {
        // On this connection: another may lead to a server that has less. Of a stream that was lost the others keep the tree.
        let rows = session.query("look at the stream", &shared.sql.stream, &[&(stream.0 as i32), &fence])?;
        let Some(row) = rows.first() else { return Ok(first) };
        check_end(stream, row, head.size)?;
        let tiles = write_tiles(shared, session, stream, first, &hashes)?;
        let root = &head.root.0[..];
        session.query("keep the audit tree", &shared.sql.head, &[&(stream.0 as i32), &(head.size as i64), &root])?;
        Ok(tiles)
    })?;
    // Not while a connection is held: a commit may hold the writer and wait for one.
    let mut writer = shared.writer.lock();
    if let Some(tree) = writer.lease().filter(|lease| lease.stream == stream).and_then(|lease| lease.tree.as_mut()) {
        tree.kept(tiles);
    }
    Ok(())
}

/// Brings the tree of a stream that nobody commits to nearer to its last entry.
pub(crate) fn finish_tree(shared: &Shared, stream: StreamId, last: Seq) -> Result<(), Error> {
    shared.pool.with(|session| {
        let mut tree = GrowingTree::load(shared, session, stream, last, FINISHED_MAX)?;
        tree.keep(shared, session, stream)?;
        let head = tree.head();
        let root = &head.root.0[..];
        session
            .query("keep the audit tree", &shared.sql.head, &[&(stream.0 as i32), &(head.size as i64), &root])
            .map(drop)
    })
}

/// Adds the month after next before anything is dated in it, and drops months that have become empty.
fn keep_parts(shared: &Shared, now: u64) -> Result<(), Error> {
    shared.pool.with(|session| {
        let rows = session.query("look at the parts", &shared.sql.parts, &[])?;
        let this = parts::month_of(now);
        let ahead = parts::month_of(parts::month_of(this.until as u64).until as u64);
        for row in &rows {
            let (name, since, until): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
            if name == "rest" && since < ahead.until && since > 0 {
                let month = parts::month_of(since as u64);
                session.query("add a part", &shared.sql.add_month, &[&month.name, &since, &month.until])?;
                tracing::info!(month = month.name, "a part was added to the database");
            } else if name != "rest" && name != "past" && until <= this.since {
                let rows = session.query("drop a part", &shared.sql.drop_part, &[&name])?;
                if rows.first().is_some_and(|row| row.get::<_, bool>(0)) {
                    tracing::info!(month = name, "an empty part was dropped from the database");
                }
            }
        }
        Ok(())
    })
}

/// Makes the parts that events so dated need, where there are none.
pub(crate) fn make_parts(shared: &Shared, created: &[i64]) -> Result<(), Error> {
    shared.pool.with(|session| {
        let rows = session.query("look at the parts", &shared.sql.parts, &[])?;
        let parts: Vec<(i64, i64)> = rows.iter().map(|row| (row.get(1), row.get(2))).collect();
        let missing = created.iter().filter(|at| !parts.iter().any(|(since, until)| (since..until).contains(at)));
        let mut months: Vec<parts::Part> = missing.map(|at| parts::month_of(*at as u64)).collect();
        months.sort_by_key(|month| month.since);
        months.dedup();
        for month in months {
            session.query("add a part", &shared.sql.add_part, &[&month.name, &month.since, &month.until])?;
        }
        Ok(())
    })
}
