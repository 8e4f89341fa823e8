//! What an operator decides about the database.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of one pod's store.
#[derive(Debug, Clone)]
pub struct Config {
    /// `postgres://user@host/database?sslmode=verify-full&sslrootcert=FILE`.
    pub url: String,
    /// A server that follows the first, for reading what it has already; with the same password.
    pub replica_url: Option<String>,
    /// Holds the password, if the URL does not.
    pub password_file: Option<PathBuf>,
    /// The schema that holds the tables: a plain lowercase name.
    pub schema: String,
    /// What this pod is called in the cluster.
    pub pod: String,
    /// How long a stream stays a pod's that is not heard of.
    pub lease: Duration,
    /// Connections for reading. None for as many as the server's limit leaves for a pod of ten.
    pub readers: Option<usize>,
    /// After this long the server gives up a statement.
    pub statement_timeout: Duration,
    /// How long a commit goes on trying while the server cannot be reached.
    pub commit_patience: Duration,
    /// Behind PgBouncer in transaction mode: nothing is set on a connection.
    pub pooler: bool,
    /// Whether to keep an audit tree.
    pub audit: bool,
    /// Whether to take a stream at once, as a pod does; a tool takes one only if it commits.
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
