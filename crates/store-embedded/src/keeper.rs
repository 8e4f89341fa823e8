//! The store's own thread: indexes what was committed and has the next log file made in time.
//!
//! Must not know: how writes are decided. Everything it does is off the way of a commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use towpath_store::{Error, Seq};

use crate::Shared;
use crate::index::apply::Logged;
use crate::index::run::Run;
use crate::pending::{Job, Unindexed};

/// Starts the thread. It ends after `pending.stop()`.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<JoinHandle<()>, Error> {
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("store-keeper".into());
    let body = move || {
        // Commits wait for this thread: without it the store would hang and look alive. A restart recovers exactly.
        if catch_unwind(AssertUnwindSafe(|| run(&shared))).is_err() {
            std::process::abort();
        }
    };
    thread.spawn(body).map_err(|e| Error::io("start the store's thread", e))
}

fn run(shared: &Shared) {
    loop {
        match shared.pending.next_job() {
            Job::Index { batches, wanted } => match index(shared, &batches, wanted) {
                Ok(()) => finished(shared, &batches),
                Err(error) => {
                    tracing::error!(%error, "a committed batch could not be indexed");
                    shared.pending.fail(error);
                }
            },
            Job::Stop => return,
        }
    }
}

/// All of `batches` in one transaction.
fn index(shared: &Shared, batches: &[Arc<Unindexed>], wanted: bool) -> Result<(), Error> {
    let _marker = shared.dirty_marker()?;
    shared.tree_files.flush_if_many()?;
    let mut txn = shared.index.write()?;
    // Within the transaction, so that a file which compaction has just put in place is among them.
    let files = shared.log.files();
    let mut run = Run::new(wanted);
    for batch in batches {
        let logged = Logged { segment: &batch.segment, at: batch.at, record: &batch.record };
        shared.index.apply(&mut txn, &files, logged, &mut run)?;
    }
    run.flush(&shared.index, &mut txn)?;
    shared.index.commit(txn)?;
    // Not before: a batch that could not be indexed comes again.
    shared.tree_files.keep(batches.iter().flat_map(|batch| &batch.nodes).copied());
    Ok(())
}

fn finished(shared: &Shared, batches: &[Arc<Unindexed>]) {
    let Some(last) = batches.last() else { return };
    let header = &last.record.header;
    shared.pending.done(batches.len(), Seq(header.next_seq().0 - 1));
    shared.prepare_in_time(u64::from(last.at) + header.record_bytes() as u64);
}
