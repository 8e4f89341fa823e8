//! `towpath stats`: what is stored.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use towpath_store::{Cursor, EventStore, Stats};

use crate::args::StoreArgs;
use crate::settings::{self, Environment};
use crate::store;

pub(crate) fn run(args: &StoreArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let config = settings::of_store(args, environment)?.config;
    let store = store::open_existing(&config)?;
    let text = report(&store.stats()?, &by_kind(&*store)?);
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    events: u64,
    bytes: u64,
}

pub(super) fn by_kind(store: &dyn EventStore) -> anyhow::Result<BTreeMap<u16, Tally>> {
    let mut kinds: BTreeMap<u16, Tally> = BTreeMap::new();
    store::each_event(store, Cursor::start(), |stored| {
        let tally = kinds.entry(stored.event.kind()).or_default();
        tally.events += 1;
        tally.bytes += stored.event.json().len() as u64;
        Ok(())
    })?;
    Ok(kinds)
}

pub(super) fn report(stats: &Stats, kinds: &BTreeMap<u16, Tally>) -> String {
    let mut text = format!(
        "events         {}\nlast sequence  {}\nlog            {} bytes, {} of them live\nindex          {} bytes\n",
        stats.events, stats.last_seq, stats.log_bytes, stats.live_bytes, stats.index_bytes,
    );
    if !kinds.is_empty() {
        text.push_str("\n  kind      events           bytes\n");
    }
    for (kind, tally) in kinds {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{kind:>6}  {:>10}  {:>14}", tally.events, tally.bytes);
    }
    text
}
