//! Who may connect, and who is who behind a proxy.

use std::time::Duration;

use towpath_gateway::Config;

use crate::support::{Edge, UPGRADE, config};

#[tokio::test]
async fn a_trusted_proxy_names_the_client() {
    let edge = Edge::start();
    let _client = edge.client_with("X-Forwarded-For: 6.6.6.6, 203.0.113.9\r\n").await;
    let peer = edge.relay.peers.lock()[0].clone();
    assert_eq!(peer.address.to_string(), "203.0.113.9");
    assert!(!peer.trusted);
}

#[tokio::test]
async fn nobody_else_does() {
    let edge = Edge::with(Config { trusted_proxies: Vec::new(), ..config() });
    let _client = edge.client_with("X-Forwarded-For: 203.0.113.9\r\n").await;
    let peer = edge.relay.peers.lock()[0].clone();
    assert!(peer.address.is_loopback() && peer.trusted);
}

async fn upgrade(edge: &Edge, client: &str) -> String {
    edge.http(&format!("{UPGRADE}X-Forwarded-For: {client}\r\n\r\n")).await
}

#[tokio::test]
async fn an_address_has_a_number_of_connections() {
    let edge = Edge::with(Config { connections_per_address_max: 2, ..config() });
    let open = [
        edge.client_with("X-Forwarded-For: 2001:db8::1\r\n").await,
        edge.client_with("X-Forwarded-For: 2001:db8::ffff:2\r\n").await,
        edge.client_with("X-Forwarded-For: 2001:db8:0:1::1\r\n").await,
    ];
    let answer = upgrade(&edge, "2001:db8::3").await;
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: "));
    let local = [edge.client().await, edge.client().await, edge.client().await];
    assert_eq!(edge.handle.connections(), 6);
    drop((open, local));
    while edge.handle.connections() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (head, _client) = edge.client_with("X-Forwarded-For: 2001:db8::3\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101"));
}

/// Whoever sent a header that cannot be read was taken for the proxy, which may have any number.
#[tokio::test]
async fn clients_whose_address_cannot_be_read_count_as_one() {
    let edge = Edge::with(Config { connections_per_address_max: 1, ..config() });
    let _first = edge.client_with("X-Forwarded-For: unknown\r\n").await;
    let answer = upgrade(&edge, "anything").await;
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    let _proxy_itself = [edge.client().await, edge.client().await];
    let _another = edge.client_with("X-Forwarded-For: 203.0.113.9\r\n").await;
    assert_eq!(edge.handle.connections(), 4);
}

/// Behind a proxy, one client that came again and again kept all others waiting.
#[tokio::test]
async fn a_client_that_may_have_no_more_connections_takes_nobodys_turn() {
    // There is one turn a second, and the first client has it.
    let config = Config {
        connections_per_address_max: 1,
        upgrades_per_second: 1,
        handshake_timeout: Duration::from_secs(1),
        ..config()
    };
    let edge = Edge::with(config);
    let _first = edge.client_with("X-Forwarded-For: 203.0.113.9\r\n").await;
    for _ in 0..5 {
        let answer = upgrade(&edge, "203.0.113.9").await;
        assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    }
}

#[tokio::test]
async fn a_full_relay_refuses_and_still_answers_health_checks() {
    let edge = Edge::with(Config { connections_max: 2, ..config() });
    let _open = [edge.client().await, edge.client().await];
    let answer = edge.http(&format!("{UPGRADE}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(edge.http("GET /healthz HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_herd_waits_its_turn_or_is_sent_away_and_pages_do_not_wait() {
    // A turn a second, and nobody is made to wait for half of one.
    let config = Config { upgrades_per_second: 1, handshake_timeout: Duration::from_secs(1), ..config() };
    let edge = Edge::with(config);
    let _first = edge.client().await;
    let answer = edge.http(&format!("{UPGRADE}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("at once"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: "));
    assert!(edge.http("GET /healthz HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 200"));
}
