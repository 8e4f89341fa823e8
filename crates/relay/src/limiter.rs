//! Rate limits by address, key and connection, for each class of work.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use towpath_gateway::{Network, Peer};
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scope {
    Address(IpAddr),
    Key(PublicKey),
    Connection(u64),
}

/// Who asks. Keys are those the connection proved: what an event merely claims is no ground to limit its alleged author.
pub(crate) struct Asker<'a> {
    /// `None` for a request that is no WebSocket's.
    pub(crate) connection: Option<u64>,
    /// `None` if exempt.
    pub(crate) address: Option<IpAddr>,
    pub(crate) keys: &'a [PublicKey],
}

/// The address that counts for a connection; `None` if it is exempt, as loopback is and what the operator trusts.
pub(crate) fn counted_address(peer: &Peer, trusted: &[Network]) -> Option<IpAddr> {
    let exempt = peer.trusted || trusted.iter().any(|network| network.contains(peer.address));
    (!exempt).then(|| peer.counted_as())
}

/// The tokens of an event: one for each KiB it has begun, because what it costs the relay grows with its tags and bytes.
pub(crate) fn tokens_of(event_bytes: usize) -> f64 {
    event_bytes.div_ceil(1024).max(1) as f64
}

/// The buckets of one relay.
pub(crate) struct Limiter(RateLimiter<(Scope, Class)>);

impl Limiter {
    pub(crate) fn new() -> Self {
        Self(RateLimiter::new(BUCKETS_MAX))
    }

    /// Takes tokens from every bucket that applies, or from none and says how long to wait: what a client is refused must not cost those
    /// who share its address or its key.
    pub(crate) fn take(
        &self,
        class: Class,
        tokens: f64,
        asker: &Asker<'_>,
        rates: &Rates,
        now: Instant,
    ) -> Result<(), Duration> {
        let of_class = class.rates(rates);
        let connection = asker.connection.map(|number| (Scope::Connection(number), of_class.per_connection));
        let keys = asker.keys.iter().map(|key| (Scope::Key(*key), of_class.per_key));
        let address = asker.address.map(|address| (Scope::Address(address), of_class.per_address));
        let buckets = connection.into_iter().chain(keys).chain(address).map(|(scope, rate)| {
            let rate = Rate { per_second: f64::from(rate.per_s), burst: f64::from(rate.burst) };
            ((scope, class), rate)
        });
        self.0.take(buckets, tokens, now)
    }
}

#[cfg(test)]
mod tests {
    use towpath_protocol::SecretKey;
    use towpath_runtime::{Clock, ManualClock};

    use super::*;
    use crate::config;

    const OFF: config::Rate = config::Rate { per_s: 0, burst: 1 };
    const TWO: config::Rate = config::Rate { per_s: 1, burst: 2 };
    const UNLIMITED: ClassRates = ClassRates { per_address: OFF, per_key: OFF, per_connection: OFF };

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn key(person: u8) -> PublicKey {
        SecretKey::from_bytes([person; 32]).unwrap().public_key()
    }

    fn publishing(publish: ClassRates) -> Rates {
        Rates { publish, ephemeral: UNLIMITED, query: UNLIMITED }
    }

    /// A limiter at one moment of a clock that stands still.
    struct World {
        limiter: Limiter,
        rates: Rates,
        clock: ManualClock,
    }

    impl World {
        fn with(rates: Rates) -> Self {
            Self { limiter: Limiter::new(), rates, clock: ManualClock::at(0) }
        }

        fn take(&self, connection: u64, address: Option<IpAddr>, keys: &[PublicKey]) -> Result<(), Duration> {
            self.take_of(Class::Publish, &Asker { connection: Some(connection), address, keys })
        }

        fn take_of(&self, class: Class, asker: &Asker<'_>) -> Result<(), Duration> {
            self.limiter.take(class, 1.0, asker, &self.rates, self.clock.instant())
        }
    }

