//! Reading the log in commit order, for followers.

use std::sync::Arc;

use towpath_store::{Entry, Error, Page, Record, Seq};

use crate::Shared;
use crate::audit::leaf_of;
use crate::log::reader::Follow;
use crate::log::record::{Body, LogEntry, STREAM};

impl Shared {
    /// At most a page of what follows `seq`, as far as it is durable.
    pub(crate) fn since(&self, seq: Seq, page: Page) -> Result<Vec<Entry>, Error> {
        let last = self.last();
        let mut entries = Vec::new();
        if seq >= last {
            return Ok(entries);
        }
        let mut bytes = 0;
        let mut follow = self.follow_near(seq.next())?;
        // Never past `last`: what lies behind may be half written.
        while entries.last().map_or(seq, |entry: &Entry| entry.seq) < last {
            let Some((_, _, record)) = follow.next()? else { break };
            for (at, entry, _) in record.numbered().filter(|(at, _, _)| *at > seq) {
                let size = json_bytes(entry);
                if !entries.is_empty() && (entries.len() >= page.entries_max || bytes + size > page.bytes_max) {
                    return Ok(entries);
                }
                bytes += size;
                entries.push(published(at, record.header.committed_at_ms, entry));
            }
        }
        Ok(entries)
    }

    /// Starts at a record at or a little before `seq`: that of the stored event before it, if it is in the same file.
    fn follow_near(&self, seq: Seq) -> Result<Follow, Error> {
        let files = self.log.files();
        let txn = self.index.read()?;
        let near = self.index.position_before(&txn, seq)?;
        if let Some((before, position)) = near
            && let Some(segment) = files.holding_in(before, position.generation).cloned()
        {
            return Ok(Follow::from_record(Arc::clone(&files), segment, position.record));
        }
        Ok(Follow::from_file_of(files, seq))
    }
}

fn json_bytes(entry: &LogEntry) -> usize {
    match &entry.body {
        Body::Event(filed) => filed.event.json().len(),
        Body::Erased(_) | Body::Expired | Body::Act(_) => 0,
    }
}

fn published(seq: Seq, committed_at_ms: u64, entry: &LogEntry) -> Entry {
    let removed = entry.removed.iter().map(|seq| (STREAM, *seq)).collect();
    let record = match &entry.body {
        Body::Event(filed) => Record::Event { event: filed.event.clone(), removed },
        Body::Erased(_) => Record::Erased { removed },
        Body::Expired => Record::Expired { removed },
        Body::Act(_) => Record::Act,
    };
    let leaf = leaf_of(seq, committed_at_ms, entry);
    Entry { stream: STREAM, seq, committed_at_ms, record, leaf }
}
