//! Where log lines go: standard error, as text or JSON.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::config::{Format, Log};

/// Starts logging for this process. A second relay in the process shares the first one's.
pub(crate) fn start(log: &Log) {
    let filter = EnvFilter::new(log.level.to_string());
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(stderr().is_terminal());
    let started = match log.format {
        Format::Json => builder.json().try_init(),
        Format::Text => builder.try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}

/// Why a relay ends, as the last line of a log that a machine reads.
pub fn log_failure(error: &anyhow::Error) {
    tracing::error!("{error:#}");
}
