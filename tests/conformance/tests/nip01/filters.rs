//! What a filter matches, and which filters are none.

use towpath_conformance::*;

const HEX: &str = "5c83da77af1dec6d7289834998ad7aafbd9e2191396d75ec3cc27f5a77226f36";

/// Three notes of Alice, made one second after the other, newest last.
async fn three_notes(client: &mut Client) -> Result<[Event; 3]> {
    let notes = [1, 2, 3].map(|number| note(&number.to_string()).at(moment(number)).sign());
    client.store_all(&notes).await?;
    Ok(notes)
}

#[tokio::test]
async fn each_condition_selects_what_has_it() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let (alice, bob) = (alice().pubkey(), bob().pubkey());
    let tagged = note("tagged").at(moment(2)).tag(["t", "boats"]).tag(["p", &bob]).sign();
    let other = note("other").kind(1111).at(moment(1)).sign();
    client.store_all([&tagged, &other]).await?;
    for (filter, found) in [
        (json!({ "ids": [tagged.id] }), vec!["tagged"]),
        (json!({ "authors": [alice] }), vec!["tagged", "other"]),
        (json!({ "authors": [bob] }), vec![]),
        (json!({ "authors": [alice], "kinds": [1] }), vec!["tagged"]),
        (json!({ "authors": [alice], "kinds": [1, 1111] }), vec!["tagged", "other"]),
        (json!({ "authors": [alice], "#t": ["boats", "trains"] }), vec!["tagged"]),
        (json!({ "authors": [alice], "#p": [bob] }), vec!["tagged"]),
        (json!({ "authors": [alice], "#t": ["trains"] }), vec![]),
        (json!({ "authors": [alice], "since": moment(2) }), vec!["tagged"]),
        (json!({ "authors": [alice], "until": moment(1) }), vec!["other"]),
    ] {
        expect_found(&mut client, filter, &found).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_conditions_of_a_filter_are_all_required() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("hi").at(moment(5)).tag(["t", "a"]).tag(["r", "b"]).sign();
    client.store(&event).await?;
    let full = json!({
        "ids": [event.id], "authors": [alice().pubkey()], "kinds": [1],
        "#t": ["a"], "#r": ["b"], "since": moment(4), "until": moment(6),
    });
    expect_found(&mut client, full.clone(), &["hi"]).await?;
    for (condition, value) in [
        ("ids", json!([HEX])),
        ("authors", json!([bob().pubkey()])),
        ("kinds", json!([2])),
        ("#t", json!(["b"])),
        ("#r", json!(["a"])),
        ("since", json!(moment(6))),
        ("until", json!(moment(4))),
    ] {
        let mut filter = full.clone();
        filter[condition] = value;
        expect_found(&mut client, filter, &[]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn several_filters_find_what_any_of_them_matches_newest_first() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let [first, _, third] = three_notes(&mut client).await?;
    let filters = json!([{ "ids": [first.id] }, { "ids": [third.id] }]);
    expect_found(&mut client, filters, &["3", "1"]).await
}

#[tokio::test]
async fn an_event_that_two_filters_match_is_sent_once() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    three_notes(&mut client).await?;
    let by_author = json!({ "authors": [alice().pubkey()] });
    let by_kind_too = json!({ "authors": [alice().pubkey()], "kinds": [1] });
    let filters = json!([by_author, by_kind_too, by_author]);
    expect_found(&mut client, filters, &["3", "2", "1"]).await
}

#[tokio::test]
async fn a_live_event_that_two_filters_match_is_sent_once() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("live").sign();
    let filters = json!([{ "authors": [alice().pubkey()] }, { "ids": [event.id] }]);
    client.req("live", filters).await?;
    client.store(&event).await?;
    assert_eq!(client.live("live").await?, event);
    client.expect_silence("live").await
}

#[tokio::test]
async fn a_value_listed_twice_finds_an_event_once() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("once").tag(["t", "a"]).tag(["t", "a"]).tag(["t", "b"]).sign();
    client.store(&event).await?;
    let author = alice().pubkey();
    let filter = json!({ "authors": [author, author], "kinds": [1, 1], "#t": ["a", "b", "a"] });
    expect_found(&mut client, filter, &["once"]).await
}

