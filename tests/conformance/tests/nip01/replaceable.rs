//! Replaceable and addressable events: one for each address, the newest, ties by lowest id.

use towpath_conformance::*;

/// Two versions of an event: the first has the lower id, both have the same time.
fn tie(kind: u64) -> [Event; 2] {
    let version = |number: u64| note(&number.to_string()).kind(kind).tag(["d", "x"]).at(moment(1));
    let mut versions = [version(1).sign(), version(2).sign()];
    versions.sort_by(|one, other| one.id.cmp(&other.id));
    versions
}

/// Publishes a version that is older than what is stored.
async fn publish_superseded(client: &mut Client, event: &Event) -> Result<()> {
    let ack = client.publish(event).await?;
    assert_accepted(&ack);
    assert_reason(&ack.message, "duplicate");
    Ok(())
}

fn of_alice(kind: u64) -> Value {
    json!({ "authors": [alice().pubkey()], "kinds": [kind] })
}

#[tokio::test]
async fn newer_replaceable_supersedes_the_older() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for kind in [0, 3, 10000, 10002, 19999] {
        client.store(&note("old").kind(kind).at(moment(1)).sign()).await?;
        client.store(&note("new").kind(kind).at(moment(2)).sign()).await?;
        expect_found(&mut client, of_alice(kind), &["new"]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn older_replaceable_is_superseded() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for kind in [0, 3, 10000, 10002, 19999] {
        client.store(&note("new").kind(kind).at(moment(2)).sign()).await?;
        let old = note("old").kind(kind).at(moment(1)).sign();
        publish_superseded(&mut client, &old).await?;
        expect_found(&mut client, of_alice(kind), &["new"]).await?;
        expect_stored(&mut client, &old, false).await?;
    }
    Ok(())
}

#[tokio::test]
async fn of_the_same_second_the_lowest_id_is_kept_whichever_comes_first() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for kind in [10001, 30001] {
        let [lowest, highest] = tie(kind);
        client.store(&lowest).await?;
        publish_superseded(&mut client, &highest).await?;
        assert_eq!(client.query(of_alice(kind)).await?, [lowest]);
    }
    for kind in [10003, 30003] {
        let [lowest, highest] = tie(kind);
        client.store_all([&highest, &lowest]).await?;
        assert_eq!(client.query(of_alice(kind)).await?, [lowest]);
    }
    Ok(())
}

#[tokio::test]
async fn of_versions_published_at_once_the_newest_is_kept() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let times = [5, 9, 1, 7, 3, 8, 2, 6, 4, 0];
    let versions = times.map(|time| note(&time.to_string()).kind(10002).at(moment(time)).sign());
    client.store_all(&versions).await?;
    expect_found(&mut client, of_alice(10002), &["9"]).await
}

#[tokio::test]
async fn of_versions_from_two_connections_one_is_kept() -> Result<()> {
    let (relay, mut one) = relay().await?;
    let mut other = Client::connect(&relay).await?;
    for kind in 30100..30120 {
        let [lowest, highest] = tie(kind);
        one.send_json(json!(["EVENT", highest])).await?;
        other.send_json(json!(["EVENT", lowest])).await?;
        assert_accepted(&one.ack(&highest.id).await?);
        assert_accepted(&other.ack(&lowest.id).await?);
        assert_eq!(one.query(of_alice(kind)).await?, [lowest]);
    }
    Ok(())
}

#[tokio::test]
async fn replaceable_events_of_other_authors_and_kinds_coexist() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.store(&note("alice 0").kind(0).at(moment(4)).sign()).await?;
    client.store(&note("alice 3").kind(3).at(moment(3)).sign()).await?;
    client.store(&note("bob 0").kind(0).by(&bob()).at(moment(2)).sign()).await?;
    let authors = json!([alice().pubkey(), bob().pubkey()]);
    let filter = json!({ "authors": authors, "kinds": [0, 3] });
    expect_found(&mut client, filter, &["alice 0", "alice 3", "bob 0"]).await
}

#[tokio::test]
async fn a_d_tag_does_not_divide_a_plain_replaceable_kind() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.store(&note("old").kind(10002).tag(["d", "one"]).at(moment(1)).sign()).await?;
    client.store(&note("new").kind(10002).tag(["d", "two"]).at(moment(2)).sign()).await?;
    expect_found(&mut client, of_alice(10002), &["new"]).await
}

