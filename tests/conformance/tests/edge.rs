//! What real clients, proxies and probes do to the socket: handshakes, frames, paths and headers.

use towpath_conformance::*;
use tungstenite::Message;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame as Close, Frame};

fn frame(payload: &[u8], opcode: OpCode, is_final: bool) -> Message {
    Message::Frame(Frame::message(payload.to_vec(), opcode, is_final))
}

/// The cuts go through the middle of characters.
#[tokio::test]
async fn a_message_may_come_in_fragments() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("in pieces: é 🚣").sign();
    let text = json!(["EVENT", event]).to_string();
    let (letter, boat) = (text.find('é').context("é")? + 1, text.find('🚣').context("🚣")? + 2);
    client.send(frame(&text.as_bytes()[..letter], OpCode::Data(Data::Text), false)).await?;
    client.send(frame(&text.as_bytes()[letter..boat], OpCode::Data(Data::Continue), false)).await?;
    client.send(frame(&text.as_bytes()[boat..], OpCode::Data(Data::Continue), true)).await?;
    assert_accepted(&client.ack(&event.id).await?);
    Ok(())
}

#[tokio::test]
async fn a_ping_may_come_between_fragments() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("interrupted").sign();
    let text = json!(["EVENT", event]).to_string();
    client.send(frame(&text.as_bytes()[..40], OpCode::Data(Data::Text), false)).await?;
    client.send(Message::Ping(b"hi".to_vec().into())).await?;
    client.send(frame(&text.as_bytes()[40..], OpCode::Data(Data::Continue), true)).await?;
    assert_accepted(&client.ack(&event.id).await?);
    Ok(())
}

#[tokio::test]
async fn fragments_that_add_up_to_too_much_end_the_connection() -> Result<()> {
    let (relay, mut client) = relay_with("[limits]\nmessage_bytes_max = 4096\ncontent_chars_max = 1000").await?;
    let piece = " ".repeat(1000);
    let mut opcode = OpCode::Data(Data::Text);
    for _ in 0..8 {
        if client.send(frame(piece.as_bytes(), opcode, false)).await.is_err() {
            break;
        }
        opcode = OpCode::Data(Data::Continue);
    }
    client.disconnected().await?;
    expect_alive(&mut Client::connect(&relay).await?).await
}

#[tokio::test]
async fn a_message_beyond_the_limit_ends_the_connection_with_1009() -> Result<()> {
    let (relay, mut client) = relay_with("[limits]\nmessage_bytes_max = 4096\ncontent_chars_max = 1000").await?;
    client.send_text(json!(["EVENT", note(&"x".repeat(5000)).sign()]).to_string()).await?;
    if let Some(close) = client.disconnected().await? {
        assert_eq!(close.code, CloseCode::Size);
    }
    expect_alive(&mut Client::connect(&relay).await?).await
}

#[tokio::test]
async fn a_binary_message_is_refused_and_hurts_nobody() -> Result<()> {
    let (relay, mut client) = relay().await?;
    client.send(Message::binary(vec![0_u8, 159, 146, 150])).await?;
    let noticed = async {
        client.notice().await?;
        expect_alive(&mut client).await
    };
    // A relay either says that it reads text only or ends the connection.
    if noticed.await.is_err() {
        client.disconnected().await?;
    }
    expect_alive(&mut Client::connect(&relay).await?).await
}

#[tokio::test]
async fn text_that_is_not_utf_8_ends_the_connection() -> Result<()> {
    let (relay, mut client) = relay().await?;
    let bytes = vec![b'[', 0xff, 0xfe, b']'];
    let broken = Frame::message(bytes, OpCode::Data(Data::Text), true);
    client.send(Message::Frame(broken)).await?;
    client.disconnected().await?;
    expect_alive(&mut Client::connect(&relay).await?).await
}

#[tokio::test]
async fn a_ping_flood_is_survived() -> Result<()> {
    let (relay, mut client) = relay().await?;
    for number in 0..2000_u32 {
        client.send(Message::Ping(number.to_be_bytes().to_vec().into())).await?;
    }
    expect_alive(&mut client).await?;
    expect_alive(&mut Client::connect(&relay).await?).await
}

#[tokio::test]
async fn a_pong_that_nobody_asked_for_is_ignored() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.send(Message::Pong(b"keep-alive".to_vec().into())).await?;
    expect_alive(&mut client).await
}

#[tokio::test]
async fn a_close_with_any_code_is_answered() -> Result<()> {
    let relay = Relay::start().await?;
    for code in [1000, 1001, 3000, 4537] {
        let mut client = Client::connect(&relay).await?;
        let close = Close { code: CloseCode::from(code), reason: "bye".into() };
        client.send(Message::Close(Some(close))).await?;
        client.disconnected().await?;
    }
    expect_alive(&mut Client::connect(&relay).await?).await
}

#[tokio::test]
async fn a_handshake_may_arrive_byte_by_byte() -> Result<()> {
    let relay = Relay::start().await?;
    let response = http::handshake("/").send_slowly(&relay).await?;
    assert_eq!(response.status, 101);
    Ok(())
}

