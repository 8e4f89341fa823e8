//! The relay as the edge sees it: a starting one at first, the node once there is a store.
//!
//! Must not know: how either comes about.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use towpath_gateway::{Peer, Refused, Resource, ResourceRequest};

use crate::connection::{Inbound, Outbound};
use crate::node::Node;
use crate::opening::Opening;
use crate::{audit_pages, information, landing};

/// For clients of a relay whose index is being rebuilt: seconds or minutes, so that nobody has to hurry.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Somebody to hand to the edge before the store is open.
pub(crate) struct Edge {
    node: OnceLock<Arc<Node>>,
    opening: Arc<Opening>,
}

impl Edge {
    /// Refuses everything until it is [opened](Self::open).
    pub(crate) fn starting(opening: Arc<Opening>) -> Self {
        Self { node: OnceLock::new(), opening }
    }

    /// From now on `node` answers. Called once.
    pub(crate) fn open(&self, node: Arc<Node>) {
        // A second node would be another relay; the first stays.
        let _ = self.node.set(node);
        self.opening.done();
    }

    fn node(&self) -> Result<&Arc<Node>, Refused> {
        let refused = || Refused { too_many: false, reason: self.opening.progress().into(), retry_after: RETRY_AFTER };
        self.node.get().ok_or_else(refused)
    }
}

impl towpath_gateway::Relay for Edge {
    type Inbound = Inbound;
    type Outbound = Outbound;

    fn connect(&self, peer: Peer) -> Result<(Inbound, Outbound), Refused> {
        Ok(Inbound::open(self.node()?, &peer))
    }

    fn information(&self) -> Result<Bytes, Refused> {
        let node = self.node()?;
        Ok(information::document(&node.config.get(), &node.own_key))
    }

    fn landing(&self) -> Result<Bytes, Refused> {
        let node = self.node()?;
        Ok(landing::page(&node.config.get(), &node.address))
    }

    fn readiness(&self) -> Result<Option<String>, String> {
        let node = self.node().map_err(|refused| refused.reason.into_owned())?;
        node.store.health().map_err(|error| error.to_string())?;
        let warnings = [node.findings.warning(), node.watch.as_ref().and_then(|watch| watch.warning())];
        let warnings: Vec<String> = warnings.into_iter().flatten().collect();
        Ok((!warnings.is_empty()).then(|| warnings.join("; ")))
    }

    fn metrics(&self) -> Result<String, Refused> {
        let node = self.node()?;
        node.ingest.note_queue_age();
        Ok(node.metrics.text())
    }

    async fn resource(&self, request: ResourceRequest) -> Option<Resource> {
        audit_pages::serve(self.node().ok()?, request).await
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use towpath_gateway::Relay as _;

    use super::*;

    #[tokio::test]
    async fn a_relay_whose_index_is_being_rebuilt_says_how_far_it_is() {
        let opening = Arc::new(Opening::default());
        let edge = Edge::starting(Arc::clone(&opening));
        assert_eq!(opening.note(50, 200), ControlFlow::Continue(()));
        opening.worth_asking().await;
        let reason = edge.readiness().expect_err("not ready");
        assert!(reason.contains("50 of 200") && reason.contains("25%"), "{reason}");
        for refused in [edge.information(), edge.landing()].map(Result::err).into_iter().flatten() {
            assert_eq!((refused.too_many, refused.retry_after), (false, RETRY_AFTER));
            assert_eq!(refused.reason, reason);
        }
        assert!(edge.metrics().is_err());
    }

    #[test]
    fn a_rebuild_ends_when_the_relay_is_told_to_stop() {
        let opening = Opening::default();
        opening.give_up();
        assert_eq!(opening.note(1, 200), ControlFlow::Break(()));
    }
}
