//! Sentinels, which watch a Redis server and name another master when it is gone.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::process::{Process, command, find, free_port, hand_over};
use crate::redis::{ADMIN, Redis, Shown, Tls, info, order};

/// A majority of this many decides.
const COUNT: usize = 3;
/// Whoever says nothing for so long is gone.
const DOWN_AFTER_MS: u32 = 500;
/// A failover that has not succeeded by then is begun again.
const FAILOVER_MS: u32 = 2_000;

/// Three sentinels that agree about a master.
#[derive(Debug)]
pub struct Sentinels {
    all: Vec<Sentinel>,
}

#[derive(Debug)]
struct Sentinel {
    process: Option<Process>,
    port: u16,
    /// Where the tests ask what it knows, without TLS.
    plain_port: u16,
    /// It writes down what it finds out.
    _home: TempDir,
}

impl Sentinels {
    /// What they call the master.
    pub const MASTER: &str = "towpath";

    /// Has a guarded server watched, once its one replica and all sentinels are known to each. They show what the servers show.
    pub fn watch(master: &Redis, shown: Shown<'_>) -> Result<Self> {
        let mut all = (0..COUNT).map(|_| Sentinel::start(master, shown)).collect::<Result<Vec<_>>>()?;
        let agreed = format!("slaves=1,sentinels={COUNT}");
        for sentinel in &mut all {
            let port = sentinel.plain_port;
            let knows = || info(port, "sentinel").is_ok_and(|told| told.contains(&agreed));
            sentinel.process.as_mut().context("it does not run")?.wait_until("a sentinel", knows)?;
        }
        Ok(Self { all })
    }

    /// `host:port,host:port…`, in the order in which they are asked.
    pub fn hosts(&self) -> String {
        let hosts: Vec<String> = self.all.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        hosts.join(",")
    }

    /// Has all of them call another guarded server the master. The one before is not told, as if it could not be reached.
    pub fn point_to(&self, master: &Redis) -> Result<()> {
        self.all.iter().try_for_each(|sentinel| sentinel.point_to(master))
    }

    /// Has only the one that is asked first do so, as if it had lost sight of the others.
    pub fn point_first_to(&self, master: &Redis) -> Result<()> {
        self.all.first().context("there are none")?.point_to(master)
    }

    /// Kills the one that is asked first.
    pub fn crash_first(&mut self) -> Result<()> {
        self.all.first_mut().and_then(|first| first.process.take()).map(drop).context("it does not run")
    }
}

impl Sentinel {
    fn start(master: &Redis, shown: Shown<'_>) -> Result<Self> {
        let (home, plain_port, name) = (tempfile::tempdir()?, free_port()?, Sentinels::MASTER);
        let tls = Tls::of(shown, home.path())?;
        let file = home.path().join("sentinel.conf");
        let mut settings = String::new();
        writeln!(settings, "bind 127.0.0.1\nport {plain_port}\ndir {}", home.path().display())?;
        for (name, value) in &tls.settings {
            writeln!(settings, "{name} {value}")?;
        }
        writeln!(settings, "sentinel monitor {name} 127.0.0.1 {} {}", master.port(), COUNT / 2 + 1)?;
        writeln!(settings, "sentinel auth-user {name} {ADMIN}\nsentinel auth-pass {name} {ADMIN}")?;
        writeln!(settings, "sentinel down-after-milliseconds {name} {DOWN_AFTER_MS}")?;
        writeln!(settings, "sentinel failover-timeout {name} {FAILOVER_MS}")?;
        std::fs::write(&file, settings)?;
        hand_over(home.path())?;
        hand_over(&file)?;
        let mut serve = command(&find("redis-server", &[])?);
        serve.arg(&file).arg("--sentinel");
        let mut process = Process::start(serve)?;
        process.wait_until("a sentinel", || Process::listens(plain_port))?;
        Ok(Self { process: Some(process), port: tls.port.unwrap_or(plain_port), plain_port, _home: home })
    }

    fn point_to(&self, master: &Redis) -> Result<()> {
        let (name, quorum) = (Sentinels::MASTER, COUNT / 2 + 1);
        for what in [
            format!("SENTINEL REMOVE {name}"),
            format!("SENTINEL MONITOR {name} 127.0.0.1 {} {quorum}", master.port()),
            format!("SENTINEL SET {name} auth-user {ADMIN} auth-pass {ADMIN}"),
        ] {
            order(self.plain_port, &what)?;
        }
        Ok(())
    }
}
