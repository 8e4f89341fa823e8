//! Starting, stopping, crashing: what a client may rely on across them.

use towpath_conformance::*;
use tungstenite::protocol::frame::coding::CloseCode;

#[tokio::test]
async fn an_acked_event_survives_a_crash() -> Result<()> {
    let (mut relay, mut client) = empty_relay().await?;
    let events: Vec<Event> = (0..50).map(|number| note(&number.to_string()).sign()).collect();
    client.store_all(&events).await?;
    relay.kill().await?;
    relay.restart().await?;
    let mut client = Client::connect(&relay).await?;
    for event in &events {
        expect_stored(&mut client, event, true).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_duplicate_is_known_after_a_restart() -> Result<()> {
    let (mut relay, mut client) = empty_relay().await?;
    let event = note("again").sign();
    client.store(&event).await?;
    relay.restart().await?;
    let ack = Client::connect(&relay).await?.publish(&event).await?;
    assert_accepted(&ack);
    assert_reason(&ack.message, "duplicate");
    Ok(())
}

#[tokio::test]
async fn a_superseded_version_stays_away_after_a_restart() -> Result<()> {
    let (mut relay, mut client) = empty_relay().await?;
    let old = note("old").kind(10002).at(moment(1)).sign();
    client.store_all([&old, &note("new").kind(10002).at(moment(2)).sign()]).await?;
    relay.restart().await?;
    let mut client = Client::connect(&relay).await?;
    client.publish(&old).await?;
    let filter = json!({ "authors": [alice().pubkey()], "kinds": [10002] });
    expect_found(&mut client, filter, &["new"]).await
}

#[tokio::test]
async fn an_ephemeral_event_does_not_come_back() -> Result<()> {
    let (mut relay, mut client) = empty_relay().await?;
    client.req("s", json!({ "kinds": [20001] })).await?;
    let event = note("gone").kind(20001).sign();
    client.store(&event).await?;
    relay.restart().await?;
    expect_stored(&mut Client::connect(&relay).await?, &event, false).await
}

#[tokio::test]
async fn a_reloaded_configuration_is_in_force_without_a_restart() -> Result<()> {
    let (mut relay, mut client) = relay_with("[limits]\nlimit_max = 9\nlimit_default = 3").await?;
    let events: Vec<Event> = (0..5).map(|number| note(&number.to_string()).at(moment(number)).sign()).collect();
    client.store_all(&events).await?;
    assert_eq!(client.query(json!({ "kinds": [1] })).await?.len(), 3);
    relay.reload("[limits]\nlimit_max = 9\nlimit_default = 4").await?;
    eventually("the new default applies", async || Ok(client.query(json!({ "kinds": [1] })).await?.len() == 4)).await
}

#[tokio::test]
async fn a_reloaded_configuration_with_a_mistake_changes_nothing() -> Result<()> {
    let (mut relay, mut client) = relay_with("[limits]\nlimit_default = 3").await?;
    let events: Vec<Event> = (0..5).map(|number| note(&number.to_string()).at(moment(number)).sign()).collect();
    client.store_all(&events).await?;
    relay.reload("[limits]\nlimit_default = 4\nno_such_key = 1").await?;
    eventually("the mistake is logged", async || Ok(relay.log()?.contains("no_such_key"))).await?;
    assert_eq!(client.query(json!({ "kinds": [1] })).await?.len(), 3);
    Ok(())
}

#[tokio::test]
async fn a_relay_that_is_asked_to_finish_says_goodbye() -> Result<()> {
    let (mut relay, mut client) = empty_relay().await?;
    let event = note("the last word").sign();
    client.store(&event).await?;
    let (status, close) = tokio::join!(relay.terminate(), client.disconnected());
    assert!(status?.success());
    assert_eq!(close?.context("no close frame")?.code, CloseCode::Restart);
    relay.restart().await?;
    expect_stored(&mut Client::connect(&relay).await?, &event, true).await
}

#[tokio::test]
async fn what_was_sent_before_the_end_is_answered() -> Result<()> {
    let (mut relay, mut client) = empty_relay().await?;
    let events: Vec<Event> = (0..100).map(|number| note(&number.to_string()).sign()).collect();
    client.store_all(&events[..1]).await?;
    for event in &events {
        client.send_json(json!(["EVENT", event])).await?;
    }
    let (status, close) = tokio::join!(relay.terminate(), client.disconnected());
    assert!(status?.success());
    close?;
    let acked: Vec<String> = client
        .untaken()
        .filter(|message| message[0] == "OK" && message[2] == true)
        .filter_map(|message| message[1].as_str().map(str::to_owned))
        .collect();
    relay.restart().await?;
    let mut client = Client::connect(&relay).await?;
    for id in acked {
        assert_eq!(client.query(json!({ "ids": [id] })).await?.len(), 1, "{id} was acked and lost");
    }
    Ok(())
}
