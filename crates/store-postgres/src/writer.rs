//! The committer's side: the stream this pod owns, and commits to it, one round trip each.
//!
//! A commit is one call of a function in the database and one transaction. It carries the stream's fence and a token of its own: a
//! fence that was overtaken is refused, and a token that is asked about again is answered with what came of it. So a connection that
//! is lost on the way costs a second call, never a second entry or a wrong answer.
//!
//! Must not know: how events are found.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use towpath_audit::{Hash, Head, Tree};
use towpath_policy::{KIND_GIFT_WRAP, Placement, Removal, Write};
use towpath_store::leaves::{self, Stamp};
use towpath_store::{Batch, Committed, Cursor, Error, Outcome, Seq, Stored, StreamId, rules};

use crate::Shared;
use crate::connect::{NOT_OURS, is_conflict, is_lost, unavailable};
use crate::parts::kept;
use crate::pool::Session;
use crate::row::group_bytes;
use crate::terms::{address_key, term, terms};
use crate::tree::GrowingTree;

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

/// What the database answered.
struct Answer {
    outcomes: Vec<i16>,
    /// By which entry, and which: ascending by the first.
    removed: Vec<(Seq, (StreamId, Seq))>,
}

impl Writer {
    /// The stream of this pod, if it has one.
    pub(crate) fn lease(&mut self) -> Option<&mut Lease> {
        self.lease.as_mut()
    }

