//! Copies of the log while it is written to, and back.
//!
//! ```text
//! <backup>/lock                          held while it is written to
//! <backup>/log/<first seq>.<gen>.seg     as in the data folder, up to the last whole record
//! ```
//! The log is the truth and grows at its end only, so a copy of it up to any whole record is the store at that commit. A file that is
//! there already is gone on with where it ends; one that was rewritten since, because something had to be erased, is copied anew
//! and the old one removed, so that what must be forgotten is forgotten here, too.
//!
//! A backup of another log, or of one that went another way since, is left alone: it may be the last copy there is ([`kinship`]). A new
//! file is there whole or not at all; one that is gone on with may end in half a record when that is cut short, which is cut off.
//!
//! Must not know: whether a relay is running, or the index, which is rebuilt.

mod kinship;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use towpath_store::{Error, Seq};

use crate::log::reader::{Step, Walk, damaged, missing};
use crate::log::recovery::holds_record;
use crate::log::segment::{Segment, is_draft_name, parse_file_name};
use crate::open::{create_dir, open_lock};

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
    let context = "back the log up";
    let _lock = lock_target(to, context)?;
    let [from, target] = [dir, to].map(Path::canonicalize);
    if from.map_err(failed(context))? == target.map_err(failed(context))? {
        let why = format!("{} is the data folder itself", to.display());
        return Err(Error::io(context, io::Error::new(ErrorKind::InvalidInput, why)));
    }
    copy(&dir.join("log"), &to.join("log"))
}

/// Whoever writes to a folder holds its lock: a store that is open, of which a copy would cut off what is being committed, or another
/// backup or restore. On a disk that knows no locks, no store is open.
fn lock_target(to: &Path, context: &'static str) -> Result<File, Error> {
    create_dir(to).map_err(failed(context))?;
    let file = open_lock(&to.join("lock")).map_err(failed(context))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let why = format!("{} is in use: it is a running relay's, or another backup is being made", to.display());
            Err(Error::io(context, io::Error::new(ErrorKind::ResourceBusy, why)))
        }
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// Puts the log of a backup into a data folder that has none. The index is made when it is opened. A restore that is cut short leaves no
/// log behind, and can be done again.
pub fn restore(from: &Path, dir: &Path) -> Result<BackupReport, Error> {
    let refused = |kind, why| Err(Error::io("restore", io::Error::new(kind, why)));
    let (log, draft) = (dir.join("log"), dir.join("log.restoring"));
    if !from.join("log").is_dir() {
        return refused(ErrorKind::NotFound, format!("{} holds no backup", from.display()));
    }
    let _lock = lock_target(dir, "restore")?;
    // An old index or old cursors would be taken for those of this log.
    for old in [&log, &dir.join("index"), &dir.join("followers")] {
        if old.exists() {
            return refused(ErrorKind::AlreadyExists, format!("{} is there already", old.display()));
        }
    }
    match fs::remove_dir_all(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io("restore", error)),
        _ => {}
    }
    let report = copy(&from.join("log"), &draft)?;
    fs::rename(&draft, &log).and_then(|()| File::open(dir)?.sync_all()).map_err(failed("restore"))?;
    Ok(report)
}

fn copy(from: &Path, to: &Path) -> Result<BackupReport, Error> {
    create_dir(to).map_err(failed("make the backup folder"))?;
    for _ in 0..LISTINGS_MAX {
        if let Some(report) = copy_listed(from, to)? {
            return Ok(report);
        }
    }
    Err(Error::io("back the log up", io::Error::other("it is rewritten faster than it can be copied")))
}

fn failed(context: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::io(context, error)
}

/// The newest generation of each file, by its first entry.
type Listing = BTreeMap<Seq, (u32, PathBuf)>;

