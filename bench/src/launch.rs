//! Starts the relays of a comparison, each with fresh data and its own limits switched off, and
//! stops them. Knows their command lines and files, not what is measured.

mod again;

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::artifact::Arm;
use crate::caretaker::{Folder, Group};
use crate::client::{Connection, Target};
use crate::cluster::Servers;
use crate::counters;

const START_MAX: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// For a relay's information document.
const DOCUMENT_MAX: Duration = Duration::from_secs(10);
/// A name is part of a note's content, in front of its number, and the shortest content has a hundred bytes.
const NAME_BYTES_MAX: usize = 50;

/// A relay to compare: a name for the tables, and how to come by it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contender {
    pub(crate) name: String,
    /// The program with its arguments, or addresses with commas between them.
    command: String,
    launcher: Launcher,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Launcher {
    Towpath,
    NostrRsRelay,
    Rnostr,
    /// Any relay whose command line takes `{port}` and, if it likes, `{data}`.
    Template,
    /// Somebody else started it.
    Running,
}

const LAUNCHERS: [(&str, Launcher); 3] =
    [("towpath", Launcher::Towpath), ("nostr-rs-relay", Launcher::NostrRsRelay), ("rnostr", Launcher::Rnostr)];

/// What of a contender should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    Alone,
    /// One relay of two pods.
    TwoPods,
}

impl Contender {
    /// Reads `name=command`, `name=ws://…[@PID][,ws://…[@PID]]`, or `name` alone for a program found on PATH. What the name, or else a
    /// word of the command, starts with says how to start it, so `towpath-before` and `towpath-after` can race each other. The
    /// command may have arguments, such as `env TOWPATH_AUDIT_ENABLED=false towpath`; that of a relay unknown here says where
    /// its `{port}` and its `{data}` go.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (name, command) = text.split_once('=').unwrap_or((text, text));
        ensure!(!name.is_empty() && !command.is_empty(), "a relay is given as NAME=COMMAND or NAME=ADDRESS");
        ensure!(
            name.len() <= NAME_BYTES_MAX && !name.contains(|c: char| c == '"' || c == '\\' || c.is_control()),
            "{name:?} is no name for a relay: at most {NAME_BYTES_MAX} bytes, without quotes and backslashes"
        );
        let launcher = launcher(name, command).with_context(|| {
            format!(
                "do not know how to start {name}: it is none of towpath, nostr-rs-relay and rnostr, and has no {{port}}"
            )
        })?;
        Ok(Self { name: name.to_owned(), command: command.to_owned(), launcher })
    }

    /// Whether so much of it can run.
    pub(crate) fn can_run(&self, topology: Topology) -> Result<()> {
        match self.launcher {
            _ if topology == Topology::Alone => {}
            Launcher::Towpath => {}
            Launcher::Running => {
                ensure!(self.command.contains(','), "{} cannot be two pods: it needs a second address", self.name);
            }
            _ => bail!("{} cannot be two pods: give the addresses of two that you started", self.name),
        }
        Ok(())
    }

    /// Starts the relay on free ports with an empty folder inside `data`; with an address, finds it there.
    pub(crate) fn start(&self, data: &Path, topology: Topology) -> Result<RunningArm> {
        self.can_run(topology)?;
        let mut arm = RunningArm { name: self.name.clone(), pods: Vec::new(), servers: None, folder: None };
        let pods = match topology {
            Topology::Alone => 1,
            Topology::TwoPods => 2,
        };
        if self.launcher == Launcher::Running {
            arm.pods = self.command.split(',').take(pods).map(running).collect::<Result<_>>()?;
            return Ok(arm);
        }
        let path = arm.folder.insert(Folder::new_in(data)?).path().to_owned();
        if topology == Topology::TwoPods {
            arm.servers = Some(Servers::start(&path).context("a cluster needs PostgreSQL and Redis")?);
        }
        for number in 1..=pods {
            let pod = self.start_pod(&path, number, arm.servers.as_ref())?;
            arm.pods.push(pod);
        }
        Ok(arm)
    }

    fn start_pod(&self, folder: &Path, number: usize, servers: Option<&Servers>) -> Result<Pod> {
        let port = free_port()?;
        let log = folder.join(format!("output-{number}.log"));
        let output = File::create(&log)?;
        let mut command = self.command(folder, port)?;
        if let Some(servers) = servers {
            servers.join(&mut command, &format!("pod-{number}"), folder)?;
        } else if self.launcher == Launcher::Towpath {
            command.arg("--data").arg(folder.join("data"));
        }
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).env("RUST_LOG", "error");
        let target = Target::parse(&format!("ws://127.0.0.1:{port}"), false)?;
        let process = Group::start(&mut command).with_context(|| format!("cannot start {}", self.command))?;
        let mut pod = Pod { target, pid: Some(process.leader.id()), process: Some(process) };
        pod.await_ready(&log).with_context(|| format!("{} did not come up", self.name))?;
        Ok(pod)
    }

    fn command(&self, folder: &Path, port: u16) -> Result<Command> {
        let data = folder.display().to_string();
        let mut words = self
            .command
            .split_whitespace()
            .map(|word| word.replace("{port}", &port.to_string()).replace("{data}", &data));
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        let config = folder.join("config.toml");
        match self.launcher {
            // Loopback is exempt from its limits by default.
            Launcher::Towpath => {
                command.arg("serve").args(["--listen", &format!("127.0.0.1:{port}")]);
            }
            Launcher::NostrRsRelay => {
                fs::write(&config, nostr_rs_relay_config(port))?;
                command.arg("--config").arg(&config).arg("--db").arg(folder);
            }
            Launcher::Rnostr => {
                fs::write(&config, rnostr_config(folder, port))?;
                command.args(["relay", "-c"]).arg(&config);
            }
            Launcher::Template | Launcher::Running => {}
        }
        Ok(command)
    }

    /// What is known of the relay, its own document included.
    pub(crate) fn describe(&self, arm: &RunningArm) -> Arm {
        let document = arm.pods.first().and_then(|pod| document(&pod.target).ok()).unwrap_or_default();
        let text = |field: &str| document.get(field).and_then(|value| value.as_str()).map(str::to_owned);
        let software = text("software");
        let known = match self.launcher {
            Launcher::Template | Launcher::Running => {
                let software = software.as_deref().unwrap_or_default();
                LAUNCHERS.iter().find(|(name, _)| software.contains(name)).map(|(_, launcher)| *launcher)
            }
            launcher => Some(launcher),
        };
        let durability = match known {
            Some(Launcher::Towpath) => arm.pods.first().map_or("unknown", |pod| durability(&pod.target)),
            // SQLite with `synchronous = NORMAL`: a commit does not wait for the disk.
            Some(Launcher::NostrRsRelay) => "unsynced (WAL)",
            Some(Launcher::Rnostr) => "batched by timer",
            _ => "unknown",
        };
        Arm {
            name: self.name.clone(),
            command: self.command.clone(),
            software,
            version: text("version"),
            commit: None,
            durability: durability.to_owned(),
            servers: arm.servers.as_ref().map(Servers::versions).unwrap_or_default(),
        }
    }
}

