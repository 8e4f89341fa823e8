//! Opening the log after whatever ended the last run.
//!
//! Only the last file can have been written to, and only its last record can be torn: every record before it was synced before
//! the next was written. So damage with nothing good behind it is a batch that was never acknowledged and goes; damage with good
//! records behind it is corruption, and is named.
//!
//! A file is made beforehand, under a name that is durable, and gets its own when it is begun. No commit waits for that name, so a power
//! failure may take it back: what the file holds says what it is called. Without a record it was not begun, and goes.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use towpath_store::{Error, Seq};

use super::append::{Appender, prepare_segment};
use super::reader::{Step, Walk, damaged, missing};
use super::record::{Header, MAGIC, Record};
use super::segment::{Segment, file_name, is_draft_name, parse_file_name};
use super::{Files, Log};
use crate::disk::{Disk, Room};

/// Opens the log in `dir`, creating it if there is none.
pub(crate) fn recover(dir: &Path, disk: Disk, segment_bytes: u64) -> Result<(Log, Appender), Error> {
    let failed = |e| Error::io("open the log", e);
    std::fs::create_dir_all(dir).map_err(failed)?;
    let mut files = list(dir)?;
    prefer_whole(&mut files);
    if let Some(first) = files.iter().next().filter(|first| first.first_seq > Seq(1)) {
        return Err(missing(Seq(1), first.first_seq));
    }
    let last = files.iter().next_back().cloned();
    let log = Log::new(dir.to_owned(), disk, segment_bytes, files);
    let appender = match last {
        Some(last) => recover_end(&log, last)?,
        None => start(&log)?,
    };
    Ok((log, appender))
}

fn list(dir: &Path) -> Result<Files, Error> {
    let failed = |e| Error::io("open the log", e);
    let (mut files, mut unnamed) = (Files::default(), Vec::new());
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some((first_seq, generation)) = parse_file_name(&name) {
            files.insert(Arc::new(Segment::open(path, first_seq, generation).map_err(failed)?));
        } else if is_draft_name(&name) {
            unnamed.push(path);
        } else if name.ends_with(".tmp") {
            std::fs::remove_file(path).map_err(failed)?;
        }
    }
    for path in unnamed {
        match begins_with(&path)? {
            Some(first_seq) if files.holding(first_seq).is_none_or(|file| file.first_seq != first_seq) => {
                let named = dir.join(file_name(first_seq, 0));
                std::fs::rename(path, &named).map_err(failed)?;
                tracing::warn!(file = %named.display(), "gave a log file back the name that it had lost");
                files.insert(Arc::new(Segment::open(named, first_seq, 0).map_err(failed)?));
            }
            // Not begun, or it has its name besides.
            _ => std::fs::remove_file(path).map_err(failed)?,
        }
    }
    Ok(files)
}

/// The first entry of a file that was made beforehand, if it was begun.
fn begins_with(path: &Path) -> Result<Option<Seq>, Error> {
    let file = Segment::open_to_read(path.to_owned(), Seq(0), 0).map_err(|e| Error::io("open the log", e))?;
    let file = Arc::new(file);
    if let Step::Record(_, record) = Walk::new(Arc::clone(&file), 0).step()? {
        return Ok(Some(record.header.first_seq));
    }
    let bytes = rest_of(&file, 0)?;
    refuse_other_version(&bytes)?;
    if holds_record(&bytes, Seq(1)) { Err(damaged(&file, 0)) } else { Ok(None) }
}

/// What a compaction that was cut short wrote must not hide what it was made of, if it is damaged and that is not.
fn prefer_whole(files: &mut Files) {
    let all = files.clone();
    files.prefer(|segment| all.after(segment.first_seq).is_some_and(|next| is_whole(segment, next.first_seq)));
}

/// Whether a file holds everything before `next_seq`.
fn is_whole(segment: &Arc<Segment>, next_seq: Seq) -> bool {
    let (mut walk, mut at) = (Walk::new(Arc::clone(segment), 0), segment.first_seq);
    while let Ok(Step::Record(_, record)) = walk.step() {
        if record.header.first_seq != at {
            return false;
        }
        at = record.header.next_seq();
    }
    at == next_seq
}

