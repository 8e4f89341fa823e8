//! `towpath health`: is a running relay ready?

use std::process::ExitCode;
use std::time::Duration;

use crate::args::HealthArgs;

/// A relay that takes longer to say so is not.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &HealthArgs) -> anyhow::Result<ExitCode> {
    let url = format!("{}/readyz", args.url.trim_end_matches('/'));
    let mut response =
        ureq::get(&url).config().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build().call()?;
    println!("{}", response.body_mut().read_to_string()?.trim_end());
    Ok(if response.status().is_success() { ExitCode::SUCCESS } else { ExitCode::from(crate::FAILURE) })
}
