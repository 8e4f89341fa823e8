//! How long connections live: pings, time-outs, drain.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use towpath_gateway::{Config, Drained, Gateway, Metrics};
use towpath_runtime::SystemClock;

use crate::support::{Edge, UPGRADE, config, soon};

const SHORT: Duration = Duration::from_millis(100);

async fn closes(edge: &Edge, by: &'static str) {
    let label = format!("by=\"{by}\"");
    soon(async {
        loop {
            let mut registry = prometheus_client::registry::Registry::default();
            edge.metrics.register(&mut registry);
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
            if text.lines().any(|line| line.contains("gateway_closes_total") && line.contains(&label)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_answers_pings_stays() {
    let edge = Edge::with(Config { ping_interval: SHORT, pong_timeout: SHORT, ..config() });
    let mut client = edge.client().await;
    for _ in 0..5 {
        assert_eq!(client.get().await.first, 0x89);
        client.send(0x8a, b"").await;
    }
    client.text("still here").await;
    assert_eq!(client.get_text().await, "still here");
}

#[tokio::test]
async fn any_traffic_is_a_sign_of_life() {
    let edge = Edge::with(Config { ping_interval: SHORT, pong_timeout: SHORT, ..config() });
    let mut client = edge.client().await;
    for _ in 0..3 {
        assert_eq!(client.get().await.first, 0x89);
        client.text("no pong").await;
        assert_eq!(client.get_text().await, "no pong");
    }
}

#[tokio::test]
async fn a_silent_client_is_let_go() {
    let edge = Edge::with(Config { ping_interval: SHORT, pong_timeout: SHORT, ..config() });
    let mut client = edge.client().await;
    assert_eq!(client.get().await.first, 0x89);
    assert!(soon(client.io.read_u8()).await.is_err());
    closes(&edge, "silent").await;
    assert_eq!(edge.handle.connections(), 0);
}

#[tokio::test]
async fn a_client_that_takes_no_bytes_is_let_go() {
    let edge = Edge::with(Config { write_timeout: SHORT, ..config() });
    let mut client = edge.client().await;
    client.text("flood 300 100000").await;
    closes(&edge, "stuck").await;
    assert_eq!(edge.handle.connections(), 0);
}

#[tokio::test]
async fn a_slow_client_that_takes_some_bytes_stays() {
    let edge = Edge::with(Config { write_timeout: Duration::from_millis(400), ..config() });
    let mut client = edge.client().await;
    client.text("flood 100 100000").await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(client.get_text().await.len(), 100_000);
    }
}

#[tokio::test]
async fn a_request_must_come_in_time() {
    let edge = Edge::with(Config { handshake_timeout: SHORT, ..config() });
    let mut socket = edge.socket().await;
    socket.write_all(b"GET / HTTP/1.1\r\nHost: rel").await.expect("to send");
    assert!(soon(socket.read_u8()).await.is_err());
    let mut client = edge.client().await;
    tokio::time::sleep(SHORT * 3).await;
    client.text("the time is for the request only").await;
    client.get_text().await;
}

#[tokio::test]
async fn drain_waits_for_what_the_relay_closes() {
    let mut edge = Edge::start();
    let mut client = edge.client().await;
    client.text("flood 1000 1000").await;
    client.text("done").await;
    while client.get_text().await != "done" {}
    assert_eq!(edge.handle.connections(), 1);
    edge.stop();
    tokio::time::sleep(SHORT).await;
    client.text("open until the relay closes").await;
    client.get_text().await;
    edge.relay.shutdown.notify_waiters();
    assert_eq!(client.get_close().await, (1012, "the relay restarts".to_owned()));
    drop(client);
    assert_eq!(edge.drained().await, Drained { cut: 0 });
}

#[tokio::test]
async fn drain_has_a_deadline() {
    let mut edge = Edge::with(Config { drain_timeout: SHORT, ..config() });
    let mut client = edge.client().await;
    let handle = edge.handle.clone();
    edge.stop();
    assert_eq!(edge.drained().await, Drained { cut: 1 });
    assert!(soon(client.io.read_u8()).await.is_err());
    assert_eq!(handle.connections(), 0);
}

#[tokio::test]
async fn the_next_process_takes_over_the_port_without_a_refused_connection() {
    let mut old = Edge::start();
    let listen = ([127, 0, 0, 1], old.port).into();
    let new = Edge::with(Config { listen, share_port: true, ..config() });
    let mut upgraded = 0;
    for round in 0..200 {
        if round == 100 {
            old.stop();
        }
        let mut socket = new.socket().await;
        socket.write_all(format!("{UPGRADE}\r\n").as_bytes()).await.expect("to send");
        let mut answer = [0; 12];
        soon(socket.read_exact(&mut answer)).await.expect("an answer");
        // What the kernel had already given to the old process is sent away to come again.
        assert!(answer.ends_with(b"101") || answer.ends_with(b"503"));
        upgraded += usize::from(answer.ends_with(b"101"));
    }
    assert!(upgraded >= 195, "{upgraded} of 200");
    old.relay.shutdown.notify_waiters();
    old.drained().await;
}

#[tokio::test]
async fn a_port_in_use_is_refused_to_who_does_not_take_over() {
    let old = Edge::start();
    let config = Config { listen: ([127, 0, 0, 1], old.port).into(), ..config() };
    assert!(Gateway::bind(config, Metrics::default(), Arc::new(SystemClock)).is_err());
}
