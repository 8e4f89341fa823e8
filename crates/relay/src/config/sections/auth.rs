//! Who has to say who they are.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::codec::{Kinds, Seconds, Switch};
use crate::config::setting::{Section, setting};

/// `[auth]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    pub challenge_on_connect: bool,
    pub to_write: bool,
    pub to_read: bool,
    pub private_kinds: BTreeSet<u16>,
    pub clock_skew_max: Duration,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            challenge_on_connect: true,
            to_write: false,
            to_read: false,
            private_kinds: BTreeSet::from([4, 1059, 21059]),
            clock_skew_max: Duration::from_secs(600),
        }
    }
}

pub(super) const SECTION: Section = Section {
    name: "auth",
    what: "Who has to say who they are (NIP-42).",
    settings: &[
        setting!(
            auth.challenge_on_connect,
            Switch,
            "challenge_on_connect",
            Live,
            "Sends the AUTH challenge at once. Otherwise it is sent with the first refusal that needs it.",
            "A client that wants its private messages can authenticate without a wasted round trip.",
        ),
        setting!(
            auth.to_write,
            Switch,
            "to_write",
            Live,
            "Only authenticated clients may publish.",
            "An open relay works with every client.",
        ),
        setting!(
            auth.to_read,
            Switch,
            "to_read",
            Live,
            "Only authenticated clients may subscribe and count.",
            "An open relay works with every client.",
        ),
        setting!(
            auth.private_kinds,
            Kinds,
            "private_kinds",
            Live,
            "Kinds that are served only to an authenticated author or `p`-tagged reader.",
            "Direct messages and gift wraps (NIP-04, NIP-59): who writes to whom is nobody else's business.",
        ),
        setting!(
            auth.clock_skew_max, Seconds<10, 86_400>, "clock_skew_max_s", Live,
            "How far `created_at` of an AUTH event may be from the relay's clock.",
            "The ten minutes NIP-42 suggests; clocks of phones are that far off.",
        ),
    ],
};
