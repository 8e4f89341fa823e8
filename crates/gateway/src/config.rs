//! What can be set about the edge. Plain values, already checked: reading files and environment is not done here.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::Network;

/// Settings of the edge.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Listen beside a process that is about to leave this port.
    pub share_port: bool,
    /// Longest message a client may send, after decompression.
    pub message_bytes_max: usize,
    /// Bytes that all connections together may hold of messages that have not come in full; who holds no more than
    /// 64 KiB is served beyond it.
    pub inbound_total_bytes_max: usize,
    /// WebSocket connections at the same time.
    pub connections_max: usize,
    /// Connections from one client address (an IPv6 /64 is one address); loopback and trusted proxies are exempt.
    pub connections_per_address_max: usize,
    /// WebSocket connections let in a second; more wait for their turn, half of `handshake_timeout` at most.
    pub upgrades_per_second: u32,
    /// Time between two pings.
    pub ping_interval: Duration,
    /// How long after a ping a client may stay silent.
    pub pong_timeout: Duration,
    /// How long a write may make no progress before the client counts as gone.
    pub write_timeout: Duration,
    /// Time for TLS, and as long again for the request and its answer.
    pub handshake_timeout: Duration,
    /// Whether permessage-deflate is offered.
    pub compression: bool,
    /// Serve TLS with this certificate.
    pub tls: Option<Tls>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Exempt from limits by address, as loopback and trusted proxies are.
    pub trusted_addresses: Vec<Network>,
    /// How long connections may take to end after shutdown began.
    pub drain_timeout: Duration,
}

/// A certificate and its key, both PEM files. They are read again when they change.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate chain, leaf first.
    pub certificate: PathBuf,
    /// The private key of the leaf.
    pub key: PathBuf,
}

/// For tests: a relay's are those of its configuration.
impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7777)),
            share_port: false,
            message_bytes_max: 512 * 1024,
            inbound_total_bytes_max: 256 << 20,
            connections_max: 16_384,
            connections_per_address_max: 256,
            upgrades_per_second: 1_000,
            ping_interval: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            compression: true,
            tls: None,
            trusted_addresses: Vec::new(),
            trusted_proxies: vec![
                Network::new(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
                Network::new(Ipv6Addr::LOCALHOST.into(), 128),
            ],
            drain_timeout: Duration::from_secs(10),
        }
    }
}
