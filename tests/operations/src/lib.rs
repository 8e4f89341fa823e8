//! The relay as a process: crashes, restarts, reloads, overload, and the promises it keeps through them.
//!
//! The tests are in `tests/`. This library is what they share: how much a connection keeps in flight, what it saw, and how
//! that becomes the observations of `towpath-promises`. It must not know what any one test is about.

use std::collections::HashSet;

pub use anyhow::{Context, Result, bail, ensure};
pub use towpath_harness::*;
pub use towpath_promises as promises;
use towpath_protocol::EventId;

/// Events a publisher has under way at one time: enough for commits of many events.
const IN_FLIGHT: usize = 32;

/// An id as the promises speak of it.
pub fn id(hex: &str) -> Result<EventId> {
    EventId::from_hex(hex).with_context(|| format!("not an id: {hex:?}"))
}

/// The ids of events.
pub fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Vec<EventId>> {
    events.into_iter().map(|event| id(&event.id)).collect()
}

/// What one connection saw of what it published.
#[derive(Debug, Default)]
pub struct Published {
    /// Sent, in this order.
    pub sent: Vec<EventId>,
    /// Answered with `OK`, in this order.
    pub answered: Vec<EventId>,
    /// Answered with `OK true`.
    pub acked: Vec<EventId>,
    /// Those of them that were there already, or are older than what is there.
    pub duplicates: Vec<EventId>,
}

impl Published {
    /// Publishes the events as fast as `IN_FLIGHT` allows, calling `answered` at every `OK`, until all are answered or the
    /// relay is gone; then reads whatever had still been sent.
    pub async fn until_the_end(mut client: Client, events: &[Event], mut answered: impl FnMut()) -> Result<Self> {
        let mut published = Self::default();
        let mut next = 0;
        while published.answered.len() < events.len() {
            while next < events.len() && next < published.answered.len() + IN_FLIGHT {
                published.sent.push(id(&events[next].id)?);
                if client.send_json(json!(["EVENT", events[next]])).await.is_err() {
                    return published.with_the_rest(client).await;
                }
                next += 1;
            }
            match client.next_matching("OK", is_ok).await {
                Ok(message) => published.note(&message)?,
                Err(_) => return published.with_the_rest(client).await,
            }
            answered();
        }
        Ok(published)
    }

    /// Adds the answers that came before the connection ended.
    pub async fn with_the_rest(mut self, mut client: Client) -> Result<Self> {
        client.disconnected().await?;
        client.untaken().filter(|message| is_ok(message)).try_for_each(|message| self.note(message))?;
        Ok(self)
    }

    fn note(&mut self, ok: &Value) -> Result<()> {
        let id = id(ok[1].as_str().context("an OK without an id")?)?;
        self.answered.push(id);
        if ok[2] == true {
            self.acked.push(id);
        }
        if ok[3].as_str().is_some_and(|text| text.starts_with("duplicate:")) {
            self.duplicates.push(id);
        }
        Ok(())
    }
}

fn is_ok(message: &Value) -> bool {
    message[0] == "OK"
}

/// The id of the event in an `EVENT` message for this subscription.
pub fn delivered(message: &Value, sub: &str) -> Option<Result<EventId>> {
    let event = message[0] == "EVENT" && message[1] == sub;
    event.then(|| id(message[2]["id"].as_str().unwrap_or_default()))
}

/// Everything stored of these authors, by their own words and the relay's.
pub async fn stored_of(client: &mut Client, authors: &[Keys]) -> Result<HashSet<EventId>> {
    let authors: Vec<String> = authors.iter().map(Keys::pubkey).collect();
    let events = client.query(json!({ "authors": authors, "limit": 5000 })).await?;
    Ok(ids(&events)?.into_iter().collect())
}

/// The value of a metric, whose name has its labels.
pub async fn metric(relay: &Relay, name: &str) -> Result<f64> {
    let text = http::get("/metrics").send(relay).await?.body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no metric {name} in:\n{text}"))?.trim().parse()?)
}
