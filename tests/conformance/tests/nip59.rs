//! NIP-17 and NIP-59: private kinds are served to their author and their recipients only,
//! whichever way one asks.

use towpath_conformance::*;

/// Wraps are signed by keys made up for the purpose.
fn stranger() -> Keys {
    Keys::named("one-time key")
}

fn wrap_for(recipient: &Keys) -> EventBuilder {
    note("sealed").kind(1059).by(&stranger()).tag(["p", &recipient.pubkey()])
}

async fn authenticated(relay: &Relay, keys: &Keys) -> Result<Client> {
    let mut client = Client::connect(relay).await?;
    client.authenticate(keys).await?;
    Ok(client)
}

/// Every way to ask for a wrap, none of which names only private kinds.
fn indirect_filters(wrap: &Event) -> Vec<Value> {
    vec![
        json!({}),
        json!({ "ids": [wrap.id] }),
        json!({ "authors": [wrap.pubkey] }),
        json!({ "#p": [wrap.tag("p")] }),
        json!({ "#t": ["secret"] }),
        json!({ "since": wrap.created_at, "until": wrap.created_at }),
        json!({ "kinds": [1, 1059] }),
    ]
}

#[tokio::test]
async fn a_wrap_is_served_to_its_recipient() -> Result<()> {
    let (relay, mut sender) = relay().await?;
    let wrap = wrap_for(&bob()).sign();
    sender.store(&wrap).await?;
    let mut recipient = authenticated(&relay, &bob()).await?;
    let filter = json!({ "kinds": [1059], "#p": [bob().pubkey()] });
    for filter in [filter, json!({ "ids": [wrap.id] })] {
        expect_found(&mut recipient, filter, &["sealed"]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_request_for_private_kinds_requires_authentication() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for kinds in [json!([1059]), json!([4]), json!([21059]), json!([4, 1059])] {
        let filter = json!({ "kinds": kinds, "#p": [bob().pubkey()] });
        expect_closed(&mut client, filter.clone(), "auth-required").await?;
        let count = client.count("c", filter).await?;
        assert_reason(&count.err().context("counted")?, "auth-required");
    }
    Ok(())
}

#[tokio::test]
async fn no_filter_shows_a_wrap_to_somebody_unauthenticated() -> Result<()> {
    let (_relay, mut client) = empty_relay().await?;
    let wrap = wrap_for(&bob()).tag(["t", "secret"]).sign();
    client.store(&wrap).await?;
    for filter in indirect_filters(&wrap) {
        expect_found(&mut client, filter, &[]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn no_filter_shows_a_wrap_to_somebody_else() -> Result<()> {
    let (relay, mut sender) = empty_relay().await?;
    let wrap = wrap_for(&bob()).tag(["t", "secret"]).sign();
    sender.store(&wrap).await?;
    let mut other = authenticated(&relay, &carol()).await?;
    for filter in indirect_filters(&wrap) {
        expect_found(&mut other, filter, &[]).await?;
    }
    let direct = json!({ "kinds": [1059], "#p": [bob().pubkey()] });
    assert!(other.req("s", direct).await?.events.is_empty());
    Ok(())
}

#[tokio::test]
async fn no_count_reveals_a_wrap_to_somebody_else() -> Result<()> {
    let (relay, mut sender) = empty_relay().await?;
    let wrap = wrap_for(&bob()).tag(["t", "secret"]).sign();
    sender.store(&wrap).await?;
    let mut other = authenticated(&relay, &carol()).await?;
    let mut recipient = authenticated(&relay, &bob()).await?;
    for filter in indirect_filters(&wrap) {
        for client in [&mut sender, &mut other] {
            let answer = client.count("c", filter.clone()).await?;
            let count = answer.map_or(json!(0), |answer| answer["count"].clone());
            assert_eq!(count, 0, "{filter}");
        }
        let answer = recipient.count("c", filter.clone()).await?;
        let answer = answer.map_err(anyhow::Error::msg)?;
        assert_eq!(answer["count"], 1, "{filter}");
    }
    Ok(())
}

#[tokio::test]
async fn the_registers_of_a_count_do_not_reveal_a_wrap() -> Result<()> {
    let (_relay, mut client) = empty_relay().await?;
    let filter = json!({ "#p": [bob().pubkey()] });
    let before = client.count("c", filter.clone()).await?;
    client.store(&wrap_for(&bob()).sign()).await?;
    assert_eq!(client.count("c", filter).await?, before);
    Ok(())
}

#[tokio::test]
async fn a_hidden_wrap_takes_no_place_in_a_limit() -> Result<()> {
    let (relay, mut sender) = empty_relay().await?;
    sender.store(&note("public").at(moment(1)).sign()).await?;
    for time in 2..20 {
        sender.store(&wrap_for(&bob()).at(moment(time)).sign()).await?;
    }
    let filter = json!({ "limit": 1 });
    expect_found(&mut sender, filter.clone(), &["public"]).await?;
    let mut recipient = authenticated(&relay, &bob()).await?;
    expect_found(&mut recipient, filter, &["sealed"]).await
}

#[tokio::test]
async fn a_live_wrap_reaches_its_recipient_only() -> Result<()> {
    let (relay, mut anybody) = empty_relay().await?;
    let mut recipient = authenticated(&relay, &bob()).await?;
    let mut other = authenticated(&relay, &carol()).await?;
    for kind in [4, 1059, 21059] {
        let filter = json!({ "kinds": [1, kind] });
        for client in [&mut anybody, &mut recipient, &mut other] {
            client.req("s", filter.clone()).await?;
        }
        let wrap = wrap_for(&bob()).kind(kind).sign();
        anybody.store(&wrap).await?;
        assert_eq!(recipient.live("s").await?, wrap);
        anybody.expect_silence("s").await?;
        other.expect_silence("s").await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_ephemeral_wrap_is_never_stored() -> Result<()> {
    let (relay, mut sender) = relay().await?;
    let mut recipient = authenticated(&relay, &bob()).await?;
    let filter = json!({ "kinds": [21059], "#p": [bob().pubkey()] });
    recipient.req("s", filter.clone()).await?;
    let wrap = wrap_for(&bob()).kind(21059).sign();
    sender.store(&wrap).await?;
    assert_eq!(recipient.live("s").await?, wrap);
    expect_found(&mut recipient, filter, &[]).await
}

#[tokio::test]
async fn an_ephemeral_wrap_reaches_nobody_else_and_its_ok_does_not_tell_whether_its_recipient_is_here() -> Result<()> {
    let (relay, mut sender) = relay().await?;
    let mut other = authenticated(&relay, &carol()).await?;
    other.req("s", json!({ "kinds": [1, 21059], "#p": [bob().pubkey()] })).await?;
    sender.store(&wrap_for(&bob()).kind(21059).sign()).await?;
    other.expect_silence("s").await
}

#[tokio::test]
async fn a_direct_message_is_served_to_both_sides() -> Result<()> {
    let (relay, mut sender) = relay().await?;
    let message = note("encrypted").kind(4).tag(["p", &bob().pubkey()]).sign();
    sender.store(&message).await?;
    let filter = json!({ "kinds": [4], "authors": [alice().pubkey()] });
    for keys in [alice(), bob()] {
        let mut side = authenticated(&relay, &keys).await?;
        expect_found(&mut side, filter.clone(), &["encrypted"]).await?;
    }
    let mut other = authenticated(&relay, &carol()).await?;
    assert!(other.req("s", filter).await?.events.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_connection_reads_what_any_of_its_keys_may_read() -> Result<()> {
    let (relay, mut sender) = relay().await?;
    let wraps = [bob(), carol()].map(|keys| wrap_for(&keys).at(moment(1)).sign());
    sender.store_all(&wraps).await?;
    let mut both = authenticated(&relay, &bob()).await?;
    both.authenticate(&carol()).await?;
    let found = both.query(json!({ "kinds": [1059] })).await?;
    assert!(wraps.iter().all(|wrap| found.contains(wrap)), "{found:?}");
    Ok(())
}

#[tokio::test]
async fn a_wrap_of_two_days_ago_is_accepted_and_one_of_tomorrow_is_not() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.store(&wrap_for(&bob()).at(now() - 2 * 86_400).sign()).await?;
    expect_refusal(&mut client, &wrap_for(&bob()).at(now() + 86_400).sign(), "invalid").await
}

#[tokio::test]
async fn wraps_are_exempt_from_the_limit_on_old_events() -> Result<()> {
    let (_relay, mut client) = relay_with("[limits]\ncreated_at_behind_max_s = 3600").await?;
    client.store(&wrap_for(&bob()).at(now() - 2 * 86_400).sign()).await
}

#[tokio::test]
async fn a_recipient_deletes_a_wrap() -> Result<()> {
    let (relay, mut sender) = relay().await?;
    let wrap = wrap_for(&bob()).sign();
    sender.store(&wrap).await?;
    let mut recipient = authenticated(&relay, &bob()).await?;
    expect_stored(&mut recipient, &wrap, true).await?;
    recipient.store(&note("").kind(5).by(&bob()).tag(["e", &wrap.id]).sign()).await?;
    expect_stored(&mut recipient, &wrap, false).await?;
    expect_refusal(&mut sender, &wrap, "blocked").await
}

#[tokio::test]
async fn nobody_else_deletes_a_wrap() -> Result<()> {
    let (relay, mut sender) = relay().await?;
    let wrap = wrap_for(&bob()).sign();
    sender.store(&wrap).await?;
    for keys in [alice(), carol()] {
        sender.store(&note("").kind(5).by(&keys).tag(["e", &wrap.id]).sign()).await?;
    }
    let mut recipient = authenticated(&relay, &bob()).await?;
    expect_stored(&mut recipient, &wrap, true).await
}

#[tokio::test]
async fn being_tagged_is_no_right_to_delete_an_ordinary_event() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("about bob").tag(["p", &bob().pubkey()]).sign();
    client.store(&event).await?;
    client.store(&note("").kind(5).by(&bob()).tag(["e", &event.id]).sign()).await?;
    expect_stored(&mut client, &event, true).await
}

#[tokio::test]
async fn the_private_kinds_can_be_chosen() -> Result<()> {
    let (relay, mut anybody) = relay_with("[auth]\nprivate_kinds = [4242]").await?;
    let secret = note("secret").kind(4242).tag(["p", &bob().pubkey()]).sign();
    let public = note("public").kind(4).tag(["p", &bob().pubkey()]).sign();
    anybody.store_all([&secret, &public]).await?;
    expect_stored(&mut anybody, &secret, false).await?;
    expect_stored(&mut anybody, &public, true).await?;
    let mut recipient = authenticated(&relay, &bob()).await?;
    expect_stored(&mut recipient, &secret, true).await
}
