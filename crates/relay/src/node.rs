//! One running relay: its pieces.

use std::sync::Arc;

use towpath_deliver::Deliver;
use towpath_ingest::Ingest;
use towpath_policy::Policy;
use towpath_protocol::PublicKey;
use towpath_query::Queries;
use towpath_runtime::{Clock, Live, Random, TaskGroup};
use towpath_store::EventStore;

use crate::audit_pages::AuditPages;
use crate::checkpoints::Checkpoints;
use crate::cluster::Watch;
use crate::config::Config;
use crate::connections::Connections;
use crate::limiter::Limiter;
use crate::metrics::Metrics;
use crate::reverify::Findings;
use crate::scans::Room;

/// What all connections of a relay share.
pub(crate) struct Node {
    pub(crate) config: Live<Config>,
    pub(crate) policy: Live<Policy>,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) ingest: Ingest,
    pub(crate) deliver: Deliver,
    /// `None` for a relay of one pod.
    pub(crate) watch: Option<Arc<Watch>>,
    pub(crate) queries: Queries,
    pub(crate) scan_room: Room,
    pub(crate) limiter: Limiter,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Random,
    pub(crate) tasks: TaskGroup,
    pub(crate) own_key: PublicKey,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) audit_pages: AuditPages,
    pub(crate) findings: Findings,
    /// Where clients connect, for the landing page.
    pub(crate) address: String,
    pub(crate) open: Connections,
}
