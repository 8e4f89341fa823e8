//! The store of a relay that is not running, as commands use it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use towpath_protocol::Event;
use towpath_relay::config::Config;
use towpath_store::{Budget, Cursor, Entry, Error, EventStore, Page, Progress, Query, Record, Seq, Stored, StreamId};

/// What is read from the log or a scan at once; bounds the memory of every command.
const PAGE: Page = Page { entries_max: 4096, bytes_max: 8 << 20 };

/// Opens the store to write to it; makes it if it is not there. One process at a time: a running relay has a data folder.
pub(crate) fn open(config: &Config) -> anyhow::Result<Arc<dyn EventStore>> {
    towpath_relay::migrate_database(config).context("cannot make the database's tables")?;
    open_as_it_is(config)
}

fn open_as_it_is(config: &Config) -> anyhow::Result<Arc<dyn EventStore>> {
    let place = match &config.store.url {
        Some(_) => "cannot open the database".to_owned(),
        None => format!("cannot open the store in {}", config.store.data.display()),
    };
    towpath_relay::open_store(config).map_err(explained).context(place)
}

/// With what to do about it, where that is known.
pub(crate) fn explained(error: Error) -> anyhow::Error {
    match error {
        Error::InUse => anyhow!("{error}: stop the relay, or restore a `towpath backup` and work on that"),
        error => error.into(),
    }
}

/// Opens the store to read it; a folder without one is a slip of the pen, not an empty store.
pub(crate) fn open_existing(config: &Config) -> anyhow::Result<Arc<dyn EventStore>> {
    if config.store.url.is_none() {
        ensure_there(&config.store.data)?;
    }
    open_as_it_is(config)
}

/// Whether `folder` is a data folder: looking at any other would make it one.
pub(crate) fn ensure_there(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    anyhow::ensure!(folder.is_dir(), "there is no data folder {shown}: name it with --data");
    anyhow::ensure!(folder.join("log").is_dir(), "{shown} holds no store: name the data folder with --data");
    Ok(())
}

/// Hands every log entry behind `cursor` to `take`, oldest first.
pub(crate) fn each_entry(
    store: &dyn EventStore,
    mut cursor: Cursor,
    mut take: impl FnMut(Entry) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    loop {
        let entries = store.since(&cursor, PAGE)?;
        if entries.is_empty() {
            return Ok(());
        }
        for entry in entries {
            cursor.advance(entry.stream, entry.seq);
            take(entry)?;
        }
    }
}

/// Hands the entries of one stream up to `last` to `take`, oldest first.
pub(crate) fn each_entry_of(
    store: &dyn EventStore,
    stream: StreamId,
    last: Seq,
    mut take: impl FnMut(Entry) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut at = Seq(0);
    while at < last {
        let entries = store.since_in(stream, at, PAGE)?;
        let Some(end) = entries.last() else { return Ok(()) };
        at = end.seq;
        entries.into_iter().filter(|entry| entry.seq <= last).try_for_each(&mut take)?;
    }
    Ok(())
}

/// Hands every event that is still stored to `take`, in the order they were stored.
pub(crate) fn each_event(
    store: &dyn EventStore,
    cursor: Cursor,
    mut take: impl FnMut(Stored) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    each_entry(store, cursor, |entry| {
        let Record::Event { event, .. } = entry.record else { return Ok(()) };
        if !is_stored_at(store, &event, entry.stream, entry.seq)? {
            return Ok(());
        }
        take(Stored { stream: entry.stream, seq: entry.seq, event })
    })
}

/// Whether an entry's event is what is stored. The log keeps what was superseded or deleted until its file is rewritten, and what was
/// stored again since has an entry of its own.
pub(crate) fn is_stored_at(store: &dyn EventStore, event: &Event, stream: StreamId, seq: Seq) -> anyhow::Result<bool> {
    Ok(store.place_of(&event.id())? == Some((stream, seq)))
}

/// Hands every match of `query` to `take`, newest first.
pub(crate) fn each_match(
    store: &dyn EventStore,
    query: Query,
    mut take: impl FnMut(Stored) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut scan = store.scan(query)?;
    let mut found = Vec::new();
    loop {
        let budget = Budget { events_max: PAGE.entries_max, bytes_max: PAGE.bytes_max, spent: &|| false };
        let progress = scan.next(budget, &mut found)?;
        found.drain(..).try_for_each(&mut take)?;
        if matches!(progress, Progress::Done(_)) {
            return Ok(());
        }
    }
}
