//! A relay in a child process: found, configured, started, signalled, restarted and cleaned away.
//!
//! Which relay:
//! - [`Relay::start`] serves tests that need nothing special. With `RELAY_UNDER_TEST=ws://…` they
//!   run against that relay, of whatever make, instead of a fresh one.
//! - [`Relay::empty`] and [`Relay::builder`] always start Towpath's own binary, with an empty data
//!   folder: `RELAY_BINARY`, or the one that was built beside the test. With `RELAY_STORE=postgres://…` it keeps its events
//!   there, alone in a schema of its own, and with `RELAY_BUS=redis://…` it is a pod on that bus.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};

use crate::wait::within;

/// What the relay writes to its standard output, before the address, once it accepts connections.
const ANNOUNCEMENT: &str = "listening on ";

/// The address of a relay that is already running and is to be tested.
pub(crate) fn url_under_test() -> Option<String> {
    url_in("RELAY_UNDER_TEST")
}

fn url_in(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|url| !url.is_empty())
}

/// Has a relay keep its events in the database that the tests are told of, if they are, in a schema that no other relay has.
fn shared_servers() -> Vec<(String, String)> {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    let Some(store) = url_in("RELAY_STORE") else { return Vec::new() };
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let schema = format!("relay_{}_{}", since_epoch.as_nanos(), STARTED.fetch_add(1, Ordering::Relaxed));
    let bus = url_in("RELAY_BUS").map(|bus| ("TOWPATH_CLUSTER_BUS", bus));
    let settings = [("TOWPATH_STORE_URL", store), ("TOWPATH_POSTGRES_SCHEMA", schema)].into_iter().chain(bus);
    settings.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A running relay. Dropping it kills the process and removes its data.
#[derive(Debug)]
pub struct Relay {
    url: String,
    /// None for a relay under test: it is not ours to stop.
    process: Option<Process>,
}

/// How to start a relay, kept for starting it again.
#[derive(Debug)]
struct Process {
    builder: RelayBuilder,
    /// None between `kill` and `restart`.
    child: Option<Child>,
    home: TempDir,
}

impl Drop for Process {
    /// Waits until the process is gone: it must not write to the folder that is removed next.
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        if child.start_kill().is_ok() {
            while let Ok(None) = child.try_wait() {
                std::thread::yield_now();
            }
        }
    }
}

/// What is special about a relay.
#[derive(Debug, Default, Clone)]
pub struct RelayBuilder {
    config: String,
    environment: Vec<(String, String)>,
}

impl RelayBuilder {
    /// The configuration file's text.
    pub fn config_toml(mut self, text: &str) -> Self {
        self.config = text.to_owned();
        self
    }

    /// An environment variable of the relay.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the relay and waits until it accepts connections.
    pub async fn start(mut self) -> Result<Relay> {
        // What the test itself says comes later and wins.
        self.environment.splice(..0, shared_servers());
        let home = tempfile::tempdir()?;
        let mut process = Process { builder: self, child: None, home };
        let url = process.spawn("127.0.0.1:0").await?;
        Ok(Relay { url, process: Some(process) })
    }
}

impl Relay {
    /// The relay under test if there is one, else a fresh one with the default configuration.
    pub async fn start() -> Result<Self> {
        match url_under_test() {
            Some(url) => Ok(Self { url, process: None }),
            None => Self::empty().await,
        }
    }

    /// A fresh relay with the default configuration, for tests that count on its being empty.
    pub async fn empty() -> Result<Self> {
        Self::builder().start().await
    }

    /// A fresh relay that differs from the default.
    pub fn builder() -> RelayBuilder {
        RelayBuilder::default()
    }

    /// Where WebSocket clients connect: `ws://…` without a trailing slash.
    pub fn url(&self) -> &str {
        self.url.trim_end_matches('/')
    }

    /// The same address for HTTP clients: `http://…`.
    pub fn http_url(&self) -> String {
        self.url().replacen("ws", "http", 1)
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        let address = self.url().split_once("://").map_or(self.url(), |(_, address)| address);
        address.split('/').next().unwrap_or(address)
    }

    /// Where the relay keeps its events.
    pub fn data_dir(&self) -> Result<PathBuf> {
        Ok(self.own()?.data_dir())
    }

    /// What the relay has logged so far.
    pub fn log(&self) -> Result<String> {
        Ok(self.own()?.log())
    }

