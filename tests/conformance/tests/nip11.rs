//! NIP-11: the relay describes itself, and what it says is what it does.

mod limits;

use towpath_conformance::*;

async fn document(relay: &Relay) -> Result<Value> {
    let response = http::information().send(relay).await?;
    ensure!(response.status == 200, "answered {}", response.status);
    response.json()
}

async fn nips(relay: &Relay) -> Result<Vec<u64>> {
    let nips = &document(relay).await?["supported_nips"];
    let numbers = nips.as_array().context("no list of NIPs")?.iter().map(Value::as_u64);
    numbers.collect::<Option<_>>().context("a NIP that is no integer")
}

#[tokio::test]
async fn the_document_is_served_on_the_uri_of_the_websocket() -> Result<()> {
    let relay = Relay::start().await?;
    let response = http::information().send(&relay).await?;
    assert_eq!(response.status, 200);
    assert!(response.header("content-type").starts_with("application/nostr+json"), "{response:?}");
    assert!(response.json()?.is_object());
    Ok(())
}

#[tokio::test]
async fn the_accept_header_may_be_a_list() -> Result<()> {
    let relay = Relay::start().await?;
    for accept in [
        "application/nostr+json, */*;q=0.8",
        "text/html, application/nostr+json;q=0.5",
        "application/nostr+json;q=0.9,application/json",
        "Application/Nostr+JSON",
        "application/json,application/nostr+json",
    ] {
        let response = http::get("/").header("Accept", accept).send(&relay).await?;
        let media_type = response.header("content-type");
        assert!(media_type.starts_with("application/nostr+json"), "{accept}: {response:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_browser_gets_a_page() -> Result<()> {
    let relay = Relay::empty().await?;
    let accept = "text/html,application/xhtml+xml,*/*;q=0.8";
    let response = http::get("/").header("Accept", accept).send(&relay).await?;
    assert_eq!(response.status, 200);
    assert!(response.header("content-type").starts_with("text/html"), "{response:?}");
    Ok(())
}

#[tokio::test]
async fn requests_from_other_origins_are_allowed() -> Result<()> {
    let relay = Relay::start().await?;
    let request = http::information().header("Origin", "https://client.example.com");
    let response = request.send(&relay).await?;
    for header in ["origin", "headers", "methods"] {
        let value = response.header(&format!("access-control-allow-{header}"));
        assert!(!value.is_empty(), "access-control-allow-{header} is missing: {response:?}");
    }
    assert_eq!(response.header("access-control-allow-origin"), "*");
    Ok(())
}

#[tokio::test]
async fn a_preflight_is_answered() -> Result<()> {
    let relay = Relay::start().await?;
    let request = http::request("OPTIONS", "/")
        .header("Origin", "https://client.example.com")
        .header("Access-Control-Request-Method", "GET")
        .header("Access-Control-Request-Headers", "accept");
    let response = request.send(&relay).await?;
    assert!(matches!(response.status, 200 | 204), "{response:?}");
    assert_eq!(response.header("access-control-allow-origin"), "*");
    assert!(response.header("access-control-allow-methods").contains("GET"), "{response:?}");
    Ok(())
}

#[tokio::test]
async fn the_configured_description_is_shown() -> Result<()> {
    let pubkey = alice().pubkey();
    let config = format!(
        r#"
        [relay]
        name = "Lock 12"
        description = "Boats only"
        contact = "mailto:keeper@example.com"
        pubkey = "{pubkey}"
        banner = "https://example.com/banner.png"
        icon = "https://example.com/icon.png"
        terms_of_service = "https://example.com/terms.txt"
        "#
    );
    let (relay, _client) = relay_with(&config).await?;
    let document = document(&relay).await?;
    for (field, value) in [
        ("name", "Lock 12"),
        ("description", "Boats only"),
        ("contact", "mailto:keeper@example.com"),
        ("pubkey", pubkey.as_str()),
        ("banner", "https://example.com/banner.png"),
        ("icon", "https://example.com/icon.png"),
        ("terms_of_service", "https://example.com/terms.txt"),
    ] {
        assert_eq!(document[field], value, "{field}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_configured_is_omitted() -> Result<()> {
    let relay = Relay::empty().await?;
    let document = document(&relay).await?;
    for field in ["contact", "pubkey", "banner", "icon", "terms_of_service"] {
        assert_eq!(document.get(field), None, "{field}");
    }
    for field in ["payments_url", "fees", "retention", "relay_countries", "posting_policy"] {
        assert_eq!(document.get(field), None, "{field}");
    }
    Ok(())
}

#[tokio::test]
async fn the_software_is_a_url_and_has_a_version() -> Result<()> {
    let relay = Relay::empty().await?;
    let document = document(&relay).await?;
    let software = document["software"].as_str().unwrap_or_default();
    assert!(software.starts_with("https://"), "{software}");
    assert!(document["version"].as_str().is_some_and(|version| !version.is_empty()));
    Ok(())
}

#[tokio::test]
async fn the_relays_own_key_is_shown_and_stays() -> Result<()> {
    let mut relay = Relay::empty().await?;
    let key = document(&relay).await?["self"].clone();
    let text = key.as_str().context("no key")?;
    assert!(text.len() == 64 && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte)));
    relay.restart().await?;
    assert_eq!(document(&relay).await?["self"], key);
    Ok(())
}

#[tokio::test]
async fn the_supported_nips_are_those_that_are_on() -> Result<()> {
    let relay = Relay::empty().await?;
    let nips = nips(&relay).await?;
    for nip in [1, 9, 11, 40, 42, 45, 59, 62, 67, 70, 98] {
        assert!(nips.contains(&nip), "NIP-{nip} is not in {nips:?}");
    }
    assert!(nips.is_sorted());
    Ok(())
}

#[tokio::test]
async fn what_is_switched_off_is_not_advertised() -> Result<()> {
    let config = "[protocol]\nvanish = false\neose_hints = false\ncount = false\n[audit]\nenabled = false";
    let (relay, _client) = relay_with(config).await?;
    let nips = nips(&relay).await?;
    assert!(!nips.iter().any(|nip| [45, 62, 67, 98].contains(nip)), "{nips:?}");
    Ok(())
}

#[tokio::test]
async fn proof_of_work_is_advertised_where_it_is_asked_for() -> Result<()> {
    let (relay, _client) = relay_with("[limits]\npow_bits_min = 3").await?;
    assert!(nips(&relay).await?.contains(&13));
    Ok(())
}

#[tokio::test]
async fn the_default_limits_are_shown() -> Result<()> {
    let relay = Relay::empty().await?;
    let limitation = &document(&relay).await?["limitation"];
    for (limit, value) in [
        ("max_message_length", json!(524_288)),
        ("max_subscriptions", json!(1024)),
        ("max_limit", json!(5000)),
        ("default_limit", json!(500)),
        ("max_subid_length", json!(64)),
        ("created_at_upper_limit", json!(900)),
        ("auth_required", json!(false)),
        ("payment_required", json!(false)),
        ("restricted_writes", json!(false)),
    ] {
        assert_eq!(limitation[limit], value, "{limit}");
    }
    for limit in ["max_event_tags", "max_content_length"] {
        assert!(limitation[limit].is_u64(), "{limit}: {limitation}");
    }
    Ok(())
}

#[tokio::test]
async fn the_limits_shown_are_those_configured() -> Result<()> {
    let config = "
        [limits]
        message_bytes_max = 20000
        subscriptions_max = 7
        limit_max = 40
        limit_default = 30
        event_tags_max = 11
        content_chars_max = 1234
        subid_chars_max = 50
        pow_bits_min = 3
        created_at_ahead_max_s = 60
        created_at_behind_max_s = 86400
    ";
    let (relay, _client) = relay_with(config).await?;
    let limitation = &document(&relay).await?["limitation"];
    for (limit, value) in [
        ("max_message_length", 20000),
        ("max_subscriptions", 7),
        ("max_limit", 40),
        ("default_limit", 30),
        ("max_event_tags", 11),
        ("max_content_length", 1234),
        ("max_subid_length", 50),
        ("min_pow_difficulty", 3),
        ("created_at_upper_limit", 60),
        ("created_at_lower_limit", 86400),
    ] {
        assert_eq!(limitation[limit], value, "{limit}");
    }
    Ok(())
}

#[tokio::test]
async fn a_relay_that_requires_authentication_says_so() -> Result<()> {
    let (relay, _client) = relay_with("[auth]\nto_write = true\nto_read = true").await?;
    let limitation = &document(&relay).await?["limitation"];
    assert_eq!(limitation["auth_required"], true, "{limitation}");
    Ok(())
}
