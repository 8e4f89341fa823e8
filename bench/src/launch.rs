//! Starts the relays of a comparison, each with fresh data and its own limits switched off, and
//! stops them. Knows their command lines and files, not what is measured.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::client::{Connection, Target};

const START_MAX: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOG: &str = "output.log";

/// A relay to compare: a name for the table and the program to start.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contender {
    pub(crate) name: String,
    program: String,
    launcher: Launcher,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Launcher {
    Towpath,
    NostrRsRelay,
    Rnostr,
}

const LAUNCHERS: [(&str, Launcher); 3] =
    [("towpath", Launcher::Towpath), ("nostr-rs-relay", Launcher::NostrRsRelay), ("rnostr", Launcher::Rnostr)];

impl Contender {
    /// Reads `name=program`, or `name` alone for a program found on PATH. What the name starts
    /// with says how to start it, so `towpath-before` and `towpath-after` can race each other. The program
    /// may be a command with arguments, such as `env TOWPATH_AUDIT_ENABLED=false towpath`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (name, program) = match text.split_once('=') {
            Some((name, program)) => (name, program),
            None => (text, text),
        };
        let known = LAUNCHERS.iter().find(|(prefix, _)| name.starts_with(prefix));
        let Some((_, launcher)) = known else {
            bail!("do not know how to start {name}; names begin with towpath, nostr-rs-relay or rnostr");
        };
        ensure!(!program.is_empty(), "{name} lacks its program: {name}=PATH");
        Ok(Self { name: name.to_owned(), program: program.to_owned(), launcher: *launcher })
    }

    /// Starts the relay on a free port with an empty folder inside `data`.
    pub(crate) fn start(&self, data: &Path) -> Result<RunningRelay> {
        let folder = TempDir::new_in(data).with_context(|| format!("cannot write in {}", data.display()))?;
        let port = free_port()?;
        let log = File::create(folder.path().join(LOG))?;
        let mut command = self.command(folder.path(), port)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).env("RUST_LOG", "error");
        let process = command.spawn().with_context(|| format!("cannot start {}", self.program))?;
        let target = Target::parse(&format!("ws://127.0.0.1:{port}"), false)?;
        let mut relay = RunningRelay { process, target, folder };
        relay.await_ready().with_context(|| format!("{} did not come up", self.name))?;
        Ok(relay)
    }

    fn command(&self, folder: &Path, port: u16) -> Result<Command> {
        let mut words = self.program.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        let config = folder.join("config.toml");
        match self.launcher {
            // Loopback is exempt from its limits by default.
            Launcher::Towpath => {
                command.arg("serve").args(["--listen", &format!("127.0.0.1:{port}")]);
                command.arg("--data").arg(folder.join("data"));
            }
            Launcher::NostrRsRelay => {
                fs::write(&config, nostr_rs_relay_config(port))?;
                command.arg("--config").arg(&config).arg("--db").arg(folder);
            }
            Launcher::Rnostr => {
                fs::write(&config, rnostr_config(folder, port))?;
                command.args(["relay", "-c"]).arg(&config);
            }
        }
        Ok(command)
    }
}

fn nostr_rs_relay_config(port: u16) -> String {
    format!(
        r#"[info]
relay_url = "ws://127.0.0.1:{port}/"
[network]
address = "127.0.0.1"
port = {port}
[options]
reject_future_seconds = 1800
[limits]
messages_per_sec = 0
subscriptions_per_min = 0
"#
    )
}

fn rnostr_config(folder: &Path, port: u16) -> String {
    format!(
        r#"[data]
path = "{}"
[network]
host = "127.0.0.1"
port = {port}
[limitation]
max_message_length = 524288
max_subscriptions = 1024
max_filters = 256
max_limit = 5000
[metrics]
enabled = false
[auth]
enabled = false
[rate_limiter]
enabled = false
"#,
        folder.join("data").display()
    )
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A relay we started; it ends, and its data goes, when this is dropped.
pub(crate) struct RunningRelay {
    process: Child,
    pub(crate) target: Target,
    folder: TempDir,
}

impl RunningRelay {
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ready is what a client calls ready: it shakes hands.
    fn await_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < START_MAX {
            if let Some(status) = self.process.try_wait()? {
                bail!("it ended with {status}: {}", self.last_words());
            }
            if Connection::open(&self.target).is_ok() {
                return Ok(());
            }
            thread::sleep(LOOK_AGAIN);
        }
        bail!("no handshake within {} s: {}", START_MAX.as_secs(), self.last_words())
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
    }
}

impl Drop for RunningRelay {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_how_a_relay_is_started() {
        let launcher = |text| Contender::parse(text).map(|contender| contender.launcher).ok();
        assert_eq!(launcher("towpath=target/release/towpath"), Some(Launcher::Towpath));
        assert_eq!(launcher("towpath-before=/tmp/old"), Some(Launcher::Towpath));
        assert_eq!(launcher("nostr-rs-relay"), Some(Launcher::NostrRsRelay));
        assert_eq!(launcher("rnostr=/opt/rnostr"), Some(Launcher::Rnostr));
        assert_eq!(launcher("other=/bin/true"), None);
        assert_eq!(launcher("rnostr="), None);
    }

    #[test]
    fn a_program_that_ends_at_once_is_reported_with_its_status() {
        let data = TempDir::new().expect("a folder");
        let contender = Contender::parse("towpath=/bin/false").expect("known");
        let failure = contender.start(data.path()).err().expect("not a relay");
        assert!(format!("{failure:#}").contains("ended with exit status: 1"), "{failure:#}");
    }
}
