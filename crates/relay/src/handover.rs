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
    if let Err(error) = fs::write(marker(folder), "") {
        tracing::warn!(%error, "the next process will not know that this one is leaving");
    }
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
        match open() {
            Err(Error::InUse) if marker(folder).exists() && clock.instant() < deadline => {
                tokio::time::sleep(PAUSE).await
            }
            Ok(store) => {
                forget_leaving(folder);
                return Ok(store);
            }
            Err(error) => return Err(error),
        }
    }
}

fn forget_leaving(folder: &Path) {
    match fs::remove_file(marker(folder)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::warn!(%error, "a stale marker stays"),
        _ => {}
    }
}
