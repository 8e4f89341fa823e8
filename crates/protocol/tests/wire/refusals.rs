//! Every reason for which a text is not an event.

use serde_json::{Value, json};
use towpath_protocol::{InvalidEvent, JsonError, Limits, SecretKey, Verifier, wire};

const LIMITS: Limits =
    Limits { filters_max: 1, subscription_id_chars_max: 64, event_tags_max: 3, content_chars_max: 5 };

fn good() -> Value {
    let event = SecretKey::from_bytes([1; 32]).unwrap().sign(1, 1, &[&["t", "x"]], "five!", &[0; 32]);
    serde_json::from_str(event.event().as_str()).unwrap()
}

fn parse(event: &Value) -> Result<(), InvalidEvent> {
    wire::event(&event.to_string(), &LIMITS).map(drop)
}

/// The good event but for one field.
fn with(field: &str, value: Value) -> Result<(), InvalidEvent> {
    let mut event = good();
    event[field] = value;
    parse(&event)
}

#[test]
fn the_good_event_is_good() {
    assert_eq!(parse(&good()), Ok(()));
}

#[test]
fn every_field_is_needed() {
    for field in ["id", "pubkey", "created_at", "kind", "tags", "content", "sig"] {
        let mut event = good();
        event.as_object_mut().unwrap().remove(field);
        assert_eq!(parse(&event), Err(InvalidEvent::Missing(field)));
    }
    assert_eq!(wire::event("{}", &LIMITS).unwrap_err(), InvalidEvent::Missing("id"));
}

#[test]
fn hex_is_lowercase_and_of_its_exact_length() {
    for field in ["id", "pubkey", "sig"] {
        let hex = good()[field].as_str().unwrap().to_owned();
        let escaped = format!("\\u0030{}", &hex[1..]);
        for bad in [
            "",
            &hex[2..],
            &format!("{hex}00"),
            &format!("0x{}", &hex[2..]),
            &"g".repeat(hex.len()),
            &"é".repeat(hex.len() / 2),
        ] {
            assert_eq!(with(field, json!(bad)), Err(InvalidEvent::Hex(field)), "{bad}");
        }
        assert_eq!(with(field, json!("AB".repeat(hex.len() / 2))), Err(InvalidEvent::Hex(field)));
        let text = good().to_string().replace(&hex, &escaped);
        assert_eq!(wire::event(&text, &LIMITS).unwrap_err(), InvalidEvent::Hex(field), "escapes are no hex");
        for bad in [json!(1), json!(null), json!([hex])] {
            assert!(matches!(with(field, bad), Err(InvalidEvent::Json(JsonError::Unexpected(_)))));
        }
    }
}

#[test]
fn numbers_are_integers_in_range() {
    let bad = [
        json!("1"),
        json!(1.0),
        json!(1e3),
        json!(-1),
        json!(null),
        json!([1]),
        json!(1.5),
        json!(u64::MAX),
        json!(true),
    ];
    for value in bad {
        for field in ["kind", "created_at"] {
            assert!(
                matches!(with(field, value.clone()), Err(InvalidEvent::Range(f, _)) if f == field),
                "{field} {value}"
            );
        }
    }
    assert!(matches!(with("kind", json!(65_536)), Err(InvalidEvent::Range("kind", _))));
    for (field, value) in [("kind", json!(65_535)), ("created_at", json!(i64::MAX)), ("created_at", json!(0))] {
        assert_eq!(with(field, value), Err(InvalidEvent::WrongId), "in range, so what is wrong is the hash");
    }
    for spelling in ["01", "+1", "1e0", "0x1", "1_0", "9".repeat(400).as_str()] {
        let text = good().to_string().replace("\"kind\":1", &format!("\"kind\":{spelling}"));
        assert!(wire::event(&text, &LIMITS).is_err(), "{spelling}");
    }
}

