//! A Redis server.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::authority::Authority;
use crate::process::{Process, command, find, free_port, hand_over};

/// Who may do everything on a guarded server, by that password. Its replica and its sentinels are that, too.
pub(crate) const ADMIN: &str = "admin";
/// A server that listens answers sooner.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A running server that keeps nothing.
#[derive(Debug)]
pub struct Redis {
    process: Option<Process>,
    /// It works here, and its certificate is here.
    _home: TempDir,
    port: u16,
    arguments: Vec<OsString>,
}

impl Redis {
    /// Who may publish and subscribe on a guarded server, and only to topics that are called `towpath:…`.
    pub const USER: &str = "towpath";
    /// That user's password. Has what may not stand in a URL as it is.
    pub const PASSWORD: &str = "50%/of@#?:it";

    /// Starts a new one that lets everybody in.
    pub fn start() -> Result<Self> {
        Self::running(|home, port| Ok(plain(home, port)))
    }

    /// One that asks who is there.
    pub fn guarded() -> Result<Self> {
        Self::running(|home, port| Ok([plain(home, port), users()].concat()))
    }

    /// A guarded one that speaks nothing but TLS, as `host`.
    pub fn with_tls(authority: &Authority, host: &str) -> Result<Self> {
        Self::running(|home, port| {
            let files = authority.issue(home, host)?;
            let mut arguments = [plain(home, 0), users()].concat();
            arguments.extend(["--tls-port".into(), port.to_string().into(), "--tls-auth-clients".into(), "no".into()]);
            arguments.extend(["--tls-cert-file".into(), files.certificate.into()]);
            arguments.extend(["--tls-key-file".into(), files.key.into()]);
            Ok(arguments)
        })
    }

    /// A server that follows this guarded one, and has caught up.
    pub fn replica(&self) -> Result<Self> {
        let mut replica = Self::running(|home, port| {
            let mut arguments = [plain(home, port), users()].concat();
            arguments.extend(["--replicaof".into(), "127.0.0.1".into(), self.port.to_string().into()]);
            Ok(arguments)
        })?;
        let caught_up = || info(replica.port, "replication").is_ok_and(|told| told.contains("link_status:up"));
        replica.process.as_mut().context("it does not run")?.wait_until("the replica", caught_up)?;
        Ok(replica)
    }

    fn running(arguments: impl FnOnce(&Path, u16) -> Result<Vec<OsString>>) -> Result<Self> {
        let home = tempfile::tempdir()?;
        hand_over(home.path())?;
        let port = free_port()?;
        let mut server = Self { process: None, arguments: arguments(home.path(), port)?, _home: home, port };
        server.restart()?;
        Ok(server)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://…`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// CPU time it took so far, in seconds.
    pub fn cpu_s(&self) -> f64 {
        self.process.as_ref().map_or(0.0, |process| process.cpu_s())
    }

    /// Kills it at once.
    pub fn crash(&mut self) -> Result<()> {
        self.process.take().map(drop).context("it does not run")
    }

    /// Starts it again.
    pub fn restart(&mut self) -> Result<()> {
        let mut serve = command(&find("redis-server", &[])?);
        serve.args(&self.arguments);
        let mut process = Process::start(serve)?;
        process.wait_until("Redis", || Process::listens(self.port))?;
        self.process = Some(process);
        Ok(())
    }
}

fn plain(home: &Path, port: u16) -> Vec<OsString> {
    let port = port.to_string();
    let settings = ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no", "--dir"];
    let mut arguments: Vec<OsString> = settings.map(Into::into).into();
    // A replica is not kept waiting for others.
    arguments.extend([home.into(), "--repl-diskless-sync-delay".into(), "0".into()]);
    arguments
}

fn users() -> Vec<OsString> {
    let (password, admin) = (format!(">{}", Redis::PASSWORD), format!(">{ADMIN}"));
    [
        &["--user", "default", "off"][..],
        &["--user", ADMIN, "on", &admin, "~*", "&*", "+@all"],
        &["--user", Redis::USER, "on", &password, "resetchannels", "&towpath:*", "-@all", "+publish", "+subscribe"],
        &["--masteruser", ADMIN, "--masterauth", ADMIN],
    ]
    .concat()
    .into_iter()
    .map(Into::into)
    .collect()
}

/// What a server or a sentinel answers to its operator's `INFO`.
pub(crate) fn info(port: u16, section: &str) -> Result<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(ANSWER_MAX))?;
    write!(connection, "AUTH {ADMIN} {ADMIN}\r\nINFO {section}\r\n")?;
    let (mut answers, mut line) = (BufReader::new(connection), String::new());
    // Sentinels know no users, and say so.
    answers.read_line(&mut line)?;
    line.clear();
    answers.read_line(&mut line)?;
    let length = line.trim_end().strip_prefix('$').with_context(|| format!("INFO is answered by {line}"))?;
    let mut told = vec![0; length.parse()?];
    answers.read_exact(&mut told)?;
    Ok(String::from_utf8(told)?)
}
