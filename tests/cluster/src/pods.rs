//! The cluster: its servers, its proxies, its pods.

use anyhow::{Context, Result};
use tempfile::TempDir;
use towpath_harness::{Keys, Relay, command};
use towpath_servers::{Postgres, Redis};

use crate::proxy::Proxy;

/// Short, so that what a dead pod leaves is free soon.
const LEASE_S: u32 = 3;

/// Everything; ends when it is dropped.
pub struct Cluster {
    /// The pods, by number.
    pub pods: Vec<Relay>,
    /// Between each pod and the database.
    pub to_postgres: Vec<Proxy>,
    /// Between each pod and the bus.
    pub to_redis: Vec<Proxy>,
    /// The database.
    pub postgres: Postgres,
    /// The bus.
    pub redis: Redis,
    home: TempDir,
}

impl Cluster {
    /// With so many pods.
    pub async fn start(pods: usize) -> Result<Self> {
        let (postgres, redis) = tokio::task::block_in_place(|| anyhow::Ok((Postgres::start()?, Redis::start()?)))?;
        let home = tempfile::tempdir()?;
        let key = home.path().join("relay.key");
        std::fs::write(&key, Keys::numbered(7).secret_hex())?;
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let (mut to_postgres, mut to_redis) = (Vec::new(), Vec::new());
        for _ in 0..pods {
            to_postgres.push(Proxy::to(postgres.port()).await?);
            to_redis.push(Proxy::to(redis.port()).await?);
        }
        let mut cluster = Self { pods: Vec::new(), to_postgres, to_redis, postgres, redis, home };
        for number in 0..pods {
            let pod = cluster.pod(number)?.start().await?;
            cluster.pods.push(pod);
        }
        Ok(cluster)
    }

    /// A pod that is to be started.
    pub fn pod(&self, number: usize) -> Result<towpath_harness::RelayBuilder> {
        let key = self.home.path().join("relay.key");
        Ok(Relay::builder()
            .env("TOWPATH_RELAY_KEY_FILE", key.to_str().context("the path is text")?)
            .env("TOWPATH_STORE_URL", &Postgres::url_by(self.to_postgres[number].port()))
            .env("TOWPATH_CLUSTER_BUS", &format!("redis://127.0.0.1:{}", self.to_redis[number].port()))
            .env("TOWPATH_CLUSTER_POD", &format!("pod-{number}"))
            .env("TOWPATH_POSTGRES_LEASE_S", &LEASE_S.to_string())
            .env("TOWPATH_SERVER_PING_INTERVAL_S", "120"))
    }

    /// What a command of the binary prints about the cluster's database.
    pub async fn tool(&self, arguments: &[&str]) -> Result<std::process::Output> {
        self.command(&[arguments, &["--store", &self.postgres.url()]].concat()).await
    }

    /// What a command of the binary prints.
    pub async fn command(&self, arguments: &[&str]) -> Result<std::process::Output> {
        let mut tool = command()?;
        tool.args(arguments);
        tool.env("TOWPATH_RELAY_KEY_FILE", self.home.path().join("relay.key")).current_dir(self.home.path());
        Ok(tool.output().await?)
    }
}
