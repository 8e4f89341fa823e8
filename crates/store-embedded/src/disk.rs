//! What the log does to the disk, in one place, so that tests can make it fail.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use towpath_store::Error;

/// How much of a disk a write may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// All but the configured reserve.
    Free,
    /// The reserve as well: for what makes room.
    Reserve,
}

/// What is left for us of the disk that `dir` is on.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let fs = rustix::fs::statvfs(dir)?;
    Ok(fs.f_bavail.saturating_mul(fs.f_frsize))
}

/// Writes and syncs files as configured.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) sync: bool,
    pub(crate) free_bytes_min: u64,
    #[cfg(test)]
    pub(crate) faults: faults::Faults,
}

impl Disk {
    pub(crate) fn new(sync: bool, free_bytes_min: u64) -> Self {
        Self {
            sync,
            free_bytes_min,
            #[cfg(test)]
            faults: faults::Faults::default(),
        }
    }

    pub(crate) fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before_write(file, bytes, at)?;
        file.write_all_at(bytes, at)
    }

    /// Waits until what was written would survive a power failure.
    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before_sync()?;
        if self.sync { file.sync_data() } else { Ok(()) }
    }

    /// The same, whatever is configured.
    pub(crate) fn sync_file(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before_sync()?;
        file.sync_data()
    }

    /// As [`Disk::sync`], for names: creation, renaming and removal of files in `dir`.
    pub(crate) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.sync { self.sync_names(dir) } else { Ok(()) }
    }

    /// As [`Disk::sync_file`], for names.
    pub(crate) fn sync_names(&self, dir: &Path) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before_sync_names()?;
        File::open(dir)?.sync_all()
    }

    /// Syncs the files of the index, which know how, whatever is configured.
    pub(crate) fn sync_index(&self, sync: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        #[cfg(test)]
        self.faults.before_sync().map_err(|e| Error::io("sync the index", e))?;
        sync()
    }

    pub(crate) fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before_removal(dir)?;
        std::fs::remove_dir_all(dir)
    }

    /// Fails with `StorageFull` if less than the configured reserve is left.
    pub(crate) fn check_room(&self, dir: &Path) -> io::Result<()> {
        self.check_free(dir, self.free_bytes_min)
    }

    /// The same with less than `bytes_min`.
    pub(crate) fn check_free(&self, dir: &Path, bytes_min: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.check_room()?;
        if free_bytes(dir)? < bytes_min { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
pub(crate) mod faults {
    //! Failures on demand.

    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use parking_lot::{Condvar, Mutex};

    /// Each failure happens while its flag is set.
    #[derive(Debug, Default)]
    pub(crate) struct Faults {
        /// No room at all.
        pub(crate) full: AtomicBool,
        /// A write stops half-way for want of room; unlike `full`, it comes without warning.
        pub(crate) short_write: AtomicBool,
        /// Zeroing after a short write fails as well.
        pub(crate) no_undo: AtomicBool,
        pub(crate) sync: AtomicBool,
        /// A folder is not synced, though the names in it are changed.
        pub(crate) sync_names: AtomicBool,
        /// The removal of the index is cut short when the leaves' hashes and, if it is still there, the marker are left of it.
        pub(crate) removal: AtomicBool,
        /// Syncs begun so far.
        pub(crate) syncs: AtomicUsize,
        stalled: Mutex<bool>,
        moved_on: Condvar,
    }

    impl Faults {
        pub(super) fn before_write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
            let zeroes = bytes.iter().all(|b| *b == 0);
            if zeroes && self.no_undo.load(Ordering::SeqCst) {
                return Err(io::Error::other("injected"));
            }
            if !zeroes && self.short_write.load(Ordering::SeqCst) {
                file.write_all_at(&bytes[..bytes.len() / 2], at)?;
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }

        /// A disk that takes for ever: no sync ends before it is told to move on.
        pub(crate) fn stall(&self, stalled: bool) {
            *self.stalled.lock() = stalled;
            self.moved_on.notify_all();
        }

        pub(super) fn before_sync(&self) -> io::Result<()> {
            self.syncs.fetch_add(1, Ordering::SeqCst);
            self.moved_on.wait_while(&mut self.stalled.lock(), |stalled| *stalled);
            if self.sync.load(Ordering::SeqCst) { Err(io::Error::other("injected")) } else { Ok(()) }
        }

        pub(super) fn before_sync_names(&self) -> io::Result<()> {
            if self.sync_names.load(Ordering::SeqCst) { Err(io::Error::other("injected")) } else { Ok(()) }
        }

        pub(super) fn before_removal(&self, index: &Path) -> io::Result<()> {
            if !self.removal.load(Ordering::SeqCst) {
                return Ok(());
            }
            std::fs::remove_file(index.join("data.mdb"))?;
            std::fs::remove_file(index.join("tree/1"))?;
            Err(io::Error::other("injected"))
        }

        pub(super) fn check_room(&self) -> io::Result<()> {
            if self.full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }
}
