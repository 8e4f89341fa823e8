//! Random events and filters, compared both ways with the `nostr` crate, which was written by others from the same text.

use nostr::filter::MatchEventOptions;
use nostr::{EventBuilder, JsonUtil, Keys, Kind, Tag, Timestamp};
use proptest::prelude::*;
use serde_json::Value;
use towpath_protocol::{IndexedTags, Limits, Scanner, SecretKey, Verifier, wire};

const SECRETS: [[u8; 32]; 3] = [[1; 32], [2; 32], [3; 32]];

/// What an event says, in plain types.
#[derive(Debug, Clone)]
struct Draft {
    author: usize,
    created_at: u64,
    kind: u16,
    tags: Vec<Vec<String>>,
    content: String,
}

impl Draft {
    fn signed_by_us(&self) -> towpath_protocol::Event {
        let key = SecretKey::from_bytes(SECRETS[self.author]).unwrap();
        let tags: Vec<Vec<&str>> = self.tags.iter().map(|tag| tag.iter().map(String::as_str).collect()).collect();
        let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
        key.sign(self.created_at, self.kind, &tags, &self.content, &[0; 32]).into_event()
    }

    fn signed_by_them(&self) -> nostr::Event {
        let keys = Keys::new(nostr::SecretKey::from_slice(&SECRETS[self.author]).unwrap());
        EventBuilder::new(Kind::from(self.kind), &self.content)
            .tags(self.tags.iter().map(|tag| Tag::parse(tag.clone()).unwrap()))
            .allow_self_tagging()
            .custom_created_at(Timestamp::from(self.created_at))
            .sign_with_keys(&keys)
            .unwrap()
    }
}

fn author(index: usize) -> String {
    SecretKey::from_bytes(SECRETS[index]).unwrap().public_key().to_hex()
}

fn character() -> impl Strategy<Value = char> {
    prop_oneof![
        4 => proptest::char::range('a', 'z'),
        2 => any::<char>(),
        2 => proptest::char::range('\u{0}', '\u{1f}'),
        1 => prop::sample::select(vec!['"', '\\', '/', '\u{7f}', '\u{2028}', '😀', '\u{ffff}']),
    ]
}

fn string() -> impl Strategy<Value = String> {
    prop::collection::vec(character(), 0..12).prop_map(String::from_iter)
}

/// Values that filters ask for, and others.
fn tag_value() -> impl Strategy<Value = String> {
    prop_oneof![3 => prop::sample::select(vec!["x", "y", ""]).prop_map(str::to_owned), 1 => string()]
}

fn tag() -> impl Strategy<Value = Vec<String>> {
    let name =
        prop_oneof![3 => prop::sample::select(vec!["t", "T", "d", "title"]).prop_map(str::to_owned), 1 => string()];
    prop_oneof![
        6 => (name, prop::collection::vec(tag_value(), 0..3)).prop_map(|(name, values)| [vec![name], values].concat()),
        1 => (0..3usize).prop_map(|i| vec!["p".to_owned(), author(i)]),
    ]
}

fn draft() -> impl Strategy<Value = Draft> {
    let kind = prop_oneof![Just(0), Just(1), Just(5), any::<u16>()];
    let created_at = prop_oneof![90..110u64, 0..=i64::MAX as u64];
    let tags = prop::collection::vec(tag(), 0..5);
    (0..3usize, created_at, kind, tags, string()).prop_map(|(author, created_at, kind, tags, content)| Draft {
        author,
        created_at,
        kind,
        tags,
        content,
    })
}

