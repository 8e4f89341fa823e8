//! A Redis server.

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::process::{Process, command, find, free_port, hand_over};

/// A running server that keeps nothing.
#[derive(Debug)]
pub struct Redis {
    process: Option<Process>,
    home: TempDir,
    port: u16,
}

impl Redis {
    /// Starts a new one.
    pub fn start() -> Result<Self> {
        let home = tempfile::tempdir()?;
        hand_over(home.path())?;
        let mut server = Self { process: None, home, port: free_port()? };
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
        serve.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &self.port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
        ]);
        serve.arg(self.home.path());
        let mut process = Process::start(serve)?;
        process.wait_until("Redis", || Process::listens(self.port))?;
        self.process = Some(process);
        Ok(())
    }
}
