//! How fast clients may go.
//!
//! Each class of work has a token bucket for each scope: it refills at `per_s` and holds `burst`.

use crate::config::codec::Number;
use crate::config::setting::{Section, setting};

/// `[rates]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// Stored events.
    pub publish: ClassRates,
    /// Ephemeral events.
    pub ephemeral: ClassRates,
    /// REQ and COUNT.
    pub query: ClassRates,
}

/// The rates of one class of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassRates {
    /// For one client address; loopback and trusted addresses are exempt.
    pub per_address: Rate,
    /// For one authenticated key.
    pub per_key: Rate,
    /// For one connection.
    pub per_connection: Rate,
}

/// One token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come back in a second; 0 is no limit.
    pub per_s: u32,
    /// Tokens a rested client has.
    pub burst: u32,
}

const fn rate(per_s: u32, burst: u32) -> Rate {
    Rate { per_s, burst }
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            publish: ClassRates {
                per_address: rate(500, 10_000),
                per_key: rate(200, 5000),
                per_connection: rate(5000, 50_000),
            },
            ephemeral: ClassRates {
                per_address: rate(1000, 10_000),
                per_key: rate(500, 5000),
                per_connection: rate(5000, 50_000),
            },
            query: ClassRates {
                per_address: rate(200, 5000),
                per_key: rate(100, 2500),
                per_connection: rate(1000, 10_000),
            },
        }
    }
}

pub(super) const SECTION: Section = Section {
    name: "rates",
    what: "How fast clients may go. Each rate refills a bucket that holds `burst`: an event takes one for each KiB it \
           has begun, a REQ or COUNT takes one. A refusal names the seconds to wait. 0 switches a rate off. The defaults \
           are far above what a normal client does.",
    settings: &[
        setting!(
            rates.publish.per_address.per_s, Number<0, 1_000_000>, "publish_per_address_per_s", Live,
            "Stored events published in a second from one client address (an IPv6 /64 is one). Loopback and `trusted_addresses` are exempt.",
            "An account's whole history can be brought over in one go; an office shares one address.",
        ),
        setting!(
            rates.publish.per_address.burst, Number<1, 10_000_000>, "publish_per_address_burst", Live,
            "How many at once after a rest.",
            "20 seconds of the rate.",
        ),
        setting!(
            rates.publish.per_key.per_s, Number<0, 1_000_000>, "publish_per_key_per_s", Live,
            "Stored events published in a second by one authenticated key, on all its connections.",
            "Far above a busy agent; the key counts on whichever connection it is authenticated.",
        ),
        setting!(
            rates.publish.per_key.burst, Number<1, 10_000_000>, "publish_per_key_burst", Live,
            "How many at once after a rest.",
            "25 seconds of the rate.",
        ),
        setting!(
            rates.publish.per_connection.per_s, Number<0, 1_000_000>, "publish_per_connection_per_s", Live,
            "Stored events published in a second on one connection.",
            "Only stops a runaway programme on a trusted address, where no other limit applies.",
        ),
        setting!(
            rates.publish.per_connection.burst, Number<1, 10_000_000>, "publish_per_connection_burst", Live,
            "How many at once after a rest.",
            "10 seconds of the rate.",
        ),
        setting!(
            rates.ephemeral.per_address.per_s, Number<0, 1_000_000>, "ephemeral_per_address_per_s", Live,
            "Ephemeral events published in a second from one client address (an IPv6 /64 is one). Loopback and `trusted_addresses` are exempt.",
            "Typing signs and streamed answers come in bursts, and cost no disk.",
        ),
        setting!(
            rates.ephemeral.per_address.burst, Number<1, 10_000_000>, "ephemeral_per_address_burst", Live,
            "How many at once after a rest.",
            "10 seconds of the rate.",
        ),
        setting!(
            rates.ephemeral.per_key.per_s, Number<0, 1_000_000>, "ephemeral_per_key_per_s", Live,
            "Ephemeral events published in a second by one authenticated key, on all its connections.",
            "Far above an agent that streams its answer token by token.",
        ),
        setting!(
            rates.ephemeral.per_key.burst, Number<1, 10_000_000>, "ephemeral_per_key_burst", Live,
            "How many at once after a rest.",
            "10 seconds of the rate.",
        ),
        setting!(
            rates.ephemeral.per_connection.per_s, Number<0, 1_000_000>, "ephemeral_per_connection_per_s", Live,
            "Ephemeral events published in a second on one connection.",
            "Only stops a runaway programme on a trusted address, where no other limit applies.",
        ),
        setting!(
            rates.ephemeral.per_connection.burst, Number<1, 10_000_000>, "ephemeral_per_connection_burst", Live,
            "How many at once after a rest.",
            "10 seconds of the rate.",
        ),
        setting!(
            rates.query.per_address.per_s, Number<0, 1_000_000>, "query_per_address_per_s", Live,
            "REQ and COUNT messages in a second from one client address (an IPv6 /64 is one). Loopback and `trusted_addresses` are exempt.",
            "After a restart every client behind one address opens its subscriptions at once.",
        ),
        setting!(
            rates.query.per_address.burst, Number<1, 10_000_000>, "query_per_address_burst", Live,
            "How many at once after a rest.",
            "25 seconds of the rate.",
        ),
        setting!(
            rates.query.per_key.per_s, Number<0, 1_000_000>, "query_per_key_per_s", Live,
            "REQ and COUNT messages in a second by one authenticated key, on all its connections.",
            "Far above what all clients of one person ask for.",
        ),
        setting!(
            rates.query.per_key.burst, Number<1, 10_000_000>, "query_per_key_burst", Live,
            "How many at once after a rest.",
            "25 seconds of the rate: twice as many as a client may have open, which it asks for at once after it reconnects.",
        ),
        setting!(
            rates.query.per_connection.per_s, Number<0, 1_000_000>, "query_per_connection_per_s", Live,
            "REQ and COUNT messages in a second on one connection.",
            "Only stops a runaway programme on a trusted address, where no other limit applies.",
        ),
        setting!(
            rates.query.per_connection.burst, Number<1, 10_000_000>, "query_per_connection_burst", Live,
            "How many at once after a rest.",
            "10 seconds of the rate.",
        ),
    ],
};
