//! Opening the log after whatever ended the last run.
//!
//! Only the last file can have been written to, and only its last record can be torn: every record before it was synced before
//! the next was written. So damage with nothing good behind it is a batch that was never acknowledged and goes; damage with good
//! records behind it is corruption, and is named.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use towpath_store::{Error, Seq};

use super::append::{Appender, prepare_segment};
use super::reader::{Step, Walk, damaged, missing};
use super::record::{Header, MAGIC, Record};
use super::segment::{Segment, parse_file_name};
use super::{Files, Log};
use crate::disk::{Disk, Room};

/// Opens the log in `dir`, creating it if there is none.
pub(crate) fn recover(dir: &Path, disk: Disk, segment_bytes: u64) -> Result<(Log, Appender), Error> {
    let failed = |e| Error::io("open the log", e);
    std::fs::create_dir_all(dir).map_err(failed)?;
    let files = list(dir).map_err(failed)?;
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

fn list(dir: &Path) -> std::io::Result<Files> {
    let mut files = Files::default();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some((first_seq, generation)) = parse_file_name(&name) {
            files.insert(Arc::new(Segment::open(path, first_seq, generation)?));
        } else if name.ends_with(".tmp") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(files)
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
    let mut next_seq = last.first_seq;
    let step = loop {
        match walk.step()? {
            Step::Record(at, record) if record.header.first_seq != next_seq => {
                return Err(damaged(&last, u64::from(at)));
            }
            Step::Record(_, record) => next_seq = record.header.next_seq(),
            end => break end,
        }
    };
    let end = walk.at();
    let rest = rest_of(&last, end)?;
    if let Some(version) = Header::other_version(&rest) {
        return Err(Error::Corrupt(format!(
            "the log is of format {version}, which this version of Towpath does not read: export it with the one that wrote it"
        )));
    }
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
    log.disk.sync(last.file()).and_then(|()| sync_names(log)).map_err(|e| Error::io("sync the log", e))?;
    let filled = last.fill_to(log.segment_bytes, &log.disk, &log.dir, Room::Free);
    if let Err(error) = filled.and_then(|()| log.disk.sync(last.file())) {
        tracing::warn!(%error, "the log could not be extended ahead of need");
    }
    Ok(Appender::new(last, end, next_seq))
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
