//! Copies of the log while it is written to, and back.
//!
//! ```text
//! <backup>/log/<first seq>.<gen>.seg     as in the data folder, up to the last whole record
//! ```
//! The log is the truth and grows at its end only, so a copy of it up to any whole record is the store at that commit. A file that is
//! there already is gone on with where it ends; one that was rewritten since, because something had to be erased, is copied anew
//! and the old one removed, so that what must be forgotten is forgotten here, too.
//!
//! Must not know: whether a relay is running, or the index, which is rebuilt.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use towpath_store::{Error, Seq};

use crate::log::reader::{Step, Walk, damaged, missing};
use crate::log::segment::{Segment, parse_file_name};

const BUFFER_BYTES: usize = 1 << 20;
/// A file that goes while it is about to be copied was rewritten: then the list is out of date.
const LISTINGS_MAX: usize = 20;

/// What a backup came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// The last entry in it.
    pub last: Seq,
    /// Bytes that were copied this time.
    pub copied_bytes: u64,
    /// Bytes in all.
    pub bytes: u64,
}

/// Brings the backup in `to` up to the log of the data folder `dir`, which may be in use.
pub fn backup(dir: &Path, to: &Path) -> Result<BackupReport, Error> {
    let (from, to) = (dir.join("log"), to.join("log"));
    fs::create_dir_all(&to).map_err(failed("make the backup folder"))?;
    for _ in 0..LISTINGS_MAX {
        if let Some(report) = copy_listed(&from, &to)? {
            return Ok(report);
        }
    }
    Err(Error::io("back the log up", io::Error::other("it is rewritten faster than it can be copied")))
}

/// Puts the log of a backup into a data folder that has none. The index is made when it is opened.
pub fn restore(from: &Path, dir: &Path) -> Result<BackupReport, Error> {
    let log = dir.join("log");
    if log.exists() {
        return Err(Error::io(
            "restore",
            io::Error::new(ErrorKind::AlreadyExists, format!("{} is there already", log.display())),
        ));
    }
    if !from.join("log").is_dir() {
        return Err(Error::io(
            "restore",
            io::Error::new(ErrorKind::NotFound, format!("{} holds no backup", from.display())),
        ));
    }
    backup(from, dir)
}

fn failed(context: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::io(context, error)
}

/// The newest generation of each file, by its first entry.
fn list(dir: &Path) -> io::Result<BTreeMap<Seq, (u32, PathBuf)>> {
    let mut files: BTreeMap<Seq, (u32, PathBuf)> = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((first, generation)) = parse_file_name(&name) else { continue };
        let file = files.entry(first).or_insert((generation, path.clone()));
        if file.0 < generation {
            *file = (generation, path);
        }
    }
    Ok(files)
}

/// `None` if a file was rewritten meanwhile.
fn copy_listed(from: &Path, to: &Path) -> Result<Option<BackupReport>, Error> {
    let files = list(from).map_err(failed("list the log"))?;
    let (mut report, mut next, count) = (BackupReport::default(), Seq(1), files.len());
    for (number, (first, (generation, path))) in files.iter().enumerate() {
        if *first != next {
            return Err(missing(next, *first));
        }
        let segment = match Segment::open(path.clone(), *first, *generation) {
            Ok(segment) => Arc::new(segment),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read the log", error)),
        };
        let target = to.join(path.file_name().unwrap_or_default());
        let copied = copy_file(&segment, &target, number + 1 == count)?;
        report.copied_bytes += copied.copied;
        report.bytes += copied.end;
        next = copied.next;
    }
    report.last = Seq(next.0 - 1);
    File::open(to).and_then(|dir| dir.sync_all()).map_err(failed("sync the backup"))?;
    forget_old(&files, to)?;
    Ok(Some(report))
}

struct Copied {
    copied: u64,
    end: u64,
    next: Seq,
}

/// Goes on where the copy ends. Only the last file may end in something that is not whole yet.
fn copy_file(segment: &Arc<Segment>, target: &Path, last: bool) -> Result<Copied, Error> {
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(target);
    let file = file.map_err(failed("write the backup"))?;
    let there = file.metadata().map_err(failed("write the backup"))?.len();
    let (mut walk, mut next, mut begins) = (Walk::new(Arc::clone(segment), 0), segment.first_seq, 0);
    loop {
        let at = walk.at();
        if at <= there {
            begins = at;
        }
        match walk.step()? {
            Step::Record(_, record) => next = record.header.next_seq(),
            Step::Damaged if !last => return Err(damaged(segment, at)),
            Step::Damaged | Step::End => break,
        }
    }
    // What is there ends with a whole record, unless an earlier run was cut short.
    let end = walk.at();
    let mut at = begins;
    let mut copied = 0;
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(BUFFER_BYTES);
        let bytes = segment.read(at, length).map_err(failed("read the log"))?;
        file.write_all_at(&bytes, at).map_err(failed("write the backup"))?;
        (at, copied) = (at + bytes.len() as u64, copied + bytes.len() as u64);
    }
    file.set_len(end).and_then(|()| file.sync_all()).map_err(failed("write the backup"))?;
    Ok(Copied { copied, end, next })
}

/// Removes what was rewritten since.
fn forget_old(files: &BTreeMap<Seq, (u32, PathBuf)>, to: &Path) -> Result<(), Error> {
    let names: Vec<_> = files.values().filter_map(|(_, path)| path.file_name()).collect();
    for entry in fs::read_dir(to).map_err(failed("list the backup"))? {
        let path = entry.map_err(failed("list the backup"))?.path();
        let name = path.file_name().unwrap_or_default();
        if parse_file_name(&name.to_string_lossy()).is_some() && !names.contains(&name) {
            fs::remove_file(&path).map_err(failed("remove an old file of the backup"))?;
        }
    }
    Ok(())
}
