//! Scans: from filters to events, a slice at a time.
//!
//! ```text
//! plan     each filter → the order that narrows it most, and the keys to look up in it
//! source   one filter: the newest of each key's candidates, in one query, down to a horizon below which one may be missing
//! merge    all sources, newest first; the same event from several is taken once
//! ```
//! Between slices a scan holds the place of the last event it looked at, and nothing it has read. A query looks at a bounded number of
//! candidates, however few of them match, and brings a bounded number of bytes. What it brought is looked at in the slice that read it,
//! even if the query took longer than a slice should: reading it again would take as long.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use towpath_protocol::{EventId, Filter};
use towpath_store::{Budget, Count, Cursor, Error, Progress, Query, Scan, Seq, Stored, StreamId, Tally, spread};

use crate::Shared;
use crate::parts::kept;
use crate::pool::Pool;
use crate::read;
use crate::row;
use crate::terms::term;

/// Candidates of one query.
const CANDIDATES_MAX: usize = 4_096;
/// Of one key: the least worth a look.
const OF_KEY_MIN: usize = 2;
/// Keys of one query: a filter with more is read in turns.
const KEYS_MAX: usize = 2_048;
/// What is wanted of one query. A slice whose time is over still looks at so many candidates, which is all that the query brought.
const EVENTS_AT_ONCE: usize = 200;
const STEPS_AFTER_TIME: usize = 240;
/// Bytes of events that all filters of a scan together may have read and not looked at.
const BYTES_MAX: usize = 4 << 20;
/// Of one filter: so much is worth a query.
const BYTES_MIN: usize = 64 << 10;

/// Newest first, ties by lowest id.
type Place = (Reverse<i64>, [u8; 32]);

/// A candidate.
struct Found {
    place: Place,
    /// `None` if it does not match or is gone.
    stored: Option<(StreamId, Seq, Vec<u8>)>,
}

/// How a filter is read.
enum Way {
    Ids(Vec<EventId>),
    Terms(Vec<i64>),
    Authors(Vec<[u8; 32]>),
    Kinds(Vec<i32>),
    Time,
}

/// One filter's candidates.
struct Source {
    number: usize,
    way: Way,
    since: i64,
    until: i64,
    kinds: Option<Vec<i32>>,
    authors: Option<Vec<[u8; 32]>>,
    /// Candidates in order, from behind the scan's place on.
    found: VecDeque<Found>,
    /// There is nothing behind `found`.
    ended: bool,
    /// How far the candidates were read.
    after: Option<Place>,
    at_once: usize,
}

impl Source {
    fn of(number: usize, filter: &Filter) -> Self {
        let nothing = filter.matches_nothing();
        let kinds = filter.kinds.as_ref().map(|kinds| kinds.iter().map(|kind| i32::from(*kind)).collect());
        let authors: Option<Vec<[u8; 32]>> =
            filter.authors.as_ref().map(|authors| authors.iter().map(|author| *author.as_bytes()).collect());
        Self {
            number,
            way: choose(filter),
            since: kept(filter.since),
            until: kept(filter.until.unwrap_or(0)),
            kinds,
            authors,
            found: VecDeque::new(),
            ended: nothing,
            after: None,
            at_once: 0,
        }
    }

    fn keys(&self) -> usize {
        match &self.way {
            Way::Ids(ids) => ids.len(),
            Way::Terms(terms) => terms.len(),
            Way::Authors(authors) => authors.len(),
            Way::Kinds(kinds) => kinds.len(),
            Way::Time => 1,
        }
    }

    /// Forgets what was read and not used, for a new slice behind `after`.
    fn rewind(&mut self, after: Option<Place>) {
        if !self.found.is_empty() {
            self.found = VecDeque::new();
            self.ended = false;
            // Steps grow while nothing is found, also from slice to slice.
            self.at_once = 0;
        }
        self.after = after;
    }

    fn must_read(&self) -> bool {
        self.found.is_empty() && !self.ended
    }