#[tokio::test]
async fn a_handshake_is_answered_as_the_standard_says() -> Result<()> {
    let relay = Relay::start().await?;
    for connection in ["Upgrade", "keep-alive, Upgrade", "upgrade"] {
        let request = http::handshake("/").header("Connection", connection);
        let response = request.send(&relay).await?;
        assert_eq!(response.status, 101, "{connection}");
        assert_eq!(response.header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
    Ok(())
}

#[tokio::test]
async fn a_handshake_that_is_none_is_refused() -> Result<()> {
    let relay = Relay::empty().await?;
    for request in [
        http::handshake("/").header("Sec-WebSocket-Version", "8"),
        http::get("/").header("Connection", "Upgrade").header("Upgrade", "websocket"),
    ] {
        let status = request.send(&relay).await?.status;
        assert!((400..500).contains(&status), "{request:?}: {status}");
    }
    expect_alive(&mut Client::connect(&relay).await?).await
}

#[tokio::test]
async fn a_client_that_offers_compression_is_served() -> Result<()> {
    let relay = Relay::start().await?;
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "x-webkit-deflate-frame",
        "permessage-deflate; server_max_window_bits=8",
    ] {
        let request = http::handshake("/").header("Sec-WebSocket-Extensions", offer);
        assert_eq!(request.send(&relay).await?.status, 101, "{offer}");
    }
    Ok(())
}

#[tokio::test]
async fn an_ordinary_request_for_the_websocket_is_answered() -> Result<()> {
    let relay = Relay::empty().await?;
    for request in [
        http::get("/"),
        http::get("/").header("Accept", "*/*"),
        http::get("/?utm_source=x").header("Accept", "*/*"),
        http::get("/").header("Connection", "keep-alive").header("Accept", "application/json"),
    ] {
        assert_eq!(request.send(&relay).await?.status, 200, "{request:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_head_request_is_answered_without_a_body() -> Result<()> {
    let relay = Relay::empty().await?;
    let response = http::request("HEAD", "/").send(&relay).await?;
    assert_eq!(response.status, 200);
    let request = http::request("HEAD", "/").header("Accept", "application/nostr+json");
    let response = request.send(&relay).await?;
    assert!(response.header("content-type").starts_with("application/nostr+json"));
    Ok(())
}

#[tokio::test]
async fn other_methods_are_refused() -> Result<()> {
    let relay = Relay::empty().await?;
    for method in ["PUT", "DELETE", "PATCH"] {
        let status = http::request(method, "/").send(&relay).await?.status;
        assert!((400..500).contains(&status), "{method}: {status}");
    }
    Ok(())
}

#[tokio::test]
async fn a_query_does_not_make_another_endpoint() -> Result<()> {
    let relay = Relay::start().await?;
    for target in ["/", "/?", "/?session=1&x=%20"] {
        assert_eq!(http::handshake(target).send(&relay).await?.status, 101, "{target}");
    }
    Ok(())
}

/// Otherwise every path would be a relay of its own to clients that compare addresses.
#[tokio::test]
async fn connections_are_accepted_at_a_single_path() -> Result<()> {
    let relay = Relay::empty().await?;
    for target in ["/anything", "/anything/", "/a/b", "//", "/healthz", "/metrics", "/%2e"] {
        let status = http::handshake(target).send(&relay).await?.status;
        assert_ne!(status, 101, "{target}");
    }
    Ok(())
}

#[tokio::test]
async fn health_readiness_and_metrics_are_answered() -> Result<()> {
    let relay = Relay::empty().await?;
    for target in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(http::get(target).send(&relay).await?.status, 200, "{target}");
    }
    let status = http::get("/nothing-here").send(&relay).await?.status;
    assert_eq!(status, 404);
    Ok(())
}

#[tokio::test]
async fn a_rejected_event_sent_again_and_again_is_answered_every_time() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("stubborn").sign();
    let spoilt = event.with("sig", "0".repeat(128));
    for _ in 0..200 {
        client.send_json(json!(["EVENT", spoilt])).await?;
    }
    for _ in 0..200 {
        assert!(!client.ack(&event.id).await?.accepted);
    }
    client.store(&event).await
}

#[tokio::test]
async fn a_flood_of_duplicates_is_answered_every_time() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("stubborn").sign();
    client.store_all(std::iter::repeat_n(&event, 500)).await?;
    expect_stored(&mut client, &event, true).await
}

/// Clients reconnect after a deploy and ask for everything at once, in either style.
#[tokio::test]
async fn many_filters_and_many_requests_at_once_are_all_answered() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.store(&note("found").sign()).await?;
    let filter = json!({ "authors": [alice().pubkey()] });
    client.open("one", Value::Array(vec![filter.clone(); 200])).await?;
    for number in 0..200 {
        client.open(&number.to_string(), filter.clone()).await?;
    }
    assert_eq!(client.stored("one").await?.contents(), ["found"]);
    for number in 0..200 {
        assert_eq!(client.stored(&number.to_string()).await?.contents(), ["found"]);
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_an_answer_is_forgotten() -> Result<()> {
    let (relay, mut client) = relay().await?;
    let events: Vec<Event> = (0..300).map(|number| note(&format!("{number}{}", "x".repeat(1000))).sign()).collect();
    client.store_all(&events).await?;
    for _ in 0..20 {
        let mut impatient = Client::connect(&relay).await?;
        impatient.open("s", json!({ "authors": [alice().pubkey()] })).await?;
        drop(impatient);
    }
    expect_alive(&mut client).await
}
