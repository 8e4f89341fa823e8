//! Going on to the next log file, which is made beforehand on a thread of its own: writing all of it takes too long for the keeper,
//! let alone a commit.

use std::sync::Arc;
use std::thread::JoinHandle;

use towpath_store::Error;

use crate::Shared;
use crate::commit::Writer;
use crate::log::append::prepare_segment;
use crate::log::segment::Segment;

/// The next log file, in the making.
pub(crate) type Preparing = JoinHandle<Result<Segment, Error>>;

impl Shared {
    /// Has the next file made once this one, which has records up to `end`, is half used.
    pub(crate) fn prepare_in_time(&self, end: u64) {
        if end >= self.log.segment_bytes / 2
            && let Err(error) = self.prepare()
        {
            tracing::warn!(%error, "the next log file cannot be prepared");
        }
    }

    fn prepare(&self) -> Result<(), Error> {
        let mut preparing = self.preparing.lock();
        if preparing.is_none() {
            let log = Arc::clone(&self.log);
            let thread = std::thread::Builder::new().name("store-log-file".into());
            let started = thread.spawn(move || prepare_segment(&log));
            *preparing = Some(started.map_err(|e| Error::io("prepare a log file", e))?);
        }
        Ok(())
    }

    /// Starts the next file if this one has its size and the next is ready; otherwise this one just grows on.
    pub(crate) fn roll_if_full(&self, writer: &mut Writer) -> Result<(), Error> {
        if !writer.appender.is_full(&self.log) {
            return Ok(());
        }
        let Some(ready) = self.preparing.lock().take_if(|preparing| preparing.is_finished()) else { return Ok(()) };
        match finish(ready) {
            Ok(next) => writer.appender.roll(&self.log, next),
            Err(error) => {
                tracing::warn!(%error, "the next log file could not be prepared; the present one grows on");
                Ok(())
            }
        }
    }

    /// Closes the file that starts with the entry given, if it is still written to. Waits for the next to be made, but lets commits
    /// go on meanwhile.
    pub(crate) fn close_if_open(&self, segment: &Segment) -> Result<(), Error> {
        let is_open = |writer: &Writer| writer.appender.segment().first_seq == segment.first_seq;
        if !is_open(&self.writer.lock()) {
            return Ok(());
        }
        let preparing = self.preparing.lock().take();
        let next = preparing.map_or_else(|| prepare_segment(&self.log), finish)?;
        let mut writer = self.writer.lock();
        if is_open(&writer) { writer.appender.roll(&self.log, next) } else { discard(&next) }
    }

    /// Waits for the thread and removes what it made; for closing.
    pub(crate) fn stop_preparing(&self) {
        let preparing = self.preparing.lock().take();
        if let Some(next) = preparing.and_then(|preparing| finish(preparing).ok())
            && let Err(error) = discard(&next)
        {
            tracing::warn!(%error, "an unused log file is left for the next start to remove");
        }
    }
}

fn finish(preparing: Preparing) -> Result<Segment, Error> {
    let panicked = |_| Err(Error::io("prepare a log file", std::io::Error::other("the thread panicked")));
    preparing.join().unwrap_or_else(panicked)
}

fn discard(unused: &Segment) -> Result<(), Error> {
    std::fs::remove_file(&unused.path).map_err(|e| Error::io("remove an unused log file", e))
}
