//! Who the client is: its address behind trusted proxies, and which addresses count as one client.
//!
//! Invariant: a forwarding header is read only if the socket itself comes from a trusted proxy.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use hyper::header::HeaderMap;

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The client's address, after trusted proxies.
    pub address: IpAddr,
    /// Loopback or a trusted proxy itself: exempt from limits by address.
    pub trusted: bool,
}

impl Peer {
    /// The address that limits are counted by.
    pub fn counted_as(&self) -> IpAddr {
        counted_as(self.address)
    }

    /// The client of a request that came over a socket from `socket`.
    pub(crate) fn of(socket: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> Peer {
        let socket = socket.to_canonical();
        let client = if is_in(proxies, socket) { forwarded_for(headers, proxies) } else { Forwarded::Nobody };
        let (address, trusted) = match client {
            Forwarded::Nobody => (socket, is_trusted(socket, proxies)),
            Forwarded::Client(address) => (address, is_trusted(address, proxies)),
            // Counted as the proxy, but not exempt as the proxy: else any client could buy exemption with garbage.
            Forwarded::Unreadable => (socket, false),
        };
        Peer { address, trusted }
    }
}

/// Whether it is loopback or a trusted proxy itself.
pub(crate) fn is_trusted(address: IpAddr, proxies: &[Network]) -> bool {
    address.to_canonical().is_loopback() || is_in(proxies, address)
}

/// The address limits are counted by. A host gets a whole IPv6 /64, so a /64 is one client.
pub(crate) fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

pub(crate) fn is_in(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// What a trusted proxy says about who is behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forwarded {
    /// Nothing.
    Nobody,
    /// This address.
    Client(IpAddr),
    /// Something, but no address.
    Unreadable,
}

/// The right-most hop that is not a trusted proxy. Everything left of it is the client's own claim, so it is not even read.
fn forwarded_for(headers: &HeaderMap, proxies: &[Network]) -> Forwarded {
    let mut nearest = Forwarded::Nobody;
    for value in headers.get_all("x-forwarded-for").into_iter().rev() {
        for hop in value.as_bytes().rsplit(|byte| *byte == b',') {
            let hop = std::str::from_utf8(hop).ok().and_then(|hop| hop_address(hop.trim()));
            let Some(address) = hop else { return Forwarded::Unreadable };
            nearest = Forwarded::Client(address);
            if !is_in(proxies, address) {
                return nearest;
            }
        }
    }
    nearest
}

/// Reads `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let address = match hop.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => match hop.split_once(':') {
            Some((v4, port)) if !port.contains(':') => v4,
            _ => hop,
        },
    };
    address.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// A range of addresses: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A network that cannot be read. Refused rather than ignored: a list entry that never matches would fail silently.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an address or a network such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct NetworkError(String);

impl Network {
    /// A network by its first address and the number of leading bits that count (more than there are means all).
    pub fn new(address: IpAddr, prefix: u8) -> Self {
        let prefix = prefix.min(bits(address)).saturating_sub(mapping_bits(address));
        Network { address: address.to_canonical(), prefix }
    }

    /// Whether the address is in the network. An IPv4 address mapped into IPv6 is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let differing = ours.to_bits() ^ theirs.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differing = ours.to_bits() ^ theirs.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The leading bits that only say that an IPv4 address follows (`::ffff:0:0/96`).
fn mapping_bits(address: IpAddr) -> u8 {
    bits(address) - bits(address.to_canonical())
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = || NetworkError(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| error())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let prefix = prefix.unwrap_or(bits(address));
        let possible = mapping_bits(address)..=bits(address);
        if possible.contains(&prefix) { Ok(Network::new(address, prefix)) } else { Err(error()) }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &[&str]) -> Vec<Network> {
        list.iter().map(|text| text.parse().expect("a network")).collect()
    }

    fn peer(socket: &str, forwarded: &[&[u8]], proxies: &[&str]) -> Peer {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", hyper::header::HeaderValue::from_bytes(value).expect("a header"));
        }
        Peer::of(socket.parse().expect("an address"), &headers, &networks(proxies))
    }

    fn client(socket: &str, forwarded: &[&str], proxies: &[&str]) -> String {
        let forwarded: Vec<&[u8]> = forwarded.iter().map(|value| value.as_bytes()).collect();
        peer(socket, &forwarded, proxies).address.to_string()
    }

    #[test]
    fn what_a_client_puts_before_its_address_does_not_matter_and_garbage_buys_no_trust() {
        let honest = peer("10.0.0.1", &[b"\xe9\xff, 203.0.113.9"], &["10.0.0.0/8"]);
        assert_eq!((honest.address.to_string().as_str(), honest.trusted), ("203.0.113.9", false));
        for garbage in [&b"203.0.113.9, unknown"[..], b"\xe9", b""] {
            let peer = peer("10.0.0.1", &[garbage], &["10.0.0.0/8"]);
            assert_eq!((peer.address.to_string().as_str(), peer.trusted), ("10.0.0.1", false), "{garbage:?}");
        }
        assert!(peer("10.0.0.1", &[], &["10.0.0.0/8"]).trusted, "the proxy itself");
    }

    #[test]
    fn the_right_most_untrusted_hop_is_the_client() {
        let proxies = ["10.0.0.0/8", "2001:db8:ff::/48"];
        let cases: &[(&str, &[&str], &str)] = &[
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["6.6.6.6, 203.0.113.9, 10.1.1.1"], "203.0.113.9"),
            ("10.0.0.1", &["6.6.6.6", "203.0.113.9:4711,10.1.1.1"], "203.0.113.9"),
            ("2001:db8:ff::1", &["[2001:db8::7]:443"], "2001:db8::7"),
            ("::ffff:10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["10.2.2.2"], "10.2.2.2"),
            ("10.0.0.1", &["203.0.113.9, unknown"], "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
        ];
        for (socket, forwarded, expected) in cases {
            assert_eq!(client(socket, forwarded, &proxies), *expected, "{socket} {forwarded:?}");
        }
    }

    #[test]
    fn strangers_cannot_name_their_address() {
        assert_eq!(client("198.51.100.7", &["1.2.3.4"], &["10.0.0.0/8"]), "198.51.100.7");
        assert_eq!(client("::ffff:198.51.100.7", &["1.2.3.4"], &[]), "198.51.100.7");
    }

    #[test]
    fn an_ipv6_network_of_64_bits_counts_as_one() {
        let of = |text: &str| counted_as(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn networks_that_cannot_match_are_refused() {
        for text in
            ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "example.org", "10.0.0.0/-1", "::ffff:10.0.0.0/95"]
        {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        assert!(networks(&["0.0.0.0/0"])[0].contains("8.8.8.8".parse().expect("an address")));
        assert!(!networks(&["0.0.0.0/0"])[0].contains("::1".parse().expect("an address")));
    }

    /// It was its first address alone.
    #[test]
    fn a_network_in_mapped_notation_is_the_network_of_ipv4() {
        assert_eq!(networks(&["::ffff:10.0.0.0/104", "::ffff:10.0.0.1"]), networks(&["10.0.0.0/8", "10.0.0.1/32"]));
    }
}
