//! Messages, frames and close codes.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use towpath_gateway::Config;

use crate::support::{Edge, config, frame, soon};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

#[tokio::test]
async fn an_ordinary_client_is_echoed() -> anyhow::Result<()> {
    let edge = Edge::start();
    let (mut client, _) =
        tokio_tungstenite::connect_async(format!("ws://127.0.0.1:{}/?query=ignored", edge.port)).await?;
    for text in ["", "hello", &"ü".repeat(100), &"long ".repeat(50_000)] {
        client.send(Message::text(text)).await?;
        assert_eq!(client.next().await.expect("an echo")?, Message::text(text));
    }
    client.send(Message::Ping("are you there".into())).await?;
    assert_eq!(client.next().await.expect("a pong")?, Message::Pong("are you there".into()));
    client.close(None).await?;
    while let Some(message) = client.next().await {
        message?;
    }
    Ok(())
}

#[tokio::test]
async fn a_message_in_pieces_is_one_message() {
    let edge = Edge::start();
    let mut client = edge.client().await;
    client.send(0x01, b"one ").await;
    client.send(0x00, b"").await;
    client.send(0x89, b"in between").await;
    // A character cut in two is whole again.
    client.send(0x00, "tw\u{f6}".as_bytes().split_at(3).0).await;
    client.send(0x80, "tw\u{f6}".as_bytes().split_at(3).1).await;
    assert_eq!(client.get().await.first, 0x8a);
    assert_eq!(client.get_text().await, "one tw\u{f6}");
}

#[tokio::test]
async fn bytes_may_come_one_at_a_time() {
    let edge = Edge::start();
    let mut client = edge.client().await;
    for byte in [frame(0x81, &[b'a'; 200]), frame(0x81, b"b")].concat() {
        client.raw(&[byte]).await;
    }
    assert_eq!(client.get_text().await, "a".repeat(200));
    assert_eq!(client.get_text().await, "b");
}

#[tokio::test]
async fn what_is_put_off_does_not_wait_for_the_rest_of_a_message() {
    let edge = Edge::start();
    let mut client = edge.client().await;
    let (start, rest) = (frame(0x01, b"more "), frame(0x80, b"to come"));
    let (half, other_half) = rest.split_at(5);
    client.raw(&[&frame(0x81, b"one"), &frame(0x81, b"two"), &start[..], half].concat()).await;
    assert_eq!(client.get_text().await, "one");
    assert_eq!(client.get_text().await, "two");
    client.raw(other_half).await;
    assert_eq!(client.get_text().await, "more to come");
}

#[tokio::test]
async fn what_is_put_off_comes_before_the_end() {
    let edge = Edge::start();
    for (end, code) in [(frame(0x88, &[0x03, 0xe8]), 1000), (frame(0x83, b"no such frame"), 1002)] {
        let mut client = edge.client().await;
        client.raw(&[frame(0x81, b"one"), frame(0x81, b"two"), end].concat()).await;
        if code == 1002 {
            assert_eq!(client.get_text().await, "one");
            assert_eq!(client.get_text().await, "two");
        }
        assert_eq!(client.get_close().await.0, code);
    }
}

#[tokio::test]
async fn frames_sent_with_the_request_are_not_lost() {
    let edge = Edge::start();
    let mut socket = edge.socket().await;
    let mut bytes = format!("{}\r\n", crate::support::UPGRADE).into_bytes();
    bytes.extend(frame(0x81, b"early"));
    tokio::io::AsyncWriteExt::write_all(&mut socket, &bytes).await.expect("to send");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tokio::io::AsyncReadExt::read_u8(&mut socket).await.expect("a byte"));
    }
    let mut client = crate::support::Client { io: Box::new(socket) };
    assert_eq!(client.get_text().await, "early");
}

#[tokio::test]
async fn what_breaks_the_protocol_has_its_close_code() {
    let edge = Edge::with(Config { message_bytes_max: 1000, ..config() });
    let unmasked = vec![0x81, 0x01, b'x'];
    let announced = [&[0x81, 0x80 | 127][..], &(1u64 << 40).to_be_bytes(), &[0; 4]].concat();
    let padded = [&[0x81, 0x80 | 126][..], &5u16.to_be_bytes(), &[0; 4]].concat();
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("binary", frame(0x82, b"x"), 1003),
        ("too big", frame(0x81, &[b'x'; 1001]), 1009),
        ("too big by its header alone", announced, 1009),
        ("too big in pieces", [frame(0x01, &[b'x'; 600]), frame(0x80, &[b'x'; 600])].concat(), 1009),
        ("not UTF-8", frame(0x81, b"\xff\xfe"), 1007),
        ("a surrogate", frame(0x81, b"\xed\xa0\x80"), 1007),
        ("unmasked", unmasked, 1002),
        ("length in too many bytes", padded, 1002),
        ("reserved bit", frame(0xa1, b"x"), 1002),
        ("compressed without agreement", frame(0xc1, b"x"), 1002),
        ("unknown opcode", frame(0x83, b"x"), 1002),
        ("unknown control opcode", frame(0x8b, b"x"), 1002),
        ("nothing to continue", frame(0x80, b"x"), 1002),
        ("a message within a message", [frame(0x01, b"x"), frame(0x81, b"y")].concat(), 1002),
        ("fragmented ping", frame(0x09, b"x"), 1002),
        ("long ping", frame(0x89, &[0; 126]), 1002),
        ("close with half a code", frame(0x88, b"x"), 1002),
        ("close with a reserved code", frame(0x88, &1005u16.to_be_bytes()), 1002),
        ("close with a reason that is not text", frame(0x88, b"\x03\xe8\xff"), 1007),
    ];
    for (what, bytes, code) in cases {
        let mut client = edge.client().await;
        client.raw(&bytes).await;
        assert_eq!(client.get_close().await.0, code, "{what}");
    }
    let mut client = edge.client().await;
    client.send(0x81, &[b'x'; 1000]).await;
    assert_eq!(client.get_text().await.len(), 1000);
}

