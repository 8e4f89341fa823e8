//! Rate limits by address, key and connection, for each class of work.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use towpath_protocol::PublicKey;
use towpath_runtime::{Rate, RateLimiter};

use crate::config::{ClassRates, Rates};

/// Buckets kept at most; some 100 bytes each.
const BUCKETS_MAX: usize = 200_000;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Publish,
    Ephemeral,
    Query,
}

impl Class {
    /// As named in refusals.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Publish => "events",
            Self::Ephemeral => "ephemeral events",
            Self::Query => "queries",
        }
    }

    fn rates(self, rates: &Rates) -> ClassRates {
        match self {
            Self::Publish => rates.publish,
            Self::Ephemeral => rates.ephemeral,
            Self::Query => rates.query,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Scope {
    Address(IpAddr),
    Key(PublicKey),
    Connection(u64),
}

/// Who asks. Keys are those the connection proved: what an event merely claims is no ground to limit its alleged author.
pub(crate) struct Asker<'a> {
    pub(crate) connection: u64,
    /// `None` if exempt.
    pub(crate) address: Option<IpAddr>,
    pub(crate) keys: &'a [PublicKey],
}

/// The buckets of one relay.
pub(crate) struct Limiter(RateLimiter<(Scope, Class)>);

impl Limiter {
    pub(crate) fn new() -> Self {
        Self(RateLimiter::new(BUCKETS_MAX))
    }

    /// Takes one token from each bucket that applies, or says how long to wait.
    pub(crate) fn take(&self, class: Class, asker: &Asker<'_>, rates: &Rates, now: Instant) -> Result<(), Duration> {
        let of_class = class.rates(rates);
        let take = |scope, rate: crate::config::Rate| {
            let rate = Rate { per_second: f64::from(rate.per_s), burst: f64::from(rate.burst) };
            self.0.take((scope, class), rate, now)
        };
        take(Scope::Connection(asker.connection), of_class.per_connection)?;
        if let Some(address) = asker.address {
            take(Scope::Address(address), of_class.per_address)?;
        }
        asker.keys.iter().try_for_each(|key| take(Scope::Key(*key), of_class.per_key))
    }
}
