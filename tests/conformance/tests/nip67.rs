//! NIP-67: whether `EOSE` ends all there is, or all that was sent.

use towpath_conformance::*;

async fn store_notes(client: &mut Client, count: u64) -> Result<()> {
    let notes: Vec<Event> = (0..count).map(|number| note(&number.to_string()).at(moment(number)).sign()).collect();
    client.store_all(&notes).await
}

/// Asks and checks how many events come and what the hint says of the rest.
async fn expect_hint(client: &mut Client, filters: Value, sent: usize, hint: &str) -> Result<()> {
    let answer = client.req("s", filters.clone()).await?;
    let expected = End::Eose(Some(vec![hint.to_owned()]));
    ensure!(answer.end == expected, "{filters}: {:?} instead of {expected:?}", answer.end);
    ensure!(answer.events.len() == sent, "{filters}: {} events", answer.events.len());
    client.close("s").await
}

fn of_alice(limit: u64) -> Value {
    json!({ "authors": [alice().pubkey()], "limit": limit })
}

#[tokio::test]
async fn a_complete_answer_is_finished() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    expect_hint(&mut client, of_alice(10), 0, "finish").await?;
    store_notes(&mut client, 3).await?;
    expect_hint(&mut client, of_alice(10), 3, "finish").await?;
    expect_hint(&mut client, json!({ "ids": [alice().pubkey()] }), 0, "finish").await
}

#[tokio::test]
async fn an_answer_cut_short_by_its_limit_has_more() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    store_notes(&mut client, 3).await?;
    expect_hint(&mut client, of_alice(2), 2, "more").await
}

#[tokio::test]
async fn an_answer_of_exactly_its_limit_is_finished() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    store_notes(&mut client, 3).await?;
    expect_hint(&mut client, of_alice(3), 3, "finish").await
}

#[tokio::test]
async fn an_answer_cut_short_by_the_relay_has_more() -> Result<()> {
    let (_relay, mut client) = relay_with("[limits]\nlimit_max = 4\nlimit_default = 2").await?;
    store_notes(&mut client, 5).await?;
    expect_hint(&mut client, of_alice(100), 4, "more").await?;
    expect_hint(&mut client, json!({ "authors": [alice().pubkey()] }), 2, "more").await?;
    let all_but_one = json!({ "authors": [alice().pubkey()], "since": moment(1), "limit": 100 });
    expect_hint(&mut client, all_but_one, 4, "finish").await
}

#[tokio::test]
async fn several_filters_are_finished_when_all_of_them_are() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    store_notes(&mut client, 3).await?;
    client.store(&note("bob").by(&bob()).sign()).await?;
    let of_bob = json!({ "authors": [bob().pubkey()], "limit": 1 });
    expect_hint(&mut client, json!([of_bob, of_alice(3)]), 4, "finish").await?;
    expect_hint(&mut client, json!([of_bob, of_alice(2)]), 3, "more").await
}

#[tokio::test]
async fn an_answer_of_no_events_by_limit_zero_is_not_finished() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    store_notes(&mut client, 1).await?;
    let answer = client.req("s", of_alice(0)).await?;
    let End::Eose(hints) = answer.end else { bail!("{:?}", answer.end) };
    assert!(!hints.is_some_and(|hints| hints.contains(&"finish".to_owned())));
    Ok(())
}

#[tokio::test]
async fn events_that_the_client_may_not_read_are_not_missing() -> Result<()> {
    let (_relay, mut client) = empty_relay().await?;
    let wrap = note("sealed").kind(1059).by(&carol()).tag(["p", &bob().pubkey()]).at(moment(9));
    client.store(&wrap.sign()).await?;
    store_notes(&mut client, 2).await?;
    expect_hint(&mut client, json!({ "limit": 10 }), 2, "finish").await?;
    expect_hint(&mut client, json!({ "limit": 2 }), 2, "finish").await
}

/// Who asks for private kinds among others is told that there may be more, and can ask again with a key.
#[tokio::test]
async fn an_answer_to_nobody_that_names_private_kinds_is_not_called_finished() -> Result<()> {
    let (_relay, mut client) = relay_with("[auth]\nchallenge_on_connect = false").await?;
    let wrap = note("sealed").kind(1059).by(&carol()).tag(["p", &bob().pubkey()]).at(moment(9));
    client.store(&wrap.sign()).await?;
    let filter = json!({ "kinds": [1, 1059] });
    assert_eq!(client.req("s", filter.clone()).await?.end, End::Eose(None));
    client.authenticate(&bob()).await?;
    expect_hint(&mut client, filter, 1, "finish").await
}

#[tokio::test]
async fn the_hint_says_nothing_of_live_events() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let answer = client.req("s", of_alice(10)).await?;
    assert_eq!(answer.end, End::Eose(Some(vec!["finish".to_owned()])));
    client.store(&note("live").sign()).await?;
    assert_eq!(client.live("s").await?.content, "live");
    Ok(())
}

#[tokio::test]
async fn paging_until_finished_finds_every_event() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    store_notes(&mut client, 23).await?;
    let (mut until, mut pages, mut found) = (now(), 0, 0);
    loop {
        let filter = json!({ "authors": [alice().pubkey()], "until": until, "limit": 10 });
        let answer = client.req("page", filter).await?;
        (pages, found) = (pages + 1, found + answer.events.len());
        if answer.end == End::Eose(Some(vec!["finish".to_owned()])) {
            break;
        }
        until = answer.events.last().context("more of nothing")?.created_at - 1;
    }
    assert_eq!((pages, found), (3, 23));
    Ok(())
}

/// More events than the relay sends at once may be of one second, which paging by date must get past.
#[tokio::test]
async fn an_answer_that_the_relay_cuts_short_has_the_whole_of_its_last_second() -> Result<()> {
    let (_relay, mut client) = relay_with("[limits]\nlimit_max = 4\nlimit_default = 2").await?;
    let crowd: Vec<Event> = (0..4).map(|number| note(&number.to_string()).at(moment(5)).sign()).collect();
    client.store_all(&crowd).await?;
    store_notes(&mut client, 1).await?;
    let of_alice_until = |until: u64| json!({ "authors": [alice().pubkey()], "until": until });
    expect_hint(&mut client, of_alice_until(now()), 4, "more").await?;
    expect_hint(&mut client, of_alice_until(moment(5) - 1), 1, "finish").await?;
    expect_hint(&mut client, of_alice(2), 2, "more").await
}

#[tokio::test]
async fn the_hint_can_be_switched_off() -> Result<()> {
    let (_relay, mut client) = relay_with("[protocol]\neose_hints = false").await?;
    store_notes(&mut client, 3).await?;
    for limit in [2, 3, 10] {
        assert_eq!(client.req("s", of_alice(limit)).await?.end, End::Eose(None));
    }
    Ok(())
}
