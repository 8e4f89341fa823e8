//! NIP-40: events that end.

use towpath_conformance::*;

fn expiring(text: &str, at: u64) -> EventBuilder {
    note(text).tag(["expiration", &at.to_string()])
}

fn of_alice() -> Value {
    json!({ "authors": [alice().pubkey()] })
}

#[tokio::test]
async fn an_event_that_has_not_expired_is_served() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.store(&expiring("for an hour", now() + 3600).sign()).await?;
    expect_found(&mut client, of_alice(), &["for an hour"]).await
}

#[tokio::test]
async fn an_event_that_has_expired_is_refused_and_not_delivered() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.req("s", of_alice()).await?;
    for time in [0, 1, moment(1), now() - 1] {
        expect_refusal(&mut client, &expiring("too late", time).sign(), "invalid").await?;
    }
    client.expect_silence("s").await
}

#[tokio::test]
async fn a_stored_event_disappears_when_it_expires() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let end = now() + 2;
    let brief = expiring("brief", end).sign();
    client.store_all([&brief, &note("lasting").at(moment(1)).sign()]).await?;
    expect_found(&mut client, of_alice(), &["brief", "lasting"]).await?;
    eventually("its second comes", async || {
        let is_served = !client.query(json!({ "ids": [brief.id] })).await?.is_empty();
        ensure!(is_served || now() >= end, "it expired early");
        Ok(now() >= end)
    })
    .await?;
    expect_found(&mut client, of_alice(), &["lasting"]).await?;
    assert_eq!(client.count("c", of_alice()).await?, Ok(json!({ "count": 1 })));
    client.publish(&brief).await?;
    expect_stored(&mut client, &brief, false).await
}

#[tokio::test]
async fn an_expired_event_takes_no_place_in_a_limit() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let brief = [1, 2].map(|number| expiring("brief", now() + 2).at(moment(number)).sign());
    client.store_all(&brief).await?;
    client.store(&note("lasting").at(moment(0)).sign()).await?;
    let filter = json!({ "authors": [alice().pubkey()], "limit": 1 });
    eventually("the lasting event is the newest", async || {
        let found = client.query(filter.clone()).await?;
        Ok(found.first().is_some_and(|event| event.content == "lasting"))
    })
    .await
}

#[tokio::test]
async fn an_expiration_that_is_no_time_is_invalid() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for value in ["", "soon", "-1", "1e12", "99999999999.5", " 99999999999", "0x7fffffffffff"] {
        let event = note("when?").tag(["expiration", value]).sign();
        expect_refusal(&mut client, &event, "invalid").await?;
    }
    expect_refusal(&mut client, &note("when?").tag(["expiration"]).sign(), "invalid").await
}

#[tokio::test]
async fn only_the_first_expiration_counts() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let past = moment(1).to_string();
    let event = expiring("lasting", now() + 3600).tag(["expiration", &past]).sign();
    client.store(&event).await?;
    expect_stored(&mut client, &event, true).await
}

#[tokio::test]
async fn an_expiration_far_away_is_fine() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for time in [now() + 86_400 * 365 * 1000, u64::from(u32::MAX) + 1, i64::MAX as u64] {
        let event = expiring("for ages", time).sign();
        client.store(&event).await?;
        expect_stored(&mut client, &event, true).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_expiration_does_not_make_an_ephemeral_event_stored() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.req("s", of_alice()).await?;
    let event = expiring("gone already", now() + 3600).kind(20001).sign();
    client.store(&event).await?;
    assert_eq!(client.live("s").await?, event);
    expect_stored(&mut client, &event, false).await
}

#[tokio::test]
async fn an_event_that_expired_while_the_relay_was_down_is_not_served() -> Result<()> {
    let (mut relay, mut client) = empty_relay().await?;
    let brief = expiring("brief", now() + 2).sign();
    client.store(&brief).await?;
    relay.terminate().await?;
    eventually("the time has come", async || Ok(now() > brief.created_at + 2)).await?;
    relay.restart().await?;
    let mut client = Client::connect(&relay).await?;
    expect_stored(&mut client, &brief, false).await
}
