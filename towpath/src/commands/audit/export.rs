//! `towpath audit export`: the log as JSON, one entry a line, for archives; never the contents of events.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use time::{Date, format_description::well_known::Iso8601};
use towpath_audit::{Group, LeafState, source_name};
use towpath_store::{Cursor, Entry, EventStore, Seq, StreamId};

use crate::args::AuditExportArgs;
use crate::settings::{self, Environment};
use crate::{progress, store};

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    stream: u32,
    index: u64,
    committed_at_ms: u64,
    /// Hex: with the others, the tree can be made again.
    hash: String,
    /// Nothing more is known of an entry whose author has vanished.
    #[serde(flatten)]
    leaf: Option<Told<'a>>,
}

#[derive(Serialize)]
struct Told<'a> {
    action: &'static str,
    source: Option<&'static str>,
    event: Option<String>,
    kind: Option<u16>,
    actor: Option<String>,
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    removed: &'a [u64],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    removed_elsewhere: &'a [(u32, u64)],
    leaf: String,
}

/// What a line has to tell to go on behind it.
#[derive(Deserialize)]
struct Place {
    stream: u32,
    index: u64,
}

/// Which entries are wanted.
struct Wanted {
    since_ms: u64,
    until_ms: u64,
    group: Option<Group>,
}

pub(crate) fn run(args: &AuditExportArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let wanted = Wanted {
        since_ms: args.since.as_deref().map(time_ms).transpose()?.unwrap_or(0),
        until_ms: args.until.as_deref().map(time_ms).transpose()?.unwrap_or(u64::MAX),
        group: args.group.as_deref().map(Group::new),
    };
    let config = settings::of_store(&args.store, environment)?.config;
    let store = store::open_existing(&config)?;
    let (from, file) = match &args.output {
        Some(path) => open(path, args.resume)?,
        None => (Cursor::start(), None),
    };
    let mut output: Box<dyn Write> = match &file {
        Some(file) => Box::new(BufWriter::new(file.try_clone()?)),
        None => Box::new(BufWriter::new(std::io::stdout().lock())),
    };
    let written = write(&*store, from, &wanted, &mut output)?;
    output.flush()?;
    if let Some(file) = file {
        file.sync_all()?;
    }
    eprintln!("{written} entries exported");
    Ok(ExitCode::SUCCESS)
}

/// The file, and where to go on in the log: behind its last whole line.
fn open(path: &Path, resume: bool) -> anyhow::Result<(Cursor, Option<File>)> {
    let cannot = || format!("cannot write {}", path.display());
    let mut options = OpenOptions::new();
    let mut file = options.create(true).truncate(!resume).read(true).write(true).open(path).with_context(cannot)?;
    let (mut cursor, mut end) = (Cursor::start(), 0);
    let (mut reader, mut line) = (BufReader::new(&file), String::new());
    while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
        let place: Place = serde_json::from_str(&line).with_context(|| format!("{} is no export", path.display()))?;
        cursor.advance(StreamId(place.stream), Seq(place.index + 1));
        end += line.len() as u64;
        line.clear();
    }
    file.set_len(end)?;
    file.seek(SeekFrom::End(0))?;
    Ok((cursor, Some(file)))
}

fn write(store: &dyn EventStore, from: Cursor, wanted: &Wanted, output: &mut dyn Write) -> anyhow::Result<u64> {
    let bar = progress::entries(store.stats()?.last_seq.0);
    let mut written = 0;
    store::each_entry(store, from, |entry| {
        bar.inc(1);
        if wanted.has(&entry) {
            serde_json::to_writer(&mut *output, &line(&entry))?;
            output.write_all(b"\n")?;
            written += 1;
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(written)
}

impl Wanted {
    fn has(&self, entry: &Entry) -> bool {
        let in_time = (self.since_ms..self.until_ms).contains(&entry.committed_at_ms);
        let group = entry.leaf.leaf().and_then(|leaf| leaf.group.as_ref());
        in_time && (self.group.is_none() || self.group.as_ref() == group)
    }
}

fn line(entry: &Entry) -> Line<'_> {
    let told = |leaf: &LeafState| leaf.hash().to_string();
    let leaf = entry.leaf.leaf().map(|leaf| Told {
        action: leaf.action.name(),
        source: leaf.source.map(source_name),
        event: leaf.event.map(|(id, _)| id.to_hex()),
        kind: leaf.event.map(|(_, kind)| kind),
        actor: leaf.actor.map(|actor| actor.to_hex()),
        group: leaf.group.as_ref().and_then(|group| match group {
            Group::Id(id) => Some(&**id),
            Group::Hashed(_) => None,
        }),
        removed: &leaf.removed,
        removed_elsewhere: &leaf.removed_elsewhere,
        leaf: const_hex::encode(leaf.to_bytes()),
    });
    let (stream, index) = (entry.stream.0, entry.seq.0 - 1);
    Line { stream, index, committed_at_ms: entry.committed_at_ms, hash: told(&entry.leaf), leaf }
}

/// A date (UTC), or seconds since 1970.
fn time_ms(text: &str) -> anyhow::Result<u64> {
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let date = Date::parse(text, &Iso8601::DATE);
            let date =
                date.with_context(|| format!("not a time: {text} (a date such as 2026-01-31, or seconds since 1970)"))?;
            u64::try_from(date.midnight().assume_utc().unix_timestamp()).context("the date is before 1970")?
        }
    };
    Ok(seconds.saturating_mul(1_000))
}
