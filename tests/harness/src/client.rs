//! A raw WebSocket client: it sends anything, right or wrong, and waits for what should come back.
//!
//! What arrives while a test waits for something else is kept in order and found later, so the
//! order in which a test asks does not matter. No wait is for time: a missing message fails at the
//! deadline, and silence is shown by a round trip that what was feared could not have overtaken.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
pub use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::actors::Keys;
use crate::event::{Event, note};
use crate::relay::Relay;
use crate::wait::within;

/// The relay's answer to an `EVENT` or `AUTH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The id that was answered.
    pub id: String,
    /// Whether the relay took it.
    pub accepted: bool,
    /// Why, or why not.
    pub message: String,
}

/// How the stored part of a subscription ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With `EOSE`, with its hints if it had a third element.
    Eose(Option<Vec<String>>),
    /// With `CLOSED` and its reason.
    Closed(String),
}

/// The relay's answer to a `REQ`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The stored events, in the order they came.
    pub events: Vec<Event>,
    /// What came after them.
    pub end: End,
}

impl Answer {
    /// The ids of the events.
    pub fn ids(&self) -> Vec<&str> {
        self.events.iter().map(|event| event.id.as_str()).collect()
    }

    /// The contents of the events.
    pub fn contents(&self) -> Vec<&str> {
        self.events.iter().map(|event| event.content.as_str()).collect()
    }

    /// The reason for which the relay closed the subscription.
    pub fn refusal(&self) -> Result<&str> {
        match &self.end {
            End::Closed(reason) => Ok(reason),
            End::Eose(_) => bail!("answered with {} events, not refused", self.events.len()),
        }
    }
}

/// A connection to a relay.
#[derive(Debug)]
pub struct Client {
    /// The relay's address as AUTH events name it.
    url: String,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Arrived and not yet asked for, oldest first.
    inbox: VecDeque<Value>,
}

impl Client {
    /// Connects to a relay.
    pub async fn connect(relay: &Relay) -> Result<Self> {
        Self::connect_to(relay.url()).await
    }

    /// Connects to an address.
    pub async fn connect_to(url: &str) -> Result<Self> {
        let connect = async { Ok(connect_async(url).await?) };
        let (socket, _response) = within("the handshake", connect).await?;
        Ok(Self { url: url.to_owned(), socket, inbox: VecDeque::new() })
    }