/// `ws://host:port`, and whose it is if that was told: processor time and memory are known only of a process that is.
fn running(address: &str) -> Result<Pod> {
    let (url, pid) = match address.rsplit_once('@') {
        Some((url, pid)) => (url, Some(pid.parse().with_context(|| format!("{pid} is no process id"))?)),
        None => (address, None),
    };
    Ok(Pod::at(Target::parse(url, false)?, pid))
}

/// What a Towpath says of its OK. Those that say nothing are as they come.
fn durability(target: &Target) -> &'static str {
    let metrics = counters::text(target).unwrap_or_default();
    let synced = metrics.lines().find_map(|line| line.strip_prefix("towpath_store_synced "));
    match synced {
        Some("0") => "unsynced",
        Some(_) => "synced",
        None => "synced, unless switched off",
    }
}

fn launcher(name: &str, command: &str) -> Option<Launcher> {
    if command.starts_with("ws://") {
        return Some(Launcher::Running);
    }
    let known =
        |word: &str| LAUNCHERS.iter().find(|(prefix, _)| word.starts_with(prefix)).map(|(_, launcher)| *launcher);
    let programs = command.split_whitespace().filter_map(|word| word.rsplit('/').next());
    known(name)
        .or_else(|| command.contains("{port}").then_some(Launcher::Template))
        .or_else(|| programs.filter_map(known).next())
}

/// The relay's information document (NIP-11).
fn document(target: &Target) -> Result<serde_json::Value> {
    let request = ureq::get(&target.http_url(None)).header("Accept", "application/nostr+json");
    let text = request.config().timeout_global(Some(DOCUMENT_MAX)).build().call()?.body_mut().read_to_string()?;
    Ok(serde_json::from_str(&text)?)
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

/// A relay under load, of one pod or more. What we started of it ends, and its data goes, when this is dropped.
pub(crate) struct RunningArm {
    pub(crate) name: String,
    // Pods end before what they depend on.
    pub(crate) pods: Vec<Pod>,
    /// What a cluster's pods share, where we started it.
    pub(crate) servers: Option<Servers>,
    // It goes when nobody writes there any more.
    folder: Option<Folder>,
}

impl RunningArm {
    /// What somebody else started.
    pub(crate) fn at(pods: impl IntoIterator<Item = (Target, Option<u32>)>) -> Self {
        let pods = pods.into_iter().map(|(target, pid)| Pod::at(target, pid)).collect();
        Self { name: "the relay".into(), pods, servers: None, folder: None }
    }
}

/// One process of a relay.
pub(crate) struct Pod {
    pub(crate) target: Target,
    /// Known of what we started, and of what we were told of.
    pub(crate) pid: Option<u32>,
    process: Option<Group>,
}

impl Pod {
    fn at(target: Target, pid: Option<u32>) -> Self {
        Self { target, pid, process: None }
    }

    /// Ready is what a client calls ready: it shakes hands.
    fn await_ready(&mut self, log: &Path) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < START_MAX {
            let ended = self.process.as_mut().map(|process| process.leader.try_wait()).transpose()?.flatten();
            if let Some(status) = ended {
                bail!("it ended with {status}: {}", last_words(log));
            }
            if Connection::open(&self.target).is_ok() {
                return Ok(());
            }
            thread::sleep(LOOK_AGAIN);
        }
        bail!("no handshake within {} s: {}", START_MAX.as_secs(), last_words(log))
    }
}

