//! Rates: who goes too fast is told how long to wait, and only that.

use towpath_conformance::*;

/// Checks that a refusal names the seconds to wait.
fn assert_told_to_wait(reason: &str) {
    assert_reason(reason, "rate-limited");
    assert!(reason.contains(|character: char| character.is_ascii_digit()), "wait how long? {reason:?}");
}

#[tokio::test]
async fn events_beyond_the_rate_are_refused() -> Result<()> {
    let config = "[rates]\npublish_per_connection_per_s = 1\npublish_per_connection_burst = 3";
    let (relay, mut client) = relay_with(config).await?;
    let events: Vec<Event> = (0..20).map(|number| note(&number.to_string()).sign()).collect();
    for event in &events {
        client.send_json(json!(["EVENT", event])).await?;
    }
    let mut refused = 0;
    for event in &events {
        let ack = client.ack(&event.id).await?;
        if !ack.accepted {
            assert_told_to_wait(&ack.message);
            refused += 1;
        }
    }
    assert!((1..=17).contains(&refused), "{refused} of {} were refused", events.len());
    // The rate is that of a connection: another is not concerned.
    Client::connect(&relay).await?.store(&note("another").sign()).await
}

#[tokio::test]
async fn a_refused_event_is_accepted_later() -> Result<()> {
    let config = "[rates]\npublish_per_connection_per_s = 5\npublish_per_connection_burst = 1";
    let (_relay, mut client) = relay_with(config).await?;
    client.store(&note("first").sign()).await?;
    let second = note("second").sign();
    eventually("there is room again", async || Ok(client.publish(&second).await?.accepted)).await?;
    expect_stored(&mut client, &second, true).await
}

#[tokio::test]
async fn ephemeral_events_have_a_rate_of_their_own() -> Result<()> {
    let config = "[rates]\nephemeral_per_connection_per_s = 1\nephemeral_per_connection_burst = 1";
    let (_relay, mut client) = relay_with(config).await?;
    client.req("s", json!({ "kinds": [20001] })).await?;
    client.store(&note("first").kind(20001).sign()).await?;
    let ack = client.publish(&note("second").kind(20001).sign()).await?;
    assert_refused(&ack, "rate-limited");
    assert_told_to_wait(&ack.message);
    client.store(&note("stored events are another class").sign()).await
}

#[tokio::test]
async fn requests_beyond_the_rate_are_closed() -> Result<()> {
    let config = "[rates]\nquery_per_connection_per_s = 1\nquery_per_connection_burst = 2";
    let (_relay, mut client) = relay_with(config).await?;
    for number in 0..10 {
        client.open(&number.to_string(), json!({ "ids": [] })).await?;
    }
    let mut refused = 0;
    for number in 0..10 {
        if let End::Closed(reason) = client.stored(&number.to_string()).await?.end {
            assert_told_to_wait(&reason);
            refused += 1;
        }
    }
    assert!((1..=8).contains(&refused), "{refused} of 10 were refused");
    client.store(&note("publishing is another class").sign()).await
}

#[tokio::test]
async fn a_key_has_one_rate_on_all_its_connections() -> Result<()> {
    let config = "[rates]\npublish_per_key_per_s = 1\npublish_per_key_burst = 1";
    let (relay, mut one) = relay_with(config).await?;
    let mut other = Client::connect(&relay).await?;
    let mut of_bob = Client::connect(&relay).await?;
    one.authenticate(&alice()).await?;
    other.authenticate(&alice()).await?;
    of_bob.authenticate(&bob()).await?;
    one.store(&note("first").sign()).await?;
    let ack = other.publish(&note("second").sign()).await?;
    assert_refused(&ack, "rate-limited");
    of_bob.store(&note("another key").by(&bob()).sign()).await
}

#[tokio::test]
async fn closing_is_never_limited() -> Result<()> {
    let config = "[rates]\nquery_per_connection_per_s = 1\nquery_per_connection_burst = 1";
    let (_relay, mut client) = relay_with(config).await?;
    client.req("s", json!({ "authors": [alice().pubkey()] })).await?;
    for _ in 0..100 {
        client.close("never opened").await?;
    }
    client.store(&note("live").sign()).await?;
    assert_eq!(client.live("s").await?.content, "live");
    Ok(())
}
