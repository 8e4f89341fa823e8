//! From one process to the next on the same data folder.
//!
//! A relay that drains says so with a marker file. The next process finds the folder in use, sees the marker, opens the port and
//! waits for the folder; without the marker somebody started a second relay by mistake, and it is refused at once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use towpath_runtime::Clock;
use towpath_store::{Error, EventStore};

/// Between two attempts to open a folder that is being left.
const PAUSE: Duration = Duration::from_millis(20);

fn marker(folder: &Path) -> PathBuf {
    folder.join("draining")
}

/// Tells the next process that this one is leaving.
pub(crate) fn announce_leaving(folder: &Path) {
    if let Err(error) = fs::write(marker(folder), std::process::id().to_string()) {
        tracing::warn!(%error, "the next process will not know that this one is leaving");
    }
}

/// This process has left. A marker of another one, which may have come and be leaving already, stays.
pub(crate) fn have_left(folder: &Path) {
    if fs::read_to_string(marker(folder)).is_ok_and(|whose| whose == std::process::id().to_string()) {
        forget_leaving(folder);
    }
}

/// Whether another process is leaving the folder, or was when it was killed.
pub(crate) fn is_being_left(folder: &Path) -> bool {
    marker(folder).exists()
}

/// Opens the store with `open`; waits up to `patience` for a process that is leaving.
pub(crate) async fn take_over(
    folder: &Path,
    patience: Duration,
    clock: &dyn Clock,
    open: impl Fn() -> Result<Arc<dyn EventStore>, Error>,
) -> Result<Arc<dyn EventStore>, Error> {
    let deadline = clock.instant() + patience;
    loop {
        // Looked at first: who leaves takes the marker away once the folder is free.
        let leaving = is_being_left(folder);
        match open() {
            Err(Error::InUse) if leaving && clock.instant() < deadline => tokio::time::sleep(PAUSE).await,
            Ok(store) => {
                forget_leaving(folder);
                return Ok(store);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Nobody is leaving any more.
fn forget_leaving(folder: &Path) {
    match fs::remove_file(marker(folder)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::warn!(%error, "a stale marker stays"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use towpath_runtime::ManualClock;
    use towpath_store::memory::MemoryStore;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A folder that the other process leaves after so many attempts to open it, a second each.
    struct Leaving {
        folder: tempfile::TempDir,
        clock: ManualClock,
        attempts: Cell<u64>,
        left_after: u64,
    }

    impl Leaving {
        fn after(left_after: u64) -> Self {
            let folder = tempfile::tempdir().unwrap();
            Self { folder, clock: ManualClock::at(0), attempts: Cell::new(0), left_after }
        }

        fn open(&self) -> Result<Arc<dyn EventStore>, Error> {
            self.clock.advance(Duration::from_secs(1));
            self.attempts.set(self.attempts.get() + 1);
            if self.attempts.get() <= self.left_after { Err(Error::InUse) } else { Ok(Arc::new(MemoryStore::new())) }
        }

        async fn take_over(&self) -> Result<(), Error> {
            take_over(self.folder.path(), PATIENCE, &self.clock, || self.open()).await.map(drop)
        }

        fn is_marked(&self) -> bool {
            marker(self.folder.path()).exists()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_is_being_left_is_waited_for() {
        let leaving = Leaving::after(3);
        announce_leaving(leaving.folder.path());
        assert!(leaving.is_marked());
        assert!(leaving.take_over().await.is_ok());
        assert_eq!(leaving.attempts.get(), 4);
        assert!(!leaving.is_marked(), "the new process is not leaving");
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_is_in_use_by_a_relay_that_stays_is_refused_at_once() {
        let staying = Leaving::after(u64::MAX);
        assert!(matches!(staying.take_over().await, Err(Error::InUse)));
        assert_eq!(staying.attempts.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_with_a_process_that_never_leaves_comes_to_an_end() {
        let stuck = Leaving::after(u64::MAX);
        announce_leaving(stuck.folder.path());
        assert!(matches!(stuck.take_over().await, Err(Error::InUse)));
        assert_eq!(stuck.attempts.get(), PATIENCE.as_secs(), "a second each");
        assert!(stuck.is_marked(), "whoever tries next should wait too");
    }

    #[tokio::test(start_paused = true)]
    async fn a_marker_left_by_a_crash_is_forgotten_by_the_next_process() {
        let free = Leaving::after(0);
        announce_leaving(free.folder.path());
        assert!(free.take_over().await.is_ok());
        assert!(!free.is_marked());
    }

    #[test]
    fn a_process_that_has_left_takes_away_its_own_marker_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        announce_leaving(folder.path());
        have_left(folder.path());
        assert!(!is_being_left(folder.path()));
        fs::write(marker(folder.path()), "1").unwrap();
        have_left(folder.path());
        assert!(is_being_left(folder.path()), "process 1 is leaving still");
    }

    #[tokio::test(start_paused = true)]
    async fn no_other_failure_is_waited_out() {
        let folder = tempfile::tempdir().unwrap();
        announce_leaving(folder.path());
        for error in [Error::Full, Error::Corrupt("for a test".into())] {
            let attempts = Cell::new(0);
            let open = || {
                attempts.set(attempts.get() + 1);
                Err(error.clone())
            };
            let opened = take_over(folder.path(), PATIENCE, &ManualClock::at(0), open).await;
            assert_eq!(opened.err().map(|error| error.to_string()), Some(error.to_string()));
            assert_eq!(attempts.get(), 1);
        }
    }
}