#[tokio::test]
async fn a_close_is_answered_with_its_code() {
    let edge = Edge::start();
    for (body, code) in [(&b""[..], 1000), (b"\x03\xe9bye", 1001), (b"\x11\xb9", 4537)] {
        let mut client = edge.client().await;
        client.send(0x88, body).await;
        assert_eq!(client.get_close().await.0, code);
    }
}

#[tokio::test]
async fn the_relay_closes_after_its_last_words() {
    let edge = Edge::start();
    let mut client = edge.client().await;
    client.text("close").await;
    assert_eq!(client.get_text().await, "last words");
    assert_eq!(client.get_close().await, (4000, "as you wish".to_owned()));
}

#[tokio::test]
async fn an_event_is_head_json_and_bracket() {
    let edge = Edge::start();
    let mut client = edge.client().await;
    client.text("event").await;
    assert_eq!(client.get_text().await, r#"["EVENT","s",{"id":1}]"#);
}

#[tokio::test]
async fn many_frames_leave_in_few_writes() {
    let edge = Edge::start();
    let mut client = edge.client().await;
    client.text("flood 5000 100").await;
    for _ in 0..5000 {
        assert_eq!(client.get_text().await.len(), 100);
    }
    let counted = async {
        while edge.metrics.frames_out.get() < 5000 {
            tokio::task::yield_now().await;
        }
    };
    soon(counted).await;
    let (frames, writes) = (edge.metrics.frames_out.get(), edge.metrics.writes.get());
    assert_eq!(frames, 5000);
    assert!(writes < frames / 10, "{writes} writes");
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 100);
    Compress::new(Compression::best(), false).compress_vec(text, &mut out, FlushCompress::Sync).expect("to compress");
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
}

fn unpacked(mut body: Vec<u8>) -> Vec<u8> {
    body.extend([0, 0, 0xff, 0xff]);
    let mut out = Vec::with_capacity(1_000_000);
    Decompress::new(false).decompress_vec(&body, &mut out, FlushDecompress::Sync).expect("to decompress");
    out
}

#[tokio::test]
async fn compression_works_in_both_directions() {
    let edge = Edge::start();
    let (head, mut client) = edge.client_with(OFFER).await;
    let answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert!(head.to_lowercase().contains(&format!("sec-websocket-extensions: {answer}")), "{head}");
    for length in [10, 5_000, 400_000] {
        let text = "tow path ".repeat(length / 9);
        let body = packed(text.as_bytes());
        let (a, b) = body.split_at(body.len() / 2);
        client.send(0x41, a).await;
        client.send(0x80, b).await;
        let got = client.get().await;
        match length {
            10 => assert_eq!((got.first, got.body), (0x81, text.into_bytes()), "short messages are not compressed"),
            _ => {
                assert_eq!(got.first, 0xc1);
                assert!(got.body.len() < text.len() / 10);
                assert!(unpacked(got.body) == text.as_bytes());
            }
        }
    }
    client.text("not compressed, which is allowed").await;
    assert_eq!(client.get_text().await, "not compressed, which is allowed");
}

#[tokio::test]
async fn compression_can_be_off() {
    let edge = Edge::with(Config { compression: false, ..config() });
    let (head, mut client) = edge.client_with(OFFER).await;
    assert!(!head.to_lowercase().contains("sec-websocket-extensions"));
    client.send(0xc1, &packed(b"nevertheless")).await;
    assert_eq!(client.get_close().await.0, 1002);
}

#[tokio::test]
async fn a_bomb_does_not_go_off() {
    let edge = Edge::start();
    let (_, mut client) = edge.client_with(OFFER).await;
    let bomb = packed(&vec![b'0'; 100_000_000]);
    assert!(bomb.len() < 200_000);
    client.send(0xc1, &bomb).await;
    assert_eq!(client.get_close().await.0, 1009);
    let (_, mut client) = edge.client_with(OFFER).await;
    client.send(0xc1, &[0xff; 100]).await;
    assert_eq!(client.get_close().await.0, 1007);
}

/// The short way to the socket and the writing task take turns; the client reads nothing until the socket is full, so that most
/// of the messages are left to the task.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_by_the_short_way_keeps_its_order_and_is_whole() {
    let edge = Edge::start();
    let mut client = edge.client().await;
    let count = 20_000;
    client.text(&format!("now {count}")).await;
    client.text("after").await;
    for number in 0..count {
        let text = client.get_text().await;
        assert_eq!(text.split(' ').next(), Some(number.to_string().as_str()));
        assert_eq!(text.len(), number.to_string().len() + 1_001);
    }
    assert_eq!(client.get_text().await, "after");
}