#[tokio::test]
async fn ids_authors_and_e_and_p_values_must_be_64_lowercase_hex_characters() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let uppercase = HEX.to_uppercase();
    let npub = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg";
    let prefixed = format!("0x{}", &HEX[2..]);
    let longer = format!("{HEX}00");
    for condition in ["ids", "authors", "#e", "#p"] {
        for value in [&HEX[..4], "", &uppercase, npub, &prefixed, &longer, "not hex"] {
            expect_closed(&mut client, json!({ condition: [value] }), "invalid").await?;
        }
        expect_closed(&mut client, json!({ condition: [7] }), "invalid").await?;
        expect_closed(&mut client, json!({ condition: HEX }), "invalid").await?;
    }
    Ok(())
}

#[tokio::test]
async fn one_bad_value_among_good_ones_is_refused() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    expect_closed(&mut client, json!({ "ids": [HEX, "abcd"] }), "invalid").await?;
    expect_closed(&mut client, json!([{ "ids": [HEX] }, { "ids": ["abcd"] }]), "invalid").await
}

#[tokio::test]
async fn kinds_must_be_integers_of_16_bits() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for kind in [json!(1.0), json!("1"), json!(-1), json!(65536), json!(null), json!([1])] {
        expect_closed(&mut client, json!({ "kinds": [kind] }), "invalid").await?;
    }
    expect_closed(&mut client, json!({ "kinds": 1 }), "invalid").await
}

#[tokio::test]
async fn every_single_letter_tag_is_indexed_in_both_cases() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let letters = ('a'..='z').chain('A'..='Z').filter(|letter| !"ep".contains(*letter));
    for letter in letters {
        let (name, text) = (letter.to_string(), format!("tagged {letter}"));
        client.store(&note(&text).tag([&name, "value"]).sign()).await?;
        let condition = format!("#{letter}");
        let filter = json!({ "authors": [alice().pubkey()], condition: ["value"] });
        expect_found(&mut client, filter, &[&text]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_tag_in_uppercase_is_another_tag() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.store(&note("root").tag(["E", HEX]).sign()).await?;
    let author = alice().pubkey();
    expect_found(&mut client, json!({ "authors": [author], "#E": [HEX] }), &["root"]).await?;
    expect_found(&mut client, json!({ "authors": [author], "#e": [HEX] }), &[]).await
}

#[tokio::test]
async fn only_the_first_value_of_a_tag_is_indexed() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.store(&note("hi").tag(["t", "first", "second"]).sign()).await?;
    let author = alice().pubkey();
    expect_found(&mut client, json!({ "authors": [author], "#t": ["first"] }), &["hi"]).await?;
    expect_found(&mut client, json!({ "authors": [author], "#t": ["second"] }), &[]).await
}

#[tokio::test]
async fn an_empty_tag_value_matches_an_empty_string() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let author = alice().pubkey();
    client.req("live", json!({ "authors": [author], "#t": [""] })).await?;
    let empty = note("empty").at(moment(2)).tag(["t", ""]).sign();
    let absent = note("absent").at(moment(1)).tag(["t"]).sign();
    client.store_all([&absent, &empty]).await?;
    assert_eq!(client.live("live").await?, empty);
    expect_found(&mut client, json!({ "authors": [author], "#t": [""] }), &["empty"]).await
}

#[tokio::test]
async fn tag_values_match_exactly() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let long = "x".repeat(2000);
    let author = alice().pubkey();
    for value in ["Boats", "boats ", "bo\"ats", "b\\oats", "b\0oats", "bóats", "🚣", &long] {
        client.store(&note(value).tag(["t", value]).sign()).await?;
        let filter = json!({ "authors": [author], "#t": [value] });
        expect_found(&mut client, filter, &[value]).await?;
    }
    expect_found(&mut client, json!({ "authors": [author], "#t": ["boats"] }), &[]).await?;
    let longer = format!("{long}x");
    expect_found(&mut client, json!({ "authors": [author], "#t": [longer] }), &[]).await
}

