//! What the programme starts and makes, so that nothing of it stays: processes end and folders go when they are dropped, and when the
//! programme itself is ended, in whatever way. Knows neither relays nor what is in the folders.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Ends all of its own group, and itself.
const END: &str = "kill -s KILL 0";
/// `$0` is the folder. Whoever writes there may be about to end, too.
const REMOVE: &str = r#"for second in 1 2 3 4 5 6 7 8 9; do rm -rf -- "$0" && break; sleep 1; done"#;

/// A shell that does its task when its input ends: when this is dropped, or when the kernel has closed what a killed programme had
/// open.
#[derive(Debug)]
struct Caretaker(Child);

impl Caretaker {
    fn hire(task: &str, object: impl AsRef<OsStr>) -> io::Result<Self> {
        // What ends the programme, such as Ctrl-C, must not end who tidies up behind it.
        let script = format!("trap '' HUP INT TERM; read -r line; {task}");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script).arg(object).process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(Self)
    }

    /// Has the task done now.
    fn dismiss(&mut self) {
        // Which first closes its input.
        let _ = self.0.wait();
    }
}

impl Drop for Caretaker {
    fn drop(&mut self) {
        self.dismiss();
    }
}

/// A process, and with it whatever it starts that does not leave its group. The caretaker made the group: it is there before the process
/// is, at whatever instant the programme is ended.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) leader: Child,
    caretaker: Caretaker,
}

impl Group {
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let caretaker = Caretaker::hire(END, "")?;
        let group = i32::try_from(caretaker.0.id()).map_err(io::Error::other)?;
        let leader = command.process_group(group).spawn()?;
        Ok(Self { leader, caretaker })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.caretaker.dismiss();
        // In case it left the group.
        let _ = self.leader.kill();
        let _ = self.leader.wait();
    }
}

/// A folder with a name of its own.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _caretaker: Caretaker,
}

impl Folder {
    pub(crate) fn new_in(data: &Path) -> Result<Self> {
        let folder = TempDir::new_in(data).with_context(|| format!("cannot write in {}", data.display()))?;
        let caretaker = Caretaker::hire(REMOVE, folder.path()).context("cannot start sh")?;
        Ok(Self { path: folder.keep(), _caretaker: caretaker })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::*;
    use crate::measure::family;

    /// A process that has ended and was not waited for has no command line.
    fn is_running(pid: &str) -> bool {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
    }

    #[test]
    fn a_process_ends_with_those_that_it_started() {
        let group = Group::start(Command::new("sh").args(["-c", "sleep 600 & wait"])).expect("a shell");
        let mut all = Vec::new();
        while all.len() < 2 {
            thread::yield_now();
            all = family(&group.leader.id().to_string());
        }
        drop(group);
        while all.iter().any(|pid| is_running(pid)) {
            thread::yield_now();
        }
    }

    #[test]
    fn a_folder_goes_with_all_that_is_in_it() {
        let data = TempDir::new().expect("a folder");
        let folder = Folder::new_in(data.path()).expect("a folder in it");
        fs::create_dir(folder.path().join("deep")).expect("made");
        fs::write(folder.path().join("deep/file"), "content").expect("written");
        drop(folder);
        assert_eq!(fs::read_dir(data.path()).expect("readable").count(), 0);
    }
}
