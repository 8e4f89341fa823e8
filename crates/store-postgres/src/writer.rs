//! The committer's side: the stream this pod owns, and commits to it, one round trip each.
//!
//! A commit is one call of a function in the database and one transaction. It carries the stream's fence and a token of its own: a
//! fence that was overtaken is refused, and a token that is asked about again is answered with what came of it. So a connection that
//! is lost on the way costs a second call, never a second entry or a wrong answer.
//!
//! Must not know: how events are found.

use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use towpath_audit::{Hash, Head, Tree};
use towpath_store::leaves::{self, Stamp};
use towpath_store::{Batch, Committed, Error, Outcome, Run, Seq, Stored, StreamId};

use crate::columns::{Answer, Columns};
use crate::connect::{NOT_OURS, is_conflict, is_lost, unavailable};
use crate::parts::kept;
use crate::pool::Session;
use crate::tree::GrowingTree;
use crate::{Shared, row, upkeep};

/// Between two tries of a commit.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Parts are made for one commit so often at most.
const PARTS_TRIES: u32 = 3;
/// Conflicts with other pods that are tried again before the commit fails.
const CONFLICTS_MAX: u32 = 5;

/// The commit lane. One commit at a time.
#[derive(Default)]
pub(crate) struct Writer {
    session: Option<Session>,
    lease: Option<Lease>,
}

/// The stream that is this pod's.
pub(crate) struct Lease {
    pub(crate) stream: StreamId,
    pub(crate) fence: i64,
    last: Seq,
    pub(crate) tree: Option<GrowingTree>,
    /// Whether `last` and `tree` are certainly what the database has.
    known: bool,
}

impl Writer {
    /// The stream of this pod, if it has one.
    pub(crate) fn lease(&mut self) -> Option<&mut Lease> {
        self.lease.as_mut()
    }

    /// Has a stream and knows where it is.
    pub(crate) fn ensure(&mut self, shared: &Shared) -> Result<&mut Lease, Error> {
        let session = match &mut self.session {
            Some(session) if session.is_sound() => session,
            none => none.insert(shared.pool.connect()?),
        };
        // The heartbeat may have learnt that it is another's by now.
        let ours = shared.lease.lock().map(|(stream, _)| stream);
        if let Some(lease) = self.lease.take().filter(|lease| Some(lease.stream) == ours) {
            self.lease = if lease.known { Some(lease) } else { catch_up(shared, session, lease)? };
        }
        match &mut self.lease {
            Some(lease) => Ok(lease),
            none => Ok(none.insert(take(shared, session)?)),
        }
    }

    /// Lets go of the stream, so that another pod may take it at once.
    pub(crate) fn release(&mut self, shared: &Shared) -> Result<(), Error> {
        let Some(lease) = self.lease.take() else { return Ok(()) };
        let mut session = match self.session.take() {
            Some(session) => session,
            None => shared.pool.connect()?,
        };
        let sql = &shared.sql.release;
        session.query("release the stream", sql, &[&(lease.stream.0 as i32), &lease.fence]).map(drop)
    }

    pub(crate) fn commit(&mut self, shared: &Shared, batch: &Batch) -> Result<Committed, Error> {
        self.ensure(shared)?;
        let columns = Columns::of(batch);
        let mut answer = self.call(shared, &columns);
        if answer.is_err() && self.lease.is_none() {
            // The stream was lost, and that says nothing of the next one: the pod may have slept, and others sealed it. What an earlier
            // try stored after all is a duplicate now.
            self.ensure(shared)?;
            answer = self.call(shared, &columns);
        }
        let answer = answer?;
        let lease = self.lease.as_mut().ok_or_else(|| Error::Closed("the stream was lost".into()))?;
        let committed = lease.take_answer(batch, &answer)?;
        shared.note_end(lease.stream, lease.last)?;
        *shared.own.lock() = lease.tree.as_ref().map(|tree| (lease.stream, tree.head()));
        Ok(committed)
    }

