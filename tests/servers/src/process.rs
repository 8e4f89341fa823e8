//! One server process.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The longest that a server may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);
/// Who servers run as if the tests run as root, which some refuse to serve.
const NOBODY: &str = "65534";

/// Kills its process when it is dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

/// A command that ends with this process, and that is not root's.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig=KILL");
    if is_root() {
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    }
    command.arg(program).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Gives a folder to whom the servers run as.
pub(crate) fn hand_over(folder: &Path) -> Result<()> {
    if is_root() {
        let nobody = NOBODY.parse().ok();
        std::os::unix::fs::chown(folder, nobody, nobody)?;
    }
    Ok(())
}

/// A port of loopback that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Where a program is: on the path, or in one of `folders`.
pub(crate) fn find(program: &str, folders: &[PathBuf]) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(folders.iter().cloned()).map(|folder| folder.join(program));
    places.into_iter().find(|place| place.is_file()).with_context(|| format!("{program} is not installed"))
}

/// What the kernel counts CPU time in, on every Linux there is.
const TICKS_PER_S: f64 = 100.0;

/// User and system time of the process, if it is `own` or a child of it; of `own` that of children that have ended, too.
fn ticks_of(stat: &str, own: u32) -> Option<u64> {
    let pid: u32 = stat.split(' ').next()?.parse().ok()?;
    // Behind the name, which may hold anything, comes the state, then numbers.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
    let alive = number(11)? + number(12)?;
    match (pid == own, number(1)? == u64::from(own)) {
        (true, _) => Some(alive + number(13)? + number(14)?),
        (false, true) => Some(alive),
        (false, false) => None,
    }
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        command.spawn().map(Self).with_context(|| format!("cannot start {command:?}"))
    }

    /// Waits until `ready`, which must not fail for ever.
    pub(crate) fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool) -> Result<()> {
        let begun = Instant::now();
        while !ready() {
            if let Some(status) = self.0.try_wait()? {
                bail!("{what} ended at once: {status}");
            }
            if begun.elapsed() > PATIENCE {
                bail!("{what} does not answer");
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    pub(crate) fn listens(port: u16) -> bool {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill").args(["-s", signal, &self.0.id().to_string()]).status()?;
        anyhow::ensure!(status.success(), "cannot send SIG{signal}");
        Ok(())
    }

    /// CPU time of the process and its children so far, in seconds.
    pub(crate) fn cpu_s(&self) -> f64 {
        let own = self.0.id();
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let stats = processes.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok());
        let ticks: u64 = stats.filter_map(|stat| ticks_of(&stat, own)).sum();
        ticks as f64 / TICKS_PER_S
    }

    pub(crate) fn wait(&mut self) -> Result<()> {
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
