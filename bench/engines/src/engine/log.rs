//! The append-only log: records of length, checksum and bytes in segments written with zeros before they are used.
//!
//! Knows events' bytes and nothing of the index. A prepared segment is never extended while it is appended to: a change of the
//! file's size makes its `fdatasync` wait for the journal, and through it for whatever else the journal orders first,
//! such as the pages of an index that nobody meant to sync.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::workload::Event;

const SEGMENT_BYTES: usize = 64 << 20;
const HEADER_BYTES: usize = 8;
/// A segment is prepared in such steps, with a pause after each, so that the disk stays free for the appends.
const PREPARED_STEP_BYTES: usize = 1 << 20;
const PREPARED_STEP_PAUSE: Duration = Duration::from_millis(5);

/// How a segment looks before its first record.
#[derive(Clone, Copy)]
pub(super) enum Segments {
    /// Empty, for comparison: every append changes its size.
    Growing,
    /// Full of zeros, and synced.
    Prepared,
}

/// Where an event's bytes are in the log.
#[derive(Clone, Copy)]
pub(super) struct Position {
    segment: u32,
    offset: u32,
    bytes: u32,
}

/// An event's place in its batch, and where the log has it.
pub(super) type Appended = (usize, Position);

impl Position {
    pub(super) fn encode(self) -> [u8; 12] {
        let mut encoded = [0; 12];
        for (word, value) in encoded.chunks_exact_mut(4).zip([self.segment, self.offset, self.bytes]) {
            word.copy_from_slice(&value.to_be_bytes());
        }
        encoded
    }

    pub(super) fn decode(encoded: &[u8]) -> Result<Self> {
        let words: &[u8; 12] = encoded.try_into().context("a position is 12 bytes")?;
        let word = |at: usize| u32::from_be_bytes([words[at], words[at + 1], words[at + 2], words[at + 3]]);
        Ok(Self { segment: word(0), offset: word(4), bytes: word(8) })
    }
}

pub(super) struct Log {
    segments: Vec<Arc<File>>,
    /// Where the next record goes in the last segment.
    end: usize,
    prepared: Receiver<io::Result<File>>,
    buffer: Vec<u8>,
}

impl Log {
    pub(super) fn create(directory: &Path, segments: Segments) -> Result<Self> {
        let prepared = start_preparing(directory.to_owned(), segments);
        let mut log = Self { segments: Vec::new(), end: 0, prepared, buffer: Vec::new() };
        log.rotate()?;
        Ok(log)
    }

    /// Appends the events at the given places of the batch in one write; durable once `active` is synced.
    pub(super) fn append(&mut self, batch: &[Event], places: &[usize]) -> Result<Vec<Appended>> {
        let bytes: usize = places.iter().map(|&place| HEADER_BYTES + batch[place].json.len()).sum();
        ensure!(bytes <= SEGMENT_BYTES, "a batch is larger than a segment");
        if self.end + bytes > SEGMENT_BYTES {
            self.rotate()?;
        }
        let segment = u32::try_from(self.segments.len() - 1)?;
        self.buffer.clear();
        let mut appended = Vec::with_capacity(places.len());
        for &place in places {
            let json = &batch[place].json;
            let bytes = u32::try_from(json.len())?;
            self.buffer.extend_from_slice(&bytes.to_be_bytes());
            self.buffer.extend_from_slice(&crc32c::crc32c(json).to_be_bytes());
            let offset = u32::try_from(self.end + self.buffer.len())?;
            appended.push((place, Position { segment, offset, bytes }));
            self.buffer.extend_from_slice(json);
        }
        self.active()?.write_all_at(&self.buffer, self.end as u64)?;
        self.end += self.buffer.len();
        Ok(appended)
    }

    /// The segment the last append went to.
    pub(super) fn active(&self) -> Result<&Arc<File>> {
        self.segments.last().context("a log has a segment")
    }

    pub(super) fn read(&self, position: Position, buffer: &mut Vec<u8>) -> Result<()> {
        let segment = self.segments.get(position.segment as usize).context("a position outside the log")?;
        buffer.resize(position.bytes as usize, 0);
        Ok(segment.read_exact_at(buffer, position.offset.into())?)
    }

    /// Every batch is synced before the next one is appended, so the segment left behind needs no sync here.
    fn rotate(&mut self) -> Result<()> {
        let segment = self.prepared.recv().context("the preparing thread has ended")??;
        self.segments.push(Arc::new(segment));
        self.end = 0;
        Ok(())
    }
}

/// Keeps one segment ready ahead of the log, until the receiver is dropped.
fn start_preparing(directory: PathBuf, segments: Segments) -> Receiver<io::Result<File>> {
    let (ready, prepared) = mpsc::sync_channel(0);
    thread::spawn(move || {
        for number in 0_u32.. {
            let segment = prepare(&directory.join(format!("{number:08}.log")), segments);
            if ready.send(segment).is_err() {
                return;
            }
        }
    });
    prepared
}

fn prepare(path: &Path, segments: Segments) -> io::Result<File> {
    let file = OpenOptions::new().create_new(true).read(true).write(true).open(path)?;
    let zeros = vec![0; PREPARED_STEP_BYTES];
    let prepared_bytes = match segments {
        Segments::Growing => 0,
        Segments::Prepared => SEGMENT_BYTES,
    };
    for offset in (0..prepared_bytes).step_by(PREPARED_STEP_BYTES) {
        file.write_all_at(&zeros, offset as u64)?;
        file.sync_data()?;
        thread::sleep(PREPARED_STEP_PAUSE);
    }
    file.sync_all()?;
    Ok(file)
}

/// A thread that syncs a segment while the committer works on the index. It ends when the engine is dropped.
pub(super) struct Syncer {
    requests: SyncSender<Arc<File>>,
    results: Receiver<io::Result<()>>,
}

/// A sync under way. To be finished before the batch may be answered.
#[must_use]
pub(super) struct Syncing<'a>(&'a Syncer);

impl Syncer {
    pub(super) fn start() -> Self {
        let (requests, wanted) = mpsc::sync_channel::<Arc<File>>(1);
        let (done, results) = mpsc::sync_channel(1);
        thread::spawn(move || {
            while let Ok(segment) = wanted.recv() {
                if done.send(segment.sync_data()).is_err() {
                    return;
                }
            }
        });
        Self { requests, results }
    }

    pub(super) fn begin(&self, segment: &Arc<File>) -> Result<Syncing<'_>> {
        self.requests.send(segment.clone()).context("the syncing thread has ended")?;
        Ok(Syncing(self))
    }
}

impl Syncing<'_> {
    pub(super) fn finish(self) -> Result<()> {
        Ok(self.0.results.recv().context("the syncing thread has ended")??)
    }
}