    /// Reads the next candidates, about as many as are wanted and of about so many bytes.
    fn fill(&mut self, shared: &Shared, pool: &Pool, wanted: usize, bytes_max: usize) -> Result<(), Error> {
        let keys = self.keys().max(1);
        // Most match: what does not is a few that collide or may not be read, or a filter of several tags. What is looked at without finding
        // enough is looked at in larger steps.
        let worth = wanted.saturating_add(wanted / 8) / keys + OF_KEY_MIN;
        self.at_once = (self.at_once * 4).max(worth).max(wanted.min(64) / keys);
        self.at_once = self.at_once.min((CANDIDATES_MAX / keys.min(KEYS_MAX)).max(1));
        let mut horizon: Option<Place> = None;
        let mut all = Vec::new();
        for from in (0..keys).step_by(KEYS_MAX) {
            let until = keys.min(from + KEYS_MAX);
            let (rows, left_out) = self.query(shared, pool, from, until, bytes_max)?;
            let mut of_key = vec![(0_usize, None); until - from];
            // Those that were left out are behind all that came.
            let cut = rows.iter().map(|(_, found)| found.place).max().filter(|_| left_out);
            for (key, found) in rows {
                let Some(count) = of_key.get_mut(key) else { continue };
                *count = (count.0 + 1, Some(found.place));
                all.push(found);
            }
            let is_full = |count: usize| count >= self.at_once && !matches!(self.way, Way::Ids(_));
            let unfinished = of_key.iter().filter(|(count, _)| is_full(*count)).filter_map(|(_, last)| *last);
            horizon = unfinished.chain(cut).chain(horizon).min();
        }
        all.sort_unstable_by_key(|found| found.place);
        all.dedup_by_key(|found| found.place);
        if let Some(horizon) = horizon {
            all.retain(|found| found.place <= horizon);
        }
        self.ended = horizon.is_none();
        self.after = horizon.or(self.after);
        self.found.extend(all);
        Ok(())
    }

    /// Rows of the keys `from..until`, with the number of the key among them, those of a key in order; and whether some were left out
    /// for their bytes.
    fn query(
        &self,
        shared: &Shared,
        pool: &Pool,
        from: usize,
        until: usize,
        bytes_max: usize,
    ) -> Result<(Vec<(usize, Found)>, bool), Error> {
        let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX);
        let (after_time, after_id) = match &self.after {
            None => (self.until, [0; 32]),
            Some((Reverse(time), id)) => (*time, *id),
        };
        let until_time = self.until.min(after_time);
        // Behind an event that is later than anything of this filter, nothing has been read yet.
        let first = self.after.is_none() || after_time > self.until;
        let at_once = self.at_once as i64;
        let authors = self.authors.as_ref().map(|keys| keys.iter().map(|key| &key[..]).collect::<Vec<_>>());
        let (since, after_id) = (self.since, &after_id[..]);
        let sql = &shared.sql.scan;
        let rows = pool.with(|session| match &self.way {
            Way::Ids(ids) => {
                let ids: Vec<&[u8]> = ids[from..until].iter().map(|id| &id.as_bytes()[..]).collect();
                session.query("read events", &sql.ids, &[&ids, &since, &until_time, &after_id, &first, &bytes_max])
            }
            Way::Terms(terms) => session.query(
                "read events",
                &sql.terms,
                &[
                    &&terms[from..until],
                    &since,
                    &until_time,
                    &after_id,
                    &first,
                    &at_once,
                    &self.kinds,
                    &authors,
                    &bytes_max,
                ],
            ),
            Way::Authors(keys) => {
                let keys: Vec<&[u8]> = keys[from..until].iter().map(|key| &key[..]).collect();
                let parameters: [&(dyn postgres::types::ToSql + Sync); 8] =
                    [&keys, &since, &until_time, &after_id, &first, &at_once, &self.kinds, &bytes_max];
                session.query("read events", &sql.authors, &parameters)
            }
            Way::Kinds(kinds) => session.query(
                "read events",
                &sql.kinds,
                &[&&kinds[from..until], &since, &until_time, &after_id, &first, &at_once, &authors, &bytes_max],
            ),
            Way::Time => {
                session.query("read events", &sql.time, &[&since, &until_time, &after_id, &first, &at_once, &bytes_max])
            }
        })?;
        let total = rows.first().map_or(0, |row| row.get::<_, i64>(6));
        let left_out = usize::try_from(total).unwrap_or(usize::MAX) > rows.len();
        Ok((rows.iter().map(found).collect::<Result<_, _>>()?, left_out))
    }
}

