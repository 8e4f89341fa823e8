//! `towpath config`: explain, check and show the configuration.

use std::io::Write;
use std::process::ExitCode;

use towpath_relay::config::{Config, Place};

use crate::args::{ConfigAction, ConfigArgs, ServeArgs};
use crate::settings::{self, Environment, Misconfigured};

pub(crate) fn run(args: &ConfigArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let text = match &args.action {
        ConfigAction::Example => Config::example(),
        ConfigAction::Check(args) => check(args, environment)?,
        ConfigAction::Show(args) => settings::of_relay(args, environment)?.show(),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn check(args: &ServeArgs, environment: &Environment) -> anyhow::Result<String> {
    let resolved = settings::of_relay(args, environment)?;
    towpath_relay::check_config(&resolved).map_err(Misconfigured::from)?;
    let paths = Config::sections().iter().flat_map(|section| section.settings);
    let set = paths.filter(|setting| resolved.place(&setting.path()) != Place::Default).count();
    Ok(format!("the configuration is good; keys set: {set}; the others have their defaults\n"))
}
