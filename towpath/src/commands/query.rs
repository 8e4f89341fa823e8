//! `towpath query`: what a REQ with these filters would be answered with, seen by the operator.

use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use towpath_policy::has_expired;
use towpath_protocol::{Filter, wire};
use towpath_runtime::{Clock, SystemClock};
use towpath_store::{FilterLimit, Query};

use crate::args::QueryArgs;
use crate::settings::{self, Environment};
use crate::store;

pub(crate) fn run(args: &QueryArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let filters = args.filters.iter().map(|text| parse(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let config = settings::of_store(&args.store, environment)?.config;
    let store = store::open_existing(&config)?;

    let now = SystemClock.unix_s();
    let query = Query {
        filters: filters.into_iter().map(with_limit).collect(),
        cursor: None,
        visible: Arc::new(move |event| !has_expired(event, now)),
    };
    let mut output = BufWriter::new(std::io::stdout().lock());
    store::each_match(&*store, query, |stored| {
        writeln!(output, "{}", stored.event.as_str())?;
        Ok(())
    })?;
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A filter as it is typed.
pub(crate) fn parse(text: &str) -> anyhow::Result<Filter> {
    wire::filter(text).with_context(|| format!("not a filter: {text}"))
}

fn with_limit(filter: Filter) -> (Filter, FilterLimit) {
    let events_max = filter.limit.unwrap_or(u64::MAX);
    (filter, FilterLimit::newest(events_max))
}
