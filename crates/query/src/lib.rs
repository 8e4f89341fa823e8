//! Stored events for a REQ or COUNT, read in slices by a bounded number of readers.
//!
//! A slice ends when its time is over and its reader goes to the back of the line, so a scan of everything never delays a scan
//! of a few. Between slices nothing is held, so a slow client costs the store nothing.
//!
//! Owns: the read slots and the size of a slice. Must not know: which store it is, who the client is, how results are sent.

mod limits;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use towpath_protocol::HyperLogLog;
use towpath_runtime::Clock;
use towpath_store::{Budget, Cursor, Error, EventStore, Progress, Query, Scan, Stored};

pub use limits::{QueryLimits, visible_at, with_limits};

/// Reads for one relay. Clones share the slots.
#[derive(Clone)]
pub struct Queries {
    store: Arc<dyn EventStore>,
    slots: Arc<Semaphore>,
    slice: Slice,
    clock: Arc<dyn Clock>,
}

/// The size of one slice.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    /// How long it may take.
    pub time_max: Duration,
    /// How many events it may return.
    pub events_max: usize,
    /// How many bytes of events it may return.
    pub bytes_max: usize,
}

impl Queries {
    /// At most `parallel` slices are read at once.
    pub fn new(store: Arc<dyn EventStore>, parallel: usize, slice: Slice, clock: Arc<dyn Clock>) -> Self {
        Self { store, slots: Arc::new(Semaphore::new(parallel.max(1))), slice, clock }
    }

    /// Where the log is now; what a scan opened next will see.
    pub fn snapshot(&self) -> Cursor {
        self.store.snapshot()
    }

    /// Opens a scan.
    pub fn open(&self, query: Query) -> Result<Reading, Error> {
        Ok(Reading { queries: self.clone(), scan: Some(self.store.scan(query)?) })
    }

    /// Counts what a query matches, with the HyperLogLog of its authors if `hll_offset` is given. Every slice takes one of `turns`.
    pub async fn count(
        &self,
        query: Query,
        hll_offset: Option<usize>,
        turns: &Semaphore,
    ) -> Result<(u64, Option<HyperLogLog>), Error> {
        let mut hll = hll_offset.map(HyperLogLog::new);
        let mut count = 0;
        let mut turn = turns.acquire().await;
        let mut reading = self.open(query)?;
        loop {
            let (events, progress) = reading.next().await?;
            count += events.len() as u64;
            if let Some(hll) = &mut hll {
                events.iter().for_each(|stored| hll.add(&stored.event.pubkey()));
            }
            if let Progress::Done(_) = progress {
                return Ok((count, hll));
            }
            drop(turn);
            turn = turns.acquire().await;
        }
    }
}

/// A scan in progress.
pub struct Reading {
    queries: Queries,
    scan: Option<Box<dyn Scan>>,
}

impl Reading {
    /// Waits for a slot and reads the next slice. Not cancel-safe: a dropped call loses the scan. A scan that ended, failed or
    /// was lost has no next slice, which is an error: an empty one would read as if there were nothing more to find.
    pub async fn next(&mut self) -> Result<(Vec<Stored>, Progress), Error> {
        let Some(scan) = self.scan.take() else { return Err(Error::Closed("this scan is over".to_owned())) };
        let closed = |_| Error::Closed("the relay is stopping".to_owned());
        let slot = Arc::clone(&self.queries.slots).acquire_owned().await.map_err(closed)?;
        let (slice, clock) = (self.queries.slice, Arc::clone(&self.queries.clock));
        let read = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            read_slice(scan, slice, clock.as_ref())
        });
        let (scan, events, progress) = read.await.map_err(|panic| Error::Closed(panic.to_string()))??;
        if progress == Progress::More {
            self.scan = Some(scan);
        }
        Ok((events, progress))
    }
}

type ReadSlice = (Box<dyn Scan>, Vec<Stored>, Progress);

fn read_slice(mut scan: Box<dyn Scan>, slice: Slice, clock: &dyn Clock) -> Result<ReadSlice, Error> {
    let deadline = clock.instant() + slice.time_max;
    let spent = || clock.instant() >= deadline;
    let budget = Budget { events_max: slice.events_max, bytes_max: slice.bytes_max, spent: &spent };
    let mut events = Vec::new();
    let progress = scan.next(budget, &mut events)?;
    Ok((scan, events, progress))
}
