//! `towpath migrate`: the database's tables, brought up to this program's version.

use std::process::ExitCode;

use anyhow::Context;

use crate::args::StoreArgs;
use crate::settings::{self, Environment};

pub(crate) fn run(args: &StoreArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let config = settings::of_store(args, environment)?.config;
    let (before, after) =
        towpath_relay::migrate_database(&config)?.context("no database is named: say --store postgres://…")?;
    match before == after {
        true => eprintln!("the tables have version {after}: nothing to do"),
        false => eprintln!("the tables had version {before} and have version {after} now"),
    }
    Ok(ExitCode::SUCCESS)
}