/// A row of a scan: key number, created_at, id, stream, seq, json, how many candidates there were.
fn found(row: &postgres::Row) -> Result<(usize, Found), Error> {
    let key = usize::try_from(row.get::<_, i64>(0) - 1).map_err(|_| row::malformed("answer"))?;
    let id: [u8; 32] = row.get::<_, &[u8]>(2).try_into().map_err(|_| row::malformed("ids"))?;
    let json: Option<&[u8]> = row.get(5);
    let stored = json.map(|json| {
        let (stream, seq): (i32, i64) = (row.get(3), row.get(4));
        (StreamId(stream as u32), Seq(seq as u64), json.to_vec())
    });
    Ok((key, Found { place: (Reverse(row.get(1)), id), stored }))
}

/// Which order answers a filter with the least reading.
fn choose(filter: &Filter) -> Way {
    if let Some(ids) = &filter.ids {
        return Way::Ids(ids.to_vec());
    }
    let authors = filter.authors.as_ref().map_or(usize::MAX, |authors| authors.len().saturating_mul(8));
    let tags = filter.tags.iter().map(|tag| (tag.values.len().saturating_mul(spread(tag.name)), tag));
    let tag = tags.min_by_key(|(cost, _)| *cost).filter(|(cost, _)| *cost <= authors);
    match (tag, &filter.authors, &filter.kinds) {
        (Some((_, tag)), _, _) => {
            let mut terms: Vec<i64> = tag.values.iter().map(|value| term(tag.name, value)).collect();
            terms.sort_unstable();
            terms.dedup();
            Way::Terms(terms)
        }
        (None, Some(authors), _) => Way::Authors(authors.iter().map(|author| *author.as_bytes()).collect()),
        (None, None, Some(kinds)) => Way::Kinds(kinds.iter().map(|kind| i32::from(*kind)).collect()),
        (None, None, None) => Way::Time,
    }
}

/// See the module.
pub(crate) struct PostgresScan {
    shared: Arc<Shared>,
    query: Query,
    cursor: Option<Cursor>,
    start: Cursor,
    sources: Vec<Source>,
    tally: Tally,
    /// The last event looked at.
    at: Option<Place>,
}

impl PostgresScan {
    pub(crate) fn new(shared: Arc<Shared>, query: Query) -> Self {
        let sources =
            query.filters.iter().enumerate().map(|(number, (filter, _))| Source::of(number, filter)).collect();
        let tally = Tally::new(&query.filters);
        Self { shared, cursor: query.cursor.clone(), start: Cursor::start(), query, sources, tally, at: None }
    }

    /// The cursor is read before the first event is: what it covers can be seen by every query that follows.
    fn begin(&mut self) -> Result<(), Error> {
        if self.cursor.is_none() {
            self.cursor = Some(read::snapshot(&self.shared)?);
        }
        Ok(())
    }

    fn slice(&mut self, budget: Budget<'_>, found: &mut dyn FnMut(Stored)) -> Result<Progress, Error> {
        self.begin()?;
        let progress = self.read(budget, found);
        // Whoever waits for the next slice holds nothing.
        self.rewind();
        progress
    }

    fn rewind(&mut self) {
        for source in &mut self.sources {
            source.rewind(self.at);
        }
    }

