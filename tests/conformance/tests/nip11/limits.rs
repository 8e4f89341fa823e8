//! Every number in `limitation` is where the relay draws the line: what is at it is served, and what is one beyond is not.
//!
//! The numbers are read from the document: it is what the relay is held to, whatever was configured.

use towpath_conformance::*;

use super::document;

const SMALL: &str = "
    [limits]
    message_bytes_max = 2000
    subscriptions_max = 3
    limit_max = 6
    limit_default = 4
    subid_chars_max = 20
    event_tags_max = 5
    content_chars_max = 300
    created_at_ahead_max_s = 60
    created_at_behind_max_s = 86400
";

/// A number that a relay shows.
async fn shown<N: TryFrom<u64>>(relay: &Relay, limit: &str) -> Result<N> {
    let limitation = &document(relay).await?["limitation"];
    let number = limitation[limit].as_u64().and_then(|number| N::try_from(number).ok());
    number.with_context(|| format!("no {limit} in {limitation}"))
}

/// A relay of small limits, a client of it, and one of the numbers that it shows.
async fn relay_showing<N: TryFrom<u64>>(limit: &str) -> Result<(Relay, Client, N)> {
    let (relay, client) = relay_with(SMALL).await?;
    let number = shown(&relay, limit).await?;
    Ok((relay, client, number))
}

#[tokio::test]
async fn no_number_is_shown_that_is_not_tried_here() -> Result<()> {
    let (relay, _client) = relay_with(&format!("{SMALL}pow_bits_min = 6")).await?;
    let limitation = document(&relay).await?["limitation"].clone();
    let all = limitation.as_object().context("no limitation")?.iter();
    let mut numbers: Vec<&str> = all.filter(|(_, value)| value.is_number()).map(|(name, _)| name.as_str()).collect();
    numbers.sort_unstable();
    let tried = [
        "created_at_lower_limit",
        "created_at_upper_limit",
        "default_limit",
        "max_content_length",
        "max_event_tags",
        "max_limit",
        "max_message_length",
        "max_subid_length",
        "max_subscriptions",
        "min_pow_difficulty",
    ];
    assert_eq!(numbers, tried);
    Ok(())
}

#[tokio::test]
async fn a_message_of_max_message_length_is_read_and_one_byte_more_ends_the_connection() -> Result<()> {
    let (relay, mut client, max) = relay_showing::<usize>("max_message_length").await?;
    let message = |event: &Event| json!(["EVENT", event]).to_string();
    let padded = |padding: usize| note("").tag(["padding", &"x".repeat(padding)]).sign();
    let bare = message(&padded(0)).len();
    let [longest, longer] = [max, max + 1].map(|length| padded(length - bare));
    assert_eq!([&longest, &longer].map(|event| message(event).len()), [max, max + 1]);
    client.store(&longest).await?;
    // The relay may already hang up while the rest of the message is being written.
    let _ = client.send_text(message(&longer)).await;
    client.disconnected().await?;
    let mut client = Client::connect(&relay).await?;
    expect_stored(&mut client, &longest, true).await?;
    expect_stored(&mut client, &longer, false).await
}

#[tokio::test]
async fn as_many_subscriptions_as_max_subscriptions_are_served_and_one_more_is_not() -> Result<()> {
    let (_relay, mut client, max) = relay_showing::<usize>("max_subscriptions").await?;
    for number in 1..=max {
        let answer = client.req(&number.to_string(), json!({ "kinds": [1] })).await?;
        assert!(matches!(answer.end, End::Eose(_)), "{number}: {:?}", answer.end);
    }
    let answer = client.req("one more", json!({ "kinds": [1] })).await?;
    assert_reason(answer.refusal()?, "rate-limited");
    Ok(())
}

/// One event more than a limit, and what comes of asking for so many.
async fn expect_served(client: &mut Client, max: u64, questions: &[(Value, u64)]) -> Result<()> {
    let notes: Vec<Event> = (0..=max).map(|number| note(&number.to_string()).at(moment(number)).sign()).collect();
    client.store_all(&notes).await?;
    for (filter, served) in questions {
        let found = client.query(filter.clone()).await?.len() as u64;
        ensure!(found == *served, "{filter} finds {found} events");
    }
    Ok(())
}

