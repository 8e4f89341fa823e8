//! Reading the log in commit order, for followers.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use towpath_protocol::Event;
use towpath_store::{Entry, Error, Page, Record, Seq};

use crate::Shared;
use crate::audit::leaf_of;
use crate::log::reader::Follow;
use crate::log::record::{Body, Header, LogEntry, STREAM};

/// So many followers find the place again that they left off at.
const PLACES_MAX: usize = 8;
/// An event that waits for a client keeps its record in memory, unless that is more than so many times as long: then it is copied.
const RECORD_FACTOR_MAX: usize = 4;

/// Where the latest pages ended: the index only knows where live events are, and many entries may lie behind one.
#[derive(Debug, Default)]
pub(crate) struct Places(VecDeque<Place>);

/// The last entry of a page, and where the record is that was read last. No file is kept open for it: a rewritten one must go.
#[derive(Debug)]
struct Place {
    seq: Seq,
    /// First sequence number and generation.
    file: (Seq, u32),
    record: u32,
}

impl Places {
    fn take(&mut self, seq: Seq) -> Option<Place> {
        let at = self.0.iter().position(|place| place.seq == seq)?;
        self.0.remove(at)
    }

    fn keep(&mut self, place: Place) {
        self.0.truncate(PLACES_MAX - 1);
        self.0.push_front(place);
    }
}

impl Shared {
    /// At most a page of what follows `seq`, as far as it is durable.
    pub(crate) fn since(&self, seq: Seq, page: Page) -> Result<Vec<Entry>, Error> {
        let last = self.last();
        let mut entries = Vec::new();
        if seq >= last {
            return Ok(entries);
        }
        let (mut bytes, mut read_last) = (0, None);
        let mut follow = self.follow_behind(seq)?;
        // Never past `last`: what lies behind may be half written.
        'page: while entries.last().map_or(seq, |entry: &Entry| entry.seq) < last {
            let Some((segment, record_at, record)) = follow.next()? else { break };
            read_last = Some((segment, record_at));
            for (at, entry, _) in record.numbered().filter(|(at, _, _)| *at > seq) {
                let size = json_bytes(entry);
                if !entries.is_empty() && (entries.len() >= page.entries_max || bytes + size > page.bytes_max) {
                    break 'page;
                }
                bytes += size;
                entries.push(published(at, &record.header, entry));
            }
        }
        if let (Some(entry), Some((segment, record))) = (entries.last(), read_last) {
            let file = (segment.first_seq, segment.generation);
            self.places.lock().keep(Place { seq: entry.seq, file, record });
        }
        Ok(entries)
    }

    /// Starts at a record at or a little before what follows `seq`: where the page that ended with it was left, at the stored event
    /// before it, or at the beginning of the file.
    fn follow_behind(&self, seq: Seq) -> Result<Follow, Error> {
        let (files, next) = (self.log.files(), seq.next());
        let place = self.places.lock().take(seq);
        if let Some(Place { file: (first_seq, generation), record, .. }) = place
            && let Some(segment) = files.holding(first_seq)
            && (segment.first_seq, segment.generation) == (first_seq, generation)
        {
            return Ok(Follow::from_record(Arc::clone(&files), Arc::clone(segment), record));
        }
        let txn = self.index.read()?;
        if let Some((before, position)) = self.index.position_before(&txn, next)?
            && files.holding(next).is_some_and(|file| before >= file.first_seq)
            && let Some(segment) = files.holding_in(before, position.generation)
        {
            return Ok(Follow::from_record(Arc::clone(&files), Arc::clone(segment), position.record));
        }
        Ok(Follow::from_file_of(files, next))
    }
}

fn json_bytes(entry: &LogEntry) -> usize {
    match &entry.body {
        Body::Event(filed) => filed.event.json().len(),
        Body::Erased(_) | Body::Expired | Body::Act(_) => 0,
    }
}

fn published(seq: Seq, header: &Header, entry: &LogEntry) -> Entry {
    let removed = entry.removed.iter().map(|seq| (STREAM, *seq)).collect();
    let record = match &entry.body {
        Body::Event(filed) => Record::Event { event: apart(&filed.event, header), removed },
        Body::Erased(_) => Record::Erased { removed },
        Body::Expired => Record::Expired { removed },
        Body::Act(_) => Record::Act,
    };
    let committed_at_ms = header.committed_at_ms;
    let leaf = leaf_of(seq, committed_at_ms, entry);
    Entry { stream: STREAM, seq, committed_at_ms, record, leaf }
}

/// The event without what lies around it, unless that is little.
fn apart(event: &Event, header: &Header) -> Event {
    if header.record_bytes() <= RECORD_FACTOR_MAX * event.json().len() {
        return event.clone();
    }
    Event::from_canonical(Bytes::copy_from_slice(event.json())).unwrap_or_else(|_| event.clone())
}

#[cfg(test)]
mod tests {
    use towpath_store::EventStore as _;

    use super::*;
    use crate::tests::fixture::{Folder, accept, commit, note, write};

    /// Once, every page over dead entries was looked for from the last live event before them, however far back that was.
    #[test]
    fn a_page_is_read_from_where_the_one_before_it_ended_or_else_from_its_file() {
        let folder = Folder::new();
        let store = folder.open();
        accept(&store, &note(2, 1));
        let mut times = 0..;
        while folder.log_files().len() < 3 {
            accept(&store, &write(1, times.next().unwrap(), 0, &[], &"a profile".repeat(50)));
        }
        store.stats().unwrap();
        let shared = store.shared();
        let firsts: Vec<Seq> = shared.log.files().iter().map(|file| file.first_seq).collect();
        let read_first = |seq| shared.follow_behind(seq).unwrap().next().unwrap().unwrap().2.header.first_seq;
        let page = |seq| {
            let entries = shared.since(seq, Page { entries_max: 5, bytes_max: usize::MAX }).unwrap();
            entries.iter().map(|entry| entry.seq.0).collect::<Vec<_>>()
        };
        let at = firsts[2].0 - 20;
        assert_eq!(read_first(Seq(at)), firsts[1]);
        for _ in 0..2 {
            assert_eq!(page(Seq(at)), (at + 1..=at + 5).collect::<Vec<_>>());
            assert!(read_first(Seq(at + 5)).0 >= at + 5);
        }
        // What is remembered of a file that was rewritten is worth nothing.
        page(Seq(at));
        while store.maintain(1).unwrap() {}
        assert_eq!(page(Seq(at + 5)), (at + 6..=at + 10).collect::<Vec<_>>());
    }

    /// Once, a small event that waited for a client kept the whole commit that it had come with.
    #[test]
    fn an_event_keeps_no_record_in_memory_that_is_much_longer() {
        let folder = Folder::new();
        let store = folder.open();
        commit(&store, (0..8).map(|at| note(1, at)).collect());
        let entries = store.shared().since(Seq(0), Page { entries_max: 8, bytes_max: usize::MAX }).unwrap();
        assert_eq!(entries.len(), 8);
        for entry in &entries {
            let Record::Event { event, .. } = &entry.record else { panic!("{entry:?}") };
            assert!(event.json().is_unique());
        }
    }
}