#[tokio::test]
async fn since_and_until_include_both_ends() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    three_notes(&mut client).await?;
    let author = alice().pubkey();
    let from_to = |since, until| json!({ "authors": [author], "since": since, "until": until });
    expect_found(&mut client, from_to(moment(1), moment(3)), &["3", "2", "1"]).await?;
    expect_found(&mut client, from_to(moment(2), moment(2)), &["2"]).await
}

#[tokio::test]
async fn since_after_until_matches_nothing_and_is_no_error() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    three_notes(&mut client).await?;
    let author = alice().pubkey();
    let filter = json!({ "authors": [author], "since": moment(3), "until": moment(1) });
    expect_found(&mut client, filter, &[]).await
}

#[tokio::test]
async fn times_outside_of_what_events_can_have_are_no_error() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    three_notes(&mut client).await?;
    let author = alice().pubkey();
    for (condition, time, found) in [
        ("since", json!(-1), 3),
        ("since", json!(now() + 1_000_000), 0),
        ("until", json!(-1), 0),
        ("until", json!(u64::MAX), 3),
        ("until", json!(i64::MAX), 3),
        ("since", json!(u64::MAX), 0),
    ] {
        let filter = json!({ "authors": [author], condition: time });
        let events = client.query(filter.clone()).await?;
        assert_eq!(events.len(), found, "{filter}");
    }
    Ok(())
}

#[tokio::test]
async fn a_time_that_is_no_integer_is_refused() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for time in [json!("1700000000"), json!(1.7e9), json!(null), json!([])] {
        expect_closed(&mut client, json!({ "since": time }), "invalid").await?;
        expect_closed(&mut client, json!({ "until": time }), "invalid").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_live_event_is_held_to_since_and_until() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let author = alice().pubkey();
    let filter = json!({ "authors": [author], "since": moment(2), "until": moment(2) });
    client.req("live", filter).await?;
    three_notes(&mut client).await?;
    assert_eq!(client.live("live").await?.content, "2");
    client.expect_silence("live").await
}

#[tokio::test]
async fn an_empty_list_matches_nothing() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    three_notes(&mut client).await?;
    for condition in ["ids", "authors", "kinds", "#e", "#p", "#t"] {
        expect_found(&mut client, json!({ condition: [] }), &[]).await?;
    }
    let filter = json!({ "authors": [alice().pubkey()], "kinds": [] });
    expect_found(&mut client, filter.clone(), &[]).await?;
    client.req("live", filter).await?;
    client.store(&note("not for an empty list").sign()).await?;
    client.expect_silence("live").await
}

#[tokio::test]
async fn an_empty_filter_matches_everything() -> Result<()> {
    let (_relay, mut client) = empty_relay().await?;
    three_notes(&mut client).await?;
    expect_found(&mut client, json!({}), &["3", "2", "1"]).await?;
    let event = note("and what is to come").by(&bob()).kind(7).sign();
    client.req("live", json!({ "limit": 0 })).await?;
    client.store(&event).await?;
    assert_eq!(client.live("live").await?, event);
    Ok(())
}

#[tokio::test]
async fn a_req_without_a_filter_is_refused() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    expect_closed(&mut client, json!([]), "invalid").await
}

#[tokio::test]
async fn a_filter_that_is_no_object_is_refused() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for filter in [json!(null), json!("kinds"), json!(1), json!([1]), json!(true)] {
        expect_closed(&mut client, json!([filter]), "invalid").await?;
        expect_closed(&mut client, json!([{ "kinds": [1] }, filter]), "invalid").await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_condition_is_unsupported_rather_than_ignored() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for condition in ["#emoji", "#", "#1", "##", "&t", "_graph", "search", "Kinds", ""] {
        expect_closed(&mut client, json!({ condition: ["x"] }), "unsupported").await?;
        let filter = json!({ "kinds": [1], condition: ["x"] });
        expect_closed(&mut client, filter, "unsupported").await?;
    }
    Ok(())
}

#[tokio::test]
async fn two_thousand_authors_are_one_question() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let mut authors: Vec<String> = (0..2000).map(|number| format!("{number:064x}")).collect();
    authors.push(alice().pubkey());
    three_notes(&mut client).await?;
    let filter = json!({ "authors": authors, "kinds": [1], "limit": 2 });
    expect_found(&mut client, filter, &["3", "2"]).await
}
