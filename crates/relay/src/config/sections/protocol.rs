//! Parts of the protocol that an operator may switch off.

use crate::config::codec::Switch;
use crate::config::setting::{Section, setting};

/// `[protocol]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Protocol {
    pub vanish: bool,
    pub eose_hints: bool,
    pub count: bool,
}

impl Default for Protocol {
    fn default() -> Self {
        Self { vanish: true, eose_hints: true, count: true }
    }
}

pub(super) const SECTION: Section = Section {
    name: "protocol",
    what: "Optional parts of the protocol. NIP-11 announces those that are on.",
    settings: &[
        setting!(
            protocol.vanish,
            Switch,
            "vanish",
            Restart,
            "Honours requests to vanish (NIP-62): everything of a key is deleted for good when it asks.",
            "People have a right to leave.",
        ),
        setting!(
            protocol.eose_hints,
            Switch,
            "eose_hints",
            Restart,
            "EOSE says whether every stored match was sent (NIP-67), as a third element.",
            "Clients learn when to stop asking. A few old ones insist on two elements: switch it off for them.",
        ),
        setting!(
            protocol.count,
            Switch,
            "count",
            Restart,
            "Answers COUNT (NIP-45).",
            "It costs less than the REQ a client would send instead.",
        ),
    ],
};
