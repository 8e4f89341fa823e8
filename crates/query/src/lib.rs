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
use towpath_store::{Budget, Count, Cursor, Error, EventStore, Progress, Query, Scan, Stored};

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

    /// Opens a scan.
    pub fn open(&self, query: Query) -> Result<Reading, Error> {
        Ok(Reading { queries: self.clone(), scan: Some(self.store.scan(query)?), cursor: Cursor::start() })
    }

    /// Counts what a query matches, with the HyperLogLog of its authors if `hll_offset` is given. Every slice takes one of `turns`.
    pub async fn count(
        &self,
        query: Query,
        hll_offset: Option<usize>,
        turns: &Semaphore,
    ) -> Result<(u64, Option<HyperLogLog>), Error> {
        let mut total = Count { events: 0, authors: hll_offset.map(HyperLogLog::new) };
        let mut turn = turns.acquire().await;
        let mut reading = self.open(query)?;
        loop {
            let (count, progress) = reading
                .slice(move |scan, budget| {
                    let progress = scan.count(budget, &mut total)?;
                    Ok((total, progress))
                })
                .await?;
            if let Progress::Done(_) = progress {
                return Ok((count.events, count.authors));
            }
            total = count;
            drop(turn);
            turn = turns.acquire().await;
        }
    }
}

/// A scan in progress.
pub struct Reading {
    queries: Queries,
    scan: Option<Box<dyn Scan>>,
    cursor: Cursor,
}

impl Reading {
    /// Waits for a slot and reads the next slice. Not cancel-safe: a dropped call loses the scan. A scan that ended, failed or
    /// was lost has no next slice, which is an error: an empty one would read as if there were nothing more to find.
    pub async fn next(&mut self) -> Result<(Vec<Stored>, Progress), Error> {
        let read = |scan: &mut dyn Scan, budget: Budget<'_>| {
            let mut events = Vec::new();
            let progress = scan.next(budget, &mut events)?;
            Ok((events, progress))
        };
        self.slice(read).await
    }

    /// What all that was read is covered by; known after the first slice.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Has `read` do one slice, off the runtime's workers.
    async fn slice<T: Send + 'static>(
        &mut self,
        read: impl FnOnce(&mut dyn Scan, Budget<'_>) -> Result<(T, Progress), Error> + Send + 'static,
    ) -> Result<(T, Progress), Error> {
        let Some(mut scan) = self.scan.take() else { return Err(Error::Closed("this scan is over".to_owned())) };
        let closed = |_| Error::Closed("the relay is stopping".to_owned());
        let slot = Arc::clone(&self.queries.slots).acquire_owned().await.map_err(closed)?;
        let (slice, clock) = (self.queries.slice, Arc::clone(&self.queries.clock));
        let step = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            let deadline = clock.instant() + slice.time_max;
            let spent = || clock.instant() >= deadline;
            let budget = Budget { events_max: slice.events_max, bytes_max: slice.bytes_max, spent: &spent };
            let (found, progress) = read(scan.as_mut(), budget)?;
            Ok((scan, found, progress))
        });
        let (scan, found, progress) = step.await.map_err(|panic| Error::Closed(panic.to_string()))??;
        self.cursor.clone_from(scan.cursor());
        if progress == Progress::More {
            self.scan = Some(scan);
        }
        Ok((found, progress))
    }
}
