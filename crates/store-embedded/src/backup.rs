//! Copies of the log while it is written to, and back.
//!
//! ```text
//! <backup>/log/<first seq>.<gen>.seg     as in the data folder, up to the last whole record
//! ```
//! The log is the truth and grows at its end only, so a copy of it up to any whole record is the store at that commit. A file that is
//! there already is gone on with where it ends; one that was rewritten since, because something had to be erased, is copied anew
//! and the old one removed, so that what must be forgotten is forgotten here, too.
//!
//! A backup of another log, or of one that went another way since, is left alone: it may be the last copy there is. A file is there
//! whole or not at all.
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
    copy(&dir.join("log"), &to.join("log"), End::MayBeTorn)
}

/// Puts the log of a backup into a data folder that has none. The index is made when it is opened. A restore that is cut short leaves no
/// log behind, and can be done again.
pub fn restore(from: &Path, dir: &Path) -> Result<BackupReport, Error> {
    let refused = |kind, why| Err(Error::io("restore", io::Error::new(kind, why)));
    let (log, draft) = (dir.join("log"), dir.join("log.restoring"));
    // An old index or old cursors would be taken for those of this log.
    for old in [&log, &dir.join("index"), &dir.join("followers")] {
        if old.exists() {
            return refused(ErrorKind::AlreadyExists, format!("{} is there already", old.display()));
        }
    }
    if !from.join("log").is_dir() {
        return refused(ErrorKind::NotFound, format!("{} holds no backup", from.display()));
    }
    match fs::remove_dir_all(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io("restore", error)),
        _ => {}
    }
    let report = copy(&from.join("log"), &draft, End::IsWhole)?;
    fs::rename(&draft, &log).and_then(|()| File::open(dir)?.sync_all()).map_err(failed("restore"))?;
    Ok(report)
}

/// What the last file of a log may end in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// A record that is being written.
    MayBeTorn,
    /// Nothing else: what looks torn is damage.
    IsWhole,
}

fn copy(from: &Path, to: &Path, end: End) -> Result<BackupReport, Error> {
    fs::create_dir_all(to).map_err(failed("make the backup folder"))?;
    for _ in 0..LISTINGS_MAX {
        if let Some(report) = copy_listed(from, to, end)? {
            return Ok(report);
        }
    }
    Err(Error::io("back the log up", io::Error::other("it is rewritten faster than it can be copied")))
}

/// The backup in `target` is not of this log.
fn other_log(target: &Path, why: &str) -> Error {
    let why = format!("{}: {why}; back up to another folder, or remove this one", target.display());
    Error::io("back the log up", io::Error::new(ErrorKind::AlreadyExists, why))
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
fn copy_listed(from: &Path, to: &Path, end: End) -> Result<Option<BackupReport>, Error> {
    let files = list(from).map_err(failed("list the log"))?;
    let there = list(to).map_err(failed("list the backup"))?;
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
        let may_be_torn = number + 1 == count && end == End::MayBeTorn;
        let copied = copy_file(&segment, &target, may_be_torn)?;
        report.copied_bytes += copied.copied;
        report.bytes += copied.end;
        next = copied.next;
    }
    report.last = Seq(next.0 - 1);
    if let Some((first, (_, path))) = there.last_key_value().filter(|(first, _)| **first >= next) {
        return Err(other_log(path, &format!("it begins with entry {first}, and the log ends with {}", report.last)));
    }
    File::open(to).and_then(|dir| dir.sync_all()).map_err(failed("sync the backup"))?;
    forget_old(&files, to)?;
    Ok(Some(report))
}

struct Copied {
    copied: u64,
    end: u64,
    next: Seq,
}

/// Goes on where the copy ends, if that is how this file begins.
fn copy_file(segment: &Arc<Segment>, target: &Path, may_be_torn: bool) -> Result<Copied, Error> {
    let (mut walk, mut next) = (Walk::new(Arc::clone(segment), 0), segment.first_seq);
    loop {
        let at = walk.at();
        match walk.step()? {
            Step::Record(_, record) => next = record.header.next_seq(),
            Step::Damaged if !may_be_torn => return Err(damaged(segment, at)),
            Step::Damaged | Step::End => break,
        }
    }
    let end = walk.at();
    let begun = match OpenOptions::new().read(true).write(true).open(target) {
        Ok(begun) => begun,
        Err(error) if error.kind() == ErrorKind::NotFound => return copy_new(segment, target, end, next),
        Err(error) => return Err(Error::io("write the backup", error)),
    };
    let there = begun.metadata().map_err(failed("write the backup"))?.len();
    if there > end {
        return Err(other_log(target, &format!("it has {there} bytes, and the log only {end} of them")));
    }
    for_each_part(segment, 0, there, |at, bytes| {
        let mut before = vec![0; bytes.len()];
        begun.read_exact_at(&mut before, at).map_err(failed("read the backup"))?;
        if before == bytes { Ok(()) } else { Err(other_log(target, &format!("the log differs behind byte {at}"))) }
    })?;
    write(segment, &begun, there, end)?;
    Ok(Copied { copied: end - there, end, next })
}

/// Under another name until it is whole: a file of a newer generation takes the place of what it was rewritten from.
fn copy_new(segment: &Segment, target: &Path, end: u64, next: Seq) -> Result<Copied, Error> {
    let draft = target.with_extension("tmp");
    let file = File::create(&draft).map_err(failed("write the backup"))?;
    write(segment, &file, 0, end)?;
    fs::rename(&draft, target).map_err(failed("write the backup"))?;
    Ok(Copied { copied: end, end, next })
}

fn write(segment: &Segment, file: &File, from: u64, end: u64) -> Result<(), Error> {
    for_each_part(segment, from, end, |at, bytes| file.write_all_at(bytes, at).map_err(failed("write the backup")))?;
    file.sync_all().map_err(failed("write the backup"))
}

fn for_each_part(
    segment: &Segment,
    from: u64,
    end: u64,
    mut act: impl FnMut(u64, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut at = from;
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(BUFFER_BYTES);
        let bytes = segment.read(at, length).map_err(failed("read the log"))?;
        act(at, &bytes)?;
        at += bytes.len() as u64;
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
