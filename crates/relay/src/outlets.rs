//! Where a commit leaves: to the subscriptions of this pod at once, and then to the other pods.

use std::time::Instant;

use towpath_deliver::Deliver;
use towpath_protocol::Event;
use towpath_store::{Committed, Deliverer, Delivery};

use crate::cluster::Announcer;

/// See the module.
pub(crate) struct Outlets {
    pub(crate) deliver: Deliver,
    /// `None` for a relay of one pod.
    pub(crate) others: Option<Announcer>,
}

impl Delivery for Outlets {
    fn hand_over(&self, batch: &Committed, at: Instant) -> Deliverer {
        self.deliver.hand_over(batch, at)
    }

    fn acknowledged(&self, batch: &Committed, at: Instant, deliverer: Deliverer) {
        self.deliver.acknowledged(batch, at, deliverer);
        if let Some(others) = &self.others {
            others.committed(batch, at);
        }
    }

    /// Whether somebody listens on another pod is not known: with others, somebody may while the bus is up.
    fn ephemeral(&self, event: &Event) -> usize {
        let here = self.deliver.ephemeral(event);
        match &self.others {
            Some(others) if others.ephemeral(event) => here.max(1),
            _ => here,
        }
    }
}
