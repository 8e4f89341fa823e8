//! The bytes that an id is the hash of, and the many ways to write the same string in JSON.

use towpath_conformance::*;

/// Publishes a note with this text, in content and in a tag, and expects it back unchanged.
async fn expect_kept(client: &mut Client, text: &str) -> Result<()> {
    let event = note(text).tag(["t", text]).sign();
    client.store(&event).await?;
    ensure!(client.query(json!({ "ids": [event.id] })).await? == [event], "{text:?} was changed");
    Ok(())
}

/// The JSON text of an event whose content is written as this JSON string.
fn written_as(event: &Event, content: &str) -> String {
    let text = event.with("content", "CONTENT").to_string();
    text.replace("\"CONTENT\"", content)
}

/// Publishes an event with its content written in an unusual way and expects it back unchanged.
async fn expect_read(client: &mut Client, text: &str, written: &str) -> Result<()> {
    let event = note(text).sign();
    let ack = client.publish_text(&event.id, &written_as(&event, written)).await?;
    ensure!(ack.accepted, "{written} was refused: {}", ack.message);
    ensure!(client.query(json!({ "ids": [event.id] })).await? == [event], "{text:?} was changed");
    Ok(())
}

#[tokio::test]
async fn the_seven_escaped_characters_hash_as_escapes() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for text in ["\n", "\"", "\\", "\r", "\t", "\u{8}", "\u{c}", "a\\nb", "\\u0041", "\\\""] {
        expect_kept(&mut client, text).await?;
    }
    Ok(())
}

#[tokio::test]
async fn all_other_printable_characters_hash_verbatim() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for text in [
        "http://a/b",
        "<script>&amp;'</script>",
        "grüße, 你好, здравствуйте",
        "\u{7f}",
        "\u{80}\u{9f}\u{a0}",
        "\u{2028}\u{2029}",
        "\u{feff}",
        "\u{fffd}\u{fffe}\u{ffff}\u{10ffff}",
    ] {
        expect_kept(&mut client, text).await?;
    }
    Ok(())
}

#[tokio::test]
async fn emoji_and_joiners_hash_verbatim() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for text in ["🚣", "👩‍👩‍👧‍👦", "🏴󠁧󠁢󠁷󠁬󠁳󠁿", "e\u{301}", "\u{200d}\u{200b}"] {
        expect_kept(&mut client, text).await?;
    }
    Ok(())
}

#[tokio::test]
async fn control_characters_verify_when_hashed_verbatim() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("bell \u{7}, escape \u{1b}").controls(Controls::Verbatim).sign();
    client.store(&event).await?;
    assert_eq!(client.query(json!({ "ids": [event.id] })).await?, [event]);
    Ok(())
}

#[tokio::test]
async fn control_characters_verify_when_hashed_as_json_libraries_escape_them() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("bell \u{7}, escape \u{1b}").controls(Controls::Escaped).sign();
    client.store(&event).await?;
    assert_eq!(client.query(json!({ "ids": [event.id] })).await?, [event]);
    Ok(())
}

#[tokio::test]
async fn a_nul_character_is_kept() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    expect_kept(&mut client, "before\0after").await
}

#[tokio::test]
async fn an_escape_that_is_not_needed_is_read() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for (text, written) in [
        ("a/b", r#""a\/b""#),
        ("A", r#""\u0041""#),
        ("é", r#""\u00e9""#),
        ("É", r#""\u00C9""#),
        ("\n", r#""\u000a""#),
        ("\"", r#""\u0022""#),
        ("🚣", r#""\ud83d\udea3""#),
        ("\u{2028}", r#""\u2028""#),
    ] {
        expect_read(&mut client, text, written).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_lone_surrogate_is_invalid() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("half").sign();
    for written in [r#""\ud83d""#, r#""\udea3""#, r#""\ud83d\u0041""#, r#""\udea3\ud83d""#] {
        let ack = client.publish_text(&event.id, &written_as(&event, written)).await?;
        assert_refused(&ack, "invalid");
    }
    Ok(())
}

#[tokio::test]
async fn a_line_break_in_a_string_has_to_be_escaped() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    for control in ["\n", "\t", "\u{1}"] {
        let event = note(control).sign();
        let content = format!("\"{control}\"");
        assert_refused(&client.publish_text(&event.id, &written_as(&event, &content)).await?, "invalid");
    }
    Ok(())
}

#[tokio::test]
async fn white_space_around_the_json_does_not_matter() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("spacious").tag(["t", "wide"]).sign();
    let airy = event.json().to_string().replace(',', " ,\r\n\t ").replace(':', " : ");
    let message = format!(" \n[ \"EVENT\" ,\t{airy} ] \n");
    client.send_text(message).await?;
    assert_accepted(&client.ack(&event.id).await?);
    assert_eq!(client.query(json!({ "ids": [event.id] })).await?, [event]);
    Ok(())
}

#[tokio::test]
async fn the_order_of_the_fields_does_not_matter() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("shuffled").sign();
    let fields = event.json();
    for order in [
        ["sig", "content", "tags", "kind", "created_at", "pubkey", "id"],
        ["content", "created_at", "id", "kind", "pubkey", "sig", "tags"],
    ] {
        let fields = order.map(|name| format!("\"{name}\":{}", fields[name]));
        let text = format!("{{{}}}", fields.join(","));
        assert_accepted(&client.publish_text(&event.id, &text).await?);
    }
    Ok(())
}

#[tokio::test]
async fn of_a_field_given_twice_the_last_counts_for_the_id_and_for_what_is_stored() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("the last").sign();
    let last = event.json().to_string();
    let twice = last.replacen('{', &format!(r#"{{"content":"the first","sig":"{}","#, "0".repeat(128)), 1);
    assert_accepted(&client.publish_text(&event.id, &twice).await?);
    assert_eq!(client.query(json!({ "ids": [event.id] })).await?, [event]);

    let another = note("another").sign();
    let first = another.json().to_string();
    let spoilt = format!(r#"{},"content":"changed"}}"#, first.trim_end_matches('}'));
    assert_refused(&client.publish_text(&another.id, &spoilt).await?, "invalid");
    expect_stored(&mut client, &another, false).await
}

#[tokio::test]
async fn a_field_name_written_with_escapes_is_that_field() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("escaped name").sign();
    let text = event.json().to_string().replace("\"content\"", r#""c\u006fntent""#);
    assert_accepted(&client.publish_text(&event.id, &text).await?);
    assert_eq!(client.query(json!({ "ids": [event.id] })).await?, [event]);
    Ok(())
}

#[tokio::test]
async fn a_live_event_is_sent_as_it_will_be_stored() -> Result<()> {
    let (_relay, mut client) = relay().await?;
    let event = note("tab\tbell\u{7}quote\"slash/é🚣").sign();
    client.req("live", json!({ "authors": [alice().pubkey()] })).await?;
    client.store(&event).await?;
    assert_eq!(client.live("live").await?, event);
    Ok(())
}