    /// Sends a commit until it is known what came of it, or patience is over.
    fn call(&mut self, shared: &Shared, columns: &Columns<'_>) -> Result<Answer, Error> {
        let (token, mut lost_at) = (token()?, None);
        let (mut conflicts, mut asked_again, mut parts_made) = (0, false, 0);
        loop {
            let (Some(session), Some(lease)) = (&mut self.session, &mut self.lease) else {
                return Err(Error::Closed("there is no stream to commit to".into()));
            };
            shared.metrics.commit_round_trips.inc();
            // Until it is answered: a try whose answer was lost may still be on its way.
            lease.known = false;
            let error = match columns.send(shared, session, lease.place(), token) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let failure = unavailable("commit", &error);
            let code = error.code().map(|code| code.code().to_owned());
            if code.as_deref() == Some("23514") && parts_made < PARTS_TRIES {
                upkeep::make_parts(shared, columns.created())?;
                parts_made += 1;
                continue;
            }
            if code.as_deref() == Some(NOT_OURS) {
                // An earlier try of ours may have got there after all: then the same token is answered.
                if !std::mem::replace(&mut asked_again, true) {
                    continue;
                }
                shared.lost_stream(lease.stream, lease.fence);
                self.lease = None;
                return Err(failure);
            }
            if is_conflict(&error) && conflicts < CONFLICTS_MAX {
                conflicts += 1;
                continue;
            }
            if !is_lost(&error) {
                return Err(failure);
            }
            shared.health.lock().commit_fails(shared.clock.instant(), &failure);
            shared.metrics.commit_retries.inc();
            self.reconnect(shared, &mut lost_at, failure)?;
        }
    }

    /// Waits for the server, as long as there is patience with it since it was first `lost_at`. That once it is tried in any case:
    /// noticing may have taken long, and only asking again tells what came of the commit.
    fn reconnect(&mut self, shared: &Shared, lost_at: &mut Option<Instant>, failure: Error) -> Result<(), Error> {
        let is_over = |since: Instant| {
            let waited = shared.clock.instant().saturating_duration_since(since);
            waited >= shared.config.commit_patience || shared.is_stopping()
        };
        self.session = None;
        if lost_at.is_some_and(is_over) {
            return Err(failure);
        }
        let since = *lost_at.get_or_insert_with(|| shared.clock.instant());
        loop {
            if let Ok(session) = shared.pool.connect() {
                self.session = Some(session);
                return Ok(());
            }
            if is_over(since) {
                return Err(failure);
            }
            shared.pause(RETRY_PAUSE);
        }
    }

    /// Removes what expired by `now`; whether there may be more.
    pub(crate) fn expire(&mut self, shared: &Shared, now: u64, max: i32) -> Result<bool, Error> {
        self.ensure(shared)?;
        let (Some(session), Some(lease)) = (&mut self.session, &mut self.lease) else { return Ok(false) };
        let (stream, last) = (lease.stream.0 as i32, lease.last.0 as i64);
        // Whatever fails, it is not known whether the entry is there.
        lease.known = false;
        let rows = session.query(
            "remove what expired",
            &shared.sql.expire,
            &[&stream, &lease.fence, &last, &kept(now), &max],
        )?;
        lease.known = true;
        let Some(row) = rows.first() else { return Ok(false) };
        let removed = row::places(row.get(0), row.get(1));
        if removed.is_empty() {
            return Ok(false);
        }
        let seq = lease.last.next();
        let stamp = Stamp { stream: lease.stream, seq, committed_at_ms: now.saturating_mul(1000) };
        lease.append([leaves::of_expiry(stamp, removed.iter().copied()).hash()]);
        lease.last = seq;
        shared.note_end(lease.stream, seq)?;
        *shared.own.lock() = lease.tree.as_ref().map(|tree| (lease.stream, tree.head()));
        Ok(removed.len() >= usize::try_from(max).unwrap_or(usize::MAX))
    }
}

fn token() -> Result<i64, Error> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Unavailable("the system has no randomness".into()))?;
    Ok(i64::from_be_bytes(bytes))
}

