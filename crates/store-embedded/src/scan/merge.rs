//! Many streams as one, newest first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use towpath_store::Error;

use super::stream::{Head, Stream, Want};
use super::view::View;
use crate::index::keys::Moment;

/// What a step came to.
#[derive(Debug)]
pub(crate) enum Step {
    /// Something that may match.
    Candidate(Moment),
    /// Nothing yet; so many keys were looked at.
    Looked(usize),
    End,
}

/// What is at the front of a stream. In the order of its fields: at the same moment, one that is not known yet comes first, as it may
/// turn out to be earlier than any that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Front {
    /// Where it is, or before what it is not.
    moment: Moment,
    is_known: bool,
    stream: usize,
}

/// Streams by what is at their front.
#[derive(Debug)]
pub(crate) struct Merge {
    streams: Vec<Stream>,
    fronts: BinaryHeap<Reverse<Front>>,
    last: Option<Moment>,
}

impl Merge {
    pub(crate) fn new(streams: Vec<Stream>) -> Self {
        let count = streams.len();
        let mut merge = Self { streams, fronts: BinaryHeap::with_capacity(count), last: None };
        for stream in 0..count {
            merge.push_front(stream);
        }
        merge
    }

    /// Takes the next candidate or reads on in one stream. Streams of filters that `is_done` are dropped on the way.
    pub(crate) fn step(
        &mut self,
        view: &View<'_>,
        wants: &[Want],
        is_done: impl Fn(usize) -> bool,
    ) -> Result<Step, Error> {
        let Some(Reverse(Front { moment, is_known, stream })) = self.fronts.pop() else { return Ok(Step::End) };
        let filter = self.streams[stream].filter;
        if is_done(filter) {
            return Ok(Step::Looked(1));
        }
        if !is_known {
            let looked_at = self.streams[stream].fill(view, &wants[filter])?;
            self.push_front(stream);
            return Ok(Step::Looked(looked_at));
        }
        self.streams[stream].pop();
        self.push_front(stream);
        if self.last.replace(moment) == Some(moment) {
            return Ok(Step::Looked(1));
        }
        Ok(Step::Candidate(moment))
    }

    fn push_front(&mut self, stream: usize) {
        let (moment, is_known) = match self.streams[stream].head() {
            Head::Found(moment) => (moment, true),
            Head::NotBefore(moment) => (moment, false),
            Head::End => return,
        };
        self.fronts.push(Reverse(Front { moment, is_known, stream }));
    }
}