fn start(log: &Log) -> Result<Appender, Error> {
    let failed = |e| Error::io("start the log", e);
    let first = Arc::new(prepare_segment(log)?.renamed(&log.dir, Seq(1)).map_err(failed)?);
    sync_names(log).map_err(failed)?;
    log.change_files(|files| files.insert(Arc::clone(&first)));
    Ok(Appender::new(first, 0, Seq(1)))
}

/// The files' names and the folder's.
fn sync_names(log: &Log) -> std::io::Result<()> {
    log.disk.sync_dir(&log.dir)?;
    log.dir.parent().map_or(Ok(()), |parent| log.disk.sync_dir(parent))
}

fn recover_end(log: &Log, last: Arc<Segment>) -> Result<Appender, Error> {
    let mut walk = Walk::new(Arc::clone(&last), 0);
    let (mut next_seq, mut last_at) = (last.first_seq, 0);
    let step = loop {
        match walk.step()? {
            Step::Record(at, record) if record.header.first_seq != next_seq => {
                return Err(damaged(&last, u64::from(at)));
            }
            Step::Record(at, record) => (next_seq, last_at) = (record.header.next_seq(), u64::from(at)),
            end => break end,
        }
    };
    let end = walk.at();
    let rest = rest_of(&last, end)?;
    refuse_other_version(&rest)?;
    if holds_record(&rest, next_seq) {
        return Err(damaged(&last, end));
    }
    if matches!(step, Step::Damaged) {
        tracing::warn!(file = %last.path.display(), at = end, "dropped a batch that was being written when the last run ended");
    }
    if rest.iter().any(|b| *b != 0) {
        let failed = |e| Error::io("repair the log", e);
        last.truncate(end).map_err(failed)?;
        last.file().sync_all().map_err(failed)?;
    }
    // A process that was killed need not have waited for the disk, and what it left counts as committed from here on.
    write_again(log, &last, last_at, end)?;
    log.disk.sync(last.file()).and_then(|()| sync_names(log)).map_err(|e| Error::io("sync the log", e))?;
    let filled = last.fill_to(log.segment_bytes, &log.disk, &log.dir, Room::Free);
    if let Err(error) = filled.and_then(|()| log.disk.sync(last.file())) {
        tracing::warn!(%error, "the log could not be extended ahead of need");
    }
    Ok(Appender::new(last, end, next_seq))
}

/// A disk that fails says so to one sync, and then the pages count as written: at the start after one that was refused for it, too, unless
/// they are written once more. Only the last record can be among them.
fn write_again(log: &Log, last: &Segment, at: u64, end: u64) -> Result<(), Error> {
    let length = usize::try_from(end - at).unwrap_or(usize::MAX);
    let record = last.read(at, length).map_err(|e| Error::io("read the log", e))?;
    log.disk.write(last.file(), &record, at).map_err(|e| Error::io("write to the log", e))
}

/// `bytes` are where a record would start.
fn refuse_other_version(bytes: &[u8]) -> Result<(), Error> {
    Header::other_version(bytes).map_or(Ok(()), |version| {
        Err(Error::Corrupt(format!(
            "the log is of format {version}, which this version of Towpath does not read: export it with the one that wrote it"
        )))
    })
}

fn rest_of(segment: &Segment, at: u64) -> Result<Bytes, Error> {
    let len = usize::try_from(segment.len() - at).unwrap_or(usize::MAX);
    segment.read(at, len).map(Bytes::from).map_err(|e| Error::io("read the log", e))
}

/// Whether a good record of `next_seq` or later is anywhere in `bytes`.
pub(crate) fn holds_record(bytes: &Bytes, next_seq: Seq) -> bool {
    memchr::memmem::find_iter(bytes, &MAGIC).any(|at| {
        let header = Header::parse(&bytes[at..]).filter(|header| header.first_seq >= next_seq);
        let end = header.and_then(|header| at.checked_add(header.record_bytes())).filter(|end| *end <= bytes.len());
        end.is_some_and(|end| Record::parse(&bytes.slice(at..end)).is_some())
    })
}
