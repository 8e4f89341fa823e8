//! NIP-09: an author deletes what is theirs, by id and by address, before and after it arrives.

use towpath_conformance::*;

fn deletion() -> EventBuilder {
    note("a mistake").kind(5).at(moment(100))
}

/// Checks that nothing can bring the event back.
async fn expect_gone(client: &mut Client, event: &Event) -> Result<()> {
    expect_stored(client, event, false).await?;
    expect_refusal(client, event, "blocked").await?;
    expect_stored(client, event, false).await
}

#[tokio::test]
async fn an_author_deletes_an_event_by_its_id() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("regretted").at(moment(1)).sign();
    client.store(&event).await?;
    client.store(&deletion().tag(["e", &event.id]).tag(["k", "1"]).sign()).await?;
    expect_stored(&mut client, &event, false).await
}

#[tokio::test]
async fn one_deletion_names_many_events() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let events = [1, 2, 3].map(|number| note("regretted").at(moment(number)).sign());
    client.store_all(&events).await?;
    let all = events.iter().fold(deletion(), |deletion, event| deletion.tag(["e", &event.id]));
    client.store(&all.sign()).await?;
    for event in &events {
        expect_stored(&mut client, event, false).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_deleted_event_is_refused_afterwards() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("regretted").at(moment(1)).sign();
    client.store(&event).await?;
    client.store(&deletion().tag(["e", &event.id]).sign()).await?;
    expect_gone(&mut client, &event).await
}

#[tokio::test]
async fn a_deletion_that_arrives_first_is_remembered() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("not even sent").at(moment(1)).sign();
    client.store(&deletion().tag(["e", &event.id]).sign()).await?;
    expect_gone(&mut client, &event).await
}

#[tokio::test]
async fn a_deletion_by_id_does_not_look_at_the_time() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("dated later").at(moment(200)).sign();
    client.store(&event).await?;
    client.store(&deletion().tag(["e", &event.id]).sign()).await?;
    expect_gone(&mut client, &event).await
}

#[tokio::test]
async fn a_deleted_event_is_not_delivered_when_sent_again() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("regretted").at(moment(1)).sign();
    client.store(&event).await?;
    client.store(&deletion().tag(["e", &event.id]).sign()).await?;
    let live = json!({ "authors": [alice().pubkey()], "limit": 0 });
    client.req("s", live).await?;
    expect_refusal(&mut client, &event, "blocked").await?;
    client.expect_silence("s").await
}

#[tokio::test]
async fn nobody_deletes_the_events_of_others() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("mine").at(moment(1)).sign();
    client.store(&event).await?;
    client.store(&deletion().by(&bob()).tag(["e", &event.id]).sign()).await?;
    expect_stored(&mut client, &event, true).await
}

#[tokio::test]
async fn a_deletion_by_somebody_else_that_arrives_first_does_nothing() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("mine").at(moment(1)).sign();
    client.store(&deletion().by(&bob()).tag(["e", &event.id]).sign()).await?;
    client.store(&event).await?;
    expect_stored(&mut client, &event, true).await
}

#[tokio::test]
async fn foreign_targets_are_ignored_and_own_ones_deleted() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let own = note("own").at(moment(1)).sign();
    let foreign = note("foreign").by(&bob()).at(moment(1)).sign();
    client.store_all([&own, &foreign]).await?;
    let both = deletion().tag(["e", &foreign.id]).tag(["e", &own.id]).sign();
    client.store(&both).await?;
    expect_stored(&mut client, &own, false).await?;
    expect_stored(&mut client, &foreign, true).await
}

#[tokio::test]
async fn the_deletion_itself_is_kept_and_served() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("regretted").at(moment(1)).sign();
    client.store(&event).await?;
    let deletion = deletion().tag(["e", &event.id]).sign();
    client.req("s", json!({ "authors": [alice().pubkey()], "limit": 0 })).await?;
    client.store(&deletion).await?;
    assert_eq!(client.live("s").await?, deletion);
    let filter = json!({ "kinds": [5], "#e": [event.id], "authors": [alice().pubkey()] });
    assert_eq!(client.query(filter).await?, [deletion]);
    Ok(())
}

#[tokio::test]
async fn a_deletion_of_a_deletion_has_no_effect() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("regretted").at(moment(1)).sign();
    client.store(&event).await?;
    let deletion_of_event = deletion().tag(["e", &event.id]).sign();
    client.store(&deletion_of_event).await?;
    client.store(&deletion().at(moment(101)).tag(["e", &deletion_of_event.id]).sign()).await?;
    expect_stored(&mut client, &deletion_of_event, true).await?;
    expect_gone(&mut client, &event).await
}

#[tokio::test]
async fn a_deletion_of_a_deletion_that_arrives_first_has_no_effect() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("regretted").at(moment(1)).sign();
    let deletion_of_event = deletion().tag(["e", &event.id]).sign();
    client.store(&deletion().at(moment(101)).tag(["e", &deletion_of_event.id]).sign()).await?;
    client.store(&event).await?;
    client.store(&deletion_of_event).await?;
    expect_stored(&mut client, &deletion_of_event, true).await?;
    expect_gone(&mut client, &event).await
}