    /// Has a stream and knows where it is.
    pub(crate) fn ensure(&mut self, shared: &Shared) -> Result<&mut Lease, Error> {
        let session = match &mut self.session {
            Some(session) if !session.is_closed() => session,
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
        let mut answer = self.call(shared, batch, &columns);
        if answer.is_err() && self.lease.is_none() {
            // The stream was lost, and that says nothing of the next one: after an outage of everybody, the pod that is back first seals
            // the streams of all others. What an earlier try stored after all is a duplicate now.
            self.ensure(shared)?;
            answer = self.call(shared, batch, &columns);
        }
        let answer = answer?;
        let lease = self.lease.as_mut().ok_or_else(|| Error::Closed("the stream was lost".into()))?;
        let committed = lease.take_answer(batch, &answer)?;
        shared.note_end(lease.stream, lease.last)?;
        *shared.own.lock() = lease.tree.as_ref().map(|tree| (lease.stream, tree.head()));
        Ok(committed)
    }

    /// Sends a commit until it is known what came of it, or patience is over.
    fn call(&mut self, shared: &Shared, batch: &Batch, columns: &Columns<'_>) -> Result<Answer, Error> {
        let (token, mut lost_at) = (token()?, None);
        let (mut conflicts, mut asked_again, mut parts_made) = (0, false, 0);
        loop {
            let (Some(session), Some(lease)) = (&mut self.session, &mut self.lease) else {
                return Err(Error::Closed("there is no stream to commit to".into()));
            };
            shared.metrics.commit_round_trips.inc();
            // Until it is answered: a try whose answer was lost may still be on its way.
            lease.known = false;
            let error = match columns.send(shared, session, lease, batch, token) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let failure = unavailable("commit", &error);
            let code = error.code().map(|code| code.code().to_owned());
            if code.as_deref() == Some("23514") && parts_made < PARTS_TRIES {
                shared.make_parts(&columns.created)?;
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
            shared.note_failure(&failure);
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
        let (streams, seqs): (Option<Vec<i32>>, Option<Vec<i64>>) = (row.get(0), row.get(1));
        let removed = places(streams.unwrap_or_default(), seqs.unwrap_or_default());
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
    let tree = shared.config.audit.then(|| GrowingTree::load(shared, session, stream, last)).transpose()?;
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
    let tree = shared.config.audit.then(|| GrowingTree::load(shared, session, stream, last)).transpose()?;
    *shared.own.lock() = tree.as_ref().map(|tree| (stream, tree.head()));
    Ok(Some(Lease { last, tree, known: true, ..lease }))
}

impl Lease {
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
        Ok(Committed { stream, first, outcomes, stored, cursor: Cursor::at(stream, last), head })
    }

    /// The head as it stands in the database, once the tree's tiles are there.
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

pub(crate) fn places(streams: Vec<i32>, seqs: Vec<i64>) -> Vec<(StreamId, Seq)> {
    streams.into_iter().zip(seqs).map(|(stream, seq)| (StreamId(stream as u32), Seq(seq as u64))).collect()
}

/// A batch as the function takes it: a column a field.
struct Columns<'a> {
    ids: Vec<[u8; 32]>,
    pubkeys: Vec<[u8; 32]>,
    created: Vec<i64>,
    kinds: Vec<i32>,
    sources: Vec<i16>,
    actions: Vec<i16>,
    groups: Vec<Option<Vec<u8>>>,
    expires: Vec<Option<i64>>,
    addresses: Vec<Option<[u8; 32]>>,
    jsons: Vec<&'a [u8]>,
    /// Those that something depends on: decided one by one.
    lone: Vec<bool>,
    owner_of: Vec<i32>,
    owners: Vec<[u8; 32]>,
    term_of: Vec<i32>,
    terms: Vec<i64>,
    target_of: Vec<i32>,
    targets: Vec<Option<&'a [u8]>>,
    target_addresses: Vec<Option<[u8; 32]>>,
    wrap_terms: Vec<Option<i64>>,
    removes: bool,
    replaces: bool,
    act_actions: Vec<i16>,
    act_sources: Vec<i16>,
    act_ids: Vec<Option<&'a [u8]>>,
    act_kinds: Vec<Option<i32>>,
    act_actors: Vec<Option<[u8; 32]>>,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a Batch) -> Self {
        let writes = &batch.writes;
        let mut seen = HashSet::new();
        let mut columns = Self {
            ids: writes.iter().map(id_of).collect(),
            pubkeys: writes.iter().map(|write| *write.event().pubkey().as_bytes()).collect(),
            created: writes.iter().map(|write| kept(write.event().created_at())).collect(),
            kinds: writes.iter().map(|write| write.event().kind().into()).collect(),
            sources: writes.iter().map(|write| write.source().code().into()).collect(),
            actions: writes.iter().map(|write| leaves::action_of(write, false).code().into()).collect(),
            groups: writes.iter().map(|write| group_bytes(write.event())).collect(),
            expires: writes.iter().map(|write| write.expires_at().filter(|at| *at != u64::MAX).map(kept)).collect(),
            addresses: writes.iter().map(address_of).collect(),
            jsons: writes.iter().map(|write| &write.event().json()[..]).collect(),
            lone: writes.iter().map(|write| stands_alone(write) | !seen.insert(id_of(write))).collect(),
            owner_of: Vec::new(),
            owners: Vec::new(),
            term_of: Vec::new(),
            terms: Vec::new(),
            target_of: Vec::new(),
            targets: Vec::new(),
            target_addresses: Vec::new(),
            wrap_terms: Vec::new(),
            removes: writes.iter().any(|write| *write.removal() != Removal::None),
            replaces: writes.iter().any(|write| address_of(write).is_some()),
            act_actions: batch.acts.iter().map(|act| act.action.code().into()).collect(),
            act_sources: batch.acts.iter().map(|act| act.source.code().into()).collect(),
            act_ids: batch.acts.iter().map(|act| act.event.as_ref().map(|(id, _)| &id.as_bytes()[..])).collect(),
            act_kinds: batch.acts.iter().map(|act| act.event.map(|(_, kind)| kind.into())).collect(),
            act_actors: batch.acts.iter().map(|act| act.actor.map(|actor| *actor.as_bytes())).collect(),
        };
        for (number, write) in (1..).zip(writes) {
            columns.add_details(number, write);
        }
        columns
    }

    fn add_details(&mut self, number: i32, write: &'a Write) {
        let event = write.event();
        if event.kind() == KIND_GIFT_WRAP {
            for recipient in rules::recipients(event) {
                self.owner_of.push(number);
                self.owners.push(*recipient.as_bytes());
            }
        }
        for term in terms(event) {
            self.term_of.push(number);
            self.terms.push(term);
        }
        if let Removal::Delete(request) = write.removal() {
            for id in &request.ids {
                self.target_of.push(number);
                self.targets.push(Some(id.as_bytes()));
                self.target_addresses.push(None);
            }
            for address in request.addresses.iter().filter(|address| address.pubkey == event.pubkey()) {
                self.target_of.push(number);
                self.targets.push(None);
                self.target_addresses.push(Some(address_key(address)));
            }
        }
        let removes = *write.removal() != Removal::None;
        self.wrap_terms.push(removes.then(|| term(b'p', &event.pubkey().to_hex())));
    }

    fn send(
        &self,
        shared: &Shared,
        session: &mut Session,
        lease: &Lease,
        batch: &Batch,
        token: i64,
    ) -> Result<Answer, postgres::Error> {
        let (stream, last) = (lease.stream.0 as i32, lease.last.0 as i64);
        let at = i64::try_from(batch.committed_at_ms).unwrap_or(i64::MAX);
        let lease_s = shared.config.lease.as_secs_f64();
        let ids: Vec<&[u8]> = self.ids.iter().map(|id| &id[..]).collect();
        let pubkeys: Vec<&[u8]> = self.pubkeys.iter().map(|key| &key[..]).collect();
        let owners: Vec<&[u8]> = self.owners.iter().map(|key| &key[..]).collect();
        let addresses = optional(&self.addresses);
        let target_addresses = optional(&self.target_addresses);
        let actors = optional(&self.act_actors);
        let rows = session.try_query(
            &shared.sql.commit,
            &[
                &stream,
                &lease.fence,
                &last,
                &token,
                &at,
                &lease_s,
                &ids,
                &pubkeys,
                &self.created,
                &self.kinds,
                &self.sources,
                &self.actions,
                &self.groups,
                &self.expires,
                &addresses,
                &self.jsons,
                &self.lone,
                &self.owner_of,
                &owners,
                &self.term_of,
                &self.terms,
                &self.target_of,
                &self.targets,
                &target_addresses,
                &self.wrap_terms,
                &self.removes,
                &self.replaces,
                &self.act_actions,
                &self.act_sources,
                &self.act_ids,
                &self.act_kinds,
                &actors,
            ],
        )?;
        let Some(row) = rows.first() else { return Ok(Answer { outcomes: Vec::new(), removed: Vec::new() }) };
        let outcomes: Option<Vec<i16>> = row.try_get(0)?;
        let by: Option<Vec<i64>> = row.try_get(1)?;
        let (streams, seqs): (Option<Vec<i32>>, Option<Vec<i64>>) = (row.try_get(2)?, row.try_get(3)?);
        let removed = places(streams.unwrap_or_default(), seqs.unwrap_or_default());
        let by = by.unwrap_or_default().into_iter().map(|seq| Seq(seq as u64));
        Ok(Answer { outcomes: outcomes.unwrap_or_default(), removed: by.zip(removed).collect() })
    }
}

fn id_of(write: &Write) -> [u8; 32] {
    *write.event().id().as_bytes()
}

fn optional(keys: &[Option<[u8; 32]>]) -> Vec<Option<&[u8]>> {
    keys.iter().map(|key| key.as_ref().map(|key| &key[..])).collect()
}

fn address_of(write: &Write) -> Option<[u8; 32]> {
    match write.placement() {
        Placement::Replaceable(address) => Some(address_key(address)),
        Placement::Regular | Placement::Ephemeral => None,
    }
}

/// Whether the writes behind it may depend on it, or it on those before.
fn stands_alone(write: &Write) -> bool {
    *write.placement() != Placement::Regular || *write.removal() != Removal::None
}
