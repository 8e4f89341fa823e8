//! The relay as the edge sees it: a starting one at first, the node once there is a store.
//!
//! Must not know: how either comes about.

use std::mem::Discriminant;
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use towpath_gateway::{Peer, Refused, Resource, ResourceRequest};
use towpath_store::Error;

use crate::config::Config;
use crate::connection::Inbound;
use crate::node::Node;
use crate::opening::Opening;
use crate::outbound::Outbound;
use crate::{audit_pages, build, information, landing};

/// For clients of a relay whose index is being rebuilt: seconds or minutes, so that nobody has to hurry.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Somebody to hand to the edge before the store is open.
pub(crate) struct Edge {
    node: OnceLock<Arc<Node>>,
    opening: Arc<Opening>,
    /// The warning that the relay has no name is for once.
    unnamed: Once,
    /// The log has the reason for what the public is told of the store.
    logged: Mutex<Option<Discriminant<Error>>>,
}

impl Edge {
    /// Refuses everything until it is [opened](Self::open).
    pub(crate) fn starting(opening: Arc<Opening>) -> Self {
        Self { node: OnceLock::new(), opening, unnamed: Once::new(), logged: Mutex::default() }
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

    /// Whoever a proxy on this machine sends calls the relay by a name that it does not know.
    fn warn_if_unnamed(&self, config: &Config, peer: &Peer) {
        let is_forwarded = config.server.listen.ip().is_loopback() && !peer.address.is_loopback();
        if config.relay.url.is_none() && is_forwarded {
            self.unnamed.call_once(|| {
                tracing::warn!(
                    "clients come through a proxy, and relay.url is not set: they cannot authenticate or ask to vanish"
                );
            });
        }
    }

    /// For the log, once each time that the store becomes unwell in another way: what names this machine's folders or servers is not public.
    fn log_health(&self, config: &Config, health: &Result<(), Error>) {
        let way = health.as_ref().err().map(std::mem::discriminant);
        let is_news = std::mem::replace(&mut *self.logged.lock(), way) != way;
        if let Err(error) = health
            && is_news
        {
            let (folder, free_bytes) = (config.store.data.display(), build::free_bytes(config));
            tracing::warn!(%error, %folder, free_bytes, "the store is unwell");
        }
    }
}

/// Why events are refused, or soon will be.
fn want_of_room(config: &Config) -> String {
    match build::free_bytes(config).filter(|free| *free < config.store.free_bytes_min) {
        Some(_) => "less than store.free_bytes_min is free: events are refused when the next log file is needed".into(),
        None => Error::Full.to_string(),
    }
}

impl towpath_gateway::Relay for Edge {
    type Inbound = Inbound;
    type Outbound = Outbound;

    fn connect(&self, peer: Peer) -> Result<(Inbound, Outbound), Refused> {
        let node = self.node()?;
        self.warn_if_unnamed(&node.config.get(), &peer);
        Ok(Inbound::open(node, &peer))
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
        let (config, health) = (node.config.get(), node.store.health());
        self.log_health(&config, &health);
        let full = match health {
            Ok(()) => None,
            // Reading goes on: nobody is better off elsewhere.
            Err(Error::Full) => Some(want_of_room(&config)),
            Err(_) => return Err("the store is unwell: the relay's log says why".into()),
        };
        let warnings = [full, node.findings.warning(), node.watch.as_ref().and_then(|watch| watch.warning())];
        let warnings: Vec<String> = warnings.into_iter().flatten().collect();
        Ok((!warnings.is_empty()).then(|| warnings.join("; ")))
    }

    fn metrics(&self) -> Result<String, Refused> {
        let node = self.node()?;
        node.ingest.note_state();
        node.metrics.note_unindexed(node.store.unindexed());
        Ok(node.metrics.text())
    }

    async fn resource(&self, request: ResourceRequest) -> Result<Option<Resource>, Refused> {
        Ok(audit_pages::serve(self.node()?, request).await)
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
        let request = ResourceRequest {
            method: "GET".into(),
            peer: Peer { address: [127, 0, 0, 1].into(), trusted: true },
            path: "/audit".into(),
            query: String::new(),
            authorization: None,
        };
        let refused = edge.resource(request).await.expect_err("refused, and not said to be nowhere");
        assert_eq!(refused.reason, reason);
    }

    #[test]
    fn a_rebuild_ends_when_the_relay_is_told_to_stop() {
        let opening = Opening::default();
        opening.give_up();
        assert_eq!(opening.note(1, 200), ControlFlow::Break(()));
    }
}
