//! The servers of a cluster of pods: PostgreSQL, which waits for the disk, and Redis; and how a pod of Towpath is told of them.
//! Knows nothing of load.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use towpath_servers::{Postgres, Redis, postgres_program};

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

    /// What they are, for the record: those that do not tell are left out.
    pub(crate) fn versions(&self) -> Vec<String> {
        let postgres = postgres_program("postgres").ok().and_then(|program| told(&program));
        let postgres = postgres.and_then(|told| Some(format!("PostgreSQL {}", word_behind(&told, "(PostgreSQL) ")?)));
        let redis = told("redis-server").and_then(|told| Some(format!("Redis {}", word_behind(&told, " v=")?)));
        [postgres, redis].into_iter().flatten().collect()
    }

    /// Processor time so far, in seconds, by server.
    pub(crate) fn cpu_s(&self) -> [(&'static str, f64); 2] {
        [("postgres", self.postgres.cpu_s()), ("redis", self.redis.cpu_s())]
    }
}

/// What a program says when it is asked for its version.
fn told(program: impl AsRef<OsStr>) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn word_behind<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.split_once(mark)?.1.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_word_behind_its_mark() {
        let postgres = "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n";
        assert_eq!(word_behind(postgres, "(PostgreSQL) "), Some("15.14"));
        assert_eq!(word_behind("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0\n", " v="), Some("7.0.15"));
        assert_eq!(word_behind("", " v="), None);
    }

    #[test]
    fn a_program_that_is_not_there_tells_nothing() {
        assert_eq!(told("/nowhere/redis-server"), None);
    }
}
