//! How a store fails. Failures are the store's; what a client did wrong is an [`crate::Outcome`].

use std::sync::Arc;

/// The store could not do what was asked. Nothing of a failed commit is left behind.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No room. Writes are refused until there is; reads go on.
    #[error("the disk is full")]
    Full,
    /// Stored bytes are not what was written.
    #[error("corruption: {0}")]
    Corrupt(String),
    /// Another process has it open.
    #[error("the data folder is in use by another process")]
    InUse,
    /// The operating system or the engine failed.
    #[error("{context}: {cause}")]
    Io {
        /// What was being done.
        context: &'static str,
        /// What came of it. Its words are in those of this error, so it is not its source.
        cause: Arc<std::io::Error>,
    },
    /// Whatever keeps the events cannot be reached, or will not do it.
    #[error("{0}")]
    Unavailable(String),
    /// An earlier failure left it unable to commit; it must be reopened.
    #[error("the store is closed: {0}")]
    Closed(String),
}

impl Error {
    /// Wraps an I/O error; a full disk or quota is told apart.
    pub fn io(context: &'static str, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match source.kind() {
            StorageFull | QuotaExceeded => Self::Full,
            _ => Self::Io { context, cause: Arc::new(source) },
        }
    }
}
