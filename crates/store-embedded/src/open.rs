//! Opening a data folder: the lock, the log's end, an index that is true to the log.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use towpath_audit::Tree;
use towpath_store::{Error, Seq};

use crate::audit::{Growth, TreeFiles};
use crate::commit::{Writer, head_of};
use crate::disk::Disk;
use crate::index::marker::{Marker, Trust};
use crate::index::rebuild::{Progress, rebuild, replay_tail};
use crate::index::{Index, malformed};
use crate::log::Log;
use crate::log::recovery::recover;
use crate::maintain::Upkeep;
use crate::pending::Pending;
use crate::{Config, Shared};

pub(crate) fn open(config: Config, progress: &mut Progress<'_>) -> Result<Shared, Error> {
    open_on(Disk::new(config.sync, config.free_bytes_min), config, progress)
}

/// The same on a disk that tests can make fail.
pub(crate) fn open_on(disk: Disk, config: Config, progress: &mut Progress<'_>) -> Result<Shared, Error> {
    create_dir(&config.dir).map_err(|e| Error::io("create the data folder", e))?;
    let lock = lock(&config.lock_file())?;
    if !config.log_dir().exists() {
        ensure_room(&disk, &config)?;
    }
    let (log, appender) = recover(&config.log_dir(), disk, u64::from(config.segment_bytes))?;
    let last = Seq(appender.next_seq().0 - 1);
    let tree_files = TreeFiles::at(config.tree_dir());
    let (index, marker, tree) = open_index(&config, &log, last, &tree_files, progress)?;
    let shared = Shared {
        upkeep: Mutex::new(Upkeep::default()),
        head: Mutex::new(head_of(tree.as_ref())),
        writer: Mutex::new(Writer { appender, tree, buffer: Vec::new() }),
        preparing: Mutex::new(None),
        pending: Pending::new(last),
        log: Arc::new(log),
        last: AtomicU64::new(last.0),
        index,
        tree_files,
        marker: Mutex::new(marker),
        places: Mutex::default(),
        config,
        _lock: lock,
    };
    shared.finish_compactions()?;
    Ok(shared)
}

/// A log is not begun without room. One that is there can be read, and takes what it has room for.
fn ensure_room(disk: &Disk, config: &Config) -> Result<(), Error> {
    disk.check_room(&config.dir).map_err(|error| match error.kind() {
        ErrorKind::StorageFull => Error::Unavailable(format!(
            "less than store.free_bytes_min ({}) is free in {}",
            config.free_bytes_min,
            config.dir.display()
        )),
        _ => Error::io("look at the disk", error),
    })
}

/// Creates a folder for its owner alone, private messages being in it, that is still there after a power failure.
pub fn create_dir(dir: &Path) -> std::io::Result<()> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    for created in missing {
        let parent = created.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Until the file is dropped, nobody else has the lock.
pub(crate) fn lock(path: &Path) -> Result<File, Error> {
    let failed = |e| Error::io("lock the data folder", e);
    let file = open_lock(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

pub(crate) fn open_lock(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

/// An index that holds exactly the log up to `last`, and is marked dirty; and the tree over the same entries, if one is kept.
fn open_index(
    config: &Config,
    log: &Log,
    last: Seq,
    tree_files: &TreeFiles,
    progress: &mut Progress<'_>,
) -> Result<(Index, Marker, Option<Tree>), Error> {
    let (dir, files) = (config.index_dir(), log.files());
    let failed = |e| Error::io("mark the index", e);
    let mut marker = Marker::new(&dir);
    if marker.trust() == Trust::Whole
        && let Some((index, applied)) = open_trusted(config)?
        && !has_lost_entries(config, last, applied)?
    {
        marker.set_dirty(&log.disk).map_err(failed)?;
        let mut growth = config.audit.then(|| Growth::from(tree_files, tree_files.covered().min(last))).transpose()?;
        replay_tail(&index, &files, (applied, last), growth.as_mut())?;
        return Ok((index, marker, growth.map(Growth::into_tree)));
    }
    if dir.exists() {
        tracing::warn!("the index may be torn, ahead of the log or of another version: rebuilding it from the log");
        // The marker first: what a removal that is cut short leaves would be taken for all of it.
        let removed = marker.remove(&log.disk).and_then(|()| log.disk.remove_dir_all(&dir));
        removed.map_err(|e| Error::io("remove the old index", e))?;
        tree_files.close();
    }
    let index = Index::open(config)?.ok_or_else(|| malformed("meta"))?;
    let mut growth = config.audit.then(|| Growth::from(tree_files, Seq(0))).transpose()?;
    rebuild(&index, &files, last, growth.as_mut(), progress)?;
    // Only now: a rebuild that is cut short starts over.
    marker.set_dirty(&log.disk).map_err(failed)?;
    Ok((index, marker, growth.map(Growth::into_tree)))
}

/// Whether the index has more than the log. What was not synced a power failure may take, whole records of it: that was the operator's
/// choice. What was synced it may not.
fn has_lost_entries(config: &Config, last: Seq, applied: Seq) -> Result<bool, Error> {
    if applied > last && config.sync {
        return Err(Error::Corrupt(format!(
            "the log ends with entry {last}, and {applied} had been committed; if it was without store.sync, start it so once more"
        )));
    }
    Ok(applied > last)
}

/// The index as it is and how far it is, unless LMDB refuses it or this code cannot read it.
fn open_trusted(config: &Config) -> Result<Option<(Index, Seq)>, Error> {
    let index = match Index::open(config) {
        Ok(Some(index)) => index,
        Ok(None) => return Ok(None),
        Err(Error::Corrupt(why)) => {
            tracing::warn!(%why, "the index cannot be opened");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let applied = index.applied(&*index.read()?)?;
    Ok(Some((index, applied)))
}
