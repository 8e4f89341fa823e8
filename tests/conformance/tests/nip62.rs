//! NIP-62: an author vanishes from this relay, and stays away.

use towpath_conformance::*;

const URL: &str = "wss://relay.example.com";

async fn named_relay() -> Result<(Relay, Client)> {
    let (relay, client) = relay_with(&format!("[relay]\nurl = \"{URL}\"")).await?;
    Ok((relay, client.naming_relay(URL)))
}

fn vanish_from(relay: &str) -> EventBuilder {
    note("goodbye").kind(62).at(moment(100)).tag(["relay", relay])
}

/// Checks that a request to vanish from a relay of this name removes a note, or that it does not.
async fn expect_obeyed(client: &mut Client, relay: &str, obeyed: bool) -> Result<()> {
    let event = note(relay).at(moment(1)).sign();
    client.store(&event).await?;
    let ack = client.publish(&vanish_from(relay).sign()).await?;
    ensure!(ack.accepted || !obeyed, "refused: {}", ack.message);
    expect_stored(client, &event, !obeyed).await
}

#[tokio::test]
async fn everything_of_the_author_up_to_the_request_is_deleted() -> Result<()> {
    let (_relay, mut client) = named_relay().await?;
    let own = [
        note("note").at(moment(1)).sign(),
        note("profile").kind(0).at(moment(2)).sign(),
        note("article").kind(30023).tag(["d", "x"]).at(moment(3)).sign(),
        note("deletion").kind(5).tag(["e", &bob().pubkey()]).at(moment(4)).sign(),
        note("message").kind(4).tag(["p", &bob().pubkey()]).at(moment(5)).sign(),
        note("the same second").at(moment(100)).sign(),
    ];
    client.store_all(&own).await?;
    client.store(&vanish_from(URL).sign()).await?;
    client.authenticate(&alice()).await?;
    for event in &own {
        expect_stored(&mut client, event, false).await?;
    }
    let count = client.count("c", json!({ "authors": [alice().pubkey()], "kinds": [1, 5] })).await?;
    assert_eq!(count, Ok(json!({ "count": 0 })));
    Ok(())
}

