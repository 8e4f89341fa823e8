//! SIGHUP: live keys change under open connections, the others wait for the next start.

use towpath_operations::*;

async fn stored_notes(client: &mut Client) -> Result<usize> {
    Ok(client.query(json!({ "kinds": [1] })).await?.len())
}

#[tokio::test]
async fn a_reloaded_rule_applies_to_open_connections() -> Result<()> {
    let mut relay = Relay::empty().await?;
    let mut client = Client::connect(&relay).await?;
    client.store(&note("free").sign()).await?;
    relay.reload("[auth]\nto_write = true").await?;
    let mut number = 0;
    eventually("publishing needs authentication", async || {
        number += 1;
        let ack = client.publish(&note(&number.to_string()).sign()).await?;
        Ok(ack.message.starts_with("auth-required: "))
    })
    .await?;
    client.authenticate(&alice()).await?;
    client.store(&note("known").sign()).await
}

#[tokio::test]
async fn a_subscription_older_than_the_rule_that_reading_needs_a_key_gets_nothing_more() -> Result<()> {
    let mut relay = Relay::empty().await?;
    let (mut stranger, mut publisher) = (Client::connect(&relay).await?, Client::connect(&relay).await?);
    stranger.req("s", json!({ "kinds": [1] })).await?;
    relay.reload("[auth]\nto_read = true").await?;
    eventually("reading needs authentication", async || {
        Ok(matches!(publisher.req("x", json!({ "kinds": [2] })).await?.end, End::Closed(_)))
    })
    .await?;
    publisher.store(&note("for members").sign()).await?;
    publisher.authenticate(&alice()).await?;
    publisher.req("p", json!({ "kinds": [1] })).await?;
    publisher.store(&note("for members too").sign()).await?;
    // An OK does not wait for delivery: until then nobody has decided who gets it.
    publisher.live("p").await?;
    stranger.authenticate(&bob()).await?;
    publisher.store(&note("for the stranger, who is one of us now").sign()).await?;
    assert_eq!(stranger.live("s").await?.content, "for the stranger, who is one of us now");
    Ok(())
}

#[tokio::test]
async fn a_reloaded_limit_is_announced() -> Result<()> {
    let mut relay = Relay::empty().await?;
    relay.reload("[limits]\nlimit_max = 7\nlimit_default = 5").await?;
    eventually("the document names the new limit", async || {
        Ok(http::information().send(&relay).await?.json()?["limitation"]["max_limit"] == 7)
    })
    .await
}

#[tokio::test]
async fn a_key_that_needs_a_restart_waits_for_it() -> Result<()> {
    let mut relay = Relay::empty().await?;
    let reloaded = "[protocol]\ncount = false\n[limits]\nlimit_max = 9\nlimit_default = 1";
    let mut client = Client::connect(&relay).await?;
    client.store_all(&[note("one").at(now() - 1).sign(), note("two").sign()]).await?;
    relay.reload(reloaded).await?;
    eventually("the live key applies", async || Ok(stored_notes(&mut client).await? == 1)).await?;
    assert!(client.count("before", json!({ "kinds": [1] })).await?.is_ok());
    relay.restart().await?;
    assert!(Client::connect(&relay).await?.count("after", json!({ "kinds": [1] })).await?.is_err());
    Ok(())
}

#[tokio::test]
async fn a_file_with_a_mistake_changes_nothing_and_is_logged() -> Result<()> {
    let mut relay = Relay::builder().config_toml("[limits]\nlimit_default = 1").start().await?;
    let mut client = Client::connect(&relay).await?;
    client.store_all(&[note("one").at(now() - 1).sign(), note("two").sign()]).await?;
    relay.reload("[limits]\nlimit_default = 2\nlimit_max = -1").await?;
    eventually("the mistake is logged", async || Ok(relay.log()?.contains("limit_max"))).await?;
    assert_eq!(stored_notes(&mut client).await?, 1);
    Ok(())
}