#[tokio::test]
async fn a_filter_is_answered_with_max_limit_events_whatever_more_it_asks_for() -> Result<()> {
    let (_relay, mut client, max) = relay_showing::<u64>("max_limit").await?;
    let asking_for = |limit: u64| json!({ "kinds": [1], "limit": limit });
    let questions = [(asking_for(max - 1), max - 1), (asking_for(max), max), (asking_for(max + 1), max)];
    expect_served(&mut client, max, &questions).await
}

#[tokio::test]
async fn a_filter_without_a_limit_is_answered_with_default_limit_events() -> Result<()> {
    let (_relay, mut client, default) = relay_showing::<u64>("default_limit").await?;
    let more = (json!({ "kinds": [1], "limit": default + 1 }), default + 1);
    expect_served(&mut client, default, &[(json!({ "kinds": [1] }), default), more]).await
}

#[tokio::test]
async fn a_subscription_id_of_max_subid_length_is_taken_and_a_longer_one_is_not() -> Result<()> {
    let (_relay, mut client, max) = relay_showing::<usize>("max_subid_length").await?;
    for character in ["x", "é", "🚣"] {
        let answer = client.req(&character.repeat(max), json!({ "ids": [] })).await?;
        assert!(matches!(answer.end, End::Eose(_)), "{:?}", answer.end);
        let answer = client.req(&character.repeat(max + 1), json!({ "ids": [] })).await?;
        assert_reason(answer.refusal()?, "invalid");
    }
    Ok(())
}

#[tokio::test]
async fn an_event_of_max_event_tags_is_taken_and_one_with_one_more_is_not() -> Result<()> {
    let (_relay, mut client, max) = relay_showing::<usize>("max_event_tags").await?;
    let most = (0..max).fold(note("tagged"), |event, number| event.tag(["t", &number.to_string()]));
    client.store(&most.clone().sign()).await?;
    expect_refusal(&mut client, &most.tag(["t", "one more"]).sign(), "invalid").await
}

#[tokio::test]
async fn a_content_of_max_content_length_is_taken_and_a_longer_one_is_not() -> Result<()> {
    let (_relay, mut client, max) = relay_showing::<usize>("max_content_length").await?;
    for character in ["x", "é"] {
        client.store(&note(&character.repeat(max)).sign()).await?;
        expect_refusal(&mut client, &note(&character.repeat(max + 1)).sign(), "invalid").await?;
    }
    Ok(())
}

/// The answer to an event dated by the second it is sent in. A second that has passed before the answer is here says nothing: the relay
/// may have seen either.
async fn answer_to_date(client: &mut Client, date: impl Fn(u64) -> u64) -> Result<Ack> {
    loop {
        let second = now();
        let ack = client.publish(&note("dated").at(date(second)).sign()).await?;
        if now() == second {
            return Ok(ack);
        }
    }
}

#[tokio::test]
async fn an_event_may_be_dated_ahead_by_created_at_upper_limit_and_no_second_more() -> Result<()> {
    let (_relay, mut client, max) = relay_showing::<u64>("created_at_upper_limit").await?;
    assert_accepted(&answer_to_date(&mut client, |now| now + max).await?);
    assert_refused(&answer_to_date(&mut client, |now| now + max + 1).await?, "invalid");
    Ok(())
}

#[tokio::test]
async fn an_event_may_be_dated_back_by_created_at_lower_limit_and_no_second_more() -> Result<()> {
    let (_relay, mut client, max) = relay_showing::<u64>("created_at_lower_limit").await?;
    assert_accepted(&answer_to_date(&mut client, |now| now - max).await?);
    assert_refused(&answer_to_date(&mut client, |now| now - max - 1).await?, "invalid");
    Ok(())
}

/// An event whose id has so many leading zero bits and no more, and that aimed for `target`.
fn of_work(bits: u32, target: u32) -> Result<Event> {
    let target = target.to_string();
    let mut tries = (0_u64..).map(|nonce| note("mined").tag(["nonce", &nonce.to_string(), &target]).sign());
    let zeros = |event: &Event| u32::from_str_radix(&event.id[..8], 16).map(u32::leading_zeros);
    tries.find(|event| zeros(event) == Ok(bits)).context("no such nonce")
}

#[tokio::test]
async fn an_event_of_min_pow_difficulty_is_taken_and_one_of_a_bit_less_is_not() -> Result<()> {
    let (relay, mut client) = relay_with("[limits]\npow_bits_min = 6").await?;
    let bits: u32 = shown(&relay, "min_pow_difficulty").await?;
    client.store(&of_work(bits, bits)?).await?;
    expect_refusal(&mut client, &of_work(bits - 1, bits)?, "pow").await
}