#[tokio::test]
async fn what_was_deleted_is_refused_afterwards() -> Result<()> {
    let (_relay, mut client) = named_relay().await?;
    let seen = note("seen").at(moment(1)).sign();
    let never_seen = note("never seen").at(moment(2)).sign();
    let the_same_second = note("the same second").at(moment(100)).sign();
    client.store(&seen).await?;
    client.store(&vanish_from(URL).sign()).await?;
    for event in [seen, never_seen, the_same_second] {
        expect_refusal(&mut client, &event, "blocked").await?;
        expect_stored(&mut client, &event, false).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_the_author_writes_later_is_accepted() -> Result<()> {
    let (_relay, mut client) = named_relay().await?;
    let before = note("dated later, sent before").at(moment(101)).sign();
    client.store(&before).await?;
    client.store(&vanish_from(URL).sign()).await?;
    let after = note("sent after").at(moment(101)).sign();
    client.store(&after).await?;
    expect_stored(&mut client, &before, true).await?;
    expect_stored(&mut client, &after, true).await
}

#[tokio::test]
async fn nobody_else_vanishes() -> Result<()> {
    let (_relay, mut client) = named_relay().await?;
    let of_bob = note("bob").by(&bob()).at(moment(1)).sign();
    let about_alice = note("to alice").by(&bob()).tag(["p", &alice().pubkey()]).at(moment(1)).sign();
    client.store_all([&of_bob, &about_alice]).await?;
    client.store(&vanish_from(URL).sign()).await?;
    expect_stored(&mut client, &of_bob, true).await?;
    expect_stored(&mut client, &about_alice, true).await
}

#[tokio::test]
async fn a_request_to_all_relays_is_obeyed() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    expect_obeyed(&mut client, "ALL_RELAYS", true).await
}

#[tokio::test]
async fn a_request_to_another_relay_is_ignored() -> Result<()> {
    let (_relay, mut client) = named_relay().await?;
    for relay in ["wss://other.example.com", "wss://relay.example.com.evil.com", "all_relays", ""] {
        expect_obeyed(&mut client, relay, false).await?;
    }
    let without_a_relay = note("goodbye").kind(62).at(moment(100)).sign();
    client.publish(&without_a_relay).await?;
    let event = note("still here").at(moment(1)).sign();
    client.store(&event).await
}

#[tokio::test]
async fn the_relays_url_may_be_written_in_other_ways() -> Result<()> {
    for url in ["wss://relay.example.com/", "WSS://Relay.Example.com", "wss://relay.example.com:443"] {
        let (_relay, mut client) = named_relay().await?;
        expect_obeyed(&mut client, url, true).await?;
    }
    Ok(())
}

#[tokio::test]
async fn one_of_several_relay_tags_is_enough() -> Result<()> {
    let (_relay, mut client) = named_relay().await?;
    let event = note("hi").at(moment(1)).sign();
    client.store(&event).await?;
    client.store(&vanish_from("wss://other.example.com").tag(["relay", URL]).sign()).await?;
    expect_stored(&mut client, &event, false).await
}

#[tokio::test]
async fn gift_wraps_for_the_author_are_deleted_too() -> Result<()> {
    let (_relay, mut client) = named_relay().await?;
    let wrap =
        |recipient: &Keys| note("sealed").kind(1059).by(&carol()).tag(["p", &recipient.pubkey()]).at(moment(1)).sign();
    let (for_alice, for_bob) = (wrap(&alice()), wrap(&bob()));
    client.store_all([&for_alice, &for_bob]).await?;
    client.authenticate(&alice()).await?;
    client.authenticate(&bob()).await?;
    client.store(&vanish_from(URL).sign()).await?;
    expect_stored(&mut client, &for_alice, false).await?;
    expect_refusal(&mut client, &for_alice, "blocked").await?;
    expect_stored(&mut client, &for_bob, true).await
}

#[tokio::test]
async fn a_request_by_somebody_else_does_not_count() -> Result<()> {
    let (_relay, mut client) = named_relay().await?;
    let event = note("hi").at(moment(1)).sign();
    client.store(&event).await?;
    client.store(&vanish_from(URL).by(&bob()).sign()).await?;
    let forged = vanish_from(URL).sign().with("sig", "0".repeat(128));
    expect_invalid(&mut client, &forged).await?;
    expect_stored(&mut client, &event, true).await
}

#[tokio::test]
async fn a_deletion_of_the_request_has_no_effect() -> Result<()> {
    let (_relay, mut client) = named_relay().await?;
    let request = vanish_from(URL).sign();
    client.store(&request).await?;
    client.store(&note("").kind(5).at(moment(200)).tag(["e", &request.id]).sign()).await?;
    expect_refusal(&mut client, &note("back?").at(moment(1)).sign(), "blocked").await
}

#[tokio::test]
async fn a_later_request_reaches_further() -> Result<()> {
    let (_relay, mut client) = named_relay().await?;
    client.store(&vanish_from(URL).sign()).await?;
    let between = note("between").at(moment(150)).sign();
    client.store(&between).await?;
    client.store(&vanish_from(URL).at(moment(200)).sign()).await?;
    expect_stored(&mut client, &between, false).await?;
    // An older request that arrives later takes nothing back.
    client.publish(&vanish_from(URL).at(moment(120)).sign()).await?;
    expect_refusal(&mut client, &between, "blocked").await
}

#[tokio::test]
async fn a_request_is_obeyed_where_writing_is_restricted() -> Result<()> {
    let config = format!("[relay]\nurl = \"{URL}\"\n[auth]\nto_write = true");
    let (relay, author) = relay_with(&config).await?;
    let mut author = author.naming_relay(URL);
    author.authenticate(&alice()).await?;
    let event = note("hi").at(moment(1)).sign();
    author.store(&event).await?;
    let mut unauthenticated = Client::connect(&relay).await?;
    unauthenticated.store(&vanish_from(URL).sign()).await?;
    expect_stored(&mut author, &event, false).await
}

#[tokio::test]
async fn vanishing_can_be_switched_off() -> Result<()> {
    let (_relay, mut client) = relay_with("[protocol]\nvanish = false").await?;
    expect_obeyed(&mut client, "ALL_RELAYS", false).await
}

#[tokio::test]
async fn a_request_is_remembered_after_a_restart() -> Result<()> {
    let (mut relay, mut client) = named_relay().await?;
    let event = note("hi").at(moment(1)).sign();
    client.store(&event).await?;
    client.store(&vanish_from(URL).sign()).await?;
    relay.restart().await?;
    let mut client = Client::connect(&relay).await?;
    expect_stored(&mut client, &event, false).await?;
    expect_refusal(&mut client, &event, "blocked").await
}