/// A stream for this pod: one that nobody owns, or a new one.
fn take(shared: &Shared, session: &mut Session) -> Result<Lease, Error> {
    let lease_s = shared.config.lease.as_secs_f64();
    let rows = session.query("take a stream", &shared.sql.take_stream, &[&shared.config.pod, &lease_s])?;
    let row = rows.first().ok_or_else(|| Error::Unavailable("no stream was given".into()))?;
    let (stream, fence, last): (i32, i64, i64) = (row.get(0), row.get(1), row.get(2));
    let (stream, last) = (StreamId(stream as u32), Seq(last as u64));
    shared.note_end(stream, last)?;
    let tree = shared.config.audit.then(|| GrowingTree::load(shared, session, stream, last, u64::MAX)).transpose()?;
    tracing::info!(stream = stream.0, fence, seq = last.0, "this pod commits to a stream");
    *shared.own.lock() = tree.as_ref().map(|tree| (stream, tree.head()));
    shared.note_lease(Some((stream, fence)));
    Ok(Lease { stream, fence, last, tree, known: true })
}

/// Where the stream really is; `None` if it is another's by now.
fn catch_up(shared: &Shared, session: &mut Session, lease: Lease) -> Result<Option<Lease>, Error> {
    let rows = session.query("look at the stream", &shared.sql.stream, &[&(lease.stream.0 as i32), &lease.fence])?;
    let Some(row) = rows.first() else {
        shared.lost_stream(lease.stream, lease.fence);
        return Ok(None);
    };
    let last = Seq(row.get::<_, i64>(0) as u64);
    let stream = lease.stream;
    shared.note_end(stream, last)?;
    let tree = shared.config.audit.then(|| GrowingTree::load(shared, session, stream, last, u64::MAX)).transpose()?;
    *shared.own.lock() = tree.as_ref().map(|tree| (stream, tree.head()));
    Ok(Some(Lease { last, tree, known: true, ..lease }))
}

impl Lease {
    /// The stream, its fence and its last entry.
    fn place(&self) -> (StreamId, i64, Seq) {
        (self.stream, self.fence, self.last)
    }

    fn append(&mut self, hashes: impl IntoIterator<Item = Hash>) {
        if let Some(tree) = &mut self.tree {
            hashes.into_iter().for_each(|hash| tree.append(hash));
        }
    }

    /// Numbers what was accepted, grows the tree by it, and words the outcomes.
    fn take_answer(&mut self, batch: &Batch, answer: &Answer) -> Result<Committed, Error> {
        if answer.outcomes.len() != batch.writes.len() {
            return Err(Error::Corrupt("the database answered for another batch".into()));
        }
        let (stream, first, committed_at_ms) = (self.stream, self.last.next(), batch.committed_at_ms);
        let mut removed = answer.removed.iter().copied().peekable();
        let (mut outcomes, mut stored, mut last) = (Vec::with_capacity(batch.writes.len()), Vec::new(), self.last);
        for (write, code) in batch.writes.iter().zip(&answer.outcomes) {
            let outcome = outcome(*code, last.next())?;
            outcomes.push(outcome);
            let Outcome::Accepted(seq) = outcome else { continue };
            last = seq;
            let mut gone: Vec<(StreamId, Seq)> = Vec::new();
            while let Some((_, place)) = removed.next_if(|(by, _)| *by == seq) {
                gone.push(place);
            }
            let action = leaves::action_of(write, !gone.is_empty());
            let stamp = Stamp { stream, seq, committed_at_ms };
            if self.tree.is_some() {
                let leaf = leaves::of_event(stamp, action, write.source(), write.event(), gone.into_iter());
                self.append([leaf.hash()]);
            }
            stored.push(Stored { stream, seq, event: write.event().clone() });
        }
        for act in &batch.acts {
            last = last.next();
            let stamp = Stamp { stream, seq: last, committed_at_ms };
            self.append([leaves::of_act(stamp, act).hash()]);
        }
        self.last = last;
        self.known = true;
        let head = self.tree.as_ref().map_or_else(|| Tree::new().head(), GrowingTree::head);
        Ok(Committed { run: Run { stream, first, last, stored }, outcomes, head })
    }

    /// Of the tree in memory, which is ahead of what the database has of it.
    pub(crate) fn head(&self) -> Option<Head> {
        self.tree.as_ref().map(GrowingTree::head)
    }
}

fn outcome(code: i16, next: Seq) -> Result<Outcome, Error> {
    match code {
        0 => Ok(Outcome::Accepted(next)),
        1 => Ok(Outcome::Duplicate),
        2 => Ok(Outcome::Superseded),
        3 => Ok(Outcome::Deleted),
        4 => Ok(Outcome::Vanished),
        _ => Err(Error::Corrupt(format!("the database answered with the outcome {code}"))),
    }
}