fn last_words(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = log.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::notes::Recipe;

    #[test]
    fn a_name_or_a_command_says_how_a_relay_is_started() {
        let launcher = |text| Contender::parse(text).map(|contender| contender.launcher).ok();
        assert_eq!(launcher("towpath=target/release/towpath"), Some(Launcher::Towpath));
        assert_eq!(launcher("towpath-before=/tmp/old"), Some(Launcher::Towpath));
        assert_eq!(launcher("a=env TOWPATH_AUDIT_ENABLED=false target/release/towpath"), Some(Launcher::Towpath));
        assert_eq!(launcher("nostr-rs-relay"), Some(Launcher::NostrRsRelay));
        assert_eq!(launcher("rnostr=/opt/rnostr"), Some(Launcher::Rnostr));
        assert_eq!(launcher("other=/opt/other --port {port} --dir {data}"), Some(Launcher::Template));
        assert_eq!(launcher("other=ws://127.0.0.1:7777"), Some(Launcher::Running));
        assert_eq!(launcher("other=/bin/true"), None);
        assert_eq!(launcher("rnostr="), None);
    }

    #[test]
    fn a_name_fits_into_every_note_and_leaves_it_sound() {
        let is_name = |name: &str| Contender::parse(&format!("{name}=ws://127.0.0.1:1")).is_ok();
        assert!(is_name("towpath-a1b2c3 (new)") && is_name(&"x".repeat(NAME_BYTES_MAX)));
        let longer = "x".repeat(NAME_BYTES_MAX + 1);
        assert!(["a\"b", "a\\b", "a\nb", &longer].iter().all(|name| !is_name(name)));
        let label = format!("300 {} cross-pod", "x".repeat(NAME_BYTES_MAX));
        let label = Recipe::fresh(1, &label).expect("a clock").label;
        assert!(format!("{label} 1999999").len() <= 100, "the number is not cut off");
    }

    #[test]
    fn a_template_gets_its_port_and_its_folder() {
        let contender = Contender::parse("other=/opt/other --port={port} {data}/db").expect("a template");
        let command = contender.command(Path::new("/data"), 7_000).expect("a command");
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        assert_eq!(words, ["--port=7000", "/data/db"]);
    }

    #[test]
    fn a_second_pod_needs_a_second_address() {
        let data = TempDir::new().expect("a folder");
        let pods = |text, topology| {
            let started = Contender::parse(text).and_then(|contender| contender.start(data.path(), topology));
            started.map(|arm| arm.pods.len()).map_err(|failure| failure.to_string())
        };
        let two = "x=ws://127.0.0.1:7001,ws://127.0.0.1:7002";
        assert_eq!(pods(two, Topology::Alone), Ok(1));
        assert_eq!(pods(two, Topology::TwoPods), Ok(2));
        let refusal = pods("x=ws://127.0.0.1:7001", Topology::TwoPods).expect_err("one address");
        assert!(refusal.contains("second address"), "{refusal}");
        assert_eq!(pods("x=ws://127.0.0.1:7001@12,ws://127.0.0.1:7002@13", Topology::TwoPods), Ok(2));
        assert_eq!(running("ws://127.0.0.1:7001@12").map(|pod| pod.pid).ok(), Some(Some(12)));
        assert!(running("ws://127.0.0.1:7001@me").is_err());
        let refusal = pods("rnostr=/bin/true", Topology::TwoPods).expect_err("no cluster");
        assert!(refusal.contains("two pods"), "{refusal}");
    }

    #[test]
    fn a_program_that_ends_at_once_is_reported_with_its_status() {
        let data = TempDir::new().expect("a folder");
        let contender = Contender::parse("towpath=/bin/false").expect("known");
        let failure = contender.start(data.path(), Topology::Alone).err().expect("not a relay");
        assert!(format!("{failure:#}").contains("ended with exit status: 1"), "{failure:#}");
    }
}
