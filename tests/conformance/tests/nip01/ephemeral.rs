//! Ephemeral kinds: delivered to whoever listens, kept by nobody.

use towpath_conformance::*;
use tungstenite::Message;

fn listening_to(kind: u64) -> Value {
    json!({ "kinds": [kind], "authors": [alice().pubkey()] })
}

#[tokio::test]
async fn an_ephemeral_event_is_delivered_and_not_stored() -> Result<()> {
    let (relay, mut reader) = relay().await?;
    let mut writer = Client::connect(&relay).await?;
    for kind in [20000, 24133, 29999] {
        reader.req("s", listening_to(kind)).await?;
        let event = note("now or never").kind(kind).sign();
        assert_accepted(&writer.publish(&event).await?);
        assert_eq!(reader.live("s").await?, event);
        expect_stored(&mut writer, &event, false).await?;
        expect_found(&mut writer, listening_to(kind), &[]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_ephemeral_event_that_nobody_hears_is_mute() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("anyone?").kind(20001).sign();
    expect_refusal(&mut client, &event, "mute").await?;
    expect_stored(&mut client, &event, false).await
}

#[tokio::test]
async fn listeners_to_something_else_do_not_count() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.req("kind", listening_to(20002)).await?;
    client.req("author", json!({ "authors": [bob().pubkey()] })).await?;
    expect_refusal(&mut client, &note("anyone?").kind(20001).sign(), "mute").await?;
    client.close("kind").await?;
    expect_refusal(&mut client, &note("still?").kind(20002).sign(), "mute").await
}

#[tokio::test]
async fn a_mute_event_can_be_sent_again_when_somebody_listens() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("hello?").kind(20001).sign();
    expect_refusal(&mut client, &event, "mute").await?;
    client.req("s", listening_to(20001)).await?;
    assert_accepted(&client.publish(&event).await?);
    assert_eq!(client.live("s").await?, event);
    Ok(())
}

/// In one write each time.
#[tokio::test]
async fn whoever_asks_in_between_hears_what_comes_in_between() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let message = |message: Value| Message::text(message.to_string());
    let event = |event: &Event| message(json!(["EVENT", event.json()]));
    let [early, heard, late] = ["early", "heard", "late"].map(|content| note(content).kind(20123).sign());
    client.send_together([event(&early), message(json!(["REQ", "s", listening_to(20123)]))]).await?;
    assert_refused(&client.ack(&early.id).await?, "mute");
    client.send_together([event(&heard), message(json!(["CLOSE", "s"])), event(&late)]).await?;
    assert_accepted(&client.ack(&heard.id).await?);
    assert_refused(&client.ack(&late.id).await?, "mute");
    Ok(())
}

#[tokio::test]
async fn an_ephemeral_event_is_held_to_the_same_checks() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.req("s", listening_to(20001)).await?;
    let event = note("forged").kind(20001).sign();
    expect_invalid(&mut client, &event.with("sig", "0".repeat(128))).await?;
    expect_invalid(&mut client, &event.with("content", "changed")).await?;
    let future = note("later").kind(20001).at(now() + 86_400).sign();
    expect_refusal(&mut client, &future, "invalid").await?;
    client.expect_silence("s").await
}

#[tokio::test]
async fn the_neighbours_of_the_ephemeral_range_are_stored() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for kind in [19999, 30000] {
        let event = note("kept").kind(kind).sign();
        client.store(&event).await?;
        expect_stored(&mut client, &event, true).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_ephemeral_event_is_not_counted() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.req("s", listening_to(20001)).await?;
    client.store(&note("one").kind(20001).sign()).await?;
    let count = client.count("c", listening_to(20001)).await?;
    assert_eq!(count, Ok(json!({ "count": 0 })));
    Ok(())
}
