//! The life of a subscription: stored, `EOSE`, live, replaced, closed.

use std::collections::HashSet;

use towpath_conformance::*;

fn of(author: &Keys) -> Value {
    json!({ "authors": [author.pubkey()] })
}

#[tokio::test]
async fn live_events_follow_eose() -> Result<()> {
    let (relay, mut reader) = relay().await?;
    let mut writer = Client::connect(&relay).await?;
    writer.store(&note("stored").sign()).await?;
    assert_eq!(reader.req("s", of(&alice())).await?.contents(), ["stored"]);
    writer.store(&note("live").sign()).await?;
    assert_eq!(reader.live("s").await?.content, "live");
    Ok(())
}

#[tokio::test]
async fn a_subscription_to_ids_stays_open_when_all_of_them_were_sent() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let (stored, live) = (note("stored").sign(), note("live").sign());
    client.store(&stored).await?;
    client.req("done", json!({ "ids": [stored.id] })).await?;
    client.req("waiting", json!({ "ids": [stored.id, live.id] })).await?;
    client.store(&live).await?;
    assert_eq!(client.live("waiting").await?, live);
    client.expect_silence("done").await
}

#[tokio::test]
async fn a_client_receives_its_own_events() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.req("s", of(&alice())).await?;
    client.store(&note("to myself").sign()).await?;
    assert_eq!(client.live("s").await?.content, "to myself");
    Ok(())
}

#[tokio::test]
async fn an_event_reaches_every_subscription_that_matches_and_no_other() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.req("author", of(&alice())).await?;
    let by_kind = json!({ "authors": [alice().pubkey()], "kinds": [1] });
    client.req("kind", by_kind).await?;
    client.req("another", of(&bob())).await?;
    let event = note("to two of three").sign();
    client.store(&event).await?;
    assert_eq!(client.live("author").await?, event);
    assert_eq!(client.live("kind").await?, event);
    client.expect_silence("another").await
}

#[tokio::test]
async fn an_event_that_is_refused_reaches_nobody() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.req("s", of(&alice())).await?;
    expect_invalid(&mut client, &note("forged").sign().with("sig", "0".repeat(128))).await?;
    client.expect_silence("s").await
}

#[tokio::test]
async fn a_subscription_sees_commits_in_their_order() -> Result<()> {
    let (relay, mut reader) = relay().await?;
    let mut writer = Client::connect(&relay).await?;
    reader.req("s", of(&alice())).await?;
    let events: Vec<Event> = (0..200).map(|number| note(&number.to_string()).sign()).collect();
    writer.store_all(&events).await?;
    for event in &events {
        assert_eq!(&reader.live("s").await?, event);
    }
    Ok(())
}

/// What is committed while a subscription starts is neither missed nor sent twice.
#[tokio::test]
async fn stored_and_live_events_meet_without_gap_or_overlap() -> Result<()> {
    let (relay, mut reader) = relay().await?;
    let mut writer = Client::connect(&relay).await?;
    let events: Vec<Event> = (0..300).map(|number| note(&number.to_string()).sign()).collect();
    let subs: Vec<String> = (0..20).map(|number| format!("s{number}")).collect();
    meet(&mut reader, &mut writer, &events, &subs).await
}

/// Opens the subscriptions one after the other while the events are being published.
async fn meet(reader: &mut Client, writer: &mut Client, events: &[Event], subs: &[String]) -> Result<()> {
    for (batch, sub) in events.chunks(events.len() / subs.len()).zip(subs) {
        for event in batch {
            writer.send_json(json!(["EVENT", event])).await?;
        }
        reader.open(sub, of(&alice())).await?;
    }
    for event in events {
        assert_accepted(&writer.ack(&event.id).await?);
    }
    let all: HashSet<&str> = events.iter().map(|event| event.id.as_str()).collect();
    for sub in subs {
        let mut seen: Vec<String> = reader.stored(sub).await?.events.into_iter().map(|event| event.id).collect();
        while seen.len() < events.len() {
            seen.push(reader.live(sub).await?.id);
        }
        assert_eq!(seen.iter().map(String::as_str).collect::<HashSet<_>>(), all);
    }
    reader.barrier().await?;
    assert!(!reader.untaken().any(|message| message[0] == "EVENT"));
    Ok(())
}