#[test]
fn tags_are_non_empty_arrays_of_strings() {
    for bad in [
        json!(null),
        json!({}),
        json!("t"),
        json!(["t"]),
        json!([[]]),
        json!([["t"], []]),
        json!([["t", 1]]),
        json!([[null]]),
        json!([["t", ["x"]]]),
        json!([{"t": "x"}]),
    ] {
        assert_eq!(with("tags", bad.clone()), Err(InvalidEvent::Tag), "{bad}");
    }
    for broken in ["[[\"t\",]]", "[[\"t\"],]", "[[\"t\" \"x\"]]", "[[\"t\"]", "[,[\"t\"]]"] {
        let text = good().to_string().replace(r#"[["t","x"]]"#, broken);
        assert!(wire::event(&text, &LIMITS).is_err(), "{broken}");
    }
}

#[test]
fn sizes_are_bounded() {
    assert_eq!(with("tags", json!([["a"], ["b"], ["c"], ["d"]])), Err(InvalidEvent::TooManyTags(3)));
    assert_eq!(with("tags", json!([["a"], ["b"], ["c"]])), Err(InvalidEvent::WrongId));
    assert_eq!(with("content", json!("sixsix")), Err(InvalidEvent::ContentTooLong(5)));
    assert_eq!(with("content", json!("😀\n\"\\é")), Err(InvalidEvent::WrongId), "characters are counted, not bytes");
    assert_eq!(with("content", json!("😀\n\"\\é\u{1}")), Err(InvalidEvent::ContentTooLong(5)));
}

#[test]
fn strings_are_text() {
    for bad in [r#""\ud800""#, r#""\udc00""#, r#""\ud83dx""#, r#""\q""#, "\"\u{1}\"", "\"\n\"", r#""\u12""#] {
        for (field, text) in [("content", bad.to_owned()), ("tags", format!("[[{bad}]]"))] {
            let now = good()[field].to_string();
            let event = good().to_string().replace(&now, &text);
            assert!(matches!(wire::event(&event, &LIMITS), Err(InvalidEvent::Json(_))), "{event}");
        }
    }
}

#[test]
fn the_text_is_one_json_object() {
    let good = good().to_string();
    for bad in [
        "",
        " ",
        "null",
        "[]",
        "1",
        "\"{}\"",
        "{",
        "{\"id\"",
        "{\"id\":",
        "{id:1}",
        "{\"a\":1,}",
        "{\"a\":tru}",
        "nonsense",
    ] {
        assert!(matches!(wire::event(bad, &LIMITS), Err(InvalidEvent::Json(_))), "{bad}");
    }
    for (bad, why) in [
        (format!("{good}x"), "more behind it"),
        (good[..good.len() - 1].to_owned(), "cut short"),
        (format!("[{good}]"), "in a list"),
    ] {
        assert!(matches!(wire::event(&bad, &LIMITS), Err(InvalidEvent::Json(_))), "{why}");
    }
    let deep = format!("{},\"x\":{}{}}}", &good[..good.len() - 1], "[".repeat(65), "]".repeat(65));
    assert_eq!(wire::event(&deep, &LIMITS).unwrap_err(), InvalidEvent::Json(JsonError::TooDeep));
}

#[test]
fn the_id_is_the_hash_of_the_rest() {
    let other = "0".repeat(64);
    for (field, value) in [
        ("id", json!(other)),
        ("pubkey", json!(other)),
        ("created_at", json!(2)),
        ("kind", json!(2)),
        ("tags", json!([["t", "y"]])),
        ("tags", json!([])),
        ("content", json!("")),
    ] {
        assert_eq!(with(field, value), Err(InvalidEvent::WrongId), "{field}");
    }
}

#[test]
fn of_a_repeated_key_the_last_counts_and_other_keys_are_dropped() {
    let good = good().to_string();
    let inner = &good[1..good.len() - 1];
    let plain = wire::event(&good, &LIMITS).unwrap();
    for text in [
        format!(r#"{{"content":"other","kind":7,"tags":[],{inner}}}"#),
        format!(r#"{{"seenOn":["x",{{"content":"no"}}],{inner},"":null}}"#),
    ] {
        let event = wire::event(&text, &LIMITS).unwrap();
        assert_eq!(event.unverified().as_str(), plain.unverified().as_str());
    }
    let changed = format!(r#"{{{inner},"content":"other"}}"#);
    assert_eq!(wire::event(&changed, &LIMITS).unwrap_err(), InvalidEvent::WrongId);
}

#[test]
fn the_signature_is_the_authors_over_the_id() {
    let verifier = Verifier::new();
    let sign = |secret: u8, content| SecretKey::from_bytes([secret; 32]).unwrap().sign(1, 1, &[], content, &[0; 32]);
    let mut event: Value = serde_json::from_str(sign(1, "mine").event().as_str()).unwrap();
    let check = |event: &Value| verifier.verify(wire::event(&event.to_string(), &Limits::default()).unwrap()).is_ok();
    assert!(check(&event));
    let others = [sign(1, "another").event().signature(), sign(2, "mine").event().signature()];
    let hex = |bytes: [u8; 64]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let others = others.map(|sig| hex(sig.unwrap()));
    for sig in others.iter().map(String::as_str).chain([&*"0".repeat(128), &*"f".repeat(128)]) {
        event["sig"] = json!(sig);
        assert!(!check(&event), "{sig}");
    }
}
