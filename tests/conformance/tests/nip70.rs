//! NIP-70: protected events are published by their authors only.

use towpath_conformance::*;

fn protected() -> EventBuilder {
    note("for this relay only").tag(["-"])
}

fn repost(kind: u64, of: &Event, content: &str) -> Event {
    note(content).kind(kind).by(&bob()).tag(["e", &of.id]).tag(["p", &of.pubkey]).sign()
}

#[tokio::test]
async fn a_protected_event_requires_authentication() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = protected().sign();
    expect_refusal(&mut client, &event, "auth-required").await?;
    expect_stored(&mut client, &event, false).await?;
    client.challenge().await?;
    Ok(())
}

#[tokio::test]
async fn its_author_publishes_a_protected_event() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = protected().sign();
    expect_refusal(&mut client, &event, "auth-required").await?;
    client.authenticate(&alice()).await?;
    client.store(&event).await?;
    expect_stored(&mut client, &event, true).await
}

#[tokio::test]
async fn nobody_else_publishes_a_protected_event() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.authenticate(&bob()).await?;
    let event = protected().sign();
    expect_refusal(&mut client, &event, "restricted").await?;
    expect_stored(&mut client, &event, false).await
}

#[tokio::test]
async fn an_ephemeral_event_is_protected_too() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.req("s", json!({ "authors": [alice().pubkey()] })).await?;
    let event = protected().kind(20001).sign();
    expect_refusal(&mut client, &event, "auth-required").await?;
    client.expect_silence("s").await
}

#[tokio::test]
async fn a_protected_event_is_served_to_everybody() -> Result<()> {
    let (relay, mut author) = relay().await?;
    let mut reader = Client::connect(&relay).await?;
    reader.req("s", json!({ "authors": [alice().pubkey()] })).await?;
    author.authenticate(&alice()).await?;
    let event = protected().sign();
    author.store(&event).await?;
    assert_eq!(reader.live("s").await?, event);
    expect_stored(&mut reader, &event, true).await
}

#[tokio::test]
async fn a_tag_that_only_looks_like_it_protects_nothing() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.store(&note("open").tag(["--"]).tag(["t", "-"]).tag([""]).sign()).await
}

#[tokio::test]
async fn a_repost_that_embeds_a_protected_event_is_refused() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = protected().sign();
    let spaced = event.json().to_string().replace("[[\"-\"]]", "[ [ \"\\u002d\" ] ]");
    for kind in [6, 16] {
        for content in [event.json().to_string(), spaced.clone()] {
            let repost = repost(kind, &event, &content);
            let ack = client.publish(&repost).await?;
            assert!(!ack.accepted, "kind {kind} embedding {content}");
            expect_stored(&mut client, &repost, false).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn other_reposts_are_accepted() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let (open, closed) = (note("open \"-\"").tag(["t", "-"]).sign(), protected().sign());
    for kind in [6, 16] {
        client.store(&repost(kind, &open, &open.json().to_string())).await?;
        client.store(&repost(kind, &closed, "")).await?;
        client.store(&repost(kind, &closed, "not { json")).await?;
    }
    Ok(())
}
