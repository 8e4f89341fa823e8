//! nostr-tools: runs its tests, which are in `tests/clients-js`, against a relay each. They need Node and the packages that
//! `npm ci` installs there; without them these tests fail.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;
use towpath_harness::Relay;

/// Runs one file of tests against the relay.
async fn run(file: &str, relay: &Relay) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients-js");
    let mut node = Command::new("node");
    node.args(["--test", file]).current_dir(folder).env("RELAY_URL", relay.url()).kill_on_drop(true);
    // Each of its waits has a deadline of its own.
    let output = node.output().await.context("cannot start node")?;
    let report = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test]
async fn nostr_tools_is_served_by_an_open_relay() -> Result<()> {
    run("open.test.mjs", &Relay::empty().await?).await
}

#[tokio::test]
async fn nostr_tools_is_served_by_a_relay_that_asks_who_it_is() -> Result<()> {
    let relay = Relay::builder().config_toml("[auth]\nto_write = true\nto_read = true").start().await?;
    run("restricted.test.mjs", &relay).await
}
