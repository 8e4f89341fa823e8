//! What the fuzz targets run: whatever the bytes, nothing panics, and what is accepted keeps its promises.
//!
//! Owns: one function per target. They panic when a promise is broken, and only then.

use std::fmt::Write;

use crate::{
    Event, IndexedTags, Limits, PublicKey, SecretKey, Subject, SubmittedEvent, VerifiedEvent, Verifier,
    push_json_string, wire,
};

/// Small enough that random texts reach them.
const LIMITS: Limits =
    Limits { filters_max: 4, subscription_id_chars_max: 64, event_tags_max: 16, content_chars_max: 512 };

/// Echoes are bounded.
const ECHO_BYTES_MAX: usize = 128;

/// A client's message: understood, or refused with a reason that has its prefix and a subject of bounded length.
pub fn message(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match wire::client_message(text, &LIMITS) {
        Ok(crate::ClientMessage::Event(event) | crate::ClientMessage::Auth(event)) => {
            keeps_its_form(event.unverified())
        }
        Ok(crate::ClientMessage::Req(id, filters) | crate::ClientMessage::Count(id, filters)) => {
            assert!((1..=LIMITS.subscription_id_chars_max).contains(&id.as_str().chars().count()));
            assert!((1..=LIMITS.filters_max).contains(&filters.len()));
        }
        Ok(crate::ClientMessage::Close(_)) => {}
        Err(refused) => {
            let prefixed = ["invalid: ", "unsupported: "].iter().any(|prefix| refused.reason.starts_with(prefix));
            assert!(prefixed, "{:?}", refused.reason);
            if let Subject::Event(echo) = refused.subject {
                assert!(echo.len() <= ECHO_BYTES_MAX);
            }
        }
    }
}

/// An event: as JSON, as canonical bytes, and as the material of an event that is then parsed however it is put.
pub fn event(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(event) = wire::event(text, &LIMITS) {
        keeps_its_form(event.unverified());
    }
    if let Ok(event) = Event::from_canonical(data.to_vec().into()) {
        // Only form was promised, and only for bytes of ours; reading on must be safe all the same.
        let _ = (event.content(), event.signature(), event.tags().count(), event.address(true));
        let _ = (IndexedTags::of(&event).iter().count(), SubmittedEvent::from_canonical(event));
    }
    let made = event_of(text);
    keeps_its_form(made.event());
    for spelling in [made.event().as_str().to_owned(), spelled_out(made.event())] {
        let parsed = wire::event(&spelling, &Limits::default()).unwrap_or_else(|error| panic!("{error}: {spelling}"));
        assert_eq!(parsed.unverified(), made.event());
    }
}

/// A filter: the same every time, and one that can match nothing matches nothing.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(filter) = wire::filter(text) else { return };
    assert_eq!(wire::filter(text).as_ref(), Ok(&filter));
    let event = event_of(text);
    let matches = filter.matches(event.event(), &IndexedTags::of(event.event()));
    assert!(!(matches && filter.matches_nothing()), "{filter:?}");
}

/// Reading an event's parts and putting them together again gives the same bytes.
fn keeps_its_form(event: &Event) {
    let mut tags = String::new();
    for tag in event.tags() {
        tags.push_str(if tags.is_empty() { "[" } else { ",[" });
        for (i, element) in tag.elements().enumerate() {
            tags.push_str(if i > 0 { "," } else { "" });
            push_json_string(&element, &mut tags);
        }
        tags.push(']');
    }
    let mut content = String::new();
    push_json_string(&event.content().expect("content is a string"), &mut content);
    let sig: String = event.signature().expect("a signature is hex").iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let again = format!(
        r#"{{"id":"{}","pubkey":"{}","created_at":{},"kind":{},"tags":[{tags}],"content":{content},"sig":"{sig}"}}"#,
        event.id(),
        event.pubkey(),
        event.created_at(),
        event.kind()
    );
    assert_eq!(event.as_str(), again);
    let reread = Event::from_canonical(event.json().clone()).expect("canonical bytes are an event");
    assert_eq!(&reread, event);
    assert_eq!(reread.address(true), event.address(true));
    SubmittedEvent::from_canonical(reread).expect("the id still is the hash");
}

/// A genuine event with this text in it: lines are tags, tab stops part their elements, the whole is the content.
fn event_of(text: &str) -> VerifiedEvent {
    let key = SecretKey::from_bytes([7; 32]).expect("a small number is a key");
    let tags: Vec<Vec<&str>> = text.lines().take(64).map(|line| line.split('\t').collect()).collect();
    let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
    let (created_at, kind) = (text.len() as u64, u16::try_from(text.len() % 65_536).unwrap_or_default());
    key.sign(created_at, kind, &tags, text, &[0; 32])
}

/// The same event with every character escaped, other keys, other order, and white space.
fn spelled_out(event: &Event) -> String {
    let escaped = |text: &str| -> String {
        let escapes = text.encode_utf16().fold(String::new(), |mut out, unit| {
            let _ = write!(out, "\\u{unit:04X}");
            out
        });
        format!("\"{escapes}\"")
    };
    let tag = |elements: Vec<String>| format!(" [ {} ]", elements.join("\t,\n"));
    let tags: Vec<String> =
        event.tags().map(|t| tag(t.elements().map(|element| escaped(&element)).collect())).collect();
    let text = event.as_str();
    let sig = &text[text.len() - 130..text.len() - 2];
    format!(
        r#"{{ "seen_on" : [{{"a":[null,-1.5e+3]}}], "sig":"{sig}","content" : {}, "kind":{},"content":{}, "tags":[{}],
           "created_at" :{}, "p\u0075bkey":"{}","id" : "{}","":""}} "#,
        escaped("an earlier one"),
        event.kind(),
        escaped(&event.content().expect("content is a string")),
        tags.join(" ,"),
        event.created_at(),
        event.pubkey(),
        event.id()
    )
}

/// Changed bytes either are refused, at the latest for their signature, or are another spelling of the same event.
pub fn forgery(genuine: &VerifiedEvent, data: &[u8], verifier: &Verifier) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(event) = wire::event(text, &Limits::default()) else { return };
    if let Ok(verified) = verifier.verify(event) {
        assert_eq!(verified.event(), genuine.event());
    }
}

/// The author of what these functions make, so that corpora can ask for it.
pub fn author() -> PublicKey {
    event_of("").event().pubkey()
}
