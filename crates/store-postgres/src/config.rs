//! What an operator decides about the database.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of one pod's store.
#[derive(Debug, Clone)]
pub struct Config {
    /// `postgres://user@host/database?sslmode=verify-full&sslrootcert=FILE`.
    pub url: String,
    /// A server that follows the first, for reading what it has already; with the same password. The name may lead to one of several, but
    /// each connection to one and no other.
    pub replica_url: Option<String>,
    /// Holds the password, if the URL does not.
    pub password_file: Option<PathBuf>,
    /// The schema that holds the tables: a plain lowercase name.
    pub schema: String,
    /// What this pod is called in the cluster.
    pub pod: String,
    /// How long a stream stays a pod's that is not heard of.
    pub lease: Duration,
    /// Connections for reading. None for a tenth of the server's limit.
    pub readers: Option<usize>,
    /// After this long the server gives up a statement.
    pub statement_timeout: Duration,
    /// How long a commit goes on trying while the server cannot be reached.
    pub commit_patience: Duration,
    /// Behind PgBouncer in transaction mode: nothing is set on a connection.
    pub pooler: bool,
    /// Whether to keep an audit tree.
    pub audit: bool,
    /// Whether to take a stream at once, as a pod does, and to bring the tables up to date; a tool takes one only if it commits, and finds
    /// the tables as they must be.
    pub takes_stream: bool,
}

impl Config {
    /// For `url`, with defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            replica_url: None,
            password_file: None,
            schema: "towpath".into(),
            pod: "pod".into(),
            lease: Duration::from_secs(15),
            readers: None,
            statement_timeout: Duration::from_secs(30),
            commit_patience: Duration::from_secs(10),
            pooler: false,
            audit: true,
            takes_stream: true,
        }
    }
}
