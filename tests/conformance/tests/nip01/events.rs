//! Publishing: what is an event, what is not, and how the relay says so.

use towpath_conformance::*;
use tungstenite::Message;

#[tokio::test]
async fn a_valid_event_is_accepted_and_found_by_its_id() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("hello").sign();
    assert_accepted(&client.publish(&event).await?);
    assert_eq!(client.query(json!({ "ids": [event.id] })).await?, [event]);
    Ok(())
}

#[tokio::test]
async fn an_event_is_served_with_every_field_as_published() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("héllo \"wörld\"\n")
        .kind(1111)
        .at(moment(1))
        .tag(["t", "one", "two", ""])
        .tag(["alt"])
        .tag(["", "no name"])
        .sign();
    client.store(&event).await?;
    assert_eq!(client.query(json!({ "ids": [event.id] })).await?, [event]);
    Ok(())
}

#[tokio::test]
async fn an_event_is_answered_exactly_once() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let good = note("once").sign();
    let bad = note("once, badly").sign().with("sig", "0".repeat(128));
    client.publish(&good).await?;
    client.publish_json(&bad).await?;
    client.barrier().await?;
    assert!(!client.untaken().any(|message| message[0] == "OK"));
    Ok(())
}

#[tokio::test]
async fn oks_come_in_the_order_of_the_events() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let events: Vec<Value> = (0..60)
        .map(|number| {
            let event = note(&format!("event {number}")).sign();
            if number % 3 == 0 { event.with("content", "spoilt") } else { event.json() }
        })
        .collect();
    for event in &events {
        client.send_json(json!(["EVENT", event])).await?;
    }
    for event in &events {
        let ok = client.next_matching("OK", |message| message[0] == "OK").await?;
        assert_eq!(ok[1], event["id"]);
    }
    Ok(())
}

/// Of two authors, with signatures of others, none, and one event twice.
fn mixed(count: usize) -> Vec<(Value, Option<&'static str>)> {
    let one = |number: usize| {
        let by = if number.is_multiple_of(3) { bob() } else { alice() };
        let event = note(&format!("together {number}")).by(&by).sign();
        match number % 10 {
            4 => (event.with("sig", note("another").by(&by).sign().sig), Some("invalid")),
            7 => (event.with("sig", "0".repeat(128)), Some("invalid")),
            8 => (event.with("content", "spoilt"), Some("invalid")),
            _ => (event.json(), None),
        }
    };
    let mut mixed: Vec<_> = (0..count).map(one).collect();
    mixed.push(one(0));
    mixed
}

fn event_message(event: &Value) -> Message {
    Message::text(json!(["EVENT", event]).to_string())
}