/// Lists are not empty: there the two read the text differently, and ours is tested on its own.
fn filter() -> impl Strategy<Value = Value> {
    let some = |values: Vec<String>| prop::option::weighted(0.3, prop::sample::subsequence(values, 1..=2));
    let texts = |values: [&str; 3]| values.map(str::to_owned).to_vec();
    let keys: Vec<String> = (0..3).map(author).collect();
    let kinds = prop::option::weighted(0.4, prop::collection::vec(prop_oneof![0..6u16, any::<u16>()], 1..4));
    let time = || prop::option::weighted(0.3, 85..115u64);
    let tags =
        (some(texts(["x", "y", ""])), some(texts(["x", "z", "Y"])), some(texts(["", "x", "y"])), some(keys.clone()));
    (some(keys), kinds, time(), time(), tags, prop::option::of(0..10u64)).prop_map(
        |(authors, kinds, since, until, (t, upper_t, d, p), limit)| {
            let mut filter = serde_json::Map::new();
            let mut set = |key: &str, value: Option<Value>| value.map(|value| filter.insert(key.to_owned(), value));
            set("authors", authors.map(Value::from));
            set("kinds", kinds.map(Value::from));
            set("since", since.map(Value::from));
            set("until", until.map(Value::from));
            set("#t", t.map(Value::from));
            set("#T", upper_t.map(Value::from));
            set("#d", d.map(Value::from));
            set("#p", p.map(Value::from));
            set("limit", limit.map(Value::from));
            Value::Object(filter)
        },
    )
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn events_of_theirs_are_parsed_and_verified_here(draft in draft()) {
        let theirs = draft.signed_by_them();
        let text = theirs.as_json();
        let ours = wire::event(&text, &Limits::default()).unwrap();
        let event = Verifier::new().verify(ours).unwrap().into_event();
        prop_assert_eq!(event.id().to_hex(), theirs.id.to_hex());
        prop_assert_eq!(json(event.as_str()), json(&text));
        let tags: Vec<Vec<String>> = event.tags().map(|tag| tag.elements().map(Into::into).collect()).collect();
        prop_assert_eq!(tags, draft.tags);
        prop_assert_eq!(event.content().unwrap(), draft.content);
    }

    #[test]
    fn events_of_ours_are_parsed_and_verified_there(draft in draft()) {
        let ours = draft.signed_by_us();
        let theirs = nostr::Event::from_json(ours.as_str()).unwrap();
        prop_assert!(theirs.verify().is_ok());
        prop_assert_eq!(json(&theirs.as_json()), json(ours.as_str()));
        prop_assert_eq!(theirs.id, draft.signed_by_them().id);
    }

    #[test]
    fn both_mean_the_same_by_a_filter(filter in filter(), drafts in prop::collection::vec(draft(), 1..20)) {
        let text = filter.to_string();
        let ours = wire::filter(&text).unwrap();
        let theirs = nostr::Filter::from_json(&text).unwrap();
        prop_assert_eq!(ours.limit, theirs.limit.map(|limit| limit as u64));
        for draft in drafts {
            let event = draft.signed_by_us();
            let same_event = nostr::Event::from_json(event.as_str()).unwrap();
            let matches = ours.matches(&event, &IndexedTags::of(&event));
            prop_assert_eq!(matches, theirs.match_event(&same_event, MatchEventOptions::new()), "{} {:?}", text, event);
            prop_assert!(!(matches && ours.matches_nothing()));
        }
    }

    #[test]
    fn filters_by_id_find_that_event(wanted in draft(), other in draft()) {
        let (wanted, other) = (wanted.signed_by_us(), other.signed_by_us());
        let filter = wire::filter(&format!(r#"{{"ids":["{}"]}}"#, wanted.id())).unwrap();
        prop_assert!(filter.matches(&wanted, &IndexedTags::of(&wanted)));
        prop_assert_eq!(filter.matches(&other, &IndexedTags::of(&other)), other.id() == wanted.id());
    }

    #[test]
    fn what_is_skipped_is_what_a_json_parser_takes(
        tokens in prop::collection::vec(prop::sample::select(TOKENS.to_vec()), 0..10),
    ) {
        let text = tokens.concat();
        let mut scanner = Scanner::new(&text);
        let ours = scanner.skip_value().and_then(|()| scanner.end());
        prop_assert_eq!(ours.is_ok(), serde_json::from_str::<Value>(&text).is_ok(), "{}: {:?}", text, ours);
    }
}

const TOKENS: [&str; 24] = [
    "[",
    "]",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"a\"",
    "\"\\u00e9\"",
    "\"\\ud800\"",
    "\"\\x\"",
    "\"\n\"",
    "1",
    "-",
    "0",
    ".",
    "e",
    "true",
    "false",
    "null",
    "\"",
    " ",
    "\"a\":1",
];