    /// Kills the relay at once, as a crash would (SIGKILL).
    pub async fn kill(&mut self) -> Result<()> {
        let mut child = self.own_mut()?.child.take().context("the relay is not running")?;
        child.kill().await?;
        Ok(())
    }

    /// Asks the relay to finish (SIGTERM) and waits until it has.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.own()?.signal("TERM").await?;
        let mut child = self.own_mut()?.child.take().context("the relay is not running")?;
        within("the relay to finish", async { Ok(child.wait().await?) }).await
    }

    /// Asks the relay to read its configuration again (SIGHUP), which now says `config`.
    pub async fn reload(&mut self, config: &str) -> Result<()> {
        let process = self.own_mut()?;
        process.builder.config = config.to_owned();
        process.write_config()?;
        process.signal("HUP").await
    }

    /// The number of its process.
    pub fn pid(&self) -> Result<u32> {
        self.own()?.pid()
    }

    /// Sends a signal by name, such as `STOP`.
    pub async fn signal(&self, signal: &str) -> Result<()> {
        self.own()?.signal(signal).await
    }

    /// Starts the relay again on the same data folder and port, killing it first if it still runs.
    pub async fn restart(&mut self) -> Result<()> {
        let address = self.authority().to_owned();
        if self.own()?.child.is_some() {
            self.kill().await?;
        }
        self.url = self.own_mut()?.spawn(&address).await?;
        Ok(())
    }

    fn own(&self) -> Result<&Process> {
        self.process.as_ref().context("the relay under test is not ours to control")
    }

    fn own_mut(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the relay under test is not ours to control")
    }
}

impl Process {
    fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn config_path(&self) -> PathBuf {
        self.home.path().join("towpath.toml")
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn write_config(&self) -> Result<()> {
        Ok(std::fs::write(self.config_path(), &self.builder.config)?)
    }

    /// Starts the process and returns the address it announces.
    async fn spawn(&mut self, listen: &str) -> Result<String> {
        self.write_config()?;
        let log = std::fs::File::options().create(true).append(true).open(self.log_path())?;
        let mut command = command()?;
        command
            .arg("serve")
            .arg("--config")
            .arg(self.config_path())
            .args(["--listen", listen])
            .arg("--data")
            .arg(self.data_dir())
            .envs(self.builder.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command.spawn().context("cannot start the relay")?;
        let stdout = child.stdout.take().context("the relay has no standard output")?;
        self.child = Some(child);
        let url = within("the relay to listen", announced_address(stdout)).await;
        url.with_context(|| format!("the relay did not start; its log:\n{}", self.log()))
    }

    fn pid(&self) -> Result<u32> {
        let child = self.child.as_ref().context("the relay is not running")?;
        child.id().context("the relay has ended")
    }

    async fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.pid()?;
        let status = Command::new("kill").args(["-s", signal, &pid.to_string()]).status().await?;
        ensure!(status.success(), "cannot send SIG{signal} to process {pid}");
        Ok(())
    }
}

/// Reads the relay's output up to the announcement, then keeps the pipe drained.
async fn announced_address(stdout: impl AsyncRead + Unpin + Send + 'static) -> Result<String> {
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some((_, url)) = line.split_once(ANNOUNCEMENT) {
            tokio::spawn(drain(lines));
            return Ok(url.trim().trim_end_matches('/').to_owned());
        }
    }
    bail!("the relay ended without saying where it listens");
}

async fn drain(mut lines: Lines<BufReader<impl AsyncRead + Unpin>>) {
    while let Ok(Some(_)) = lines.next_line().await {}
}

/// The relay's binary as a command that ends with the test, and that no `TOWPATH_…` of the tests' own environment configures.
pub fn command() -> Result<Command> {
    let mut command = Command::new(binary()?);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("TOWPATH_") {
            command.env_remove(name);
        }
    }
    // Hundreds of relays start in one run of the tests; none needs a log file of the usual size.
    command.env("TOWPATH_STORE_SEGMENT_BYTES", (1 << 20).to_string());
    command.kill_on_drop(true);
    Ok(command)
}

/// The relay's binary: `RELAY_BINARY`, or `target/<profile>/towpath` beside the test's own binary.
fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("RELAY_BINARY") {
        return Ok(path.into());
    }
    let test = env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).context("the test is in no build folder")?;
    let binary = profile.join("towpath");
    ensure!(binary.exists(), "{} is missing: build the binary first", binary.display());
    Ok(binary)
}
