//! A PostgreSQL server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::authority::Authority;
use crate::process::{Process, command, find, free_port, hand_over};

/// Fast, and as safe against crashes of its processes as ever; only a power failure could hurt, and there is none in a test.
const SETTINGS: &[&str] = &[
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=64MB",
    "max_connections=300",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
];

/// A running server with an empty database `towpath` of the user `towpath`, who needs no password.
#[derive(Debug)]
pub struct Postgres {
    process: Option<Process>,
    home: TempDir,
    port: u16,
    durable: bool,
}

/// Who may come how: as the user of the tests from this machine, as anybody else by TLS with a password.
const GUARD: &str = "host all towpath 127.0.0.1/32 trust\nhost replication towpath 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";

impl Postgres {
    /// Who needs a password and TLS on a guarded server, and may make schemas in the database.
    pub const GUARDED_USER: &str = "guarded";
    /// That user's password. Has what may not stand in a URL as it is.
    pub const GUARDED_PASSWORD: &str = "50%/of@#?:it";

    /// Starts a new one.
    pub fn start() -> Result<Self> {
        Self::with(tempfile::tempdir()?, false)
    }

    /// One that waits for the disk as PostgreSQL does by default, for measurements. Its data are inside `folder`: where temporary
    /// files are may be memory.
    pub fn durable_in(folder: &Path) -> Result<Self> {
        Self::with(tempfile::tempdir_in(folder)?, true)
    }

    /// One that shows a certificate as `host`, and knows a second user.
    pub fn with_tls(authority: &Authority, host: &str) -> Result<Self> {
        let mut server = Self::start()?;
        let data = server.home.path().join("data");
        authority.issue(&data, host)?;
        std::fs::write(data.join("pg_hba.conf"), GUARD)?;
        let (user, password) = (Self::GUARDED_USER, Self::GUARDED_PASSWORD);
        for sql in [
            "alter system set ssl = on".to_owned(),
            format!("create role {user} login password '{password}'"),
            format!("grant create on database towpath to {user}"),
        ] {
            ensure!(server.psql("towpath", &sql)?, "not accepted: {sql}");
        }
        server.crash()?;
        server.restart()?;
        Ok(server)
    }

    fn with(home: TempDir, durable: bool) -> Result<Self> {
        hand_over(home.path())?;
        let mut init = command(&program("initdb")?);
        init.arg("-D").arg(home.path().join("data"));
        init.args(["-U", "towpath", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        let init = init.stderr(Stdio::piped()).output().context("cannot run initdb")?;
        ensure!(init.status.success(), "initdb failed: {}", String::from_utf8_lossy(&init.stderr).trim());
        let server = Self::running(home, durable)?;
        let created = server.psql("postgres", "create database towpath")?;
        ensure!(created, "the database was not created");
        Ok(server)
    }

    /// A server that follows this one.
    pub fn standby(&self) -> Result<Self> {
        let home = tempfile::tempdir()?;
        hand_over(home.path())?;
        let mut copy = command(&program("pg_basebackup")?);
        copy.args([
            "-h",
            "127.0.0.1",
            "-U",
            "towpath",
            "-p",
            &self.port.to_string(),
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "-D",
        ]);
        copy.arg(home.path().join("data"));
        ensure!(copy.status().context("cannot run pg_basebackup")?.success(), "pg_basebackup failed");
        Self::running(home, self.durable)
    }

    /// On the data in `home`.
    fn running(home: TempDir, durable: bool) -> Result<Self> {
        let mut server = Self { process: None, home, port: free_port()?, durable };
        server.run()?;
        Ok(server)
    }

    fn run(&mut self) -> Result<()> {
        let mut serve = command(&program("postgres")?);
        serve.arg("-D").arg(self.home.path().join("data")).args(["-p", &self.port.to_string()]);
        let settings = if self.durable { &SETTINGS[2..] } else { SETTINGS };
        for setting in settings {
            serve.args(["-c", setting]);
        }
        let mut process = Process::start(serve)?;
        process.wait_until("PostgreSQL", || self.psql("postgres", "select 1").is_ok_and(|ready| ready))?;
        self.process = Some(process);
        Ok(())
    }

    /// Whether `sql` succeeds.
    pub fn psql(&self, database: &str, sql: &str) -> Result<bool> {
        let mut psql = Command::new(program("psql")?);
        psql.args([
            "-X",
            "-q",
            "-h",
            "127.0.0.1",
            "-U",
            "towpath",
            "-p",
            &self.port.to_string(),
            "-d",
            database,
            "-c",
            sql,
        ]);
        Ok(psql.output().context("cannot run psql")?.status.success())
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `postgres://…` of the empty database.
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// CPU time it took so far, in seconds.
    pub fn cpu_s(&self) -> f64 {
        self.process.as_ref().map_or(0.0, |process| process.cpu_s())
    }

    /// Kills all its processes at once, as a crash of the machine's programs would; what was committed is in its files.
    pub fn crash(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it does not run")?;
        process.signal("QUIT")?;
        process.wait()
    }

    /// Starts it again after a crash.
    pub fn restart(&mut self) -> Result<()> {
        self.run()
    }
}

/// `postgres://…` of a server, or of a proxy before it.
pub(crate) fn url(port: u16) -> String {
    format!("postgres://towpath@127.0.0.1:{port}/towpath?sslmode=disable")
}

impl Postgres {
    /// The same database through a proxy that listens on `port`.
    pub fn url_by(port: u16) -> String {
        url(port)
    }
}

/// Where one of PostgreSQL's own programs is.
pub fn postgres_program(name: &str) -> Result<PathBuf> {
    program(name)
}

/// Debian keeps the server's programs of each version in a folder of its own.
fn program(name: &str) -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.reverse();
    find(name, &folders)
}
