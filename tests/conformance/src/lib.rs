//! Black-box conformance tests over WebSocket, laid out by NIP.
//!
//! The tests are in `tests/`, one module for each NIP, one test for each statement, named as the
//! sentence it proves. This library is the vocabulary they share; it must not know any one NIP.

use std::sync::LazyLock;

pub use anyhow::{Context, Result, bail, ensure};
pub use towpath_harness::*;

/// The same moment for the whole test, some hours ago.
static BEGINNING: LazyLock<u64> = LazyLock::new(|| now() - 10_000);

/// A moment of the test's past; moments of higher numbers are that many seconds later.
pub fn moment(number: u64) -> u64 {
    *BEGINNING + number
}

/// A relay with the default configuration and a client of it.
pub async fn relay() -> Result<(Relay, Client)> {
    let relay = Relay::start().await?;
    let client = Client::connect(&relay).await?;
    Ok((relay, client))
}

/// An empty relay of our own and a client of it.
pub async fn empty_relay() -> Result<(Relay, Client)> {
    let relay = Relay::empty().await?;
    let client = Client::connect(&relay).await?;
    Ok((relay, client))
}

/// A relay of our own with this configuration and a client of it.
pub async fn relay_with(config: &str) -> Result<(Relay, Client)> {
    let relay = Relay::builder().config_toml(config).start().await?;
    let client = Client::connect(&relay).await?;
    Ok((relay, client))
}

/// Checks that an event was refused for this reason.
#[track_caller]
pub fn assert_refused(ack: &Ack, prefix: &str) {
    assert!(!ack.accepted, "accepted with {:?}", ack.message);
    assert_reason(&ack.message, prefix);
}

/// Checks that an event was taken.
#[track_caller]
pub fn assert_accepted(ack: &Ack) {
    assert!(ack.accepted, "refused with {:?}", ack.message);
}

/// Checks that a reason is `prefix: text`, with a text.
#[track_caller]
pub fn assert_reason(reason: &str, prefix: &str) {
    let parts = reason.split_once(": ");
    let right = parts.is_some_and(|(found, text)| found == prefix && !text.trim().is_empty());
    assert!(right, "expected a reason of the form `{prefix}: …` and got {reason:?}");
}

/// Publishes an event that the relay has to refuse for this reason.
pub async fn expect_refusal(client: &mut Client, event: &Event, prefix: &str) -> Result<()> {
    assert_refused(&client.publish(event).await?, prefix);
    Ok(())
}

/// Publishes what is not quite an event; the relay has to call it invalid.
pub async fn expect_invalid(client: &mut Client, event: &Value) -> Result<()> {
    let ack = client.publish_json(event).await?;
    ensure!(!ack.accepted, "accepted {event} with {:?}", ack.message);
    assert_reason(&ack.message, "invalid");
    Ok(())
}

/// Sends a `REQ` that the relay has to close for this reason.
pub async fn expect_closed(client: &mut Client, filters: Value, prefix: &str) -> Result<()> {
    let answer = client.req("refused", filters.clone()).await?;
    match &answer.end {
        End::Closed(reason) => assert_reason(reason, prefix),
        End::Eose(_) => bail!("answered {filters} with {} events", answer.events.len()),
    }
    Ok(())
}

/// Checks which events a filter finds, in the order of their contents.
pub async fn expect_found(client: &mut Client, filters: Value, contents: &[&str]) -> Result<()> {
    let events = client.query(filters.clone()).await?;
    let found: Vec<&str> = events.iter().map(|event| event.content.as_str()).collect();
    ensure!(found == contents, "{filters} finds {found:?} instead of {contents:?}");
    Ok(())
}

/// Checks that an event is stored, or that it is not.
pub async fn expect_stored(client: &mut Client, event: &Event, stored: bool) -> Result<()> {
    let found = client.query(json!({ "ids": [event.id] })).await?;
    ensure!(found.is_empty() != stored, "stored should be {stored} and is not: {event:?}");
    Ok(())
}

/// Checks that the connection still serves: a question gets its answer.
pub async fn expect_alive(client: &mut Client) -> Result<()> {
    client.query(json!({ "ids": [] })).await.map(drop)
}
