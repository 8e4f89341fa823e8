//! HTTP on the same port.

use std::time::Duration;

use crate::support::{Edge, UPGRADE};
use towpath_gateway::Refused;

async fn get(edge: &Edge, request_line: &str, headers: &str) -> String {
    edge.http(&format!("{request_line} HTTP/1.1\r\nHost: relay.test\r\n{headers}\r\n")).await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test]
async fn the_root_is_a_page_or_the_information_document() {
    let edge = Edge::start();
    for (accept, body) in [
        ("application/nostr+json", "{\"name\":\"echo\"}"),
        ("text/html, application/nostr+json;q=0.5", "{\"name\":\"echo\"}"),
        ("text/html,*/*;q=0.8", "<title>echo</title>"),
        ("*/*", "<title>echo</title>"),
    ] {
        let answer = get(&edge, "GET /?x=1", &format!("Accept: {accept}\r\n")).await;
        assert_eq!(status(&answer), "200");
        assert!(answer.ends_with(body), "{accept}: {answer}");
        let answer = answer.to_lowercase();
        assert!(answer.contains("access-control-allow-origin: *"));
        assert!(answer.contains("access-control-allow-headers: *, authorization"));
        assert!(answer.contains("access-control-allow-methods: get"));
    }
}

#[tokio::test]
async fn every_path_has_its_answer() {
    let edge = Edge::start();
    for (request_line, expected, body) in [
        ("GET /healthz", "200", "ok\n"),
        ("GET /readyz", "200", "ready\n"),
        ("GET /metrics", "200", "# EOF\n"),
        ("GET /somewhere", "404", "there is nothing here\n"),
        ("HEAD /", "200", "\r\n\r\n"),
        ("HEAD /healthz", "200", "\r\n\r\n"),
        ("OPTIONS /", "204", "\r\n\r\n"),
        ("OPTIONS /any/path", "204", "\r\n\r\n"),
        ("DELETE /", "405", "GET, HEAD and OPTIONS are understood\n"),
    ] {
        let answer = get(&edge, request_line, "").await;
        assert_eq!(status(&answer), expected, "{request_line}");
        assert!(answer.ends_with(body), "{request_line}: {answer}");
    }
    assert_eq!(status(&get(&edge, "POST /", "Content-Length: 2\r\n").await), "405");
}

#[tokio::test]
async fn what_is_wrong_with_a_relay_that_serves_is_a_warning() {
    let edge = Edge::start();
    *edge.relay.warning.lock() = Some("it leaks".to_owned());
    let answer = get(&edge, "GET /readyz", "").await;
    assert_eq!(status(&answer), "200");
    assert!(answer.ends_with("ready\nwarning: it leaks\n"), "{answer}");
}

#[tokio::test]
async fn the_relay_has_paths_of_its_own() {
    let edge = Edge::start();
    let answer = get(&edge, "GET /echo/x?y=1", "Authorization: Nostr abc\r\n").await;
    assert_eq!(status(&answer), "203");
    assert!(answer.ends_with("/echo/x?y=1 Some(\"Nostr abc\")") && answer.contains("text/x-echo"), "{answer}");
    assert!(!answer.contains("immutable"), "{answer}");
    let answer = get(&edge, "GET /echo/?for-ever", "").await;
    assert!(answer.contains("immutable") && answer.ends_with("/echo/?for-ever None"), "{answer}");
}

#[tokio::test]
async fn readiness_fails_while_draining() {
    let mut edge = Edge::start();
    let mut early = edge.socket().await;
    // Keeps it open, and was accepted behind the other.
    let _later = edge.client().await;
    edge.stop();
    while tokio::net::TcpStream::connect(("127.0.0.1", edge.port)).await.is_ok() {
        tokio::task::yield_now().await;
    }
    tokio::io::AsyncWriteExt::write_all(&mut early, b"GET /readyz HTTP/1.1\r\n\r\n").await.expect("to send");
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut early, &mut answer).await.expect("an answer");
    assert_eq!(status(&answer), "503");
    assert!(answer.ends_with("shutting down\n"));
}

#[tokio::test]
async fn a_bad_handshake_is_told_what_is_wrong() {
    let edge = Edge::start();
    let cases = [
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", "426"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", "400"),
        ("Connection: keep-alive, Upgrade", "Connection: close", "400"),
        ("GET / HTTP/1.1", "GET /second/identity HTTP/1.1", "404"),
        ("GET / HTTP/1.1", "POST / HTTP/1.1", "405"),
        ("GET / HTTP/1.1", "GET / HTTP/1.0", "400"),
        ("GET / HTTP/1.1", "nonsense", "400"),
    ];
    for (good, bad, expected) in cases {
        let answer = edge.http(&format!("{}\r\n", UPGRADE.replace(good, bad))).await;
        assert_eq!(status(&answer), expected, "{bad}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let edge = Edge::start();
    let many = "X: y\r\n".repeat(100);
    assert_eq!(status(&get(&edge, "GET /", &many).await), "431");
    let long = format!("X: {}\r\n", "y".repeat(15_000));
    assert_eq!(status(&get(&edge, "GET /", &long).await), "200");
}

#[tokio::test]
async fn the_relay_can_refuse_with_a_time_to_wait() {
    let edge = Edge::start();
    for (too_many, expected) in [(true, "429"), (false, "503")] {
        let retry_after = Duration::from_millis(2500);
        *edge.relay.refuse.lock() = Some(Refused { too_many, reason: "not now".into(), retry_after });
        let page = |path| format!("GET {path} HTTP/1.1\r\nHost: relay.test\r\n\r\n");
        for request in [format!("{UPGRADE}\r\n"), page("/"), page("/metrics"), page("/echo/x")] {
            let answer = edge.http(&request).await;
            assert_eq!(status(&answer), expected);
            assert!(answer.to_lowercase().contains("retry-after: 3\r\n"), "{answer}");
            assert!(answer.ends_with("not now\n"));
        }
        assert_eq!(status(&edge.http(&page("/healthz")).await), "200");
    }
}
