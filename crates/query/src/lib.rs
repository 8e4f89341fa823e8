//! Stored events for a REQ or COUNT, read in slices by a bounded number of readers.
//!
//! A slice ends when its time is over and its scan goes to the back of the line, so a scan of everything never delays a scan
//! of a few. Between slices nothing is held, so a slow client costs the store nothing. What is done with a slice is done by the reader
//! that read it: another thread would have to be woken for it, which costs more than most answers.
//!
//! Owns: the readers, which are threads, and the size of a slice. Must not know: which store it is, who the client is, how results are
//! sent.

mod limits;
#[cfg(test)]
mod tests;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Semaphore;
use towpath_protocol::HyperLogLog;
use towpath_runtime::{Clock, TaskGroup, Workers};
use towpath_store::{Budget, Count, Cursor, Error, EventStore, Progress, Query, Scan, Stored};

pub use limits::{QueryLimits, with_limits};

/// Reads for one relay. Clones share the readers.
#[derive(Clone)]
pub struct Queries {
    store: Arc<dyn EventStore>,
    readers: Arc<Workers>,
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
    /// Starts the readers: at most `parallel` slices are read at once. `waiting` is how many more could be.
    pub fn new(
        store: Arc<dyn EventStore>,
        parallel: usize,
        slice: Slice,
        clock: Arc<dyn Clock>,
        waiting: Gauge,
    ) -> io::Result<Self> {
        Ok(Self { store, readers: Arc::new(Workers::start("reader", parallel, waiting)?), slice, clock })
    }

    /// Runs `task` as part of `group` on the readers, where it may read slices.
    pub fn spawn(&self, group: &TaskGroup, task: impl Future<Output = ()> + Send + 'static) {
        self.readers.spawn(group, task);
    }

    /// Opens a scan.
    pub fn open(&self, query: Query) -> Result<Reading, Error> {
        let scan = self.store.scan(query)?;
        let (slice, clock) = (self.slice, Arc::clone(&self.clock));
        Ok(Reading { slice, clock, scan: Some(scan), has_begun: false, cursor: Cursor::start() })
    }

    /// Counts what a query matches, with the HyperLogLog of its authors if `hll_offset` is given. Every slice takes one of `turns`.
    /// Blocks its thread, as [`Reading::next`].
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
            if let Progress::Done(_) = reading.slice(|scan, budget| scan.count(budget, &mut total)).await? {
                return Ok((total.events, total.authors));
            }
            drop(turn);
            turn = turns.acquire().await;
        }
    }
}

/// A scan in progress.
pub struct Reading {
    slice: Slice,
    clock: Arc<dyn Clock>,
    /// `None` if it is over, or failed.
    scan: Option<Box<dyn Scan>>,
    has_begun: bool,
    cursor: Cursor,
}

impl Reading {
    /// Reads the next slice, after everybody who is in line if it is not the first. Blocks its thread for as long as a slice may take:
    /// only for tasks of [`Queries::spawn`]. Cancel-safe. A scan that ended or failed has no next slice, which is an error: an empty one
    /// would read as if there were nothing more to find.
    pub async fn next(&mut self) -> Result<(Vec<Stored>, Progress), Error> {
        let mut events = Vec::new();
        let progress = self.slice(|scan, budget| scan.next(budget, &mut events)).await?;
        Ok((events, progress))
    }

    /// What all that was read is covered by; known after the first slice.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    async fn slice(
        &mut self,
        read: impl FnOnce(&mut dyn Scan, Budget<'_>) -> Result<Progress, Error>,
    ) -> Result<Progress, Error> {
        if self.has_begun {
            tokio::task::yield_now().await;
        }
        self.has_begun = true;
        let Some(mut scan) = self.scan.take() else { return Err(Error::Closed("this scan is over".to_owned())) };
        let deadline = self.clock.instant() + self.slice.time_max;
        let spent = || self.clock.instant() >= deadline;
        let budget = Budget { events_max: self.slice.events_max, bytes_max: self.slice.bytes_max, spent: &spent };
        // Whoever asked must hear of it, which a task that ended cannot see to.
        let read = catch_unwind(AssertUnwindSafe(|| read(scan.as_mut(), budget)));
        let progress = read.unwrap_or_else(|_| Err(Error::Closed("a scan panicked".to_owned())))?;
        self.cursor.clone_from(scan.cursor());
        if progress == Progress::More {
            self.scan = Some(scan);
        }
        Ok(progress)
    }
}
