//! Messages that are not what they should be: each is answered where it can be attributed.

use towpath_conformance::*;

async fn expect_notice(client: &mut Client, text: &str) -> Result<()> {
    client.send_text(text).await?;
    let notice = client.notice().await.with_context(|| format!("sent {text}"))?;
    assert_reason(&notice, "invalid");
    expect_alive(client).await
}

#[tokio::test]
async fn what_is_not_json_is_noticed() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for text in ["", " ", "hello", "[", "]", "[\"REQ\"", "[\"REQ\",]", "{]", "'single'", "[1,2"] {
        expect_notice(&mut client, text).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_message_is_noticed() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for text in ["{}", "[]", "null", "1", "\"REQ\"", "[null]", "[1]", "[[\"REQ\"]]", "[{}]"] {
        expect_notice(&mut client, text).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_verb_is_noticed() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for verb in ["HELLO", "req", "event", "REQ ", "", "OK", "EOSE", "NOTICE"] {
        expect_notice(&mut client, &json!([verb, "x", {}]).to_string()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_message_without_its_parts_is_noticed() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for text in ["[\"EVENT\"]", "[\"REQ\"]", "[\"COUNT\"]", "[\"CLOSE\"]", "[\"AUTH\"]"] {
        expect_notice(&mut client, text).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_follows_the_end_of_the_json_is_noticed() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for text in ["[\"CLOSE\",\"s\"]x", "[\"CLOSE\",\"s\"][\"CLOSE\",\"s\"]", "[\"CLOSE\",\"s\"]]"] {
        expect_notice(&mut client, text).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_event_without_an_id_to_name_is_noticed() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("nameless").sign();
    for event in [event.without("id"), event.with("id", 7), json!(null), json!("event"), json!([])] {
        expect_notice(&mut client, &json!(["EVENT", event]).to_string()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_event_that_can_not_be_parsed_is_answered_by_the_id_it_gave() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for event in [
        json!({ "id": "x" }),
        json!({ "id": "" }),
        json!({ "id": "ünïcode \"quoted\"" }),
        json!({ "content": 1, "id": "after the fault" }),
        note("odd").sign().with("tags", json!([[1]])),
    ] {
        expect_invalid(&mut client, &event).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_req_that_can_not_be_parsed_is_closed_by_its_id() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for filters in [json!(["not a filter"]), json!([{ "kinds": "one" }]), json!([[[]]])] {
        expect_closed(&mut client, filters, "invalid").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_count_that_can_not_be_parsed_is_closed_by_its_id() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let refusal = client.count("c", json!([{ "kinds": "one" }])).await?;
    assert_reason(&refusal.err().context("counted")?, "invalid");
    Ok(())
}

#[tokio::test]
async fn nesting_without_end_is_refused() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for opening in ["[", "{\"a\":"] {
        expect_notice(&mut client, &opening.repeat(50_000)).await?;
    }
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let event = note("deep").sign();
    let text = event.with("zzz", "DEEP").to_string().replace("\"DEEP\"", &deep);
    assert_refused(&client.publish_text(&event.id, &text).await?, "invalid");
    expect_alive(&mut client).await
}

#[tokio::test]
async fn a_content_longer_than_the_limit_is_invalid() -> Result<()> {
    let (_relay, mut client) = relay_with("[limits]\ncontent_chars_max = 10").await?;
    client.store(&note(&"é".repeat(10)).sign()).await?;
    expect_refusal(&mut client, &note(&"é".repeat(11)).sign(), "invalid").await
}

#[tokio::test]
async fn more_tags_than_the_limit_are_invalid() -> Result<()> {
    let (_relay, mut client) = relay_with("[limits]\nevent_tags_max = 2").await?;
    let tagged = note("tagged").tag(["t", "1"]).tag(["t", "2"]);
    client.store(&tagged.clone().sign()).await?;
    expect_refusal(&mut client, &tagged.tag(["t", "3"]).sign(), "invalid").await
}

#[tokio::test]
async fn an_event_older_than_the_limit_is_invalid() -> Result<()> {
    let (_relay, mut client) = relay_with("[limits]\ncreated_at_behind_max_s = 3600").await?;
    client.store(&note("recent").at(now() - 1800).sign()).await?;
    expect_refusal(&mut client, &note("old").at(now() - 7200).sign(), "invalid").await
}
