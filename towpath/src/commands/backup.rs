//! `towpath backup` and `restore`: the data folder as of one commit, somewhere else.

use std::process::ExitCode;

use anyhow::{Context, ensure};

use crate::args::{BackupArgs, RestoreArgs};
use crate::settings::{self, Environment};

pub(crate) fn backup(args: &BackupArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let config = settings::of_store(&args.store, environment)?.config;
    ensure!(config.store.url.is_none(), "a database is backed up by its own tools: see docs/cluster.md");
    let folder = config.store.data.display();
    ensure!(config.store.data.is_dir(), "there is no data folder {folder}: name it with --data");
    let report = towpath_relay::backup_store(&config, &args.to).with_context(|| format!("cannot back {folder} up"))?;
    eprintln!(
        "{} bytes copied, {} in all; the backup ends with entry {}",
        report.copied_bytes, report.bytes, report.last
    );
    if let Some(path) = &config.relay.key_file {
        eprintln!("the relay's key in {} is not in the backup: keep it, too", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn restore(args: &RestoreArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let config = settings::of_store(&args.store, environment)?.config;
    ensure!(
        config.store.url.is_none(),
        "a backup is restored to a data folder; `towpath copy` brings it into a database"
    );
    let report = towpath_relay::restore_store(&config, &args.from)
        .with_context(|| format!("cannot restore {}", args.from.display()))?;
    // Opening it makes the index.
    let store = crate::store::open(&config)?;
    let stats = store.stats()?;
    eprintln!("{} bytes restored, up to entry {}: {} events", report.bytes, report.last, stats.events);
    Ok(ExitCode::SUCCESS)
}
