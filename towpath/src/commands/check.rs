//! `towpath check`: is what is stored what was accepted? The store verifies itself; this says what it found.

use std::process::ExitCode;

use anyhow::Context;

use crate::args::CheckArgs;
use crate::progress;
use crate::settings::{self, Environment};

pub(crate) fn run(args: &CheckArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let config = settings::of_store(&args.store, environment)?.config;
    anyhow::ensure!(config.store.url.is_none(), "a database is verified by `towpath audit verify --store …`");
    let folder = config.store.data.clone();
    crate::store::ensure_there(&folder)?;
    let bar = progress::events(0);
    let report = towpath_relay::check_store(&config, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })
    .map_err(crate::store::explained)
    .with_context(|| format!("cannot open the store in {}", folder.display()))?;
    bar.finish_and_clear();

    crate::print_lines(report.problems.iter().map(ToString::to_string))?;
    let problems = report.problems_total;
    eprintln!("{} log entries, {} stored events, {problems} problems", report.entries, report.live);
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::from(crate::FAILURE) })
}
