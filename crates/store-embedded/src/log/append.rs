//! Appending: one write and one sync a batch, all or nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use towpath_store::{Error, Seq};

use super::Log;
use super::segment::{FILL_STEP_BYTES, Segment, draft_name};
use crate::disk::Room;

/// The open end of the log. One owner at a time.
#[derive(Debug)]
pub(crate) struct Appender {
    segment: Arc<Segment>,
    end: u64,
    next_seq: Seq,
    closed: Option<String>,
}

impl Appender {
    pub(crate) fn new(segment: Arc<Segment>, end: u64, next_seq: Seq) -> Self {
        Self { segment, end, next_seq, closed: None }
    }

    pub(crate) fn next_seq(&self) -> Seq {
        self.next_seq
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Where the next record goes.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Fails once an earlier failure has left the file in an unknown state.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        self.closed.as_ref().map_or(Ok(()), |why| Err(Error::Closed(why.clone())))
    }

    /// Appends a whole record and waits until it is durable. Returns where it starts.
    pub(crate) fn append(&mut self, log: &Log, record: &[u8], next_seq: Seq, room: Room) -> Result<u32, Error> {
        self.check_open()?;
        let end = self.end + record.len() as u64;
        let at = u32::try_from(self.end).ok().filter(|_| u32::try_from(end).is_ok());
        let at = at.ok_or_else(|| Error::io("append to the log", std::io::ErrorKind::FileTooLarge.into()))?;
        self.make_room(log, end, room)?;
        if let Err(error) = log.disk.write(self.segment.file(), record, self.end) {
            self.undo(log, record.len());
            return Err(Error::io("write to the log", error));
        }
        if let Err(error) = log.disk.sync(self.segment.file()) {
            // What the operating system keeps of pages it could not write is unknown, and a second sync may lie.
            self.closed = Some(format!("the log could not be synced: {error}"));
            self.undo(log, record.len());
            return Err(Error::io("sync the log", error));
        }
        (self.end, self.next_seq) = (end, next_seq);
        Ok(at)
    }

    /// Seldom has anything to do: only while the next file is not ready in time.
    fn make_room(&self, log: &Log, end: u64, room: Room) -> Result<(), Error> {
        if self.segment.len() >= end {
            return Ok(());
        }
        let ahead = match room {
            Room::Free => end.next_multiple_of(FILL_STEP_BYTES),
            // What is ahead would be for the commits that follow, which must leave the reserve alone.
            Room::Reserve => end,
        };
        match self.segment.fill_to(ahead, &log.disk, &log.dir, room) {
            Err(error) if self.segment.len() < end => Err(Error::io("extend the log", error)),
            _ => Ok(()),
        }
    }

    /// Zeroes what a failed append may have left.
    fn undo(&mut self, log: &Log, len: usize) {
        let undone = log.disk.write(self.segment.file(), &vec![0; len], self.end);
        if let (Err(error), None) = (undone, &self.closed) {
            self.closed = Some(format!("a failed write to the log could not be undone: {error}"));
        }
    }

    /// Whether the file has its size and holds anything.
    pub(crate) fn is_full(&self, log: &Log) -> bool {
        self.end >= log.segment_bytes
    }

    /// Starts the next file with `prepared`, an empty one. The old one keeps its records and loses its zeroes.
    ///
    /// The folder is not synced, which takes long: under the name it had, recovery finds the file as well, once it holds a record.
    pub(crate) fn roll(&mut self, log: &Log, prepared: Segment) -> Result<(), Error> {
        let next = prepared.renamed(&log.dir, self.next_seq).map_err(|e| Error::io("start a log file", e))?;
        let next = Arc::new(next);
        log.change_files(|files| files.insert(Arc::clone(&next)));
        let old = std::mem::replace(&mut self.segment, next);
        let end = std::mem::replace(&mut self.end, 0);
        // Zeroes at the end of a closed file are waste, not an error.
        old.close(end).map_err(|e| Error::io("close a log file", e))
    }
}

/// An empty file, written full of zeroes and synced with its name, which recovery removes unless it was begun.
pub(crate) fn prepare_segment(log: &Log) -> Result<Segment, Error> {
    let failed = |e| Error::io("prepare a log file", e);
    let path = log.dir.join(draft_name(log.prepared.fetch_add(1, Ordering::Relaxed)));
    let segment = Segment::create(path, Seq(0), 0).map_err(failed)?;
    let filled = fill(log, &segment).and_then(|()| log.disk.sync_dir(&log.dir));
    if filled.is_err() {
        // Its zeroes may be what the disk is full of. If it cannot go now, the next start removes it.
        let _ = std::fs::remove_file(&segment.path);
    }
    filled.map(|()| segment).map_err(failed)
}

fn fill(log: &Log, segment: &Segment) -> std::io::Result<()> {
    while segment.len() < log.segment_bytes {
        let end = (segment.len() + FILL_STEP_BYTES).min(log.segment_bytes);
        segment.fill_to(end, &log.disk, &log.dir, Room::Free)?;
        // A step at a time: commits share the disk.
        log.disk.sync(segment.file())?;
    }
    Ok(())
}
