//! A Redis server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
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
    /// Where the tests ask how it is, without TLS.
    plain_port: u16,
    arguments: Vec<String>,
}

/// Whose certificate a server shows, and as which host; or none.
pub type Shown<'a> = Option<(&'a Authority, &'a str)>;

impl Redis {
    /// Who may publish and subscribe on a guarded server, and only to topics that are called `towpath:…`.
    pub const USER: &str = "towpath";
    /// That user's password. Has what may not stand in a URL as it is.
    pub const PASSWORD: &str = "50%/of@#?:it";

    /// Starts a new one that lets everybody in.
    pub fn start() -> Result<Self> {
        Self::running(tempfile::tempdir()?, None, &[])
    }

    /// The same, with its folder inside another one.
    pub fn start_in(folder: &Path) -> Result<Self> {
        Self::running(tempfile::tempdir_in(folder)?, None, &[])
    }

    /// One that asks who is there, and speaks TLS if it has something to show.
    pub fn guarded(shown: Shown<'_>) -> Result<Self> {
        Self::running(tempfile::tempdir()?, shown, &users())
    }

    /// A server that follows this guarded one in the same way, and has caught up.
    pub fn replica(&self, shown: Shown<'_>) -> Result<Self> {
        let follow = ["--replicaof".into(), "127.0.0.1".into(), self.port.to_string()];
        let mut replica = Self::running(tempfile::tempdir()?, shown, &[&users()[..], &follow].concat())?;
        let port = replica.plain_port;
        let caught_up = || info(port, "replication").is_ok_and(|told| told.contains("link_status:up"));
        replica.process.as_mut().context("it does not run")?.wait_until("the replica", caught_up)?;
        Ok(replica)
    }

    fn running(home: TempDir, shown: Shown<'_>, more: &[String]) -> Result<Self> {
        hand_over(home.path())?;
        let (plain_port, tls) = (free_port()?, Tls::of(shown, home.path())?);
        let mut arguments = plain(home.path(), plain_port);
        arguments.extend(more.iter().cloned());
        arguments.extend(tls.settings.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]));
        let port = tls.port.unwrap_or(plain_port);
        let mut server = Self { process: None, _home: home, port, plain_port, arguments };
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

    /// Makes a replica the master of nobody. The server that it followed is not told.
    pub fn promote(&self) -> Result<()> {
        order(self.plain_port, "REPLICAOF NO ONE")
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

/// How a server or a sentinel speaks TLS, on a port of its own.
#[derive(Default)]
pub(crate) struct Tls {
    pub(crate) port: Option<u16>,
    pub(crate) settings: Vec<(&'static str, String)>,
}

impl Tls {
    pub(crate) fn of(shown: Shown<'_>, home: &Path) -> Result<Self> {
        let Some((authority, host)) = shown else { return Ok(Self::default()) };
        let (files, port) = (authority.issue(home, host)?, free_port()?);
        let file = |path: PathBuf| path.display().to_string();
        let settings = vec![
            ("tls-port", port.to_string()),
            ("tls-auth-clients", "no".into()),
            ("tls-replication", "yes".into()),
            ("tls-ca-cert-file", file(files.root)),
            ("tls-cert-file", file(files.certificate)),
            ("tls-key-file", file(files.key)),
        ];
        Ok(Self { port: Some(port), settings })
    }
}

fn plain(home: &Path, port: u16) -> Vec<String> {
    let (port, home) = (port.to_string(), home.display().to_string());
    let settings = ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no", "--dir", &home];
    // A replica is not kept waiting for others.
    settings.into_iter().chain(["--repl-diskless-sync-delay", "0"]).map(Into::into).collect()
}

fn users() -> Vec<String> {
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

/// Has a server or a sentinel do what its operator says. Gives the first line of the answer, and where the rest comes from.
fn ask(port: u16, what: &str) -> Result<(String, BufReader<TcpStream>)> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(ANSWER_MAX))?;
    write!(connection, "AUTH {ADMIN} {ADMIN}\r\n{what}\r\n")?;
    let (mut answers, mut line) = (BufReader::new(connection), String::new());
    // Sentinels know no users, and say so.
    answers.read_line(&mut line)?;
    line.clear();
    answers.read_line(&mut line)?;
    Ok((line, answers))
}

/// The same, where the answer is `OK`.
pub(crate) fn order(port: u16, what: &str) -> Result<()> {
    let (answer, _) = ask(port, what)?;
    ensure!(answer.starts_with("+OK"), "{what} is answered by {answer}");
    Ok(())
}

/// What a server or a sentinel answers to its operator's `INFO`.
pub(crate) fn info(port: u16, section: &str) -> Result<String> {
    let (line, mut answers) = ask(port, &format!("INFO {section}"))?;
    let length = line.trim_end().strip_prefix('$').with_context(|| format!("INFO is answered by {line}"))?;
    let mut told = vec![0; length.parse()?];
    answers.read_exact(&mut told)?;
    Ok(String::from_utf8(told)?)
}
