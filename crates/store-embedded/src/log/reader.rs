//! Walking the records of a log file.
//!
//! Reads ahead, as most records are one event of some hundred bytes; but no further than it has got, for who only wants the next few.

use std::sync::Arc;

use bytes::Bytes;
use towpath_store::{Error, Seq};

use super::Files;
use super::record::{HEADER_BYTES, Header, Record};
use super::segment::Segment;

/// The first read is of so many bytes, and each further one of twice as many up to the latter.
const AHEAD_FIRST_BYTES: usize = 4 << 10;
const AHEAD_MAX_BYTES: usize = 64 << 10;

/// Reads one file, record by record.
#[derive(Debug)]
pub(crate) struct Walk {
    segment: Arc<Segment>,
    at: u64,
    ahead: Ahead,
}

/// What was read last.
#[derive(Debug, Default)]
struct Ahead {
    at: u64,
    bytes: Vec<u8>,
}

impl Ahead {
    /// The bytes of `segment` at `at`, or fewer where the file ends.
    fn read(&mut self, segment: &Segment, at: u64, len: usize) -> Result<&[u8], Error> {
        let ends = self.at + self.bytes.len() as u64;
        if at < self.at || at + len as u64 > ends {
            let more = (2 * self.bytes.len()).clamp(AHEAD_FIRST_BYTES, AHEAD_MAX_BYTES).max(len);
            self.bytes = segment.read_at_most(at, more).map_err(|e| Error::io("read the log", e))?;
            self.at = at;
        }
        let from = usize::try_from(at - self.at).unwrap_or(usize::MAX).min(self.bytes.len());
        let to = from.saturating_add(len).min(self.bytes.len());
        Ok(&self.bytes[from..to])
    }
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
        Self { segment, at, ahead: Ahead::default() }
    }

    /// Where the next record would start.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        let found = self.look()?;
        if matches!(found, Step::Record(..)) {
            return Ok(found);
        }
        // What was read ahead may be older than what is there by now. It is the end, so a second look costs nothing that counts.
        self.ahead = Ahead::default();
        self.look()
    }

    fn look(&mut self) -> Result<Step, Error> {
        let room = usize::try_from(self.segment.len().saturating_sub(self.at)).unwrap_or(usize::MAX);
        let head = self.ahead.read(&self.segment, self.at, room.min(HEADER_BYTES))?;
        if head.iter().all(|b| *b == 0) {
            return Ok(Step::End);
        }
        let Some(header) = Header::parse(head).filter(|header| header.record_bytes() <= room) else {
            return Ok(Step::Damaged);
        };
        let bytes = self.record(header.record_bytes())?;
        let (Some(record), Ok(at)) = (Record::parse(&bytes), u32::try_from(self.at)) else {
            return Ok(Step::Damaged);
        };
        self.at += bytes.len() as u64;
        Ok(Step::Record(at, record))
    }

    /// One that is longer than what is read ahead is read by itself, and not copied.
    fn record(&mut self, len: usize) -> Result<Bytes, Error> {
        if len <= AHEAD_MAX_BYTES {
            return Ok(Bytes::copy_from_slice(self.ahead.read(&self.segment, self.at, len)?));
        }
        self.ahead = Ahead::default();
        Ok(self.segment.read_at_most(self.at, len).map_err(|e| Error::io("read the log", e))?.into())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{Folder, commit, note};

    fn next_seq(walk: &mut Walk) -> Option<u64> {
        walk.next().unwrap().map(|(_, record)| record.header.next_seq().0)
    }

    #[test]
    fn what_is_read_ahead_ends_anywhere_and_is_not_believed_at_the_end() {
        let mut folder = Folder::new();
        folder.config.segment_bytes = 4 << 20;
        let store = folder.open();
        let files = store.shared().log.files();
        let mut walk = Walk::new(Arc::clone(files.iter().next().unwrap()), 0);
        assert_eq!(next_seq(&mut walk), None);
        // Alone, and far more than is read at once.
        let mut events = 1;
        for batch in [1, 1, 400, 1, 30, 1].repeat(4) {
            commit(&store, (events..events + batch).map(|at| note(1, at)).collect());
            events += batch;
            if batch == 30 {
                // It has seen the zeroes where the next one comes.
                while next_seq(&mut walk).is_some_and(|next| next < events) {}
                assert_eq!(next_seq(&mut walk), None);
            }
        }
        assert_eq!(next_seq(&mut walk), Some(events));
        let (mut again, mut records) = (Walk::new(Arc::clone(files.iter().next().unwrap()), 0), 0);
        while next_seq(&mut again).is_some() {
            records += 1;
        }
        assert_eq!((records, again.at()), (24, walk.at()));
    }
}
