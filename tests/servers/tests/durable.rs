//! A server for measurements.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context, Result};
use towpath_servers::Postgres;

#[test]
fn a_durable_server_has_its_data_where_it_is_told_to() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // The server is not root's, whoever the test's is.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711))?;
    let server = Postgres::durable_in(folder.path())?;
    let home = fs::read_dir(folder.path())?.next().context("the folder is empty")??.path();
    assert!(home.join("data/PG_VERSION").is_file());
    drop(server);
    Ok(())
}
