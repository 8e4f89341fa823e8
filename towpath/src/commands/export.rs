//! `towpath export`: the stored events, one a line, in the order they were stored.

use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::process::ExitCode;

use anyhow::Context;
use towpath_policy::has_expired;
use towpath_protocol::{Event, Filter, IndexedTags};
use towpath_runtime::{Clock, SystemClock};
use towpath_store::{Cursor, EventStore, Page, Seq};

use super::query;
use crate::args::ExportArgs;
use crate::settings::{self, Environment};
use crate::{progress, store};

pub(crate) fn run(args: &ExportArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let filter = args.filter.as_deref().map(query::parse).transpose()?;
    // The newest of many is what a limit means; an export goes from the oldest on.
    anyhow::ensure!(
        filter.as_ref().is_none_or(|filter| filter.limit.is_none()),
        "an export is of every match: for the newest few, `towpath query` takes a limit"
    );
    let config = settings::of_store(&args.store, environment)?.config;
    // Each pod has a stream of its own, and one number says nothing of several.
    let is_database = config.store.url.is_some();
    anyhow::ensure!(
        !is_database || args.since_seq == 0,
        "a database has several streams: --since-seq is for data folders"
    );
    let store = store::open_existing(&config)?;
    let from = cursor_at(&*store, Seq(args.since_seq))?;

    let (output, synced) = output(args)?;
    let mut output = BufWriter::new(output);
    let (events, last) = write_events(&*store, from, filter.as_ref(), &mut output)?;
    output.flush()?;
    if let Some(file) = synced {
        file.sync_all()?;
    }
    match is_database {
        true => eprintln!("{events} events exported"),
        false => {
            let last = last.max(Seq(args.since_seq));
            eprintln!("{events} events exported; go on from here with --since-seq {last}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How many events were written, and the place of the last log entry that was read.
pub(super) fn write_events(
    store: &dyn EventStore,
    from: Cursor,
    filter: Option<&Filter>,
    output: &mut dyn Write,
) -> anyhow::Result<(u64, Seq)> {
    let now = SystemClock.unix_s();
    let bar = progress::events(store.stats()?.events);
    let (mut written, mut last) = (0, Seq(0));
    store::each_event(store, from, |stored| {
        bar.inc(1);
        last = stored.seq;
        if !has_expired(&stored.event, now) && is_wanted(filter, &stored.event) {
            written += 1;
            writeln!(output, "{}", stored.event.as_str())?;
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok((written, last))
}

fn is_wanted(filter: Option<&Filter>, event: &Event) -> bool {
    filter.is_none_or(|filter| filter.matches(event, &IndexedTags::of(event)))
}

/// The cursor at `seq`. An embedded store has one stream, and its first entry tells which.
pub(super) fn cursor_at(store: &dyn EventStore, seq: Seq) -> anyhow::Result<Cursor> {
    let first = store.since(&Cursor::start(), Page { entries_max: 1, bytes_max: 1 })?;
    Ok(first.first().map_or_else(Cursor::start, |entry| Cursor::at(entry.stream, seq)))
}

/// Where to write, and the file to sync when it is one.
fn output(args: &ExportArgs) -> anyhow::Result<(Box<dyn Write>, Option<File>)> {
    let Some(path) = &args.output else {
        return Ok((Box::new(std::io::stdout().lock()), None));
    };
    // What others must not read, such as private messages, is in it.
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(path).with_context(|| format!("cannot write {}", path.display()))?;
    // It may have been there.
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    let synced = file.try_clone()?;
    Ok((Box::new(file), Some(synced)))
}