    fn read(&mut self, budget: Budget<'_>, found: &mut dyn FnMut(Stored)) -> Result<Progress, Error> {
        let shared = Arc::clone(&self.shared);
        let mut replica = read::replica_with(&shared, self.cursor());
        let (mut events, mut bytes) = (0, 0);
        for steps in 0_usize.. {
            let must_read = self.sources.iter().any(Source::must_read);
            if steps > 0 && (must_read || steps >= STEPS_AFTER_TIME) && (budget.spent)() {
                return Ok(Progress::More);
            }
            let wanted = budget.events_max.saturating_sub(events).clamp(1, EVENTS_AT_ONCE);
            let bytes_left = budget.bytes_max.saturating_sub(bytes);
            let next = match (self.next_place(replica.unwrap_or(&shared.pool), wanted, bytes_left), replica.take()) {
                (Err(error), Some(_)) => {
                    tracing::warn!(%error, "the replica failed; the primary is asked");
                    read::replica_is_away(&shared);
                    self.rewind();
                    continue;
                }
                (next, still) => {
                    replica = still;
                    next?
                }
            };
            let Some(next) = next else {
                return Ok(Progress::Done(self.tally.at_end()));
            };
            self.at = Some(next);
            if let Some(stored) =
                self.take(next).map(|(stream, seq, json)| self.admit(stream, seq, &json)).transpose()?.flatten()
            {
                events += 1;
                bytes += stored.event.json().len();
                found(stored);
            }
            if let Some(completeness) = self.tally.finished() {
                return Ok(Progress::Done(completeness));
            }
            if events >= budget.events_max || bytes >= budget.bytes_max {
                break;
            }
        }
        Ok(Progress::More)
    }

    /// The newest candidate of all filters.
    fn next_place(&mut self, pool: &Pool, wanted: usize, bytes_left: usize) -> Result<Option<Place>, Error> {
        let shared = Arc::clone(&self.shared);
        let mut next: Option<Place> = None;
        let open = self.sources.iter().filter(|source| !source.ended || !source.found.is_empty()).count();
        let bytes_max = (BYTES_MAX / open.max(1)).min(bytes_left).max(BYTES_MIN);
        for source in &mut self.sources {
            while source.must_read() {
                let wanted = wanted.min(limit_of(&self.query, source.number));
                source.fill(&shared, pool, wanted, bytes_max)?;
            }
            next = source.found.front().map(|found| found.place).into_iter().chain(next).min();
        }
        Ok(next)
    }

    /// Takes the candidate at `place` from every source that has it.
    fn take(&mut self, place: Place) -> Option<(StreamId, Seq, Vec<u8>)> {
        let mut taken = None;
        for source in &mut self.sources {
            if source.found.front().is_some_and(|found| found.place == place) {
                let found = source.found.pop_front();
                taken = taken.or(found.and_then(|found| found.stored));
            }
        }
        taken
    }

    /// The event, if the scan returns it.
    fn admit(&mut self, stream: StreamId, seq: Seq, json: &[u8]) -> Result<Option<Stored>, Error> {
        if !self.cursor.as_ref().is_some_and(|cursor| cursor.covers(stream, seq)) {
            return Ok(None);
        }
        let event = row::event(json)?;
        Ok(self.tally.admits(&self.query, &event).then_some(Stored { stream, seq, event }))
    }
}

/// One more than a filter may return shows whether its limit leaves anything out.
fn limit_of(query: &Query, filter: usize) -> usize {
    let limit = query.filters.get(filter).map_or(0, |(_, limit)| limit.events_max);
    usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1)
}

impl Scan for PostgresScan {
    fn cursor(&self) -> &Cursor {
        self.cursor.as_ref().unwrap_or(&self.start)
    }

    fn next(&mut self, budget: Budget<'_>, out: &mut Vec<Stored>) -> Result<Progress, Error> {
        self.slice(budget, &mut |stored| out.push(stored))
    }

    fn count(&mut self, budget: Budget<'_>, count: &mut Count) -> Result<Progress, Error> {
        self.slice(budget, &mut |stored| count.add(&stored.event))
    }
}
