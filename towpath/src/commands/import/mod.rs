//! `towpath import`: events from lines, at the speed of all cores.
//!
//! ```text
//!   lines ──▶ chunks ──▶ judge (one thread per core) ──▶ commit, in the order of the lines
//! ```
//!
//! A chunk is the unit of everything: what one thread judges, what one transaction commits, what a
//! resume skips. Because chunks are committed in order, everything before the recorded position is in
//! the store.

mod chunk;
mod judge;
mod pipeline;
mod resume;
mod tally;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use indicatif::ProgressBar;
use towpath_relay::config::Config;
use towpath_runtime::{Clock, SystemClock};
use towpath_store::EventStore;

use crate::args::ImportArgs;
use crate::settings::{self, Environment};
use crate::{progress, store};
use chunk::{Chunks, Position};
use judge::Judge;
use resume::Journal;
use tally::Tally;

pub(crate) fn run(args: &ImportArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let config = settings::of_store(&args.store, environment)?.config;
    let source = Source::open(args, &config)?;
    let store = store::open(&config)?;
    let tally = import(source, &config, &*store, !args.no_verify)?;
    eprint!("{tally}");
    Ok(if tally.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(crate::FAILURE) })
}

/// Imports all of `source`.
pub(super) fn import(source: Source, config: &Config, store: &dyn EventStore, verify: bool) -> anyhow::Result<Tally> {
    let Source { input, start, journal, bar } = source;
    let judge = Judge::new(config, store, verify, SystemClock.unix_s());
    let chunks = Chunks::new(input, start, config.limits.message_bytes_max);
    let mut tally = Tally::default();
    pipeline::run(chunks, &judge, store, |committed| {
        tally.add(&committed);
        bar.set_position(committed.end.byte);
        bar.set_message(format!("{} stored, {} refused", tally.stored(), tally.refused()));
        journal.as_ref().map_or(Ok(()), |journal| journal.record(committed.end))
    })?;
    bar.finish_and_clear();
    Ok(tally)
}

/// Where the lines come from.
pub(super) struct Source {
    input: Box<dyn Read + Send>,
    start: Position,
    journal: Option<Journal>,
    bar: ProgressBar,
}

impl Source {
    fn open(args: &ImportArgs, config: &Config) -> anyhow::Result<Self> {
        match &args.input {
            Some(path) => Self::file(path, args.resume, config),
            None => Ok(Self::stream(std::io::stdin())),
        }
    }

    /// Something that can only be read once.
    pub(super) fn stream(input: impl Read + Send + 'static) -> Self {
        let bar = progress::bytes(None);
        Self { input: Box::new(input), start: Position::default(), journal: None, bar }
    }

    pub(super) fn file(path: &Path, resume: bool, config: &Config) -> anyhow::Result<Self> {
        let cannot_read = || format!("cannot read {}", path.display());
        let mut file = File::open(path).with_context(cannot_read)?;
        let database = config.store.url.as_deref().map(|url| (url, config.postgres.schema.as_deref()));
        let journal = Journal::new(&config.store.data, database, path, &mut file).with_context(cannot_read)?;
        let start = if resume { journal.position(&mut file)? } else { Position::default() };
        file.seek(SeekFrom::Start(start.byte)).with_context(cannot_read)?;
        let bar = progress::bytes(Some(file.metadata().with_context(cannot_read)?.len()));
        Ok(Self { input: Box::new(file), start, journal: Some(journal), bar })
    }
}
