//! Other pods of the same relay.

use std::path::PathBuf;

use crate::config::codec::{BusUrl, Optional, OptionalFile, PodName};
use crate::config::setting::{Section, setting};

/// `[cluster]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    pub bus: Option<String>,
    pub bus_password_file: Option<PathBuf>,
    pub pod: Option<String>,
}

pub(super) const SECTION: Section = Section {
    name: "cluster",
    what: "Other pods of the same relay. All share the database of `store.url` and the relay's key.",
    settings: &[
        setting!(
            cluster.bus,
            Optional<BusUrl>,
            "bus",
            Restart,
            "Redis 7 or Valkey, where pods hear of each other's events: redis://, rediss:// with TLS, \
             redis+sentinel://host:port,…/master or rediss+sentinel://; ?sslrootcert=FILE names a private authority. Also \
             `--bus`. Without it pods look into the database, which `store.url` names in any case.",
            "One pod needs none; without it events of other pods come some 20 to 250 ms later, and ephemeral ones not at all.",
        ),
        setting!(
            cluster.bus_password_file,
            OptionalFile,
            "bus_password_file",
            Restart,
            "A file with the password of the bus.",
            "A URL may carry it, and a server on this machine may ask for none.",
        ),
        setting!(
            cluster.pod,
            Optional<PodName>,
            "pod",
            Restart,
            "What this pod is called in `towpath cluster status` and in the database's list of connections.",
            "Empty: the host's name and the process.",
        ),
    ],
};
