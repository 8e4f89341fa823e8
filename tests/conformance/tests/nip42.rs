//! NIP-42: clients prove their keys; several to a connection, at any time.

use towpath_conformance::*;

/// What a client may do wrong when it authenticates.
fn auth(relay: &str, challenge: &str) -> EventBuilder {
    note("").kind(22242).tag(["relay", relay]).tag(["challenge", challenge])
}

async fn expect_auth_refused(client: &mut Client, event: &Event) -> Result<()> {
    let ack = client.auth(event).await?;
    ensure!(!ack.accepted, "{event:?} was accepted");
    assert_reason(&ack.message, "invalid");
    Ok(())
}

#[tokio::test]
async fn a_challenge_is_sent_on_connect() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    assert!(!client.challenge().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn every_connection_has_its_own_challenge() -> Result<()> {
    let (relay, mut one) = relay().await?;
    let mut other = Client::connect(&relay).await?;
    assert_ne!(one.challenge().await?, other.challenge().await?);
    Ok(())
}

#[tokio::test]
async fn a_connection_has_one_challenge() -> Result<()> {
    let (_relay, mut client) = relay_with("[auth]\nto_read = true\nto_write = true").await?;
    let challenge = client.challenge().await?;
    for _ in 0..3 {
        expect_closed(&mut client, json!({ "kinds": [1] }), "auth-required").await?;
        expect_refusal(&mut client, &note("hi").sign(), "auth-required").await?;
    }
    let repeated: Vec<_> = client.untaken().filter(|message| message[0] == "AUTH").collect();
    assert!(repeated.is_empty(), "after {challenge} came {repeated:?}");
    Ok(())
}

#[tokio::test]
async fn without_a_challenge_on_connect_one_comes_before_the_refusal() -> Result<()> {
    let config = "[auth]\nchallenge_on_connect = false\nto_write = true";
    let (_relay, mut client) = relay_with(config).await?;
    client.req("s", json!({ "ids": [] })).await?;
    assert!(!client.untaken().any(|message| message[0] == "AUTH"));
    let event = note("hi").sign();
    expect_refusal(&mut client, &event, "auth-required").await?;
    assert!(client.untaken().any(|message| message[0] == "AUTH"));
    client.authenticate(&alice()).await?;
    client.store(&event).await
}

#[tokio::test]
async fn the_right_answer_is_accepted() -> Result<()> {
    let (relay, mut client) = relay().await?;
    let challenge = client.challenge().await?;
    assert_accepted(&client.auth(&auth(relay.url(), &challenge).sign()).await?);
    Ok(())
}

#[tokio::test]
async fn an_answer_to_another_challenge_is_refused() -> Result<()> {
    let (relay, mut client) = relay().await?;
    let mut other = Client::connect(&relay).await?;
    let others_challenge = other.challenge().await?;
    for challenge in ["", "guessed", &others_challenge] {
        expect_auth_refused(&mut client, &auth(relay.url(), challenge).sign()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_challenge_does_not_outlive_its_connection() -> Result<()> {
    let (relay, mut client) = relay().await?;
    let challenge = client.challenge().await?;
    let answer = auth(relay.url(), &challenge).sign();
    assert_accepted(&client.auth(&answer).await?);
    drop(client);
    let mut client = Client::connect(&relay).await?;
    expect_auth_refused(&mut client, &answer).await
}

#[tokio::test]
async fn an_answer_for_another_relay_is_refused() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let challenge = client.challenge().await?;
    for url in ["wss://relay.example.com", "ws://127.0.0.2", "", "127.0.0.1", "nonsense"] {
        expect_auth_refused(&mut client, &auth(url, &challenge).sign()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_relays_url_may_be_written_in_other_ways() -> Result<()> {
    let (_relay, mut client) = relay_with("[relay]\nurl = \"wss://relay.example.com\"").await?;
    let challenge = client.challenge().await?;
    for url in [
        "wss://relay.example.com",
        "wss://relay.example.com/",
        "WSS://Relay.Example.COM/",
        "wss://relay.example.com:443",
        "ws://relay.example.com",
    ] {
        let ack = client.auth(&auth(url, &challenge).sign()).await?;
        assert!(ack.accepted, "{url}: {}", ack.message);
    }
    for url in ["wss://relay.example.com.evil.com", "wss://example.com", "wss://relay.example.com:444"] {
        let ack = client.auth(&auth(url, &challenge).sign()).await?;
        assert!(!ack.accepted, "{url} was accepted");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_of_another_kind_is_refused() -> Result<()> {
    let (relay, mut client) = relay().await?;
    let challenge = client.challenge().await?;
    for kind in [1, 22241, 22243, 27235] {
        let event = auth(relay.url(), &challenge).kind(kind).sign();
        expect_auth_refused(&mut client, &event).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_from_another_time_is_refused() -> Result<()> {
    let (relay, mut client) = relay().await?;
    let challenge = client.challenge().await?;
    for time in [0, now() - 3600, now() - 1200, now() + 1200, now() + 3600] {
        let event = auth(relay.url(), &challenge).at(time).sign();
        expect_auth_refused(&mut client, &event).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_by_a_clock_some_minutes_off_is_accepted() -> Result<()> {
    let (relay, mut client) = relay().await?;
    let challenge = client.challenge().await?;
    for time in [now() - 480, now() + 480] {
        let event = auth(relay.url(), &challenge).at(time).sign();
        assert_accepted(&client.auth(&event).await?);
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_with_a_wrong_signature_or_id_is_refused() -> Result<()> {
    let (relay, mut client) = relay().await?;
    let challenge = client.challenge().await?;
    let event = auth(relay.url(), &challenge).sign();
    for spoilt in
        [event.with("sig", "0".repeat(128)), event.with("pubkey", bob().pubkey()), event.with("content", "changed")]
    {
        let id = event.id.as_str();
        client.send_json(json!(["AUTH", spoilt])).await?;
        assert_refused(&client.ack(id).await?, "invalid");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_without_its_tags_is_refused() -> Result<()> {
    let (relay, mut client) = relay().await?;
    let challenge = client.challenge().await?;
    let bare = || note("").kind(22242);
    for event in [
        bare(),
        bare().tag(["relay", relay.url()]),
        bare().tag(["challenge", &challenge]),
        bare().tag(["relay"]).tag(["challenge"]),
    ] {
        expect_auth_refused(&mut client, &event.sign()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_auth_that_is_no_event_costs_nothing() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for payload in [json!("challenge"), json!(null), json!({}), json!([])] {
        client.send_json(json!(["AUTH", payload])).await?;
        assert_reason(&client.notice().await?, "invalid");
    }
    client.authenticate(&alice()).await
}

#[tokio::test]
async fn an_auth_event_is_neither_stored_nor_delivered() -> Result<()> {
    let (relay, mut client) = relay().await?;
    let mut other = Client::connect(&relay).await?;
    let filter = json!({ "authors": [alice().pubkey()], "kinds": [22242] });
    other.req("s", filter.clone()).await?;
    client.authenticate(&alice()).await?;
    other.expect_silence("s").await?;
    expect_found(&mut client, filter, &[]).await
}

#[tokio::test]
async fn an_auth_event_can_not_be_published() -> Result<()> {
    let (relay, mut client) = relay().await?;
    let mut other = Client::connect(&relay).await?;
    other.req("s", json!({ "authors": [alice().pubkey()] })).await?;
    let challenge = client.challenge().await?;
    let event = auth(relay.url(), &challenge).sign();
    expect_refusal(&mut client, &event, "invalid").await?;
    other.expect_silence("s").await
}

#[tokio::test]
async fn several_keys_accumulate_on_a_connection() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for keys in [alice(), bob()] {
        client.authenticate(&keys).await?;
    }
    for keys in [alice(), bob()] {
        client.store(&note("protected").by(&keys).tag(["-"]).sign()).await?;
    }
    let of_carol = note("protected").by(&carol()).tag(["-"]).sign();
    expect_refusal(&mut client, &of_carol, "restricted").await
}

#[tokio::test]
async fn a_failed_answer_does_not_undo_an_earlier_one() -> Result<()> {
    let (relay, mut client) = relay().await?;
    client.authenticate(&alice()).await?;
    expect_auth_refused(&mut client, &auth(relay.url(), "guessed").by(&bob()).sign()).await?;
    client.store(&note("still me").tag(["-"]).sign()).await
}

#[tokio::test]
async fn the_same_key_may_authenticate_twice() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.authenticate(&alice()).await?;
    client.authenticate(&alice()).await?;
    client.store(&note("me").tag(["-"]).sign()).await
}

#[tokio::test]
async fn authentication_is_for_its_connection_only() -> Result<()> {
    let (relay, mut client) = relay().await?;
    client.authenticate(&alice()).await?;
    let mut other = Client::connect(&relay).await?;
    expect_refusal(&mut other, &note("who?").tag(["-"]).sign(), "auth-required").await
}

#[tokio::test]
async fn a_client_that_never_authenticates_is_served_by_an_open_relay() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("no name").sign();
    client.store(&event).await?;
    expect_stored(&mut client, &event, true).await
}

#[tokio::test]
async fn writing_can_require_authentication() -> Result<()> {
    let (_relay, mut client) = relay_with("[auth]\nto_write = true").await?;
    let event = note("hi").sign();
    expect_refusal(&mut client, &event, "auth-required").await?;
    expect_stored(&mut client, &event, false).await?;
    client.authenticate(&alice()).await?;
    client.store(&event).await?;
    expect_stored(&mut client, &event, true).await
}

#[tokio::test]
async fn ephemeral_events_require_authentication_as_others_do() -> Result<()> {
    let (_relay, mut client) = relay_with("[auth]\nto_write = true").await?;
    client.req("s", json!({ "kinds": [20001] })).await?;
    let event = note("hi").kind(20001).sign();
    expect_refusal(&mut client, &event, "auth-required").await?;
    client.authenticate(&alice()).await?;
    client.store(&event).await?;
    assert_eq!(client.live("s").await?, event);
    Ok(())
}

#[tokio::test]
async fn reading_can_require_authentication() -> Result<()> {
    let (_relay, mut client) = relay_with("[auth]\nto_read = true").await?;
    client.store(&note("hi").sign()).await?;
    let filter = json!({ "kinds": [1] });
    expect_closed(&mut client, filter.clone(), "auth-required").await?;
    let count = client.count("c", filter.clone()).await?;
    assert_reason(&count.err().context("counted")?, "auth-required");
    client.authenticate(&bob()).await?;
    expect_found(&mut client, filter, &["hi"]).await
}

/// A client may ask before the challenge has reached it.
#[tokio::test]
async fn a_req_that_crosses_the_challenge_is_not_punished() -> Result<()> {
    let (_relay, mut client) = relay_with("[auth]\nto_read = true").await?;
    for number in 0..20 {
        client.open(&number.to_string(), json!({ "kinds": [1] })).await?;
    }
    for number in 0..20 {
        assert_reason(&client.closed(&number.to_string()).await?, "auth-required");
    }
    client.authenticate(&alice()).await?;
    let answer = client.req("0", json!({ "kinds": [1] })).await?;
    assert!(matches!(answer.end, End::Eose(_)), "{:?}", answer.end);
    Ok(())
}

#[tokio::test]
async fn what_follows_an_auth_on_the_wire_is_authenticated() -> Result<()> {
    let (_relay, mut client) = relay_with("[auth]\nto_write = true").await?;
    let challenge = client.challenge().await?;
    let answer = client.auth_event(&alice(), &challenge);
    let event = note("right behind").sign();
    client.send_json(json!(["AUTH", answer])).await?;
    client.send_json(json!(["EVENT", event])).await?;
    assert_accepted(&client.ack(&event.id).await?);
    assert_accepted(&client.ack(&answer.id).await?);
    Ok(())
}
