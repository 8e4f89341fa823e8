//! Whether the index's files can be trusted: a small file beside them.
//!
//! The index is written without syncs, so after a power failure its pages may be any mixture of old and new. A process that was
//! killed loses nothing: the operating system still has what it wrote. Hence the rule: files marked clean, or dirty in this very boot
//! of the machine, are whole; others are rebuilt.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::disk::Disk;

/// The marker file. Whoever writes to the index holds it meanwhile, so that a checkpoint is of a state between writes.
#[derive(Debug)]
pub(crate) struct Marker {
    dir: PathBuf,
    /// `None` before the first change, and after one that failed and may have come about all the same.
    says: Option<Says>,
    /// Pages of the index may never reach the disk.
    distrusted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Dirty,
    Clean,
    /// There is none.
    Nothing,
}

/// What it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The files are whole.
    Whole,
    /// They may be torn, or there are none.
    Unknown,
}

impl Marker {
    pub(crate) fn new(index_dir: &Path) -> Self {
        Self { dir: index_dir.to_owned(), says: None, distrusted: false }
    }

    pub(crate) fn trust(&self) -> Trust {
        let Ok(text) = std::fs::read_to_string(self.path()) else { return Trust::Unknown };
        match text.trim_end().split_once(' ') {
            Some(("clean", _)) => Trust::Whole,
            Some(("dirty", boot)) if boot_id().is_some_and(|id| id == boot) => Trust::Whole,
            _ => Trust::Unknown,
        }
    }

    /// Whether pages of the index may have been lost: what it lacks may be in the log.
    pub(crate) fn is_distrusted(&self) -> bool {
        self.distrusted
    }

    /// Whether a checkpoint is of any use.
    pub(crate) fn is_dirty(&self) -> bool {
        self.says != Some(if self.distrusted { Says::Nothing } else { Says::Clean })
    }

    /// Before an unsynced write.
    pub(crate) fn set_dirty(&mut self, disk: &Disk) -> io::Result<()> {
        match self.says {
            _ if self.distrusted => self.remove(disk),
            Some(Says::Dirty) => Ok(()),
            _ => self.write(Says::Dirty, &format!("dirty {}\n", boot_id().unwrap_or_default()), disk),
        }
    }

    /// After a sync with no write since.
    pub(crate) fn set_clean(&mut self, applied: u64, disk: &Disk) -> io::Result<()> {
        if self.distrusted { self.remove(disk) } else { self.write(Says::Clean, &format!("clean {applied}\n"), disk) }
    }

    /// After a sync that failed: what the operating system keeps of pages it could not write is unknown, and a second sync may lie. So
    /// nothing is marked any more, and the next start makes the index anew.
    pub(crate) fn distrust(&mut self, disk: &Disk) -> io::Result<()> {
        self.distrusted = true;
        self.remove(disk)
    }

    /// Before the files themselves are removed: of a part of them nothing must be said.
    pub(crate) fn remove(&mut self, disk: &Disk) -> io::Result<()> {
        if self.says == Some(Says::Nothing) {
            return Ok(());
        }
        self.says = None;
        match std::fs::remove_file(self.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => disk.sync_names(&self.dir)?,
        }
        self.says = Some(Says::Nothing);
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn write(&mut self, says: Says, text: &str, disk: &Disk) -> io::Result<()> {
        // From here on until all of it has succeeded.
        self.says = None;
        let draft = self.dir.join("state.tmp");
        let mut file = File::create(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(draft, self.path())?;
        disk.sync_names(&self.dir)?;
        self.says = Some(says);
        Ok(())
    }
}

/// Differs after every start of the machine. Where there is none, nothing dirty is trusted.
fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}
