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
use crate::pool::{Held, Session};
use crate::read;
use crate::row;
use crate::terms::term;

/// Candidates of one query.
const CANDIDATES_MAX: usize = 4_096;
/// Of one key: the least worth a look.
const OF_KEY_MIN: usize = 2;
/// Keys of one query: a filter with more is read in turns.
const KEYS_MAX: usize = 2_048;
/// So many authors are many.
const AUTHORS_MANY: usize = 32;
/// Of more kinds at once, too few of each are looked at to find those of many authors there, and to tell that they are rare.
const WALK_KINDS_MAX: usize = 16;
/// Of the newest of some kinds, where those of many authors are looked for: the least worth a look.
const WALK_MIN: usize = 256;
/// What is wanted of one query. A slice whose time is over still looks at so many events, which is about what a query brings.
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
    /// A few, each on its own.
    Authors(Vec<[u8; 32]>),
    /// Many, all together.
    Feed(Vec<[u8; 32]>),
    /// Whoever wrote them, though the filter may name authors.
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
            Way::Authors(authors) | Way::Feed(authors) => authors.len(),
            Way::Kinds(kinds) => kinds.len(),
            Way::Time => 1,
        }
    }

    /// Forgets what was read and not used, for a new slice behind `after`.
    fn rewind(&mut self, after: Option<Place>) {
        if !self.found.is_empty() {
            self.found = VecDeque::new();
            self.ended = false;
        }
        self.after = after;
    }

    fn must_read(&self) -> bool {
        self.found.is_empty() && !self.ended
    }

    /// Reads the next candidates, about as many as are wanted and of about so many bytes.
    fn fill(
        &mut self,
        shared: &Shared,
        replica: &mut Option<Held<'_>>,
        wanted: usize,
        bytes_max: usize,
    ) -> Result<(), Error> {
        let keys = self.keys().max(1);
        self.at_once = self.worth(wanted).max(self.at_once).min(CANDIDATES_MAX / self.ends().min(KEYS_MAX));
        let mut horizon: Option<Place> = None;
        let mut cut_short = false;
        let mut all = Vec::new();
        for from in (0..keys).step_by(KEYS_MAX) {
            let until = keys.min(from + KEYS_MAX);
            let (rows, left_out) = self.query(shared, replica, from, until, bytes_max)?;
            let mut of_key = vec![(0_usize, None); until - from];
            cut_short |= left_out;
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
        // How many events fit says nothing about how many match.
        if !cut_short {
            self.adapt(&all, wanted);
        }
        self.found.extend(all);
        Ok(())
    }

    /// How many of the keys have an end of their own in what a query brings.
    fn ends(&self) -> usize {
        if matches!(self.way, Way::Feed(_)) { 1 } else { self.keys().max(1) }
    }

    /// Whether it goes through everybody's events for those of the filter's authors.
    fn is_walk(&self) -> bool {
        matches!(self.way, Way::Kinds(_)) && self.authors.is_some()
    }

    /// Candidates of each end that are worth a query.
    fn worth(&self, wanted: usize) -> usize {
        // Most match: what does not is a few that collide or may not be read, or a filter of several tags.
        let least = if self.is_walk() { WALK_MIN } else { 0 };
        (wanted + wanted / 8).max(least) / self.ends() + OF_KEY_MIN
    }

    /// Has the next query look at as many candidates as should hold what is wanted, going by the last one's.
    fn adapt(&mut self, looked_at: &[Found], wanted: usize) {
        let matched = looked_at.iter().filter(|found| found.stored.is_some()).count();
        if self.is_walk()
            && let Some(authors) = &self.authors
            // Asking for an author's newest costs about as much as walking past two events.
            && matched * 2 * (authors.len() + wanted) < looked_at.len() * wanted
        {
            self.way = Way::Feed(authors.clone());
            self.at_once = 0;
        } else {
            self.at_once = (self.at_once * wanted / matched.max(1)).min(self.at_once * 4);
        }
    }

    /// Rows of the keys `from..until`, with the number of the key among them, those of a key in order; and whether some were left out
    /// for their bytes.
    fn query(
        &self,
        shared: &Shared,
        replica: &mut Option<Held<'_>>,
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
        let read = |session: &mut Session| match &self.way {
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
            Way::Authors(keys) | Way::Feed(keys) => {
                let sql = if matches!(self.way, Way::Feed(_)) { &sql.feed } else { &sql.authors };
                let keys: Vec<&[u8]> = keys[from..until].iter().map(|key| &key[..]).collect();
                let parameters: [&(dyn postgres::types::ToSql + Sync); 8] =
                    [&keys, &since, &until_time, &after_id, &first, &at_once, &self.kinds, &bytes_max];
                session.query("read events", sql, &parameters)
            }
            Way::Kinds(kinds) => session.query(
                "read events",
                &sql.kinds,
                &[&&kinds[from..until], &since, &until_time, &after_id, &first, &at_once, &authors, &bytes_max],
            ),
            Way::Time => {
                session.query("read events", &sql.time, &[&since, &until_time, &after_id, &first, &at_once, &bytes_max])
            }
        };
        let rows = match replica {
            Some(replica) => replica.with(read),
            None => shared.pool.with(read),
        }?;
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
        // As long as those of many authors are not rare among the others: see `adapt`.
        (None, Some(authors), Some(kinds)) if authors.len() >= AUTHORS_MANY && kinds.len() <= WALK_KINDS_MAX => {
            by_kind(kinds)
        }
        (None, Some(authors), _) => {
            let keys = authors.iter().map(|author| *author.as_bytes()).collect();
            if authors.len() >= AUTHORS_MANY { Way::Feed(keys) } else { Way::Authors(keys) }
        }
        (None, None, Some(kinds)) => by_kind(kinds),
        (None, None, None) => Way::Time,
    }
}