#[tokio::test]
async fn an_address_deletes_all_versions_up_to_the_deletion() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let version = |time| note("version").kind(30023).tag(["d", "x"]).at(moment(time)).sign();
    let [first, second, at_the_same_time] = [1, 50, 100].map(version);
    client.store(&second).await?;
    client.store(&deletion().tag(["a", &second.address()]).sign()).await?;
    for version in [&second, &first, &at_the_same_time] {
        expect_gone(&mut client, version).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_version_newer_than_the_deletion_survives_and_is_accepted() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let version = |d, time| note("version").kind(30023).tag(["d", d]).at(moment(time)).sign();
    let survivor = version("survivor", 101);
    client.store(&survivor).await?;
    client.store(&deletion().tag(["a", &survivor.address()]).sign()).await?;
    expect_stored(&mut client, &survivor, true).await?;

    let (old, new) = (version("renewed", 1), version("renewed", 101));
    client.store(&deletion().tag(["a", &old.address()]).sign()).await?;
    expect_gone(&mut client, &old).await?;
    client.store(&new).await?;
    expect_stored(&mut client, &new, true).await
}

#[tokio::test]
async fn an_address_deletes_plain_replaceable_events_too() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for kind in [0, 3, 10002] {
        let event = note("replaceable").kind(kind).at(moment(1)).sign();
        client.store(&event).await?;
        client.store(&deletion().tag(["a", &event.address()]).sign()).await?;
        expect_gone(&mut client, &event).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_address_with_colons_in_its_d_tag_is_understood() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let version = |d| note(d).kind(30023).tag(["d", d]).at(moment(1)).sign();
    let (whole, start) = (version("a:b:c"), version("a"));
    client.store_all([&whole, &start]).await?;
    client.store(&deletion().tag(["a", &whole.address()]).sign()).await?;
    expect_gone(&mut client, &whole).await?;
    expect_stored(&mut client, &start, true).await
}

#[tokio::test]
async fn an_address_deletes_nothing_at_other_addresses() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let article = note("x").kind(30023).tag(["d", "x"]).at(moment(1)).sign();
    let neighbours = [
        note("another d").kind(30023).tag(["d", "y"]).at(moment(1)).sign(),
        note("another kind").kind(30024).tag(["d", "x"]).at(moment(1)).sign(),
        note("another author").kind(30023).tag(["d", "x"]).by(&bob()).at(moment(1)).sign(),
        note("no such class").kind(1).tag(["d", "x"]).at(moment(1)).sign(),
    ];
    client.store_all(&neighbours).await?;
    client.store(&deletion().tag(["a", &article.address()]).sign()).await?;
    for neighbour in &neighbours {
        expect_stored(&mut client, neighbour, true).await?;
    }
    Ok(())
}

#[tokio::test]
async fn nobody_deletes_the_addresses_of_others() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let article = note("mine").kind(30023).tag(["d", "x"]).at(moment(1)).sign();
    client.store(&article).await?;
    client.store(&deletion().by(&bob()).tag(["a", &article.address()]).sign()).await?;
    expect_stored(&mut client, &article, true).await
}

#[tokio::test]
async fn deleting_the_current_version_does_not_bring_back_the_former() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let version = |time| note("version").kind(10002).at(moment(time)).sign();
    let (former, current) = (version(1), version(2));
    client.store_all([&former, &current]).await?;
    client.store(&deletion().tag(["e", &current.id]).sign()).await?;
    let filter = json!({ "authors": [alice().pubkey()], "kinds": [10002] });
    expect_found(&mut client, filter, &[]).await
}

#[tokio::test]
async fn targets_that_are_malformed_are_ignored() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("regretted").at(moment(1)).sign();
    client.store(&event).await?;
    let messy = deletion()
        .tag(["e"])
        .tag(["e", "not hex"])
        .tag(["a"])
        .tag(["a", "30023"])
        .tag(["a", "x:y:z"])
        .tag(["a", "99999:abcd:"])
        .tag(["e", &event.id])
        .sign();
    client.store(&messy).await?;
    expect_stored(&mut client, &event, false).await
}

#[tokio::test]
async fn a_deletion_without_targets_is_an_ordinary_event() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = deletion().sign();
    client.store(&event).await?;
    expect_stored(&mut client, &event, true).await
}

#[tokio::test]
async fn a_deletion_is_remembered_after_a_restart() -> Result<()> {
    let (mut relay, mut client) = empty_relay().await?;
    let stored = note("regretted").at(moment(1)).sign();
    let never_seen = note("not even sent").at(moment(1)).sign();
    client.store(&stored).await?;
    let both = deletion().tag(["e", &stored.id]).tag(["e", &never_seen.id]).sign();
    client.store(&both).await?;
    relay.restart().await?;
    let mut client = Client::connect(&relay).await?;
    expect_gone(&mut client, &stored).await?;
    expect_gone(&mut client, &never_seen).await
}