    /// The same client for a relay that goes by another name than the address it listens on.
    pub fn naming_relay(self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self }
    }

    // Sending.

    /// Sends a WebSocket message of any sort.
    pub async fn send(&mut self, message: Message) -> Result<()> {
        within("the relay to read", async { Ok(self.socket.send(message).await?) }).await
    }

    /// Sends a text message, JSON or not.
    pub async fn send_text(&mut self, text: impl Into<String>) -> Result<()> {
        self.send(Message::text(text.into())).await
    }

    /// Sends a JSON message.
    pub async fn send_json(&mut self, message: Value) -> Result<()> {
        self.send_text(message.to_string()).await
    }

    /// Sends messages in as few writes as there can be, so that they arrive together.
    pub async fn send_together(&mut self, messages: impl IntoIterator<Item = Message>) -> Result<()> {
        for message in messages {
            within("the relay to read", async { Ok(self.socket.feed(message).await?) }).await?;
        }
        within("the relay to read", async { Ok(self.socket.flush().await?) }).await
    }

    /// Sends a `REQ`; `filters` is one filter or an array of them.
    pub async fn open(&mut self, sub: &str, filters: Value) -> Result<()> {
        self.send_json(request("REQ", sub, filters)).await
    }

    /// Sends a `CLOSE`.
    pub async fn close(&mut self, sub: &str) -> Result<()> {
        self.send_json(json!(["CLOSE", sub])).await
    }

    // Receiving.

    /// The next message that satisfies `wanted`; the others stay for later.
    pub async fn next_matching(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Result<Value> {
        if let Some(at) = self.inbox.iter().position(&mut wanted) {
            return self.inbox.remove(at).context("the position is inside");
        }
        let arrival = async {
            loop {
                let message = self.receive().await?;
                if wanted(&message) {
                    return Ok(message);
                }
                self.inbox.push_back(message);
            }
        };
        let outcome = within(what, arrival).await;
        outcome.with_context(|| format!("no {what}; {}", self.summary()))
    }

    /// Messages that have arrived and that no wait has taken.
    pub fn untaken(&self) -> impl Iterator<Item = &Value> {
        self.inbox.iter()
    }

    /// Waits until the relay ends the connection; returns the close frame if it sent one.
    pub async fn disconnected(&mut self) -> Result<Option<CloseFrame>> {
        let ending = async {
            let mut close = None;
            while let Some(Ok(message)) = self.socket.next().await {
                match message {
                    Message::Close(frame) => close = frame,
                    Message::Text(text) => self.inbox.push_back(serde_json::from_str(&text)?),
                    _ => {}
                }
            }
            // The relay may wait for our end of the connection; it may also be gone already.
            let _ = self.socket.get_mut().shutdown().await;
            Ok(close)
        };
        within("the relay to disconnect", ending).await
    }

    /// What arrived instead, as much as helps to understand a failure.
    fn summary(&self) -> String {
        let latest: Vec<String> = self.inbox.iter().rev().take(5).map(Value::to_string).collect();
        format!("{} other messages, the latest first: {}", self.inbox.len(), latest.join(" "))
    }

    async fn receive(&mut self) -> Result<Value> {
        loop {
            match self.socket.next().await.unwrap_or(Err(Error::ConnectionClosed))? {
                Message::Text(text) => {
                    return serde_json::from_str(&text)
                        .with_context(|| format!("the relay sent what is not JSON: {text}"));
                }
                Message::Close(frame) => bail!("the relay closed the connection: {frame:?}"),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    // Conversations.

    /// Publishes an event and waits for its `OK`.
    pub async fn publish(&mut self, event: &Event) -> Result<Ack> {
        self.publish_json(&event.json()).await
    }

    /// Publishes what may not be an event and waits for the `OK` of the id it has.
    pub async fn publish_json(&mut self, event: &Value) -> Result<Ack> {
        let id = event["id"].as_str().context("without an id there is no OK to wait for")?;
        self.send_json(json!(["EVENT", event])).await?;
        self.ack(id).await
    }

    /// Publishes an event given as text, which `serde_json` would not write that way.
    pub async fn publish_text(&mut self, id: &str, event: &str) -> Result<Ack> {
        self.send_text(format!(r#"["EVENT",{event}]"#)).await?;
        self.ack(id).await
    }

    /// Publishes an event that the relay has to take.
    pub async fn store(&mut self, event: &Event) -> Result<()> {
        let ack = self.publish(event).await?;
        ensure!(ack.accepted, "refused {event:?}: {}", ack.message);
        Ok(())
    }

    /// Publishes events, in one go, that the relay has to take.
    pub async fn store_all<'a>(&mut self, events: impl IntoIterator<Item = &'a Event> + Clone) -> Result<()> {
        for event in events.clone() {
            self.socket.feed(Message::text(json!(["EVENT", event]).to_string())).await?;
        }
        within("the relay to read", async { Ok(self.socket.flush().await?) }).await?;
        for event in events {
            let ack = self.ack(&event.id).await?;
            ensure!(ack.accepted, "refused {event:?}: {}", ack.message);
        }
        Ok(())
    }

    /// Waits for the `OK` of an id.
    pub async fn ack(&mut self, id: &str) -> Result<Ack> {
        let wanted = |message: &Value| message[0] == "OK" && message[1] == id;
        parse_ack(&self.next_matching(&format!("OK for {id}"), wanted).await?)
    }

    /// Sends a `REQ` and collects what is stored.
    pub async fn req(&mut self, sub: &str, filters: Value) -> Result<Answer> {
        self.open(sub, filters).await?;
        self.stored(sub).await
    }

    /// Asks for what is stored and closes the subscription again.
    pub async fn query(&mut self, filters: Value) -> Result<Vec<Event>> {
        let sub = unique("query");
        let answer = self.req(&sub, filters).await?;
        if let End::Closed(reason) = answer.end {
            bail!("query refused: {reason}");
        }
        self.close(&sub).await?;
        Ok(answer.events)
    }

    /// Collects the stored events of a subscription up to its `EOSE` or `CLOSED`.
    pub async fn stored(&mut self, sub: &str) -> Result<Answer> {
        let mut events = Vec::new();
        loop {
            let what = format!("EOSE or CLOSED for {sub:?} after {} events", events.len());
            let message = self.next_matching(&what, |message| is_about(message, sub)).await?;
            let end = match message[0].as_str() {
                Some("EVENT") => {
                    events.push(parse_event(&message)?);
                    continue;
                }
                Some("EOSE") => End::Eose(parse_hints(&message)?),
                Some("CLOSED") => End::Closed(parse_reason(&message)?),
                _ => bail!("unexpected answer to a REQ: {message}"),
            };
            return Ok(Answer { events, end });
        }
    }

    /// The next live event of a subscription.
    pub async fn live(&mut self, sub: &str) -> Result<Event> {
        let what = format!("EVENT for {sub:?}");
        parse_event(&self.next_matching(&what, |message| is_about(message, sub)).await?)
    }

    /// Waits for a `CLOSED` and returns its reason.
    pub async fn closed(&mut self, sub: &str) -> Result<String> {
        let wanted = |message: &Value| message[0] == "CLOSED" && message[1] == sub;
        parse_reason(&self.next_matching(&format!("CLOSED for {sub:?}"), wanted).await?)
    }

    /// Waits for a `NOTICE` and returns its text.
    pub async fn notice(&mut self) -> Result<String> {
        let notice = self.next_matching("NOTICE", |message| message[0] == "NOTICE").await?;
        ensure!(notice.as_array().is_some_and(|parts| parts.len() == 2), "odd NOTICE: {notice}");
        Ok(notice[1].as_str().context("a NOTICE without a text")?.to_owned())
    }

    /// Sends a `COUNT` and returns the object it is answered with, or the reason of the `CLOSED`.
    pub async fn count(&mut self, sub: &str, filters: Value) -> Result<Result<Value, String>> {
        self.send_json(request("COUNT", sub, filters)).await?;
        let what = format!("COUNT or CLOSED for {sub:?}");
        let message = self.next_matching(&what, |message| is_about(message, sub)).await?;
        match message[0].as_str() {
            Some("COUNT") => Ok(Ok(message[2].clone())),
            Some("CLOSED") => Ok(Err(parse_reason(&message)?)),
            _ => bail!("unexpected answer to a COUNT: {message}"),
        }
    }

    /// Waits for the relay's challenge.
    pub async fn challenge(&mut self) -> Result<String> {
        let challenge = self.next_matching("AUTH", |message| message[0] == "AUTH").await?;
        Ok(challenge[1].as_str().context("a challenge that is no string")?.to_owned())
    }

    /// Answers the challenge, which stays for the next one to answer.
    pub async fn authenticate(&mut self, keys: &Keys) -> Result<()> {
        let challenge = self.challenge().await?;
        self.inbox.push_front(json!(["AUTH", challenge]));
        let ack = self.auth(&self.auth_event(keys, &challenge)).await?;
        ensure!(ack.accepted, "authentication refused: {}", ack.message);
        Ok(())
    }

    /// Sends an `AUTH` with any event and waits for its `OK`.
    pub async fn auth(&mut self, event: &Event) -> Result<Ack> {
        self.send_json(json!(["AUTH", event])).await?;
        self.ack(&event.id).await
    }

    /// The event with which `keys` answer a challenge on this connection.
    pub fn auth_event(&self, keys: &Keys, challenge: &str) -> Event {
        note("").by(keys).kind(22242).tag(["relay", &self.url]).tag(["challenge", challenge]).sign()
    }

    // Silence.

    /// Returns once everything that the relay was already bound to send here has arrived.
    ///
    /// A stored and an ephemeral marker, published after what the test did and delivered to this
    /// connection, have taken every way that an event takes.
    pub async fn barrier(&mut self) -> Result<()> {
        let sub = unique("barrier");
        let author = Keys::named(&format!("{sub} of {}", std::process::id()));
        let markers = [9999, 29999].map(|kind| note(&sub).by(&author).kind(kind).sign());
        let ids = markers.each_ref().map(|marker| marker.id.clone());
        let answer = self.req(&sub, json!({ "ids": ids })).await?;
        ensure!(matches!(answer.end, End::Eose(_)), "the barrier was refused: {:?}", answer.end);
        self.store_all(&markers).await?;
        for _ in &markers {
            self.live(&sub).await?;
        }
        self.close(&sub).await?;
        self.inbox.retain(|message| !ids.iter().any(|id| message[2]["id"] == id.as_str()));
        Ok(())
    }

    /// Checks that nothing more comes for a subscription.
    pub async fn expect_silence(&mut self, sub: &str) -> Result<()> {
        self.barrier().await?;
        match self.inbox.iter().find(|message| is_about(message, sub)) {
            None => Ok(()),
            Some(message) => bail!("{sub:?} should be silent and got {message}"),
        }
    }
}

/// Whether a relay's message is about a subscription.
pub fn is_about(message: &Value, sub: &str) -> bool {
    let verb = message[0].as_str().unwrap_or_default();
    matches!(verb, "EVENT" | "EOSE" | "CLOSED" | "COUNT") && message[1] == sub
}

/// A subscription id that no other has, so that what comes late for one is not taken for another.
fn unique(purpose: &str) -> String {
    static USED: AtomicU64 = AtomicU64::new(0);
    format!("{purpose} {}", USED.fetch_add(1, Ordering::Relaxed))
}

fn request(verb: &str, sub: &str, filters: Value) -> Value {
    let mut message = vec![json!(verb), json!(sub)];
    match filters {
        Value::Array(filters) => message.extend(filters),
        filter => message.push(filter),
    }
    Value::Array(message)
}

fn parse_ack(message: &Value) -> Result<Ack> {
    ensure!(message.as_array().is_some_and(|parts| parts.len() == 4), "odd OK: {message}");
    Ok(Ack {
        id: message[1].as_str().context("an OK without an id")?.to_owned(),
        accepted: message[2].as_bool().context("an OK without a verdict")?,
        message: message[3].as_str().context("an OK without a message")?.to_owned(),
    })
}

/// Every event that a relay sends has to verify, whatever the test is about.
fn parse_event(message: &Value) -> Result<Event> {
    ensure!(message[0] == "EVENT", "expected an EVENT and got {message}");
    ensure!(message.as_array().is_some_and(|parts| parts.len() == 3), "odd EVENT: {message}");
    let event: Event =
        serde_json::from_value(message[2].clone()).with_context(|| format!("not an event: {message}"))?;
    event.verify()?;
    Ok(event)
}

fn parse_hints(message: &Value) -> Result<Option<Vec<String>>> {
    match message.get(2) {
        None => Ok(None),
        Some(hints) => Ok(Some(serde_json::from_value(hints.clone())?)),
    }
}

fn parse_reason(message: &Value) -> Result<String> {
    ensure!(message.as_array().is_some_and(|parts| parts.len() == 3), "odd CLOSED: {message}");
    Ok(message[2].as_str().context("a CLOSED without a reason")?.to_owned())
}
