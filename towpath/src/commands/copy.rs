//! `towpath copy`: everything that is stored, from one store to another.
//!
//! Events go through the target's own commit, as imported ones, so that its rules and its audit log hold for them. What was deleted or
//! replaced stays behind; requests to delete and to vanish come along and go on working. The place that was reached is kept in
//! the target, as that of a follower.

use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};
use towpath_policy::{Policy, Source, has_expired, plan};
use towpath_protocol::{Event, EventId, SubmittedEvent, VerifiedEvent, Verifier};
use towpath_relay::config::Config;
use towpath_runtime::{Clock, SystemClock};
use towpath_store::{Batch, Cursor, EventStore, Outcome, Page, Record};

use super::audit;
use crate::args::{CopyArgs, StoreArgs};
use crate::settings::{self, Environment};
use crate::{progress, store};

const PAGE: Page = Page { entries_max: 512, bytes_max: 4 << 20 };
/// Differences that are named.
const NAMED_MAX: usize = 10;

pub(crate) fn run(args: &CopyArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    ensure!(args.from != args.to, "the source is the target");
    let from_config = config_of(&args.from, args, environment)?;
    let (from, to) = (store::open_existing(&from_config)?, store::open(&config_of(&args.to, args, environment)?)?);
    let policy = Policy { vanish: from_config.protocol.vanish, ..Policy::default() };
    let copied = copy(&*from, &*to, &follower_name(&args.from), &policy)?;
    eprintln!(
        "{} events copied, {} were there, {} are not wanted there",
        copied.accepted, copied.known, copied.refused
    );
    let differences = compare(&*from, &*to)?;
    for difference in differences.iter().take(NAMED_MAX) {
        eprintln!("{difference}");
    }
    let intact = verify(&*to)?;
    for (stream, head) in to.heads() {
        eprintln!("audit log, stream {}: {} entries, root {}", stream.0, head.size, head.root);
    }
    let good = differences.is_empty() && intact;
    eprintln!("{}", if good { "the copy is complete and verified" } else { "the copy differs from its source" });
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(crate::FAILURE) })
}

fn config_of(place: &str, args: &CopyArgs, environment: &Environment) -> anyhow::Result<Config> {
    let is_url = place.starts_with("postgres://") || place.starts_with("postgresql://");
    // A slip in the scheme must not make a folder of that name. What is behind it may be a password.
    if let Some((scheme, _)) = place.split_once("://").filter(|_| !is_url) {
        bail!("{scheme}:// is no store: name a data folder, or a database by postgres://");
    }
    let (data, url) =
        if is_url { (None, Some(place.to_owned())) } else { (Some(place.to_owned()), Some(String::new())) };
    let store = StoreArgs { config: args.config.clone(), data, store: url };
    Ok(settings::of_store(&store, environment)?.config)
}

/// One for each source, whatever is in its name.
fn follower_name(from: &str) -> String {
    let hash: [u8; 32] = Sha256::digest(from).into();
    format!("copy-{}", const_hex::encode(&hash[..8]))
}

#[derive(Debug, Default)]
pub(super) struct Copied {
    pub(super) accepted: u64,
    pub(super) known: u64,
    pub(super) refused: u64,
}

/// Copies what is behind the place that was reached before.
pub(super) fn copy(from: &dyn EventStore, to: &dyn EventStore, name: &str, policy: &Policy) -> anyhow::Result<Copied> {
    let mut cursor = to.follower(name)?.unwrap_or_else(Cursor::start);
    let bar = progress::entries(from.stats()?.last_seq.0);
    let (verifier, clock) = (Verifier::new(), SystemClock);
    let mut copied = Copied::default();
    loop {
        let entries = from.since(&cursor, PAGE)?;
        let Some(last) = entries.last() else { break };
        bar.inc(entries.len() as u64);
        let mut reached = cursor.clone();
        entries.iter().for_each(|entry| reached.advance(entry.stream, entry.seq));
        debug_assert!(reached.covers(last.stream, last.seq));
        let mut wanted = Vec::new();
        for entry in entries {
            let Record::Event { event, .. } = entry.record else { continue };
            // What expired waits for upkeep in the source, and is not worth the way.
            let is_stored = store::is_stored_at(from, &event, entry.stream, entry.seq)?;
            if is_stored && !has_expired(&event, clock.unix_s()) {
                wanted.push(event);
            }
        }
        let genuine = genuine(&wanted, &verifier)?;
        let writes = genuine.into_iter().map(|event| plan(event, Source::Import, policy)).collect();
        let committed = to.commit(Batch::of(writes, clock.unix_ms()))?;
        for outcome in committed.outcomes {
            match outcome {
                Outcome::Accepted(_) => copied.accepted += 1,
                Outcome::Duplicate => copied.known += 1,
                Outcome::Superseded | Outcome::Deleted | Outcome::Vanished => copied.refused += 1,
            }
        }
        to.keep_follower(name, &reached)?;
        cursor = reached;
    }
    bar.finish_and_clear();
    Ok(copied)
}

/// The same events, checked. The first that is not what its author signed is the error.
fn genuine(events: &[Event], verifier: &Verifier) -> anyhow::Result<Vec<VerifiedEvent>> {
    let mut damaged = Ok(());
    let submitted = |event: &Event| match SubmittedEvent::from_canonical(event.clone()) {
        Ok(submitted) => Some((submitted, event.id())),
        Err(error) => {
            damaged = Err(error).with_context(|| format!("{} is damaged in the source", event.id()));
            None
        }
    };
    let verified = verifier.verify_all(events.iter().map_while(submitted).collect());
    let named = |(verified, id): (Result<VerifiedEvent, _>, EventId)| {
        verified.with_context(|| format!("{id} is not genuine in the source"))
    };
    let genuine = verified.into_iter().map(named).collect::<anyhow::Result<_>>()?;
    damaged.map(|()| genuine)
}

/// What the target lacks, and whether it has as many.
pub(super) fn compare(from: &dyn EventStore, to: &dyn EventStore) -> anyhow::Result<Vec<String>> {
    let now = SystemClock.unix_s();
    let (mut differences, mut events) = (Vec::new(), 0);
    store::each_event(from, Cursor::start(), |stored| {
        if !has_expired(&stored.event, now) {
            events += 1;
            if to.place_of(&stored.event.id())?.is_none() {
                differences.push(format!("{} is missing in the target", stored.event.id()));
            }
        }
        Ok(())
    })?;
    let there = to.stats()?.events;
    if there < events {
        differences.push(format!("the source holds {events} events and the target {there}"));
    }
    Ok(differences)
}

/// Whether the target's audit log is whole. Signatures were checked on the way.
fn verify(to: &dyn EventStore) -> anyhow::Result<bool> {
    if to.heads().is_empty() {
        return Ok(true);
    }
    audit::is_whole(to)
}
