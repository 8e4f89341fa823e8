//! Reading an event's parts back out of its bytes.

use bytes::Bytes;
use towpath_protocol::{
    Address, Event, EventId, IndexedTags, Limits, MalformedEvent, SecretKey, Set, SubmittedEvent, wire,
};

fn event(tags: &[&[&str]], content: &str) -> Event {
    SecretKey::from_bytes([1; 32]).unwrap().sign(1_700_000_000, 30_023, tags, content, &[0; 32]).into_event()
}

#[test]
fn tags_are_read_in_order_with_all_their_elements() {
    let tags: [&[&str]; 6] = [&["d", "a \"b\""], &[""], &["e"], &["t", "x", "\u{0}\n", "😀"], &["d", "second"], &["-"]];
    let event = event(&tags, "content");
    let read: Vec<Vec<String>> = event.tags().map(|tag| tag.elements().map(Into::into).collect()).collect();
    assert_eq!(read, tags);
    let first: Vec<(String, Option<String>)> =
        event.tags().map(|tag| (tag.name().into(), tag.value().map(Into::into))).collect();
    assert_eq!(first[2], ("e".to_owned(), None));
    assert_eq!(first[0], ("d".to_owned(), Some("a \"b\"".to_owned())));
    assert_eq!(event.first_value("d").as_deref(), Some("a \"b\""));
    assert_eq!(event.first_value("e").as_deref(), Some(""));
    assert_eq!(event.first_value("x"), None);
}

#[test]
fn an_event_may_have_no_tags_and_no_content() {
    let event = event(&[], "");
    assert_eq!(event.tags().count(), 0);
    assert_eq!(event.content().unwrap(), "");
    assert_eq!(event.address(true).d.as_ref(), "");
}

#[test]
fn only_first_values_of_single_letter_tags_are_indexed() {
    let tags: [&[&str]; 9] = [
        &["t", "x", "more"],
        &["T", "X"],
        &["t"],
        &["title", "no"],
        &["-", "no"],
        &["é", "no"],
        &["", "no"],
        &["t", ""],
        &["1", "no"],
    ];
    let event = event(&tags, "");
    let indexed = IndexedTags::of(&event);
    assert_eq!(indexed.iter().collect::<Vec<_>>(), [(b'T', "X"), (b't', ""), (b't', "x")]);
    let one_of = |values: &[&str]| Set::new(values.iter().map(|value| Box::from(*value)).collect());
    for (name, values, expected) in [
        (b't', &["x"][..], true),
        (b't', &["", "a", "b", "c"], true),
        (b't', &["a", "b", "c"], false),
        (b'T', &["x"], false),
        (b't', &[], false),
        (b'd', &["no"], false),
    ] {
        assert_eq!(indexed.has_any(name, &one_of(values)), expected, "{} {values:?}", name as char);
    }
}

#[test]
fn an_address_is_a_kind_an_author_and_the_rest() {
    let key = SecretKey::from_bytes([1; 32]).unwrap().public_key();
    for (text, kind, d) in
        [("30023:{}:x", 30_023, "x"), ("0:{}:", 0, ""), ("0:{}", 0, ""), ("65535:{}:a:b:", 65_535, "a:b:")]
    {
        let expected = Address { kind, pubkey: key, d: d.into() };
        assert_eq!(Address::parse(&text.replace("{}", &key.to_hex())), Some(expected), "{text}");
    }
    let upper = key.to_hex().to_uppercase();
    for bad in [
        "",
        ":",
        "::",
        "1",
        "1:",
        "1:ab:x",
        "65536:{}:",
        "-1:{}:",
        "+1:{}:",
        "1.0:{}:",
        " 1:{}:",
        ":{}:x",
        "{}:1:x",
        &format!("1:{upper}:x"),
    ] {
        assert_eq!(Address::parse(&bad.replace("{}", &key.to_hex())), None, "{bad}");
    }
}

#[test]
fn an_events_address_has_its_first_d_tag_if_asked_for() {
    let event = event(&[&["t", "x"], &["d", "a:b"], &["d", "c"]], "");
    assert_eq!(event.address(true), Address { kind: 30_023, pubkey: event.pubkey(), d: "a:b".into() });
    assert_eq!(event.address(false).d.as_ref(), "");
}