fn by_kind(kinds: &[u16]) -> Way {
    Way::Kinds(kinds.iter().map(|kind| i32::from(*kind)).collect())
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
        let (mut events, mut bytes, mut looked_at) = (0, 0, 0);
        for steps in 0_usize.. {
            let must_read = self.sources.iter().any(Source::must_read);
            if steps > 0 && (must_read || looked_at >= STEPS_AFTER_TIME) && (budget.spent)() {
                return Ok(Progress::More);
            }
            let wanted = budget.events_max.saturating_sub(events).clamp(1, EVENTS_AT_ONCE);
            let bytes_left = budget.bytes_max.saturating_sub(bytes);
            let next = match (self.next_place(&mut replica, wanted, bytes_left), replica.take()) {
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
            let taken = self.take(next);
            looked_at += usize::from(taken.is_some());
            if let Some(stored) = taken.map(|(stream, seq, json)| self.admit(stream, seq, &json)).transpose()?.flatten()
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
    fn next_place(
        &mut self,
        replica: &mut Option<Held<'_>>,
        wanted: usize,
        bytes_left: usize,
    ) -> Result<Option<Place>, Error> {
        let shared = Arc::clone(&self.shared);
        let mut next: Option<Place> = None;
        let open = self.sources.iter().filter(|source| !source.ended || !source.found.is_empty()).count();
        let bytes_max = (BYTES_MAX / open.max(1)).min(bytes_left).max(BYTES_MIN);
        for source in &mut self.sources {
            while source.must_read() {
                let wanted = wanted.min(limit_of(&self.query, source.number));
                source.fill(&shared, replica, wanted, bytes_max)?;
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

#[cfg(test)]
mod tests {
    use towpath_protocol::{PublicKey, Set};

    use super::*;

    fn source(authors: u8, kinds: u16) -> Source {
        let authors = (0..authors).map(|n| PublicKey::from_bytes([n; 32])).collect();
        let kinds = (kinds > 0).then(|| Set::new((1..=kinds).collect()));
        Source::of(0, &Filter { authors: Some(Set::new(authors)), kinds, ..Filter::default() })
    }

    fn candidates(count: usize, matched: usize) -> Vec<Found> {
        let stored = |n: usize| (n < matched).then(|| (StreamId(0), Seq(1), Vec::new()));
        (0..count).map(|n| Found { place: (Reverse(0), [0; 32]), stored: stored(n) }).collect()
    }

    #[test]
    fn only_after_one_that_found_little_does_a_query_look_at_more() {
        let mut source = Source::of(0, &Filter::default());
        source.at_once = source.worth(200);
        let looked_at = source.at_once;
        source.adapt(&candidates(looked_at, looked_at), 200);
        assert!(source.worth(200).max(source.at_once) <= STEPS_AFTER_TIME, "a slice uses what it read");
        source.at_once = looked_at;
        source.adapt(&candidates(looked_at, 1), 200);
        assert_eq!(source.at_once, 4 * looked_at);

        source.found = candidates(1, 1).into();
        source.rewind(None);
        assert_eq!(source.at_once, 4 * looked_at, "the next slice goes on in such steps");
        source.adapt(&candidates(4 * looked_at, 4 * looked_at), 200);
        assert_eq!(source.at_once, 200, "and in smaller ones where all match");
    }

    #[test]
    fn many_authors_are_looked_for_among_all_events_only_while_they_are_not_rare_there() {
        assert!(matches!(source(31, 1).way, Way::Authors(_)));
        assert!(matches!(source(200, 0).way, Way::Feed(_)));
        assert!(matches!(source(200, 17).way, Way::Feed(_)), "each of the kinds would be asked for next to nothing");
        assert!(source(200, 16).is_walk());
        let mut source = source(200, 1);
        source.adapt(&candidates(256, 90), 51);
        assert!(source.is_walk(), "every third is theirs");
        source.adapt(&candidates(256, 5), 51);
        assert!(matches!(source.way, Way::Feed(_)));
    }
}