/// Delivery may lag behind the commit: a large audience keeps it busy, so that an event is already stored when a
/// subscription starts and still on its way to those that listen.
#[tokio::test]
async fn a_stored_event_is_not_sent_again_as_a_live_one() -> Result<()> {
    let (relay, mut client) = relay().await?;
    let mut audience = Client::connect(&relay).await?;
    for number in 0..1000 {
        audience.req(&number.to_string(), of(&alice())).await?;
    }
    let mut events: Vec<Event> = (0..8).map(|number| note(&number.to_string()).sign()).collect();
    events.push(note("once").by(&bob()).sign());
    client.store_all(&events).await?;
    assert_eq!(client.req("s", of(&bob())).await?.contents(), ["once"]);
    client.expect_silence("s").await
}

#[tokio::test]
async fn a_req_with_a_known_id_replaces_the_subscription() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.req("s", of(&alice())).await?;
    client.store(&note("for the new one").by(&bob()).sign()).await?;
    assert_eq!(client.req("s", of(&bob())).await?.contents(), ["for the new one"]);
    client.store(&note("for the old one").sign()).await?;
    client.expect_silence("s").await?;
    client.store(&note("live").by(&bob()).sign()).await?;
    assert_eq!(client.live("s").await?.content, "live");
    Ok(())
}

#[tokio::test]
async fn a_req_with_a_known_id_sends_stored_events_again() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.store(&note("stored").sign()).await?;
    assert_eq!(client.req("s", of(&alice())).await?.contents(), ["stored"]);
    assert_eq!(client.req("s", of(&alice())).await?.contents(), ["stored"]);
    Ok(())
}

/// As a search field does it: every keystroke is a new REQ with the same id.
#[tokio::test]
async fn after_rapid_replacement_only_the_last_filter_is_answered() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.store(&note("old").sign()).await?;
    client.store(&note("new").by(&bob()).sign()).await?;
    for _ in 0..50 {
        client.open("s", of(&alice())).await?;
    }
    client.open("s", of(&bob())).await?;
    let about_s = |message: &Value| is_about(message, "s");
    while client.next_matching("the last answer", about_s).await?[2]["content"] != "new" {}
    assert_eq!(client.next_matching("its end", about_s).await?[0], "EOSE");
    client.expect_silence("s").await
}

#[tokio::test]
async fn a_refused_req_ends_the_subscription_that_it_would_have_replaced() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.req("refused", of(&alice())).await?;
    expect_closed(&mut client, json!({ "ids": ["abcd"] }), "invalid").await?;
    client.store(&note("nobody asked").sign()).await?;
    client.expect_silence("refused").await
}

#[tokio::test]
async fn subscription_ids_belong_to_their_connection() -> Result<()> {
    let (relay, mut one) = relay().await?;
    let mut other = Client::connect(&relay).await?;
    one.req("s", of(&alice())).await?;
    other.req("s", of(&bob())).await?;
    other.close("s").await?;
    other.barrier().await?;
    one.store(&note("still here").sign()).await?;
    assert_eq!(one.live("s").await?.content, "still here");
    other.expect_silence("s").await
}

#[tokio::test]
async fn close_ends_a_subscription_and_is_not_answered() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.req("s", of(&alice())).await?;
    client.close("s").await?;
    client.store(&note("too late").sign()).await?;
    client.expect_silence("s").await
}

#[tokio::test]
async fn close_of_an_unknown_subscription_is_not_answered() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.close("never opened").await?;
    client.expect_silence("never opened").await?;
    assert!(!client.untaken().any(|message| message[0] == "NOTICE"));
    Ok(())
}

#[tokio::test]
async fn close_of_an_id_that_can_not_exist_is_not_answered_with_closed() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let too_long = "x".repeat(65);
    for id in ["", &too_long] {
        client.close(id).await?;
        client.expect_silence(id).await?;
    }
    Ok(())
}

