//! `towpath serve`: the relay, until it is told to stop.

use std::process::ExitCode;

use towpath_relay::config::Format;

use crate::args::ServeArgs;
use crate::settings::{self, Environment};

pub(crate) fn run(args: &ServeArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let config = settings::of_relay(args, environment)?.config;
    let (args, environment) = (args.clone(), environment.clone());
    let reread = move || Ok(settings::of_relay(&args, &environment)?.config);
    let format = config.log.format;
    match towpath_relay::serve(config, Box::new(reread)) {
        // Whoever reads the log reads JSON only.
        Err(error) if format == Format::Json => {
            towpath_relay::log_failure(&error);
            Ok(ExitCode::from(crate::FAILURE))
        }
        served => served.map(|()| ExitCode::SUCCESS),
    }
}