#[tokio::test]
async fn addressable_events_are_replaced_by_their_d_tag() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for kind in [30000, 30023, 39999] {
        let version = |text, d, time| note(text).kind(kind).tag(["d", d]).at(moment(time)).sign();
        client.store(&version("x old", "x", 1)).await?;
        client.store(&version("y", "y", 2)).await?;
        client.store(&version("x new", "x", 3)).await?;
        expect_found(&mut client, of_alice(kind), &["x new", "y"]).await?;
        publish_superseded(&mut client, &version("x older", "x", 2)).await?;
        expect_found(&mut client, of_alice(kind), &["x new", "y"]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_d_tag_is_an_empty_one() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.store(&note("missing").kind(30001).at(moment(1)).sign()).await?;
    client.store(&note("no value").kind(30001).tag(["d"]).at(moment(2)).sign()).await?;
    expect_found(&mut client, of_alice(30001), &["no value"]).await?;
    client.store(&note("empty").kind(30001).tag(["d", ""]).at(moment(3)).sign()).await?;
    expect_found(&mut client, of_alice(30001), &["empty"]).await
}

#[tokio::test]
async fn only_the_first_d_tag_counts() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let both =
        |text, first, second, time| note(text).kind(30001).tag(["d", first]).tag(["d", second]).at(moment(time)).sign();
    client.store(&both("x then y", "x", "y", 1)).await?;
    client.store(&both("y then x", "y", "x", 2)).await?;
    expect_found(&mut client, of_alice(30001), &["y then x", "x then y"]).await?;
    client.store(&both("x then z", "x", "z", 3)).await?;
    expect_found(&mut client, of_alice(30001), &["x then z", "y then x"]).await
}

#[tokio::test]
async fn d_tags_are_compared_exactly_and_whole() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let long = "d".repeat(1000);
    let longer = format!("{long}d");
    let values = ["x", "X", "x ", "x:y", "x:y:z", "x\0", "x\0y", "é", "e\u{301}", &long, &longer];
    for d in values {
        client.store(&note("old").kind(30002).tag(["d", d]).at(moment(1)).sign()).await?;
    }
    for d in values {
        client.store(&note(d).kind(30002).tag(["d", d]).at(moment(2)).sign()).await?;
    }
    let mut found: Vec<String> = client.query(of_alice(30002)).await?.into_iter().map(|event| event.content).collect();
    found.sort();
    let mut expected = values;
    expected.sort();
    assert_eq!(found, expected);
    Ok(())
}

#[tokio::test]
async fn a_superseded_version_is_not_found_by_any_filter() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let old = note("old").kind(10002).tag(["t", "x"]).at(moment(1)).sign();
    client.store(&old).await?;
    client.store(&note("new").kind(10002).at(moment(5)).sign()).await?;
    let author = alice().pubkey();
    for filter in [
        json!({ "ids": [old.id] }),
        json!({ "authors": [author], "kinds": [10002], "until": moment(2) }),
        json!({ "authors": [author], "#t": ["x"] }),
    ] {
        expect_found(&mut client, filter, &[]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_superseded_version_can_not_come_back() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let old = note("old").kind(30023).tag(["d", "x"]).at(moment(1)).sign();
    client.store(&old).await?;
    client.store(&note("new").kind(30023).tag(["d", "x"]).at(moment(2)).sign()).await?;
    publish_superseded(&mut client, &old).await?;
    expect_found(&mut client, of_alice(30023), &["new"]).await
}

#[tokio::test]
async fn a_new_version_is_delivered_live_and_an_older_one_is_not() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.req("s", of_alice(10002)).await?;
    client.store(&note("first").kind(10002).at(moment(2)).sign()).await?;
    client.store(&note("newer").kind(10002).at(moment(3)).sign()).await?;
    publish_superseded(&mut client, &note("older").kind(10002).at(moment(1)).sign()).await?;
    assert_eq!(client.live("s").await?.content, "first");
    assert_eq!(client.live("s").await?.content, "newer");
    client.expect_silence("s").await
}