#[test]
fn canonical_bytes_are_an_event_again() {
    let event = event(&[&["t", "]}\",\"content\":\""], &["x", "\\\""]], "\",\"sig\":\"");
    let again = Event::from_canonical(event.json().clone()).unwrap();
    assert_eq!(again, event);
    assert_eq!(again.content().unwrap(), "\",\"sig\":\"");
    assert_eq!(again.signature(), event.signature());
    assert_eq!(SubmittedEvent::from_canonical(again).unwrap().unverified(), &event);
}

#[test]
fn damaged_bytes_are_noticed_and_never_panic() {
    let event = event(&[&["t", "x"], &["emoji", "😀"]], "content with é");
    let whole = event.json();
    for cut in 0..whole.len() {
        let part = Event::from_canonical(whole.slice(..cut));
        assert!(part.is_err() || SubmittedEvent::from_canonical(part.unwrap()).is_err(), "cut at {cut}");
    }
    let hashed: Vec<usize> = hashed_parts(event.as_str()).into_iter().flatten().collect();
    for at in 0..whole.len() {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0x11;
        let Ok(damaged) = Event::from_canonical(Bytes::from(bytes)) else { continue };
        let _ =
            (damaged.content(), damaged.tags().count(), damaged.signature(), IndexedTags::of(&damaged).iter().count());
        let unnoticed = SubmittedEvent::from_canonical(damaged).is_ok();
        assert!(!(unnoticed && hashed.contains(&at)), "byte {at}");
    }
    assert_eq!(Event::from_canonical(Bytes::new()), Err(MalformedEvent));
    assert_eq!(Event::from_canonical(Bytes::from_static(b"\xff")), Err(MalformedEvent));
}

/// Where the bytes are that the id is, or is the hash of. The rest is punctuation, and the signature, which is checked elsewhere.
fn hashed_parts(text: &str) -> Vec<std::ops::Range<usize>> {
    let part = |from: &str, to: &str| {
        let start = text.find(from).unwrap() + from.len();
        start..start + text[start..].find(to).unwrap()
    };
    vec![
        part("\"id\":\"", "\""),
        part("\"pubkey\":\"", "\""),
        part("\"created_at\":", ","),
        part("\"kind\":", ","),
        part("\"tags\":", ",\"content\""),
        part("\"content\":", ",\"sig\""),
    ]
}

#[test]
fn ids_are_the_hash_of_either_spelling_of_control_characters() {
    let key = SecretKey::from_bytes([1; 32]).unwrap().public_key();
    let sig = "00".repeat(64);
    for (control, escape) in [('\u{0}', "\\u0000"), ('\u{1}', "\\u0001"), ('\u{b}', "\\u000b"), ('\u{1f}', "\\u001f")] {
        let text = format!("a{control}\\u00b\n");
        let as_library = format!(r#"[0,"{key}",1,1,[["t","{escape}"]],"a{escape}\\u00b\n"]"#);
        let as_text_says = format!("[0,\"{key}\",1,1,[[\"t\",\"{control}\"]],\"a{control}\\\\u00b\\n\"]");
        for serialised in [as_library, as_text_says] {
            let id = EventId::from_bytes(sha(serialised.as_bytes()));
            let sent = format!(
                r#"{{"id":"{id}","pubkey":"{key}","created_at":1,"kind":1,"tags":[["t","{}"]],"content":"a{}\\u00b\u000a","sig":"{sig}"}}"#,
                escape.to_uppercase().replace("\\U", "\\u"),
                escape.to_uppercase().replace("\\U", "\\u"),
            );
            let event = wire::event(&sent, &Limits::default()).unwrap_or_else(|e| panic!("{control:?}: {e}"));
            let event = event.unverified();
            assert_eq!(event.id(), id);
            assert_eq!(event.content().unwrap(), text);
            assert!(event.as_str().contains(&format!(r#""content":"a{escape}\\u00b\n""#)), "{event:?}");
            assert!(SubmittedEvent::from_canonical(event.clone()).is_ok(), "stored under {serialised:?}");
        }
    }
}

fn sha(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}
