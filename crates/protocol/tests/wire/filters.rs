//! What is a filter, what is none, and what filters mean where another implementation means something else.

use towpath_protocol::{Filter, IndexedTags, InvalidFilter, JsonError, SecretKey, wire};

fn hex64(character: char) -> String {
    String::from_iter([character; 64])
}

fn refusal(text: &str) -> InvalidFilter {
    wire::filter(text).expect_err(text)
}

#[test]
fn ids_and_keys_are_64_lowercase_hex_characters() {
    for key in ["ids", "authors", "#e", "#p"] {
        let good = hex64('a');
        let plain = wire::filter(&format!(r#"{{"{key}":["{good}"]}}"#));
        assert!(plain.is_ok(), "{key}");
        let escaped = format!(r#"{{"{key}":["\u0061{}"]}}"#, &good[1..]);
        assert_eq!(wire::filter(&escaped), plain, "{key}");
        for bad in [
            "",
            "ab",
            &good[2..],
            &hex64('A'),
            &hex64('g'),
            &format!("0x{}", &good[2..]),
            "npub1",
            &format!("{good}00"),
        ] {
            assert_eq!(refusal(&format!(r#"{{"{key}":["{good}","{bad}"]}}"#)), InvalidFilter::Hex(key.into()), "{bad}");
        }
        for bad in ["[1]", "[null]", "[[]]", "[true]"] {
            assert!(
                matches!(refusal(&format!(r#"{{"{key}":{bad}}}"#)), InvalidFilter::Type(k, _) if k == key),
                "{bad}"
            );
        }
    }
}

#[test]
fn lists_are_arrays() {
    for key in ["ids", "authors", "kinds", "#e", "#t"] {
        for bad in ["null", "1", "\"a\"", "{}", "true"] {
            assert!(
                matches!(refusal(&format!(r#"{{"{key}":{bad}}}"#)), InvalidFilter::Type(k, _) if k == key),
                "{key} {bad}"
            );
        }
    }
}

#[test]
fn kinds_are_integers_from_0_to_65535() {
    assert_eq!(&*wire::filter(r#"{"kinds":[65535,0,1,1]}"#).unwrap().kinds.unwrap(), [0, 1, 65_535]);
    for bad in ["-1", "65536", "1.0", "1e2", "\"1\"", "null", "99999999999999999999999999999999999999999999"] {
        let refusal = refusal(&format!(r#"{{"kinds":[1,{bad}]}}"#));
        assert!(matches!(refusal, InvalidFilter::Type(ref key, _) if key == "kinds"), "{bad}: {refusal}");
    }
}

#[test]
fn times_out_of_range_say_all_there_is_to_say() {
    let bounds = |text: &str| wire::filter(text).map(|filter| (filter.since, filter.until)).unwrap();
    let huge = "9".repeat(50);
    assert_eq!(bounds("{}"), (0, Some(u64::MAX)));
    assert_eq!(bounds(r#"{"since":5,"until":7}"#), (5, Some(7)));
    assert_eq!(bounds(r#"{"since":-5,"until":-7}"#), (0, None));
    assert_eq!(bounds(&format!(r#"{{"since":{huge},"until":{huge}}}"#)), (u64::MAX, Some(u64::MAX)));
    assert_eq!(bounds(&format!(r#"{{"since":-{huge},"until":-{huge}}}"#)), (0, None));
    for key in ["since", "until", "limit"] {
        for bad in ["\"1\"", "1.0", "1e3", "null", "[]", "true"] {
            assert!(
                matches!(refusal(&format!(r#"{{"{key}":{bad}}}"#)), InvalidFilter::Type(k, _) if k == key),
                "{key} {bad}"
            );
        }
    }
}

#[test]
fn a_limit_is_a_non_negative_integer() {
    for (text, limit) in
        [("{}", None), (r#"{"limit":0}"#, Some(0)), (r#"{"limit":18446744073709551615}"#, Some(u64::MAX))]
    {
        assert_eq!(wire::filter(text).unwrap().limit, limit);
    }
    for bad in ["-1", "18446744073709551616"] {
        assert!(matches!(refusal(&format!(r#"{{"limit":{bad}}}"#)), InvalidFilter::Type(..)), "{bad}");
    }
}

#[test]
fn unknown_elements_are_refused() {
    for key in ["search", "#emoji", "#", "#1", "#é", "&t", "id", "Kinds", "", "_graph"] {
        assert_eq!(refusal(&format!(r#"{{"kinds":[1],"{key}":["x"]}}"#)), InvalidFilter::Unknown(key.into()));
    }
}

#[test]
fn a_filter_is_one_json_object() {
    for bad in [
        "",
        "[]",
        "null",
        "1",
        "{",
        "{}x",
        "{\"kinds\":[1],}",
        "{\"kinds\":[1,]}",
        "{\"kinds\":[1 2]}",
        "{kinds:[1]}",
        "{\"#t\":[\"\n\"]}",
    ] {
        assert!(wire::filter(bad).is_err(), "{bad}");
    }
    assert_eq!(refusal("{}{}"), InvalidFilter::Json(JsonError::Unexpected(2)));
    assert_eq!(wire::filter(" { } ").unwrap(), Filter::default());
    assert_eq!(wire::filter("{\"k\\u0069nds\" : [ 1 , 2 ] }").unwrap().kinds.unwrap().len(), 2);
}

#[test]
fn of_a_repeated_element_the_last_counts() {
    let filter = wire::filter(r##"{"kinds":[1],"#t":["x"],"kinds":[2],"#t":["y"]}"##).unwrap();
    assert_eq!(filter.kinds.as_deref(), Some(&[2][..]));
    assert_eq!(filter.tags.len(), 1);
    assert!(filter.tags[0].values.contains("y"));
}

#[test]
fn an_empty_list_matches_nothing_and_an_absent_one_everything() {
    let event = SecretKey::from_bytes([1; 32]).unwrap().sign(10, 1, &[&["t", "x"]], "", &[0; 32]).into_event();
    let matches = |filter: &Filter| filter.matches(&event, &IndexedTags::of(&event));
    assert!(matches(&wire::filter("{}").unwrap()));
    for empty in [
        r#"{"ids":[]}"#,
        r#"{"authors":[]}"#,
        r#"{"kinds":[]}"#,
        r##"{"#t":[]}"##,
        r#"{"since":2,"until":1}"#,
        r#"{"until":-1}"#,
    ] {
        let filter = wire::filter(empty).unwrap();
        assert!(filter.matches_nothing() && !matches(&filter), "{empty}");
    }
    for (filter, expected) in [
        (r#"{"since":10,"until":10}"#, true),
        (r#"{"since":11}"#, false),
        (r#"{"until":9}"#, false),
        (r##"{"#t":["\u0078"]}"##, true),
        (r##"{"#t":["x"],"#d":["x"]}"##, false),
        (r#"{"limit":0}"#, true),
    ] {
        let parsed = wire::filter(filter).unwrap();
        assert_eq!(matches(&parsed), expected, "{filter}");
        assert!(!parsed.matches_nothing(), "{filter}");
    }
}
