//! A scan between and during its slices.

use std::sync::Arc;

use towpath_store::{Budget, Count, Error, Progress, Query, Scan, Seq, Stored, Tally};

use super::merge::{Merge, Step};
use super::plan;
use super::stream::Want;
use super::view::View;
use crate::Shared;
use crate::log::record::STREAM;

/// The budget's clock is asked after about so many keys looked at.
const KEYS_BETWEEN_LOOKS: usize = 64;
/// What loading an event costs, in keys looked at.
const LOAD_COST: usize = 4;

pub(crate) struct Cursor {
    shared: Arc<Shared>,
    query: Query,
    last: Seq,
    as_of: towpath_store::Cursor,
    wants: Vec<Want>,
    merge: Merge,
    tally: Tally,
}

impl Cursor {
    pub(crate) fn new(shared: Arc<Shared>, query: Query, last: Seq) -> Self {
        let filters = &query.filters;
        let streams = filters.iter().enumerate();
        let streams = streams.flat_map(|(number, (filter, limit))| plan::streams(number, filter, limit.events_max));
        Self {
            shared,
            last,
            as_of: towpath_store::Cursor::at(STREAM, last),
            wants: filters.iter().map(|(filter, _)| plan::want(filter)).collect(),
            merge: Merge::new(streams.collect()),
            tally: Tally::new(filters),
            query,
        }
    }
}

impl Scan for Cursor {
    fn cursor(&self) -> &towpath_store::Cursor {
        &self.as_of
    }

    fn next(&mut self, budget: Budget<'_>, out: &mut Vec<Stored>) -> Result<Progress, Error> {
        self.slice(budget, &mut |stored| out.push(stored))
    }

    fn count(&mut self, budget: Budget<'_>, count: &mut Count) -> Result<Progress, Error> {
        self.slice(budget, &mut |stored| count.add(&stored.event))
    }
}

impl Cursor {
    fn slice(&mut self, budget: Budget<'_>, found: &mut dyn FnMut(Stored)) -> Result<Progress, Error> {
        let shared = Arc::clone(&self.shared);
        // Until the index has what is committed by now: what it adds is asked for, and what it removes must not be returned.
        shared.pending.wait_until_applied(shared.last())?;
        let mut view = View::open(&shared)?;
        let (mut events, mut bytes, mut cost) = (0, 0, 0);
        loop {
            if let Some(completeness) = self.tally.finished() {
                return Ok(Progress::Done(completeness));
            }
            match self.merge.step(&view, &self.wants, |filter| self.tally.is_done(filter))? {
                Step::End => return Ok(Progress::Done(self.tally.at_end())),
                Step::Looked(keys) => cost += keys,
                Step::Candidate(moment) if moment.seq > self.last => cost += 1,
                Step::Candidate(moment) => {
                    cost += LOAD_COST;
                    let event = view.event(moment.seq)?;
                    if let Some(event) = event.filter(|event| self.tally.admits(&self.query, event)) {
                        events += 1;
                        bytes += event.json().len();
                        found(Stored { stream: STREAM, seq: moment.seq, event });
                    }
                }
            }
            if events >= budget.events_max || bytes >= budget.bytes_max {
                return Ok(Progress::More);
            }
            if cost >= KEYS_BETWEEN_LOOKS {
                cost = 0;
                if (budget.spent)() {
                    return Ok(Progress::More);
                }
            }
        }
    }
}
