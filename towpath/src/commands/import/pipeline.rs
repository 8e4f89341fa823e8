//! Threads and queues between reading, judging and committing. All queues are bounded, so a slow disk
//! slows the reading down.
//!
//! A chunk goes to whichever thread is free, and its answer slot into the queue of the committer, which
//! therefore takes the answers in the order of the lines.

use std::io::Read;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::Context;
use parking_lot::Mutex;
use towpath_runtime::{Clock, SystemClock};
use towpath_store::{Batch, EventStore, Outcome};

use super::chunk::{Chunk, Chunks, Position};
use super::judge::{Judge, Judged, LeftOut, Reason};

/// A chunk whose events are durable.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) end: Position,
    pub(super) stored: u64,
    pub(super) left_out: Vec<LeftOut>,
}

/// A chunk to judge, and where the answer is waited for.
type Task = (Chunk, SyncSender<anyhow::Result<Judged>>);
/// The answer to come for one chunk.
type Answer = Receiver<anyhow::Result<Judged>>;

/// Runs everything to the end of the input; `report` hears of each chunk in order. The first error ends it all.
pub(super) fn run<R: Read + Send>(
    chunks: Chunks<R>,
    judge: &Judge<'_>,
    store: &dyn EventStore,
    report: impl FnMut(Committed) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let (to_judge, tasks) = sync_channel(threads);
    let (in_order, answers) = sync_channel(2 * threads);
    let tasks = Mutex::new(tasks);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| read(chunks, to_judge, in_order));
        for _ in 0..threads {
            scope.spawn(|| judge_all(judge, &tasks));
        }
        // Takes the queue with it when it ends: the reader then stops, and with it the other threads.
        commit_all(answers, store, report)?;
        match reading.join() {
            Ok(read) => read.context("cannot read the input"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn read<R: Read>(
    mut chunks: Chunks<R>,
    to_judge: SyncSender<Task>,
    in_order: SyncSender<Answer>,
) -> std::io::Result<()> {
    while let Some(chunk) = chunks.next()? {
        let (slot, answer) = sync_channel(1);
        if in_order.send(answer).is_err() || to_judge.send((chunk, slot)).is_err() {
            // The committer has failed; its error is the one to report.
            break;
        }
    }
    Ok(())
}

fn judge_all(judge: &Judge<'_>, tasks: &Mutex<Receiver<Task>>) {
    loop {
        // The lock is held while waiting: one thread waits for the queue, the others for the lock.
        let task = tasks.lock().recv();
        let Ok((chunk, slot)) = task else { return };
        // Nobody takes the answer once the committer has failed; the queue is emptied all the same.
        let _ = slot.send(judge.judge(chunk));
    }
}

fn commit_all(
    answers: Receiver<Answer>,
    store: &dyn EventStore,
    mut report: impl FnMut(Committed) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for answer in answers {
        let judged = answer.recv().context("a verifying thread has died")??;
        report(commit(judged, store)?)?;
    }
    Ok(())
}

fn commit(chunk: Judged, store: &dyn EventStore) -> anyhow::Result<Committed> {
    let Judged { end, writes, mut left_out } = chunk;
    let (lines, writes): (Vec<u64>, Vec<_>) = writes.into_iter().unzip();
    let mut stored = 0;
    if !writes.is_empty() {
        let committed = store.commit(Batch::of(writes, SystemClock.unix_ms()))?;
        for (line, outcome) in lines.into_iter().zip(committed.outcomes) {
            match reason(outcome) {
                None => stored += 1,
                Some(reason) => left_out.push(LeftOut { line, reason, detail: String::new() }),
            }
        }
    }
    Ok(Committed { end, stored, left_out })
}

fn reason(outcome: Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Accepted(_) => None,
        Outcome::Duplicate => Some(Reason::Duplicate),
        Outcome::Superseded => Some(Reason::Superseded),
        Outcome::Deleted => Some(Reason::Deleted),
        Outcome::Vanished => Some(Reason::Vanished),
    }
}
