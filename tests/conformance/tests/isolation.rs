//! Bad input costs other clients nothing: while one misbehaves, another publishes and reads.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use towpath_conformance::*;
use tungstenite::Message;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// A well-behaved client with a live subscription.
struct Bystander {
    client: Client,
    published: u64,
}

impl Bystander {
    async fn of(relay: &Relay) -> Result<Self> {
        let mut client = Client::connect(relay).await?;
        client.req("bystander", json!({ "authors": [carol().pubkey()] })).await?;
        Ok(Self { client, published: 0 })
    }

    /// Publishes, receives and finds an event, and gets nothing else.
    async fn expect_served(&mut self) -> Result<()> {
        self.published += 1;
        let text = format!("bystander {}", self.published);
        let event = note(&text).by(&carol()).sign();
        self.client.store(&event).await?;
        ensure!(self.client.live("bystander").await? == event);
        expect_stored(&mut self.client, &event, true).await?;
        self.client.expect_silence("bystander").await
    }
}

#[tokio::test]
async fn refused_messages() -> Result<()> {
    let (relay, mut culprit) = relay().await?;
    let mut bystander = Bystander::of(&relay).await?;
    let event = note("x").sign();
    for text in [
        "not json".to_owned(),
        "[".repeat(100_000),
        json!(["EVENT", event.with("sig", "00")]).to_string(),
        json!(["EVENT", event.with("tags", json!(vec![json!(["t", 1]); 1000]))]).to_string(),
        json!(["REQ", "x".repeat(10_000), {}]).to_string(),
        json!(["REQ", "s", { "ids": vec!["abcd"; 10_000] }]).to_string(),
        json!(["REQ", "s", { "since": "x" }]).to_string(),
        json!(["CLOSE", 1]).to_string(),
        json!(["AUTH", event]).to_string(),
        "\u{0}".to_owned(),
    ] {
        culprit.send_text(text).await?;
        bystander.expect_served().await?;
    }
    expect_alive(&mut culprit).await
}

#[tokio::test]
async fn messages_that_end_the_connection() -> Result<()> {
    let relay = Relay::start().await?;
    let mut bystander = Bystander::of(&relay).await?;
    let text = OpCode::Data(Data::Text);
    for frame in [
        Frame::message(vec![0xff; 10], text, true),
        Frame::message(vec![b' '; 600 * 1024], text, true),
        Frame::message(vec![b'x'; 10], OpCode::Data(Data::Continue), true),
        Frame::message(vec![b'x'; 10], OpCode::Data(Data::Reserved(5)), true),
    ] {
        let mut culprit = Client::connect(&relay).await?;
        // The relay may hang up before it has read everything.
        let _ = culprit.send(Message::Frame(frame)).await;
        culprit.disconnected().await?;
        bystander.expect_served().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_flood_of_forged_signatures() -> Result<()> {
    let (relay, mut culprit) = relay().await?;
    let mut bystander = Bystander::of(&relay).await?;
    let (one, other) = (note("one").sign(), note("other").sign());
    for _ in 0..1000 {
        culprit.send_json(json!(["EVENT", one.with("sig", other.sig.clone())])).await?;
    }
    bystander.expect_served().await?;
    for _ in 0..1000 {
        assert!(!culprit.ack(&one.id).await?.accepted);
    }
    bystander.expect_served().await
}

#[tokio::test]
async fn connections_that_never_finish_their_handshake() -> Result<()> {
    let relay = Relay::start().await?;
    let mut sockets = Vec::new();
    for head in ["", "G", "GET / HTTP/1.1\r\n", "\r\n\r\n", "\u{16}\u{3}\u{1}"] {
        let mut socket = TcpStream::connect(relay.authority()).await?;
        socket.write_all(head.as_bytes()).await?;
        sockets.push(socket);
    }
    Bystander::of(&relay).await?.expect_served().await
}

#[tokio::test]
async fn a_request_head_without_end() -> Result<()> {
    let relay = Relay::start().await?;
    let mut socket = TcpStream::connect(relay.authority()).await?;
    socket.write_all(b"GET / HTTP/1.1\r\n").await?;
    for number in 0..10_000 {
        let line = format!("X-{number}: {}\r\n", "x".repeat(100));
        // The relay hangs up when it has read enough.
        if socket.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
    Bystander::of(&relay).await?.expect_served().await
}

#[tokio::test]
async fn connections_that_break_off() -> Result<()> {
    let relay = Relay::start().await?;
    let mut bystander = Bystander::of(&relay).await?;
    let half = json!(["EVENT", note("half").sign()]).to_string();
    for _ in 0..50 {
        let mut culprit = Client::connect(&relay).await?;
        culprit.open("s", json!({ "authors": [carol().pubkey()] })).await?;
        let text = OpCode::Data(Data::Text);
        culprit.send(Message::Frame(Frame::message(half.clone(), text, false))).await?;
    }
    bystander.expect_served().await
}

#[tokio::test]
async fn a_reader_that_does_not_read() -> Result<()> {
    let (relay, mut writer) = empty_relay().await?;
    let mut bystander = Bystander::of(&relay).await?;
    let mut deaf = Client::connect(&relay).await?;
    for number in 0..50 {
        deaf.open(&number.to_string(), json!({ "authors": [alice().pubkey()] })).await?;
    }
    for batch in 0..10 {
        let text = "x".repeat(10_000);
        let events: Vec<Event> = (0..30).map(|number| note(&format!("{batch} {number} {text}")).sign()).collect();
        writer.store_all(&events).await?;
        bystander.expect_served().await?;
    }
    Ok(())
}

#[tokio::test]
async fn requests_for_everything() -> Result<()> {
    let (relay, mut culprit) = empty_relay().await?;
    let events: Vec<Event> = (0..500).map(|number| note(&number.to_string()).at(moment(number)).sign()).collect();
    culprit.store_all(&events).await?;
    let mut bystander = Bystander::of(&relay).await?;
    for number in 0..100 {
        culprit.open(&number.to_string(), json!({ "limit": 5000 })).await?;
    }
    bystander.expect_served().await?;
    for number in 0..100 {
        let answer = culprit.stored(&number.to_string()).await?;
        assert!(matches!(answer.end, End::Eose(_)), "{number}: {:?}", answer.end);
    }
    Ok(())
}
