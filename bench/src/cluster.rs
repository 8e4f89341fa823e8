//! The servers of a cluster of pods: PostgreSQL, which waits for the disk, and Redis; and how a pod of Towpath is told of them.
//! Knows nothing of load.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use towpath_servers::{Postgres, Redis};

/// A fresh database and a fresh bus; both end when this is dropped.
#[derive(Debug)]
pub(crate) struct Servers {
    postgres: Postgres,
    redis: Redis,
}

impl Servers {
    /// In `folder`, which is on the disk that is measured.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        // Where this programme is root's, they run as nobody and must get through to their own folders.
        fs::set_permissions(folder, PermissionsExt::from_mode(0o711))?;
        Ok(Self { postgres: Postgres::durable_in(folder)?, redis: Redis::start_in(folder)? })
    }

    /// Makes `command`, which serves, a pod of this cluster; `folder` is all its pods'.
    pub(crate) fn join(&self, command: &mut Command, pod: &str, folder: &Path) -> Result<()> {
        // One relay has one key, whichever of its pods signs.
        let key = folder.join("relay.key");
        fs::write(&key, "01".repeat(32))?;
        fs::set_permissions(&key, PermissionsExt::from_mode(0o600))?;
        command.args(["--store", &self.postgres.url(), "--bus", &self.redis.url()]);
        command.arg("--data").arg(folder).env("TOWPATH_CLUSTER_POD", pod);
        Ok(())
    }

    /// Processor time so far, in seconds, by server.
    pub(crate) fn cpu_s(&self) -> [(&'static str, f64); 2] {
        [("postgres", self.postgres.cpu_s()), ("redis", self.redis.cpu_s())]
    }
}
