//! Whether the index's files can be trusted: a small file beside them.
//!
//! The index is written without syncs, so after a power failure its pages may be any mixture of old and new. A process that was
//! killed loses nothing: the operating system still has what it wrote. Hence the rule: files marked clean, or dirty in this very boot
//! of the machine, are whole; others are rebuilt.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The marker file. Whoever writes to the index holds it meanwhile, so that a checkpoint is of a state between writes.
#[derive(Debug)]
pub(crate) struct Marker {
    dir: PathBuf,
    dirty: bool,
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
        Self { dir: index_dir.to_owned(), dirty: false }
    }

    pub(crate) fn trust(&self) -> Trust {
        let Ok(text) = std::fs::read_to_string(self.path()) else { return Trust::Unknown };
        match text.trim_end().split_once(' ') {
            Some(("clean", _)) => Trust::Whole,
            Some(("dirty", boot)) if boot_id().is_some_and(|id| id == boot) => Trust::Whole,
            _ => Trust::Unknown,
        }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Before an unsynced write.
    pub(crate) fn set_dirty(&mut self) -> io::Result<()> {
        if !self.dirty {
            self.write(&format!("dirty {}\n", boot_id().unwrap_or_default()))?;
            self.dirty = true;
        }
        Ok(())
    }

    /// After a sync with no write since.
    pub(crate) fn set_clean(&mut self, applied: u64) -> io::Result<()> {
        self.write(&format!("clean {applied}\n"))?;
        self.dirty = false;
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let draft = self.dir.join("state.tmp");
        let mut file = File::create(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(draft, self.path())?;
        File::open(&self.dir)?.sync_all()
    }
}

/// Differs after every start of the machine. Where there is none, nothing dirty is trusted.
fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}
