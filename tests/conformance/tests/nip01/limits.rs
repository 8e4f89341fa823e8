//! `limit`: which events are the newest n, and what a limit does not do.

use towpath_conformance::*;

fn of_alice(limit: impl Into<Value>) -> Value {
    json!({ "authors": [alice().pubkey()], "limit": limit.into() })
}

async fn store_numbered(client: &mut Client, count: u64) -> Result<()> {
    let events: Vec<Event> = (1..=count).map(|number| note(&number.to_string()).at(moment(number)).sign()).collect();
    client.store_all(&events).await
}

#[tokio::test]
async fn a_limit_takes_the_newest_events_newest_first() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    store_numbered(&mut client, 5).await?;
    expect_found(&mut client, of_alice(3), &["5", "4", "3"]).await
}

#[tokio::test]
async fn events_of_the_same_second_come_lowest_id_first() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let mut events: Vec<Event> = (0..9).map(|number| note(&number.to_string()).at(moment(1)).sign()).collect();
    client.store_all(&events).await?;
    events.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(client.query(of_alice(100)).await?, events);
    assert_eq!(client.query(of_alice(4)).await?, events[..4]);
    Ok(())
}

#[tokio::test]
async fn the_order_holds_across_authors_kinds_and_filters() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let people = [alice(), bob(), carol()];
    let events: Vec<Event> = (0..30)
        .map(|number: u64| {
            let author = &people[number as usize % 3];
            note(&number.to_string()).by(author).kind(1 + number % 2).at(moment(number / 4)).sign()
        })
        .collect();
    client.store_all(&events).await?;
    let keys = people.each_ref().map(Keys::pubkey);
    let filters = json!([
        { "authors": keys[..2], "kinds": [1, 2], "limit": 15 },
        { "authors": keys[1..], "kinds": [2, 1], "limit": 15 },
    ]);
    let found = client.query(filters).await?;
    let order = |event: &Event| (u64::MAX - event.created_at, event.id.clone());
    assert!(found.is_sorted_by_key(order), "{found:?}");
    Ok(())
}

#[tokio::test]
async fn every_filter_has_its_own_limit() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    store_numbered(&mut client, 4).await?;
    let of_bob = [1, 2].map(|number| note("bob").by(&bob()).at(moment(number)).sign());
    client.store_all(&of_bob).await?;
    let filters = json!([of_alice(2), { "authors": [bob().pubkey()], "limit": 1 }]);
    expect_found(&mut client, filters, &["4", "3", "bob"]).await
}

#[tokio::test]
async fn limit_zero_sends_no_stored_events_and_stays_live() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    store_numbered(&mut client, 2).await?;
    let answer = client.req("live", of_alice(0)).await?;
    assert!(answer.events.is_empty());
    assert!(matches!(answer.end, End::Eose(_)), "{:?}", answer.end);
    let event = note("live").sign();
    client.store(&event).await?;
    assert_eq!(client.live("live").await?, event);
    Ok(())
}

#[tokio::test]
async fn a_limit_does_not_count_live_events() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    store_numbered(&mut client, 2).await?;
    assert_eq!(client.req("live", of_alice(1)).await?.contents(), ["2"]);
    for text in ["a", "b", "c"] {
        client.store(&note(text).sign()).await?;
        assert_eq!(client.live("live").await?.content, text);
    }
    Ok(())
}

#[tokio::test]
async fn a_limit_above_the_maximum_is_lowered_and_not_refused() -> Result<()> {
    let (_relay, mut client) = relay_with("[limits]\nlimit_max = 3\nlimit_default = 2").await?;
    store_numbered(&mut client, 5).await?;
    expect_found(&mut client, of_alice(1_000_000), &["5", "4", "3"]).await?;
    expect_found(&mut client, of_alice(u64::MAX), &["5", "4", "3"]).await
}

#[tokio::test]
async fn without_a_limit_the_default_applies() -> Result<()> {
    let (_relay, mut client) = relay_with("[limits]\nlimit_max = 4\nlimit_default = 2").await?;
    store_numbered(&mut client, 5).await?;
    expect_found(&mut client, json!({ "authors": [alice().pubkey()] }), &["5", "4"]).await
}

#[tokio::test]
async fn a_limit_that_is_no_count_is_refused() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for limit in [json!(-1), json!("10"), json!(1.5), json!(null), json!([1])] {
        expect_closed(&mut client, of_alice(limit), "invalid").await?;
    }
    Ok(())
}

#[tokio::test]
async fn paging_backwards_finds_every_event_once() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    store_numbered(&mut client, 25).await?;
    let (mut until, mut found) = (now(), Vec::new());
    loop {
        let filter = json!({ "authors": [alice().pubkey()], "until": until, "limit": 10 });
        let page = client.query(filter).await?;
        let Some(oldest) = page.last() else { break };
        until = oldest.created_at - 1;
        found.extend(page.into_iter().map(|event| event.content));
    }
    let expected: Vec<String> = (1..=25).rev().map(|number: u64| number.to_string()).collect();
    assert_eq!(found, expected);
    Ok(())
}