fn list(dir: &Path) -> io::Result<Listing> {
    let mut files = Listing::new();
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

/// A file of a listing; `None` if it has gone since.
fn open(first: Seq, (generation, path): &(u32, PathBuf)) -> Result<Option<Arc<Segment>>, Error> {
    match Segment::open_to_read(path.clone(), first, *generation) {
        Ok(segment) => Ok(Some(Arc::new(segment))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read the log", error)),
    }
}

/// `None` if a file was rewritten or written to meanwhile, so that the list or what was read is out of date.
fn copy_listed(from: &Path, to: &Path) -> Result<Option<BackupReport>, Error> {
    let files = list(from).map_err(failed("list the log"))?;
    ensure_named(from)?;
    // Before anything is written.
    if !kinship::check(&files, &list(to).map_err(failed("list the backup"))?)? {
        return Ok(None);
    }
    forget_drafts(to)?;
    let (mut report, mut next, count) = (BackupReport::default(), Seq(1), files.len());
    for (number, (first, file)) in files.iter().enumerate() {
        if *first != next {
            return Err(missing(next, *first));
        }
        let Some(segment) = open(*first, file)? else { return Ok(None) };
        let (end, last) = match whole_end(&segment)? {
            Whole::To { end, next } => (end, next),
            Whole::ThenTorn { end, next } if number + 1 == count => (end, next),
            Whole::ThenTorn { end, .. } => return Err(damaged(&segment, end)),
            // A record that was being written when it was read, and is not any more; or damage, which stays.
            Whole::ThenDamage { end } if number + 1 == count && is_another_now(&segment, end)? => return Ok(None),
            Whole::ThenDamage { end } => return Err(damaged(&segment, end)),
        };
        report.copied_bytes += copy_file(&segment, &to.join(file.1.file_name().unwrap_or_default()), end)?;
        report.bytes += end;
        next = last;
    }
    report.last = Seq(next.0 - 1);
    File::open(to).and_then(|dir| dir.sync_all()).map_err(failed("sync the backup"))?;
    forget_old(&files, to)?;
    Ok(Some(report))
}

/// A power failure may have taken the name of the last log file back, which a start finds out. Of a relay that runs, no draft holds a
/// record.
fn ensure_named(from: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(from).map_err(failed("list the log"))? {
        let path = entry.map_err(failed("list the log"))?.path();
        if !is_draft_name(&path.file_name().unwrap_or_default().to_string_lossy()) {
            continue;
        }
        let Some(draft) = open(Seq(0), &(0, path.clone()))? else { continue };
        // By now it may have its name.
        if matches!(Walk::new(draft, 0).step()?, Step::Record(..)) && path.exists() {
            let why = format!("{} has lost its name: start the relay once, which gives it back", path.display());
            return Err(Error::io("back the log up", io::Error::other(why)));
        }
    }
    Ok(())
}

/// How far a file holds whole records, one after the other, and what is behind them.
enum Whole {
    /// Nothing, or zeroes.
    To { end: u64, next: Seq },
    /// What is no record, nor before one.
    ThenTorn { end: u64, next: Seq },
    /// What is no record, before one that is.
    ThenDamage { end: u64 },
}

fn whole_end(segment: &Arc<Segment>) -> Result<Whole, Error> {
    let (mut walk, mut next) = (Walk::new(Arc::clone(segment), 0), segment.first_seq);
    loop {
        let end = walk.at();
        match walk.step()? {
            Step::Record(_, record) => next = record.header.next_seq(),
            Step::End => return Ok(Whole::To { end, next }),
            Step::Damaged => {
                let length = usize::try_from(segment.len().saturating_sub(end)).unwrap_or(usize::MAX);
                let rest = segment.read_at_most(end, length).map_err(failed("read the log"))?;
                let is_damage = holds_record(&rest.into(), next);
                return Ok(if is_damage { Whole::ThenDamage { end } } else { Whole::ThenTorn { end, next } });
            }
        }
    }
}

/// Whether there is a record now.
fn is_another_now(segment: &Arc<Segment>, at: u64) -> Result<bool, Error> {
    Ok(matches!(Walk::new(Arc::clone(segment), at).step()?, Step::Record(..)))
}

/// Goes on where the copy's last whole record ends. How much was copied.
fn copy_file(segment: &Segment, target: &Path, end: u64) -> Result<u64, Error> {
    let begun = match Segment::open(target.to_owned(), segment.first_seq, segment.generation) {
        Ok(begun) => Arc::new(begun),
        Err(error) if error.kind() == ErrorKind::NotFound => return copy_new(segment, target, end),
        Err(error) => return Err(Error::io("write the backup", error)),
    };
    if begun.len() == end {
        return Ok(0);
    }
    let from = match whole_end(&begun)? {
        Whole::To { end, .. } | Whole::ThenTorn { end, .. } => end,
        Whole::ThenDamage { end } => return Err(damaged(&begun, end)),
    };
    begun.file().set_len(from).map_err(failed("write the backup"))?;
    write(segment, begun.file(), from, end)?;
    Ok(end.saturating_sub(from))
}

/// Under another name until it is whole: a file of a newer generation takes the place of what it was rewritten from.
fn copy_new(segment: &Segment, target: &Path, end: u64) -> Result<u64, Error> {
    let draft = target.with_extension("tmp");
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&draft).map_err(failed("write the backup"))?;
    write(segment, &file, 0, end)?;
    fs::rename(&draft, target).map_err(failed("write the backup"))?;
    Ok(end)
}

fn write(segment: &Segment, file: &File, from: u64, end: u64) -> Result<(), Error> {
    let mut at = from;
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(BUFFER_BYTES);
        let bytes = segment.read(at, length).map_err(failed("read the log"))?;
        file.write_all_at(&bytes, at).map_err(failed("write the backup"))?;
        at += bytes.len() as u64;
    }
    file.sync_all().map_err(failed("write the backup"))
}

/// What an earlier run left half may be of a file that has been rewritten since, and hold what must be forgotten.
fn forget_drafts(to: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(to).map_err(failed("list the backup"))? {
        let path = entry.map_err(failed("list the backup"))?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(&path).map_err(failed("remove a draft of the backup"))?;
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{Folder, accept, note};

    /// The log's only file, as a backup opens it.
    fn source(folder: &Folder) -> Arc<Segment> {
        let (first, file) = list(&folder.config.log_dir()).unwrap().pop_first().unwrap();
        open(first, &file).unwrap().unwrap()
    }

    /// Once, no log was copied that could not have been written to.
    #[test]
    fn what_is_copied_is_only_opened_to_be_read() {
        let folder = Folder::new();
        drop(folder.open());
        source(&folder).file().write_at(b"x", 0).unwrap_err();
    }

    /// Once, a backup failed when the relay went on to the next file meanwhile.
    #[test]
    fn a_file_that_loses_its_zeroes_while_it_is_read_ends_there() {
        let folder = Folder::new();
        let store = folder.open();
        (0..3).for_each(|at| drop(accept(&store, &note(1, at))));
        drop(store);
        let source = source(&folder);
        let Whole::To { end, next } = whole_end(&source).unwrap() else { panic!("zeroes behind the records") };
        Segment::open(source.path.clone(), source.first_seq, source.generation).unwrap().truncate(end).unwrap();
        assert!(source.len() > end, "as it was when it was opened");
        let again = whole_end(&source).unwrap();
        assert!(matches!(again, Whole::To { end: e, next: n } if (e, n) == (end, next)));
    }
}
