//! NIP-45: counting instead of sending, exactly and with HyperLogLog.

use sha2::{Digest, Sha256};
use towpath_conformance::*;

async fn expect_count(client: &mut Client, filters: Value, expected: u64) -> Result<()> {
    let answer = client.count("c", filters.clone()).await?;
    let answer = answer.map_err(|reason| anyhow::anyhow!("{filters} refused: {reason}"))?;
    ensure!(answer["count"] == expected, "{filters} counts {answer} instead of {expected}");
    Ok(())
}

fn of_alice() -> Value {
    json!({ "authors": [alice().pubkey()] })
}

#[tokio::test]
async fn a_count_is_the_number_of_events_that_match() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    expect_count(&mut client, of_alice(), 0).await?;
    let events = [1, 2, 3, 4].map(|time| note("x").kind(1 + time % 2).at(moment(time)).sign());
    client.store_all(&events).await?;
    let author = alice().pubkey();
    expect_count(&mut client, of_alice(), 4).await?;
    expect_count(&mut client, json!({ "authors": [author], "kinds": [2] }), 2).await?;
    expect_count(&mut client, json!({ "authors": [author], "since": moment(2) }), 3).await?;
    expect_count(&mut client, json!({ "ids": [events[0].id, events[1].id] }), 2).await
}

#[tokio::test]
async fn several_filters_are_one_count_of_distinct_events() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.store_all(&[1, 2, 3].map(|time| note("x").kind(time).at(moment(time)).sign())).await?;
    let author = alice().pubkey();
    let filters = json!([
        { "authors": [author], "kinds": [1, 2] },
        { "authors": [author], "since": moment(2) },
    ]);
    expect_count(&mut client, filters, 3).await
}

#[tokio::test]
async fn a_count_goes_beyond_what_a_query_returns() -> Result<()> {
    let (_relay, mut client) = relay_with("[limits]\nlimit_max = 5\nlimit_default = 5").await?;
    let events: Vec<Event> = (0..20).map(|number| note(&number.to_string()).sign()).collect();
    client.store_all(&events).await?;
    expect_count(&mut client, of_alice(), 20).await
}

#[tokio::test]
async fn what_is_superseded_or_deleted_is_not_counted() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.store(&note("old").kind(10002).at(moment(1)).sign()).await?;
    client.store(&note("new").kind(10002).at(moment(2)).sign()).await?;
    let regretted = note("regretted").at(moment(1)).sign();
    client.store(&regretted).await?;
    client.store(&note("").kind(5).tag(["e", &regretted.id]).sign()).await?;
    let filter = json!({ "authors": [alice().pubkey()], "kinds": [1, 10002] });
    expect_count(&mut client, filter, 1).await
}

#[tokio::test]
async fn a_count_opens_no_subscription() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    expect_count(&mut client, of_alice(), 0).await?;
    client.store(&note("not for a count").sign()).await?;
    client.expect_silence("c").await
}

#[tokio::test]
async fn a_count_leaves_a_subscription_of_the_same_id_alone() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.req("c", json!({ "authors": [bob().pubkey()] })).await?;
    expect_count(&mut client, of_alice(), 0).await?;
    client.store(&note("live").by(&bob()).sign()).await?;
    assert_eq!(client.live("c").await?.content, "live");
    Ok(())
}

#[tokio::test]
async fn a_count_that_is_refused_is_closed() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for (filters, prefix) in [
        (json!([]), "invalid"),
        (json!({ "ids": ["abcd"] }), "invalid"),
        (json!({ "kinds": ["1"] }), "invalid"),
        (json!({ "search": "boats" }), "unsupported"),
    ] {
        let answer = client.count("c", filters).await?;
        assert_reason(&answer.err().context("counted")?, prefix);
    }
    Ok(())
}

#[tokio::test]
async fn counting_can_be_switched_off() -> Result<()> {
    let (_relay, mut client) = relay_with("[protocol]\ncount = false").await?;
    let answer = client.count("c", of_alice()).await?;
    assert_reason(&answer.err().context("counted")?, "unsupported");
    Ok(())
}

/// The registers as NIP-45 describes them, from the keys of the events' authors.
fn registers(target: &str, authors: &[Keys]) -> Result<String> {
    let digit = target.chars().nth(32).and_then(|digit| digit.to_digit(16));
    let offset = digit.context("the target is no hex")? as usize + 8;
    let mut registers = [0_u8; 256];
    for author in authors {
        let key = const_hex::decode(author.pubkey())?;
        let zeros = key[offset + 1..].iter().map(|byte| byte.leading_zeros());
        let whole_bytes = zeros.clone().take_while(|zeros| *zeros == 8).count();
        let rest = zeros.clone().nth(whole_bytes).unwrap_or(0);
        let value = u8::try_from(whole_bytes)? * 8 + u8::try_from(rest)? + 1;
        let register = &mut registers[usize::from(key[offset])];
        *register = value.max(*register);
    }
    Ok(const_hex::encode(registers))
}

/// Forty people refer to a value with a tag; checks the count of them.
async fn expect_hll(kind: u64, name: &str, value: &str, target: &str) -> Result<()> {
    let (_relay, mut client) = empty_relay().await?;
    let people: Vec<Keys> = (0..40).map(Keys::numbered).collect();
    let events: Vec<Event> =
        people.iter().map(|keys| note("+").kind(kind).by(keys).tag([name, value]).sign()).collect();
    client.store_all(&events).await?;
    let condition = format!("#{name}");
    let answer = client.count("c", json!({ "kinds": [kind], condition: [value] })).await?;
    let answer = answer.map_err(anyhow::Error::msg)?;
    assert_eq!(answer["count"], 40);
    assert_eq!(answer["hll"], registers(target, &people)?);
    Ok(())
}

#[tokio::test]
async fn followers_are_counted_with_registers() -> Result<()> {
    let followed = bob().pubkey();
    expect_hll(3, "p", &followed, &followed).await
}

#[tokio::test]
async fn reactions_are_counted_with_registers() -> Result<()> {
    let liked = note("liked").sign().id;
    expect_hll(7, "e", &liked, &liked).await
}

#[tokio::test]
async fn replies_reposts_and_comments_are_counted_with_registers() -> Result<()> {
    let target = note("talked about").sign().id;
    for (kind, name) in [(6, "e"), (1, "e"), (1111, "E"), (1, "q"), (1111, "q")] {
        expect_hll(kind, name, &target, &target).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_registers_of_an_address_use_its_pubkey() -> Result<()> {
    let address = format!("30023:{}:a:b", bob().pubkey());
    expect_hll(1111, "A", &address, &bob().pubkey()).await
}

#[tokio::test]
async fn the_registers_of_any_other_value_use_its_hash() -> Result<()> {
    expect_hll(1, "t", "boats", &const_hex::encode(Sha256::digest("boats"))).await
}

#[tokio::test]
async fn a_key_that_reacts_often_is_one_in_the_registers() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let liked = note("liked").sign().id;
    let reactions = [1, 2, 3].map(|time| note("+").kind(7).tag(["e", &liked]).at(moment(time)));
    client.store_all(&reactions.map(EventBuilder::sign)).await?;
    let answer = client.count("c", json!({ "kinds": [7], "#e": [liked] })).await?;
    let answer = answer.map_err(anyhow::Error::msg)?;
    assert_eq!(answer["count"], 3);
    assert_eq!(answer["hll"], registers(&liked, &[alice()])?);
    Ok(())
}
