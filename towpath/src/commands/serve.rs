//! `towpath serve`: the relay, until it is told to stop.

use std::process::ExitCode;

use crate::args::ServeArgs;
use crate::settings::{self, Environment};

pub(crate) fn run(args: &ServeArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let config = settings::of_relay(args, environment)?.config;
    let (args, environment) = (args.clone(), environment.clone());
    let reread = move || Ok(settings::of_relay(&args, &environment)?.config);
    towpath_relay::serve(config, Box::new(reread))?;
    Ok(ExitCode::SUCCESS)
}
