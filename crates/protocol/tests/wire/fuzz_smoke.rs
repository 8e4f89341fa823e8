//! The fuzz targets on random mutations of a seed corpus: bounded, so that every run of the tests has some of it.
//! A failure names its seed; `TOWPATH_SEED` runs it again.

use rand::prelude::*;
use towpath_protocol::{SecretKey, VerifiedEvent, Verifier, fuzzing};

const MUTATIONS: usize = 3_000;

/// What mutations put in: the pieces that texts of this protocol are made of, and trouble.
const PIECES: [&str; 32] = [
    "\"",
    "\\",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "0",
    "1",
    "-",
    ".",
    "e",
    "null",
    "true",
    " ",
    "\n",
    "\u{0}",
    "\\u0000",
    "\\ud83d",
    "\\ude00",
    "é",
    "😀",
    "\"id\":",
    "\"tags\":[[\"t\",\"\"]]",
    "\"content\":\"",
    "\"#t\":[\"x\"]",
    "\"kinds\":[1]",
    "99999999999999999999",
    "\"REQ\"",
    "\"since\":-1",
    "\"search\":",
];

fn run(target: impl Fn(&[u8]), corpus: &[String]) {
    #[expect(clippy::disallowed_methods, reason = "a test's own setting, no part of the configuration")]
    let given = std::env::var("TOWPATH_SEED").ok().map(|seed| seed.parse().expect("TOWPATH_SEED is a number"));
    let seed = given.unwrap_or_else(rand::random);
    println!("TOWPATH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    corpus.iter().for_each(|text| target(text.as_bytes()));
    for _ in 0..MUTATIONS {
        let mut text = corpus.choose(&mut random).expect("a corpus").clone().into_bytes();
        for _ in 0..random.random_range(1..6) {
            mutate(&mut text, &mut random);
        }
        target(&text);
    }
}

fn mutate(text: &mut Vec<u8>, random: &mut StdRng) {
    let at = random.random_range(0..=text.len());
    let end = (at + random.random_range(0..12)).min(text.len());
    let piece = PIECES.choose(random).expect("pieces").as_bytes();
    match random.random_range(0..5) {
        0 => text.truncate(at),
        1 => drop(text.drain(at..end)),
        2 => drop(text.splice(at..end, piece.iter().copied())),
        3 => drop(text.splice(at..at, piece.iter().copied())),
        _ if at < text.len() => text[at] ^= 1 << random.random_range(0..8),
        _ => {}
    }
}

fn genuine() -> VerifiedEvent {
    let tags: [&[&str]; 4] = [&["e", "x"], &["d", ""], &["t", "\u{1}\"\\", "more"], &["-"]];
    SecretKey::from_bytes([7; 32]).unwrap().sign(1_700_000_000, 30_023, &tags, "text 😀 \n\u{0}", &[0; 32])
}

fn filters() -> Vec<String> {
    let (author, id) = (fuzzing::author(), genuine().event().id());
    vec![
        "{}".to_owned(),
        format!(r#"{{"ids":["{id}"],"authors":["{author}","{author}"]}}"#),
        r#"{"kinds":[0,1,30023],"since":0,"until":1700000000,"limit":10}"#.to_owned(),
        format!(r##"{{"#e":["{id}"],"#p":["{author}"],"#t":["x","\u0041"],"#T":[]}}"##),
    ]
}

#[test]
fn filters_survive_anything() {
    run(fuzzing::filter, &filters());
}

#[test]
fn events_survive_anything() {
    let made = genuine();
    let corpus = [
        made.event().as_str().to_owned(),
        "a\tb\nc\t\u{0}\\u0000\n\n\t".to_owned(),
        r#"{"id":"","tags":[[""]]}"#.to_owned(),
    ];
    run(fuzzing::event, &corpus);
    let verifier = Verifier::new();
    run(|data| fuzzing::forgery(&made, data, &verifier), &corpus[..1]);
}

#[test]
fn messages_survive_anything() {
    let event = genuine();
    let mut corpus = vec![
        format!(r#"["EVENT",{}]"#, event.event().as_str()),
        format!(r#"["AUTH",{}]"#, event.event().as_str()),
        r#"["CLOSE","sub"]"#.to_owned(),
    ];
    for filter in filters() {
        corpus.push(format!(r#"["REQ","sub",{filter}]"#));
        corpus.push(format!(r#"["COUNT","sub",{filter},{filter}]"#));
    }
    run(fuzzing::message, &corpus);
}
