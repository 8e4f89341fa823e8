//! Walking the records of a log file.

use std::sync::Arc;

use bytes::Bytes;
use towpath_store::{Error, Seq};

use super::Files;
use super::record::{HEADER_BYTES, Header, Record};
use super::segment::Segment;

/// Reads one file, record by record.
#[derive(Debug)]
pub(crate) struct Walk {
    segment: Arc<Segment>,
    at: u64,
}

/// What is at a place.
pub(crate) enum Step {
    /// A good record.
    Record(u32, Record),
    /// Nothing: the end of the file or its zeroes.
    End,
    /// Something that is no record.
    Damaged,
}

impl Walk {
    pub(crate) fn new(segment: Arc<Segment>, at: u64) -> Self {
        Self { segment, at }
    }

    /// Where the next record would start.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        let failed = |e| Error::io("read the log", e);
        let room = usize::try_from(self.segment.len().saturating_sub(self.at)).unwrap_or(usize::MAX);
        let head = self.segment.read_at_most(self.at, room.min(HEADER_BYTES)).map_err(failed)?;
        if head.iter().all(|b| *b == 0) {
            return Ok(Step::End);
        }
        let Some(header) = Header::parse(&head).filter(|header| header.record_bytes() <= room) else {
            return Ok(Step::Damaged);
        };
        let bytes = Bytes::from(self.segment.read_at_most(self.at, header.record_bytes()).map_err(failed)?);
        let (Some(record), Ok(at)) = (Record::parse(&bytes), u32::try_from(self.at)) else {
            return Ok(Step::Damaged);
        };
        self.at += bytes.len() as u64;
        Ok(Step::Record(at, record))
    }

    /// As [`Walk::step`], where damage is an error.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Record)>, Error> {
        match self.step()? {
            Step::Record(at, record) => Ok(Some((at, record))),
            Step::End => Ok(None),
            Step::Damaged => Err(damaged(&self.segment, self.at)),
        }
    }
}

pub(crate) fn damaged(segment: &Segment, at: u64) -> Error {
    let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
    Error::Corrupt(format!("log file {name} is damaged at byte {at}"))
}

pub(crate) fn missing(from: Seq, before: Seq) -> Error {
    Error::Corrupt(format!("the log has no entries from {from} to {}", before.0.saturating_sub(1)))
}

/// Reads on from file to file and holds each record to being the successor of the one before.
#[derive(Debug)]
pub(crate) struct Follow {
    files: Arc<Files>,
    walk: Option<Walk>,
    /// Unknown before the first record.
    next_seq: Option<Seq>,
}

impl Follow {
    /// From the record at `at` of `segment`.
    pub(crate) fn from_record(files: Arc<Files>, segment: Arc<Segment>, at: u32) -> Self {
        Self { files, walk: Some(Walk::new(segment, u64::from(at))), next_seq: None }
    }

    /// From the beginning of the file that holds `seq`.
    pub(crate) fn from_file_of(files: Arc<Files>, seq: Seq) -> Self {
        let segment = files.holding(seq).cloned();
        let next_seq = segment.as_ref().map(|segment| segment.first_seq);
        Self { files, walk: segment.map(|segment| Walk::new(segment, 0)), next_seq }
    }

    /// The next record with its file and place.
    pub(crate) fn next(&mut self) -> Result<Option<(Arc<Segment>, u32, Record)>, Error> {
        loop {
            let Some(walk) = &mut self.walk else { return Ok(None) };
            if let Some((at, record)) = walk.next()? {
                if self.next_seq.is_some_and(|expected| record.header.first_seq != expected) {
                    return Err(damaged(walk.segment(), u64::from(at)));
                }
                self.next_seq = Some(record.header.next_seq());
                return Ok(Some((Arc::clone(walk.segment()), at, record)));
            }
            let ended = walk.segment().first_seq;
            let next = self.files.after(ended).cloned();
            if let (Some(next), Some(expected)) = (&next, self.next_seq)
                && next.first_seq != expected
            {
                return Err(missing(expected, next.first_seq));
            }
            self.walk = next.map(|segment| Walk::new(segment, 0));
        }
    }
}
