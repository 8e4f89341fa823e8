//! One file of the log.
//!
//! Before it holds any record the file is written full of zeroes and synced, because appending to blocks that exist already leaves
//! a sync nothing but the data to flush. A file that grows makes each sync wait for the file system's journal, and that for the
//! index's dirty pages: tens of milliseconds.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use towpath_store::Seq;

use crate::disk::{Disk, Room};

/// How much is zeroed between two looks at the free space and two syncs.
pub(crate) const FILL_STEP_BYTES: u64 = 4 << 20;
static CHUNK: [u8; 64 << 10] = [0; 64 << 10];

/// A log file: the records from `first_seq` on. A rewrite of it is another file of the next generation.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) first_seq: Seq,
    pub(crate) generation: u32,
    pub(crate) path: PathBuf,
    file: File,
    /// Everything before this has been written, with records or with zeroes.
    filled: AtomicU64,
    filling: Mutex<Filling>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filling {
    Open,
    /// Nothing will be appended any more.
    Closed,
}

pub(crate) fn file_name(first_seq: Seq, generation: u32) -> String {
    format!("{:020}.{generation}.seg", first_seq.0)
}

/// Of a file that is made before it is begun. Builds that hold such a file to be worth nothing call theirs `.tmp`, and remove those.
pub(crate) fn draft_name(number: u64) -> String {
    format!("next-{number}.draft")
}

/// The inverse of [`draft_name`].
pub(crate) fn is_draft_name(name: &str) -> bool {
    let number = name.strip_prefix("next-").and_then(|rest| rest.strip_suffix(".draft"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The inverse of [`file_name`].
pub(crate) fn parse_file_name(name: &str) -> Option<(Seq, u32)> {
    let (first_seq, generation) = name.strip_suffix(".seg")?.split_once('.')?;
    Some((Seq(first_seq.parse().ok()?), generation.parse().ok()?))
}

impl Segment {
    /// An empty file; an earlier one of that name goes, and is another file to whoever has it open.
    pub(crate) fn create(path: PathBuf, first_seq: Seq, generation: u32) -> io::Result<Self> {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { first_seq, generation, path, file, filled: AtomicU64::new(0), filling: Mutex::new(Filling::Open) })
    }

    pub(crate) fn open(path: PathBuf, first_seq: Seq, generation: u32) -> io::Result<Self> {
        Self::open_with(OpenOptions::new().read(true).write(true), path, first_seq, generation)
    }

    /// Of a log that is somebody else's, or on a disk that takes no writes.
    pub(crate) fn open_to_read(path: PathBuf, first_seq: Seq, generation: u32) -> io::Result<Self> {
        Self::open_with(OpenOptions::new().read(true), path, first_seq, generation)
    }

    fn open_with(options: &OpenOptions, path: PathBuf, first_seq: Seq, generation: u32) -> io::Result<Self> {
        let file = options.open(&path)?;
        let filled = AtomicU64::new(file.metadata()?.len());
        Ok(Self { first_seq, generation, path, file, filled, filling: Mutex::new(Filling::Open) })
    }

    /// The same file under its final name.
    pub(crate) fn renamed(mut self, dir: &Path, first_seq: Seq) -> io::Result<Self> {
        let path = dir.join(file_name(first_seq, self.generation));
        std::fs::rename(&self.path, &path)?;
        (self.path, self.first_seq) = (path, first_seq);
        Ok(self)
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Bytes on disk.
    pub(crate) fn len(&self) -> u64 {
        self.filled.load(Ordering::Acquire)
    }

    pub(crate) fn read(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// The same, or less where the file ends before: who writes to it may have cut its zeroes off.
    pub(crate) fn read_at_most(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let read = self.read_up_to(at, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Fills `buffer`, or the beginning of it if the file ends before. Returns how much.
    pub(crate) fn read_up_to(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.file.read_at(&mut buffer[read..], at + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    /// Zeroes the file up to `end`. It never touches what is filled already, so it may run beside appends.
    pub(crate) fn fill_to(&self, end: u64, disk: &Disk, dir: &Path, room: Room) -> io::Result<()> {
        let filling = self.filling.lock();
        while *filling == Filling::Open && self.len() < end {
            if room == Room::Free {
                disk.check_room(dir)?;
            }
            let at = self.len();
            let step_end = (at + FILL_STEP_BYTES).min(end);
            for chunk_at in (at..step_end).step_by(CHUNK.len()) {
                let len = CHUNK.len().min(usize::try_from(step_end - chunk_at).unwrap_or(CHUNK.len()));
                disk.write(&self.file, &CHUNK[..len], chunk_at)?;
                self.filled.store(chunk_at + len as u64, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Writes to a file that nobody else knows yet.
    pub(crate) fn append(&self, bytes: &[u8], at: u64, disk: &Disk) -> io::Result<()> {
        disk.write(&self.file, bytes, at)?;
        self.filled.store(at + bytes.len() as u64, Ordering::Release);
        Ok(())
    }

    /// Ends the file at `end`, for good.
    pub(crate) fn close(&self, end: u64) -> io::Result<()> {
        *self.filling.lock() = Filling::Closed;
        self.truncate(end)
    }

    /// Drops everything from `end` on.
    pub(crate) fn truncate(&self, end: u64) -> io::Result<()> {
        let _not_while_filling = self.filling.lock();
        self.file.set_len(end)?;
        self.filled.store(end, Ordering::Release);
        Ok(())
    }
}
