//! How the database is used, if there is one.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::codec::{CountOrAuto, Optional, OptionalFile, SchemaName, Seconds, StoreUrl, Switch};
use crate::config::setting::{Section, setting};

/// `[postgres]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Postgres {
    pub replica_url: Option<String>,
    pub password_file: Option<PathBuf>,
    pub schema: Option<String>,
    pub lease: Duration,
    pub readers: Option<std::num::NonZeroUsize>,
    pub statement_timeout: Duration,
    pub commit_patience: Duration,
    pub pooler: bool,
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            replica_url: None,
            password_file: None,
            schema: Some("towpath".into()),
            lease: Duration::from_secs(15),
            readers: None,
            statement_timeout: Duration::from_secs(30),
            commit_patience: Duration::from_secs(10),
            pooler: false,
        }
    }
}

pub(super) const SECTION: Section = Section {
    name: "postgres",
    what: "How the database is used, if `store.url` names one.",
    settings: &[
        setting!(
            postgres.replica_url,
            Optional<StoreUrl>,
            "replica_url",
            Restart,
            "A server that replicates the first. A request is read there if the replica has everything that the request must see, \
             and else from the first.",
            "One server answers both until reading is what it does most.",
        ),
        setting!(
            postgres.password_file,
            OptionalFile,
            "password_file",
            Restart,
            "A file with the password, so that it stands in no configuration and no list of processes.",
            "A URL may carry it, and a server on this machine may ask for none.",
        ),
        setting!(
            postgres.schema,
            Optional<SchemaName>,
            "schema",
            Restart,
            "The schema that holds Towpath's tables. Two clusters in one database need two.",
            "Easy to find beside other schemas.",
        ),
        setting!(
            postgres.lease, Seconds<2, 300>, "lease_s", Restart,
            "A pod that is not heard of for this long loses its stream: it is sealed, and another pod may take it.",
            "Longer than any pause of a healthy machine, and nobody waits for it: other pods go on meanwhile.",
        ),
        setting!(
            postgres.readers,
            CountOrAuto<1_000>,
            "readers",
            Restart,
            "Connections for reading, beside one for commits, and as many to a replica. 0: a tenth of what the server \
             allows, from 3 to 16.",
            "Eight pods and an operator's tools fit into a server's default limit of 100.",
        ),
        setting!(
            postgres.statement_timeout, Seconds<1, 3600>, "statement_timeout_s", Restart,
            "The server gives up a statement, a wait for a lock or an idle transaction after this long.",
            "Nothing the relay asks takes seconds, so what does is stuck.",
        ),
        setting!(
            postgres.commit_patience, Seconds<0, 300>, "commit_patience_s", Restart,
            "While the server cannot be reached, commits wait this long before their events are refused with `error:`.",
            "A restart of the server passes unnoticed; clients do not wait much longer.",
        ),
        setting!(
            postgres.pooler,
            Switch,
            "pooler",
            Restart,
            "PgBouncer in transaction mode is in between (1.21 or newer, with max_prepared_statements above 0): \
             nothing is set on a connection, so set for the role what docs/cluster.md lists.",
            "Towpath needs few connections; most set-ups have nothing in between.",
        ),
    ],
};