#[tokio::test]
async fn events_that_arrive_together_are_judged_one_by_one() -> Result<()> {
    for count in [2, 3, 8, 9, 100] {
        let (_relay, mut client) = relay().await?;
        let events = mixed(count);
        client.send_together(events.iter().map(|(event, _)| event_message(event))).await?;
        for (at, (event, refused)) in events.iter().enumerate() {
            let ok = client.next_matching("OK", |message| message[0] == "OK").await?;
            assert_eq!(ok[1], event["id"], "in their order");
            let reason = ok[3].as_str().context("a reason")?;
            assert_eq!(ok[2], refused.is_none(), "{at} of {count}: {reason}");
            refused.iter().for_each(|prefix| assert_reason(reason, prefix));
        }
        let ids = |genuine: bool| {
            let of = events[..count].iter().filter(move |(_, refused)| refused.is_none() == genuine);
            of.map(|(event, _)| event["id"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(client.query(json!({ "ids": ids(true) })).await?.len(), ids(true).len());
        if !ids(false).is_empty() {
            assert_eq!(client.query(json!({ "ids": ids(false) })).await?, []);
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_asked_right_behind_events_is_answered_with_them() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let events: Vec<Event> = (0..5).map(|number| note(&format!("before {number}")).sign()).collect();
    let last = note("behind").sign();
    let events_first = events.iter().map(|event| event_message(&event.json()));
    let mut missing: Vec<String> = events.iter().chain([&last]).map(|event| event.id.clone()).collect();
    let asked = Message::text(json!(["REQ", "s", { "ids": missing }]).to_string());
    client.send_together(events_first.chain([asked, event_message(&last.json())])).await?;
    while !missing.is_empty() {
        let event = client.next_matching("EVENT", |message| message[0] == "EVENT").await?;
        let before = missing.len();
        missing.retain(|id| event[2]["id"] != **id);
        assert_eq!(missing.len(), before - 1, "once each, stored or live");
    }
    Ok(())
}

#[tokio::test]
async fn who_is_authenticated_among_events_is_so_for_those_behind() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let protected = event_message(&note("for this relay only").tag(["-"]).sign().json());
    client.send(protected.clone()).await?;
    let challenge = client.challenge().await?;
    client.next_matching("OK", |message| message[0] == "OK").await?;
    let proof = Message::text(json!(["AUTH", client.auth_event(&alice(), &challenge).json()]).to_string());
    client.send_together([protected.clone(), proof, protected]).await?;
    for accepted in [false, true, true] {
        let ok = client.next_matching("OK", |message| message[0] == "OK").await?;
        assert_eq!(ok[2], accepted, "{ok}");
    }
    Ok(())
}

#[tokio::test]
async fn what_was_sent_before_the_close_counts() -> Result<()> {
    let (relay, mut client) = relay().await?;
    let events: Vec<Event> = (0..5).map(|number| note(&format!("parting {number}")).sign()).collect();
    let messages = events.iter().map(|event| event_message(&event.json()));
    client.send_together(messages.chain([Message::Close(None)])).await?;
    client.disconnected().await?;
    let mut other = Client::connect(&relay).await?;
    let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    other.open("s", json!({ "ids": ids })).await?;
    for _ in &events {
        // Stored, or live if its commit is still under way.
        other.next_matching("EVENT", |message| message[0] == "EVENT").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_its_oks_gets_them_all() -> Result<()> {
    for in_flight in [1, 2, 33] {
        let (_relay, mut client) = relay_with(&format!("[queues]\nin_flight_per_connection_max = {in_flight}")).await?;
        let events: Vec<Event> = (0..80).map(|number| note(&format!("pushed {number}")).sign()).collect();
        client.send_together(events.iter().map(|event| event_message(&event.json()))).await?;
        for event in &events {
            assert_accepted(&client.ack(&event.id).await?);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_duplicate_is_accepted_as_a_duplicate() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("again").sign();
    client.store(&event).await?;
    let ack = client.publish(&event).await?;
    assert_accepted(&ack);
    assert_reason(&ack.message, "duplicate");
    Ok(())
}

#[tokio::test]
async fn a_duplicate_is_not_delivered_again() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("again").sign();
    client.req("live", json!({ "authors": [alice().pubkey()] })).await?;
    client.store(&event).await?;
    client.store(&event).await?;
    assert_eq!(client.live("live").await?, event);
    client.expect_silence("live").await
}

#[tokio::test]
async fn a_known_id_with_another_content_does_not_change_what_is_stored() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("the original").sign();
    client.store(&event).await?;
    client.publish_json(&event.with("content", "forged")).await?;
    assert_eq!(client.query(json!({ "ids": [event.id] })).await?, [event]);
    Ok(())
}

#[tokio::test]
async fn an_id_that_is_not_the_hash_is_invalid() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("mine").sign();
    for (field, value) in [
        ("id", json!("0".repeat(64))),
        ("content", json!("yours")),
        ("kind", json!(2)),
        ("created_at", json!(event.created_at - 1)),
        ("pubkey", json!(bob().pubkey())),
        ("tags", json!([["t", "added"]])),
    ] {
        expect_invalid(&mut client, &event.with(field, value)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_signature_is_invalid() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("signed").sign();
    let another = note("another").sign();
    for sig in [another.sig, "0".repeat(128), "f".repeat(128)] {
        expect_invalid(&mut client, &event.with("sig", sig)).await?;
    }
    expect_stored(&mut client, &event, false).await
}

#[tokio::test]
async fn a_refused_event_can_be_published_rightly_afterwards() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("second try").sign();
    expect_invalid(&mut client, &event.with("sig", "0".repeat(128))).await?;
    client.store(&event).await?;
    expect_stored(&mut client, &event, true).await
}

#[tokio::test]
async fn a_pubkey_that_is_no_point_of_the_curve_is_invalid() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("nobody").sign();
    expect_invalid(&mut client, &event.with("pubkey", "f".repeat(64))).await
}

#[tokio::test]
async fn hex_in_uppercase_is_invalid() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("shouting").sign();
    for field in ["id", "pubkey", "sig"] {
        let value = event.json()[field].as_str().unwrap_or_default().to_uppercase();
        expect_invalid(&mut client, &event.with(field, value)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn hex_of_another_length_is_invalid() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("too long, too short").sign();
    for field in ["id", "pubkey", "sig"] {
        let value = event.json()[field].as_str().unwrap_or_default().to_owned();
        let shorter = &value[2..];
        for value in [shorter.to_owned(), format!("{value}00"), format!("0x{shorter}")] {
            expect_invalid(&mut client, &event.with(field, value)).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_field_is_invalid() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("incomplete").sign();
    for field in ["pubkey", "created_at", "kind", "tags", "content", "sig"] {
        expect_invalid(&mut client, &event.without(field)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_field_of_the_wrong_type_is_invalid() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("mistyped").sign();
    for (field, value) in [
        ("pubkey", json!(7)),
        ("created_at", json!("1700000000")),
        ("created_at", json!(null)),
        ("kind", json!(null)),
        ("kind", json!([1])),
        ("tags", json!("t")),
        ("tags", json!({})),
        ("tags", json!(null)),
        ("content", json!(null)),
        ("content", json!({ "text": "hi" })),
        ("sig", json!(null)),
    ] {
        expect_invalid(&mut client, &event.with(field, value)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_kind_that_is_no_integer_of_16_bits_is_invalid() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("odd kind").sign();
    for kind in [json!(1.0), json!(1.5), json!("1"), json!(-1), json!(65536), json!(1e30)] {
        expect_invalid(&mut client, &event.with("kind", kind)).await?;
    }
    let signed_with_such_a_kind = note("odd kind").kind(65536).sign();
    expect_invalid(&mut client, &signed_with_such_a_kind.json()).await
}

#[tokio::test]
async fn the_highest_kind_is_accepted() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.store(&note("the last kind").kind(65535).sign()).await
}

#[tokio::test]
async fn a_created_at_that_is_no_count_of_seconds_is_invalid() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("odd time").sign();
    let seconds = event.created_at as f64;
    for time in [json!(seconds), json!(seconds + 0.5), json!(-1), json!(1e300)] {
        expect_invalid(&mut client, &event.with("created_at", time)).await?;
    }
    let in_milliseconds = note("odd time").at(now() * 1000).sign();
    expect_refusal(&mut client, &in_milliseconds, "invalid").await
}

#[tokio::test]
async fn a_tag_that_is_no_list_of_strings_is_invalid() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("odd tags").sign();
    for tags in [
        json!([[]]),
        json!([["t", null]]),
        json!([["t", 1]]),
        json!([["t", ["nested"]]]),
        json!([null]),
        json!(["t", "flat"]),
        json!([{ "t": "object" }]),
    ] {
        expect_invalid(&mut client, &event.with("tags", tags)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_tag_of_one_string_and_a_tag_of_an_empty_string_are_valid() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("short tags").tag(["e"]).tag([""]).tag(["t", ""]).sign();
    client.store(&event).await?;
    assert_eq!(client.query(json!({ "ids": [event.id] })).await?, [event]);
    Ok(())
}

#[tokio::test]
async fn fields_that_are_no_part_of_an_event_are_stripped() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("seen elsewhere").sign();
    let mut decorated = event.with("seenOn", json!(["wss://relay.example.com"]));
    decorated["relays"] = json!({ "deep": [1, { "er": null }] });
    assert_accepted(&client.publish_json(&decorated).await?);
    assert_eq!(client.query(json!({ "ids": [event.id] })).await?, [event]);
    Ok(())
}

#[tokio::test]
async fn an_event_from_the_future_is_invalid() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for ahead in [3600, 86_400 * 365, u64::from(u32::MAX)] {
        let event = note("see you there").at(now() + ahead).sign();
        expect_refusal(&mut client, &event, "invalid").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_clock_that_is_some_minutes_fast_is_tolerated() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    client.store(&note("fast clock").at(now() + 600).sign()).await
}

#[tokio::test]
async fn events_of_long_ago_are_accepted() -> Result<()> {
    let (_relay, mut client) = empty_relay().await?;
    for created_at in [0, 1, 86_400 * 365, 1_600_000_000] {
        client.store(&note("memories").at(created_at).sign()).await?;
    }
    let found = client.query(json!({ "authors": [alice().pubkey()], "until": 1 })).await?;
    assert_eq!(found.len(), 2);
    Ok(())
}

#[tokio::test]
async fn kinds_outside_the_ranges_are_stored_as_regular_events() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for kind in [1, 2, 4, 44, 45, 443, 999, 1000, 9999, 40000, 65535] {
        // Kind 4 is private, so it is read by its author only.
        if kind == 4 {
            client.authenticate(&alice()).await?;
        }
        let events =
            [1, 2].map(|number| note(&number.to_string()).kind(kind).at(moment(number)).tag(["d", "same"]).sign());
        client.store_all(&events).await?;
        let filter = json!({ "kinds": [kind], "authors": [alice().pubkey()] });
        expect_found(&mut client, filter, &["2", "1"]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_contact_list_of_five_thousand_people_is_stored() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let list = (0..5000).fold(note("").kind(3), |list, number| list.tag(["p", &format!("{number:064x}")]));
    let list = list.sign();
    client.store(&list).await?;
    let filter = json!({ "#p": [format!("{:064x}", 4999)], "authors": [alice().pubkey()] });
    assert_eq!(client.query(filter).await?, [list]);
    Ok(())
}
