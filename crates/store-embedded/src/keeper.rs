//! The store's one thread: indexes what was committed and keeps the log ready for the next commit.
//!
//! Must not know: how writes are decided. Everything it does is off the way of a commit.

use std::sync::Arc;
use std::thread::JoinHandle;

use towpath_store::{Error, Seq};

use crate::Shared;
use crate::commit::Writer;
use crate::index::apply::Logged;
use crate::log::append::{fill_ahead, prepare_segment};
use crate::pending::{Job, Unindexed};

/// Starts the thread. It ends after `pending.stop()`.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<JoinHandle<()>, Error> {
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("store-keeper".into());
    thread.spawn(move || run(&shared)).map_err(|e| Error::io("start the store's thread", e))
}

fn run(shared: &Shared) {
    loop {
        match shared.pending.next_job() {
            Job::Index(batch) => match index(shared, &batch) {
                Ok(applied) => {
                    shared.pending.done(applied);
                    shared.keep_log_ready(&batch);
                }
                Err(error) => {
                    tracing::error!(%error, "a committed batch could not be indexed");
                    shared.pending.fail(error);
                }
            },
            Job::Stop => return,
        }
    }
}

fn index(shared: &Shared, batch: &Unindexed) -> Result<Seq, Error> {
    let _marker = shared.dirty_marker()?;
    let mut txn = shared.index.write()?;
    // Within the transaction, so that a file which compaction has just put in place is among them.
    let files = shared.log.files();
    shared.index.apply(&mut txn, &files, Logged { segment: &batch.segment, at: batch.at, record: &batch.record })?;
    shared.index.commit(txn)?;
    Ok(Seq(batch.record.header.next_seq().0 - 1))
}

impl Shared {
    /// Zeroes ahead, or prepares the next file. A failure is not one yet: the commit that finds no room will say so.
    fn keep_log_ready(&self, batch: &Unindexed) {
        let end = u64::from(batch.at) + batch.record.header.record_bytes() as u64;
        let kept = if batch.segment.len() < self.log.segment_bytes {
            fill_ahead(&self.log, &batch.segment, end)
        } else {
            self.prepare()
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "the log could not be extended ahead of need");
        }
    }

    fn prepare(&self) -> Result<(), Error> {
        let mut prepared = self.prepared.lock();
        if prepared.is_none() {
            *prepared = Some(prepare_segment(&self.log)?);
        }
        Ok(())
    }

    /// Closes the log file that is written to, unless it is empty, and starts the next.
    pub(crate) fn roll(&self, writer: &mut Writer) -> Result<(), Error> {
        self.prepare()?;
        let next = self.prepared.lock().take().filter(|_| writer.appender.end() > 0);
        next.map_or(Ok(()), |next| writer.appender.roll(&self.log, next))
    }

    /// The same if the file has its size and the next is ready; otherwise the file just grows on.
    pub(crate) fn roll_if_full(&self, writer: &mut Writer) -> Result<(), Error> {
        if !writer.appender.is_full(&self.log) {
            return Ok(());
        }
        let next = self.prepared.try_lock().and_then(|mut prepared| prepared.take());
        next.map_or(Ok(()), |next| writer.appender.roll(&self.log, next))
    }
}
