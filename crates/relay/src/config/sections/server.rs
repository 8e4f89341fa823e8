//! Listening, connections and their time limits.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use towpath_gateway::Network;

use super::count;
use crate::config::codec::{Address, Count, CountOrAuto, Networks, OptionalFile, Seconds, Switch};
use crate::config::setting::{Section, setting};

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    pub listen: SocketAddr,
    pub connections_max: NonZeroUsize,
    pub connections_per_address_max: NonZeroUsize,
    pub upgrades_per_second: NonZeroUsize,
    pub ping_interval: Duration,
    pub pong_timeout: Duration,
    pub write_timeout: Duration,
    pub handshake_timeout: Duration,
    pub compression: bool,
    pub drain_deadline: Duration,
    pub trusted_proxies: Vec<Network>,
    pub trusted_addresses: Vec<Network>,
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// Threads that serve connections; `None` is `queues.verify_parallel` + 2.
    pub workers: Option<NonZeroUsize>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7777)),
            connections_max: count(10_000),
            connections_per_address_max: count(100),
            upgrades_per_second: count(1_000),
            ping_interval: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            compression: true,
            drain_deadline: Duration::from_secs(20),
            trusted_proxies: vec![
                Network::new(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
                Network::new(Ipv6Addr::LOCALHOST.into(), 128),
            ],
            trusted_addresses: Vec::new(),
            tls_certificate: None,
            tls_key: None,
            workers: None,
        }
    }
}

pub(super) const SECTION: Section = Section {
    name: "server",
    what: "Where the relay listens and how long it waits for a client.",
    settings: &[
        setting!(
            server.listen,
            Address,
            "listen",
            Restart,
            "The address and port for WebSocket and HTTP. Also `--listen`.",
            "Loopback: a relay that was just tried out is not open to the network.",
        ),
        setting!(
            server.connections_max,
            Count<1_000_000>,
            "connections_max",
            Restart,
            "Connections at one time; the next one is refused with HTTP 503.",
            "Ten thousand idle connections fit in the memory of a small machine.",
        ),
        setting!(
            server.connections_per_address_max,
            Count<1_000_000>,
            "connections_per_address_max",
            Restart,
            "Connections from one client address; an IPv6 /64 counts as one client. Loopback and \
             `trusted_addresses` are exempt.",
            "An office or a household behind one address fits, one machine cannot take every connection.",
        ),
        setting!(
            server.upgrades_per_second,
            Count<1_000_000>,
            "upgrades_per_second",
            Restart,
            "WebSocket connections let in a second, after a quarter of that at once. The next wait for their turn, and are \
             refused with HTTP 503 if that is more than half of `handshake_timeout_s` away.",
            "After a restart everybody comes back at once and asks for what they missed: those who are in are served \
             meanwhile. Two cores with nothing else to do let in some two thousand a second.",
        ),
        setting!(
            server.ping_interval, Seconds<5, 3600>, "ping_interval_s", Restart,
            "Each connection is sent a ping once in this time.",
            "Half of the 60 seconds after which common proxies drop an idle connection.",
        ),
        setting!(
            server.pong_timeout, Seconds<5, 3600>, "pong_timeout_s", Restart,
            "A connection that sends nothing at all for this long after a ping is closed.",
            "A phone changes networks within a minute; a half-open connection does not come back.",
        ),
        setting!(
            server.write_timeout, Seconds<1, 600>, "write_timeout_s", Restart,
            "A connection whose socket takes no bytes for this long is closed.",
            "Long enough for a bad mobile link, short enough to free the memory that waits.",
        ),
        setting!(
            server.handshake_timeout, Seconds<1, 120>, "handshake_timeout_s", Restart,
            "A client that has not finished TLS by then is closed. Its request and the whole answer, a page or the upgrade, have \
             as long again.",
            "Ten seconds is many round trips; longer only helps those who hold sockets open, or load large pages of `/audit` \
             over a slow line.",
        ),
        setting!(
            server.compression,
            Switch,
            "compression",
            Restart,
            "Offers permessage-deflate to clients that ask for it.",
            "Events are text and shrink to a third; clients that do not ask pay nothing.",
        ),
        setting!(
            server.drain_deadline, Seconds<1, 600>, "drain_deadline_s", Restart,
            "When told to stop, the relay finishes what it has accepted and ends within this time.",
            "Below the 30 seconds after which Kubernetes kills a process, and the 90 of systemd. Docker kills after 10: \
             give it more, by `docker stop -t 30` or `stop_grace_period`.",
        ),
        setting!(
            server.trusted_proxies,
            Networks,
            "trusted_proxies",
            Restart,
            "Reverse proxies in front of the relay, such as [\"10.0.0.0/8\"]. Only from these is the \
             client's address read from `X-Forwarded-For`; the limits for an address apply to none of the clients of one that \
             sends no such header.",
            "Loopback: a proxy on the same machine just works. Nothing else: a header that anyone can send must not \
             choose whose limits apply.",
        ),
        setting!(
            server.trusted_addresses,
            Networks,
            "trusted_addresses",
            Restart,
            "Clients that per-address limits do not apply to. Loopback always belongs to them.",
            "None besides loopback.",
        ),
        setting!(
            server.tls_certificate,
            OptionalFile,
            "tls_certificate",
            Restart,
            "A PEM file with the certificate chain; with `tls_key` it turns TLS on. A renewed file is \
             picked up without a restart. \"\" serves without TLS.",
            "Without TLS: right on loopback and behind a proxy that ends TLS.",
        ),
        setting!(
            server.tls_key,
            OptionalFile,
            "tls_key",
            Restart,
            "A PEM file with the private key of the certificate. \"\" serves without TLS.",
            "See `tls_certificate`.",
        ),
        setting!(
            server.workers,
            CountOrAuto<1024>,
            "workers",
            Restart,
            "Threads that serve connections. 0 is two more than queues.verify_parallel.",
            "Checking signatures can occupy a thread each; two more keep sockets answering.",
        ),
    ],
};