#[tokio::test]
async fn close_and_req_with_the_same_id_open_a_new_subscription() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.req("s", of(&alice())).await?;
    client.close("s").await?;
    client.req("s", of(&bob())).await?;
    client.store(&note("hi").by(&bob()).sign()).await?;
    assert_eq!(client.live("s").await?.content, "hi");
    Ok(())
}

#[tokio::test]
async fn a_closed_subscription_does_not_hold_what_was_stored_for_it() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let events: Vec<Event> = (0..400).map(|number| note(&number.to_string()).sign()).collect();
    client.store_all(&events).await?;
    client.open("s", of(&alice())).await?;
    client.close("s").await?;
    client.barrier().await?;
    client.store(&note("after the close").sign()).await?;
    client.barrier().await?;
    let late = |message: &&Value| message[2]["content"] == "after the close";
    assert_eq!(client.untaken().find(late), None);
    Ok(())
}

#[tokio::test]
async fn events_carry_only_the_ids_of_open_subscriptions() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let ids = ["plain", "with \"quotes\" and \\", "ünïcode 🚣", " ", "\n", "null"];
    for id in ids {
        client.req(id, of(&alice())).await?;
    }
    let event = note("to each").sign();
    client.store(&event).await?;
    for id in ids {
        assert_eq!(client.live(id).await?, event);
    }
    client.barrier().await?;
    assert!(!client.untaken().any(|message| message[0] == "EVENT"));
    Ok(())
}

#[tokio::test]
async fn an_id_of_64_characters_is_the_longest() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for character in ["x", "é", "🚣"] {
        let longest = character.repeat(64);
        let answer = client.req(&longest, json!({ "ids": [] })).await?;
        assert!(matches!(answer.end, End::Eose(_)), "{:?}", answer.end);
        let too_long = character.repeat(65);
        let answer = client.req(&too_long, json!({ "ids": [] })).await?;
        assert_reason(answer.refusal()?, "invalid");
    }
    Ok(())
}

#[tokio::test]
async fn an_empty_id_is_refused() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let answer = client.req("", json!({ "ids": [] })).await?;
    assert_reason(answer.refusal()?, "invalid");
    Ok(())
}

#[tokio::test]
async fn an_id_that_is_no_string_is_noticed() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for id in [json!(1), json!(null), json!({ "id": "s" }), json!(["s"])] {
        client.send_json(json!(["REQ", id, { "kinds": [1] }])).await?;
        assert_reason(&client.notice().await?, "invalid");
    }
    expect_alive(&mut client).await
}

#[tokio::test]
async fn one_subscription_too_many_is_closed_and_the_others_live_on() -> Result<()> {
    let (_relay, mut client) = relay_with("[limits]\nsubscriptions_max = 3").await?;
    for id in ["1", "2", "3"] {
        client.req(id, of(&alice())).await?;
    }
    let answer = client.req("4", of(&alice())).await?;
    assert_reason(answer.refusal()?, "rate-limited");
    assert!(matches!(client.req("3", of(&alice())).await?.end, End::Eose(_)));
    client.close("1").await?;
    assert!(matches!(client.req("4", of(&alice())).await?.end, End::Eose(_)));
    Ok(())
}

#[tokio::test]
async fn a_thousand_subscriptions_are_served_by_default() -> Result<()> {
    let (_relay, mut client) = empty_relay().await?;
    for number in 0..1024 {
        client.open(&number.to_string(), of(&Keys::numbered(number % 64))).await?;
    }
    for number in 0..1024 {
        let answer = client.stored(&number.to_string()).await?;
        assert!(matches!(answer.end, End::Eose(_)), "{number}: {:?}", answer.end);
    }
    assert_reason(client.req("one more", of(&alice())).await?.refusal()?, "rate-limited");
    Ok(())
}

#[tokio::test]
async fn filters_up_to_the_maximum_are_answered_and_beyond_are_refused() -> Result<()> {
    let (_relay, mut client) = empty_relay().await?;
    client.store(&note("found").sign()).await?;
    let filters = |count: usize| {
        let others = (1..count).map(|kind| json!({ "kinds": [40_000 + kind] }));
        Value::Array(others.chain([of(&alice())]).collect())
    };
    expect_found(&mut client, filters(256), &["found"]).await?;
    expect_closed(&mut client, filters(257), "invalid").await
}
