//! The data folder: one process each, and a key that is the relay's alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use towpath_operations::*;

/// Starts a relay on a folder where it can not serve, and returns what it said.
async fn refused(folder: &Path) -> Result<String> {
    let mut command = command()?;
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder);
    let Output { status, stderr, .. } = within("the process to give up", async { Ok(command.output().await?) }).await?;
    ensure!(!status.success(), "it ended as if all were well");
    Ok(String::from_utf8(stderr)?)
}

#[tokio::test]
async fn a_folder_in_use_is_refused_and_left_alone() -> Result<()> {
    let relay = Relay::empty().await?;
    let said = refused(&relay.data_dir()?).await?;
    assert!(said.contains("in use by another process") && said.contains("data"), "{said}");
    Client::connect(&relay).await?.store(&note("still served").sign()).await
}

#[tokio::test]
async fn two_relays_serve_beside_each_other() -> Result<()> {
    let (one, other) = (Relay::empty().await?, Relay::empty().await?);
    let event = note("here").sign();
    Client::connect(&one).await?.store(&event).await?;
    let mut elsewhere = Client::connect(&other).await?;
    assert!(elsewhere.query(json!({ "ids": [event.id] })).await?.is_empty());
    assert_ne!(fs::read(one.data_dir()?.join("relay.key"))?, fs::read(other.data_dir()?.join("relay.key"))?);
    Ok(())
}

#[tokio::test]
async fn the_data_folder_is_for_its_user_alone() -> Result<()> {
    let relay = Relay::empty().await?;
    let mode = fs::metadata(relay.data_dir()?)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    Ok(())
}

#[tokio::test]
async fn the_key_of_the_relay_is_for_its_user_alone() -> Result<()> {
    let relay = Relay::empty().await?;
    let mode = fs::metadata(relay.data_dir()?.join("relay.key"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    Ok(())
}

#[tokio::test]
async fn the_key_of_the_relay_stays_the_same() -> Result<()> {
    let mut relay = Relay::empty().await?;
    let key = fs::read(relay.data_dir()?.join("relay.key"))?;
    relay.restart().await?;
    assert_eq!(fs::read(relay.data_dir()?.join("relay.key"))?, key);
    Ok(())
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused() -> Result<()> {
    let mut relay = Relay::empty().await?;
    relay.kill().await?;
    fs::set_permissions(relay.data_dir()?.join("relay.key"), fs::Permissions::from_mode(0o644))?;
    let said = refused(&relay.data_dir()?).await?;
    assert!(said.contains("relay.key") && said.contains("chmod 600"), "{said}");
    Ok(())
}
