//! A client that does not read: it is told and closed, and costs the others nothing.

use towpath_operations::*;

/// Little room, so that few events fill it.
const LITTLE_ROOM: &str = "[queues]\noutbox_bytes_max = 1_000_000\n[server]\nwrite_timeout_s = 1\ncompression = false";
const OUTBOX_BYTES_MAX: f64 = 1_000_000.0;
/// Together with `CONTENT_BYTES`, more than the buffers of a socket on loopback hold.
const EVENTS: usize = 200;
const CONTENT_BYTES: usize = 100_000;

/// A relay and a client of it that has subscribed and will not read for now.
async fn relay_with_a_deaf_client() -> Result<(Relay, Client)> {
    let relay = Relay::builder().config_toml(LITTLE_ROOM).start().await?;
    let mut deaf = Client::connect(&relay).await?;
    deaf.req("all", json!({ "kinds": [1] })).await?;
    Ok((relay, deaf))
}

fn long_note(number: usize) -> Event {
    note(&format!("{number} {}", "x".repeat(CONTENT_BYTES))).sign()
}

#[tokio::test]
async fn a_client_that_does_not_read_is_told_and_closed() -> Result<()> {
    let (relay, mut deaf) = relay_with_a_deaf_client().await?;
    let mut publisher = Client::connect(&relay).await?;
    for number in 0..EVENTS {
        publisher.store(&long_note(number)).await?;
    }
    assert!(metric(&relay, "towpath_deliver_slow_consumers_total").await? >= 1.0);
    // Only the publisher is left, and nothing waits for anybody.
    eventually("it is closed", async || Ok(metric(&relay, "towpath_gateway_connections").await? == 1.0)).await?;
    assert_eq!(metric(&relay, "towpath_outbox_queued_bytes").await?, 0.0);
    deaf.disconnected().await?;
    let received = deaf.untaken().filter(|message| message[0] == "EVENT").count();
    assert!(received < EVENTS, "it was not slow");
    Ok(())
}

#[tokio::test]
async fn a_client_that_reads_again_finds_out_that_it_was_too_slow() -> Result<()> {
    let relay = Relay::builder().config_toml("[queues]\noutbox_bytes_max = 1_000_000").start().await?;
    let mut slow = Client::connect(&relay).await?;
    slow.req("all", json!({ "kinds": [1] })).await?;
    let mut publisher = Client::connect(&relay).await?;
    for number in 0..EVENTS {
        publisher.store(&long_note(number)).await?;
    }
    let reason = slow.closed("all").await?;
    assert!(reason.contains("slow"), "{reason}");
    slow.req("again", json!({ "kinds": [1], "limit": 1 })).await?;
    Ok(())
}

#[tokio::test]
async fn a_client_that_does_not_read_costs_the_others_nothing() -> Result<()> {
    let (relay, _deaf) = relay_with_a_deaf_client().await?;
    let (mut publisher, mut reader) = (Client::connect(&relay).await?, Client::connect(&relay).await?);
    reader.req("all", json!({ "kinds": [1] })).await?;
    for number in 0..EVENTS {
        let event = long_note(number);
        publisher.store(&event).await?;
        assert_eq!(reader.live("all").await?.id, event.id);
        let queued = metric(&relay, "towpath_outbox_queued_bytes").await?;
        assert!(queued <= 2.0 * OUTBOX_BYTES_MAX, "{queued} bytes are queued");
    }
    Ok(())
}
