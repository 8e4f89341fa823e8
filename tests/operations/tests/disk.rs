//! A disk without room: writes are refused with a reason, reading goes on, and room is all it takes to recover.

use towpath_operations::*;

/// The most the key can ask for, and more than the disk has that the tests run on.
const FULL: &str = "[store]\nfree_bytes_min = 1_152_921_504_606_846_976";

/// A relay that holds one event and finds its disk full.
async fn full_relay(event: &Event) -> Result<(Relay, Client)> {
    let mut relay = Relay::empty().await?;
    Client::connect(&relay).await?.store(event).await?;
    relay.reload(FULL).await?;
    relay.restart().await?;
    let client = Client::connect(&relay).await?;
    Ok((relay, client))
}

#[tokio::test]
async fn a_full_disk_refuses_events_and_says_why() -> Result<()> {
    let (_relay, mut client) = full_relay(&note("before").sign()).await?;
    let ack = client.publish(&note("one too many").sign()).await?;
    assert!(!ack.accepted);
    assert!(ack.message.starts_with("error: ") && ack.message.contains("disk"), "{}", ack.message);
    Ok(())
}

#[tokio::test]
async fn a_full_disk_is_still_read() -> Result<()> {
    let event = note("before").sign();
    let (_relay, mut client) = full_relay(&event).await?;
    client.publish(&note("one too many").sign()).await?;
    assert_eq!(client.query(json!({ "kinds": [1] })).await?, [event]);
    Ok(())
}

#[tokio::test]
async fn what_a_full_disk_refused_is_not_delivered() -> Result<()> {
    let (_relay, mut client) = full_relay(&note("before").sign()).await?;
    client.req("live", json!({ "kinds": [1], "limit": 0 })).await?;
    client.publish(&note("one too many").sign()).await?;
    // Ephemeral events need no disk and take the same way to the reader.
    client.req("ephemeral", json!({ "kinds": [20001] })).await?;
    client.store(&note("after it").kind(20001).sign()).await?;
    client.live("ephemeral").await?;
    assert!(!client.untaken().any(|message| is_about(message, "live")));
    Ok(())
}

#[tokio::test]
async fn an_event_refused_for_want_of_room_is_taken_when_there_is_some() -> Result<()> {
    let (mut relay, mut client) = full_relay(&note("before").sign()).await?;
    let event = note("one too many").sign();
    assert!(!client.publish(&event).await?.accepted);
    relay.reload("").await?;
    relay.restart().await?;
    let ack = Client::connect(&relay).await?.publish(&event).await?;
    assert!(ack.accepted && ack.message.is_empty(), "{ack:?}");
    Ok(())
}
