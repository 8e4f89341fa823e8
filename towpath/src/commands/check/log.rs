//! The log: in sequence, genuine, and which of its events are still meant to be stored.

use std::collections::{HashMap, HashSet};

use towpath_protocol::{Event, SubmittedEvent, Verifier};
use towpath_store::{Cursor, Entry, EventStore, Page, Record, Seq, StreamId};

use super::index::Index;
use super::threads;
use crate::{progress, store};

/// Enough for every core to have work, little enough to keep in memory.
const PAGE: Page = Page { entries_max: 8192, bytes_max: 16 << 20 };

/// What a first pass over the log tells.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) entries: u64,
    /// Events that no entry removes.
    pub(super) live: u64,
    pub(super) problems: Vec<String>,
    removed: HashSet<(StreamId, Seq)>,
}

impl Log {
    pub(super) fn read(store: &dyn EventStore) -> anyhow::Result<Self> {
        let mut log = Self::default();
        let mut last: HashMap<StreamId, Seq> = HashMap::new();
        let mut erased = Vec::new();
        let mut events = 0_usize;
        store::each_entry(store, Cursor::start(), |entry| {
            let place = (entry.stream, entry.seq);
            let before = last.insert(entry.stream, entry.seq).unwrap_or_default();
            if entry.seq != before.next() {
                log.problems.push(format!("log: entry {} where {} should be", entry.seq, before.next()));
            }
            log.entries += 1;
            match entry.record {
                Record::Event { .. } => events += 1,
                Record::Erased { .. } => erased.push(place),
                Record::Expired { .. } => {}
            }
            log.removed.extend(removed(&entry.record).iter().map(|seq| (entry.stream, *seq)));
            Ok(())
        })?;
        let unexplained = erased.iter().filter(|place| !log.removed.contains(place));
        log.problems.extend(unexplained.map(|(_, seq)| format!("log: entry {seq} is erased, but nothing removed it")));
        // What was removed is erased by and by; until then its entry still shows the event.
        let removed_not_erased = log.removed.len().saturating_sub(erased.len());
        log.live = events.saturating_sub(removed_not_erased) as u64;
        Ok(log)
    }

    /// Whether the event accepted at this place is still meant to be stored.
    pub(super) fn is_live(&self, stream: StreamId, seq: Seq) -> bool {
        !self.removed.contains(&(stream, seq))
    }

    /// Verifies every event and looks for each on every way of the index, on all cores.
    pub(super) fn verify(&self, store: &dyn EventStore, signatures: bool) -> anyhow::Result<Vec<String>> {
        let verifier = signatures.then(Verifier::new);
        let examiner = Examiner { log: self, index: Index { store, log: self }, verifier: verifier.as_ref() };
        let bar = progress::events(self.entries);
        let mut problems = Vec::new();
        let mut cursor = Cursor::start();
        loop {
            let entries = store.since(&cursor, PAGE)?;
            let Some(last) = entries.last() else { break };
            cursor.advance(last.stream, last.seq);
            problems.extend(examiner.examine_all(&entries)?);
            bar.inc(entries.len() as u64);
        }
        bar.finish_and_clear();
        Ok(problems)
    }
}

/// Looks at single entries. Shared by all threads.
struct Examiner<'a> {
    log: &'a Log,
    index: Index<'a>,
    verifier: Option<&'a Verifier>,
}

impl Examiner<'_> {
    fn examine_all(&self, entries: &[Entry]) -> anyhow::Result<Vec<String>> {
        let share = entries.len().div_ceil(threads()).max(1);
        let found: Vec<anyhow::Result<Vec<String>>> = std::thread::scope(|scope| {
            let work = entries.chunks(share).map(|entries| scope.spawn(|| self.examine_some(entries)));
            let threads: Vec<_> = work.collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let mut problems = Vec::new();
        for found in found {
            problems.extend(found?);
        }
        Ok(problems)
    }

    fn examine_some(&self, entries: &[Entry]) -> anyhow::Result<Vec<String>> {
        let mut problems = Vec::new();
        for entry in entries {
            let Record::Event { event, .. } = &entry.record else { continue };
            let wrong = self.genuine(event).into_iter().chain(self.indexed(entry, event)?);
            problems.extend(wrong.map(|problem| format!("entry {}, event {}: {problem}", entry.seq, event.id())));
        }
        Ok(problems)
    }

    fn genuine(&self, event: &Event) -> Option<String> {
        let verifier = self.verifier?;
        let submitted = match SubmittedEvent::from_canonical(event.clone()) {
            Ok(submitted) => submitted,
            Err(error) => return Some(error.to_string()),
        };
        verifier.verify(submitted).err().map(|error| error.to_string())
    }

    fn indexed(&self, entry: &Entry, event: &Event) -> anyhow::Result<Vec<String>> {
        let live = self.log.is_live(entry.stream, entry.seq);
        match (live, self.index.store.known(&event.id())?) {
            (true, true) => self.index.ways_that_miss(entry, event),
            (false, false) => Ok(Vec::new()),
            (true, false) => Ok(vec!["missing from the index".to_owned()]),
            (false, true) => Ok(vec!["removed, but still in the index".to_owned()]),
        }
    }
}

fn removed(record: &Record) -> &[Seq] {
    match record {
        Record::Event { removed, .. } | Record::Erased { removed } | Record::Expired { removed } => removed,
    }
}