    #[test]
    fn loopback_and_trusted_addresses_are_not_counted() {
        let trusted: Vec<Network> = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap()).into();
        for (client, loopback, expected) in [
            ("127.0.0.1", true, None),
            ("10.1.2.3", false, None),
            ("2001:db8::1", false, None),
            ("11.1.2.3", false, address("11.1.2.3")),
            // A customer has a /64 to choose addresses from.
            ("2001:db9::1:2:3:4", false, address("2001:db9::")),
        ] {
            let peer = Peer { address: client.parse().unwrap(), trusted: loopback };
            assert_eq!(counted_address(&peer, &trusted), expected, "{client}");
            let counted = counted_address(&peer, &[]);
            assert_eq!(counted.is_none(), loopback, "{client}, where no address is trusted");
        }
    }

    #[test]
    fn an_address_shares_its_limit_among_its_connections_and_an_exempt_one_has_none() {
        let world = World::with(publishing(ClassRates { per_address: TWO, ..UNLIMITED }));
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let taken = [(1, one), (2, one), (3, one), (4, other), (5, None), (5, None), (5, None)]
            .map(|(connection, address)| world.take(connection, address, &[]).is_ok());
        assert_eq!(taken, [true, true, false, true, true, true, true]);
    }

    #[test]
    fn a_connection_is_limited_even_where_its_address_is_exempt() {
        let world = World::with(publishing(ClassRates { per_connection: TWO, ..UNLIMITED }));
        let taken = [1, 1, 1, 2].map(|connection| world.take(connection, None, &[]).is_ok());
        assert_eq!(taken, [true, true, false, true]);
    }

    #[test]
    fn a_key_is_limited_on_all_its_connections_and_hides_behind_no_other_key() {
        let world = World::with(publishing(ClassRates { per_key: TWO, ..UNLIMITED }));
        let (alice, bob) = (key(1), key(2));
        for (connection, keys, expected) in [
            (1, &[alice][..], true),
            (2, &[alice], true),
            (3, &[alice], false),
            (4, &[bob, alice], false),
            (5, &[], true),
            (6, &[bob], true),
        ] {
            let taken = world.take(connection, address("192.0.2.1"), keys);
            assert_eq!(taken.is_ok(), expected, "connection {connection}");
        }
    }

    /// One key that went on used up what the others behind its address had.
    #[test]
    fn what_a_key_is_refused_does_not_cost_its_address() {
        let three = config::Rate { per_s: 1, burst: 3 };
        let world = World::with(publishing(ClassRates { per_key: TWO, per_address: three, ..UNLIMITED }));
        let taken = [1, 1, 1, 1, 1, 2].map(|person| world.take(1, address("192.0.2.1"), &[key(person)]).is_ok());
        assert_eq!(taken, [true, true, false, false, false, true]);
    }

    #[test]
    fn each_class_of_work_has_its_own_limit() {
        let two = ClassRates { per_connection: TWO, ..UNLIMITED };
        let world = World::with(Rates { publish: two, ephemeral: two, query: two });
        let asker = Asker { connection: Some(1), address: None, keys: &[] };
        let mut nouns = Vec::new();
        for class in [Class::Publish, Class::Ephemeral, Class::Query] {
            let taken = [(); 3].map(|()| world.take_of(class, &asker).is_ok());
            assert_eq!(taken, [true, true, false], "{class:?}");
            nouns.push(class.noun());
        }
        nouns.dedup();
        assert_eq!(nouns.len(), 3, "a refusal says which limit it was: {nouns:?}");
    }

    #[test]
    fn whoever_waits_as_told_is_served() {
        let rates = ClassRates { per_connection: TWO, per_address: TWO, per_key: TWO };
        let world = World::with(publishing(rates));
        let take = || world.take(1, address("192.0.2.1"), &[key(1)]);
        assert_eq!([take(), take()], [Ok(()), Ok(())]);
        let wait = take().unwrap_err();
        assert_eq!(wait, Duration::from_secs(1));
        world.clock.advance(wait);
        assert_eq!(take(), Ok(()));
        assert_eq!(take(), Err(wait));
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        let world = World::with(publishing(UNLIMITED));
        assert!((0..10_000).all(|_| world.take(1, address("192.0.2.1"), &[key(1)]).is_ok()));
    }
}
