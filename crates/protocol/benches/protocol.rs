//! What an event costs before anything is decided: parsing, canonical bytes and id, signature. `cargo bench -p towpath-protocol`

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use towpath_protocol::{Event, Limits, SecretKey, SubmittedEvent, Verifier, push_json_string, wire};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn sign(tags: &[&[&str]], content: &str) -> Event {
    let author = SecretKey::from_bytes([7; 32]).expect("a small number is a key");
    author.sign(1_700_000_000, 1, tags, content, &[0; 32]).into_event()
}

/// 200 bytes of content and no tags.
fn note() -> Event {
    sign(&[], &"a note of words ".repeat(13)[..200])
}

/// Two events and two people named.
fn reply() -> Event {
    let id = "a1".repeat(32);
    let e: &[&str] = &["e", &id, "wss://relay.example.com", "reply"];
    sign(&[e, e, &["p", &id], &["p", &id]], "A reply of a few words.")
}

/// What a client republishes when somebody follows somebody: 1 000 tags.
fn contacts() -> Event {
    let keys: Vec<String> = (0..1_000).map(|n| format!("{n:064x}")).collect();
    let tags: Vec<[&str; 2]> = keys.iter().map(|key| ["p", key]).collect();
    let tags: Vec<&[&str]> = tags.iter().map(<[&str; 2]>::as_slice).collect();
    sign(&tags, "")
}

/// 10 KB of text in which little needs an escape.
fn article() -> Event {
    sign(&[], &"Ein längerer Text,\nmit \"Zitaten\" und Umlauten. ".repeat(200))
}

/// A client's message to what the stages behind it take, its id checked.
mod parse {
    use super::*;

    fn event(bencher: Bencher<'_, '_>, event: &Event) {
        let (message, limits) = (format!(r#"["EVENT",{}]"#, event.as_str()), Limits::default());
        bencher.counter(BytesCount::of_str(&message)).bench(|| wire::client_message(black_box(&message), &limits));
    }

    #[divan::bench]
    fn note(bencher: Bencher<'_, '_>) {
        event(bencher, &super::note());
    }

    #[divan::bench]
    fn reply(bencher: Bencher<'_, '_>) {
        event(bencher, &super::reply());
    }

    #[divan::bench]
    fn contacts(bencher: Bencher<'_, '_>) {
        event(bencher, &super::contacts());
    }

    #[divan::bench]
    fn article(bencher: Bencher<'_, '_>) {
        event(bencher, &super::article());
    }

    /// A feed of 500 authors.
    #[divan::bench]
    fn subscription(bencher: Bencher<'_, '_>) {
        let authors: Vec<String> = (0..500).map(|n| format!(r#""{n:064x}""#)).collect();
        let message = format!(r#"["REQ","feed",{{"kinds":[1,6],"authors":[{}],"limit":100}}]"#, authors.join(","));
        let limits = Limits::default();
        bencher.counter(BytesCount::of_str(&message)).bench(|| wire::client_message(black_box(&message), &limits));
    }
}

/// Canonical bytes and what is computed over them.
mod canonicalise {
    use super::*;

    /// The id of an event that has its bytes, computed and compared.
    #[divan::bench]
    fn id_of_a_note(bencher: Bencher<'_, '_>) {
        let note = note();
        bencher.bench(|| SubmittedEvent::from_canonical(black_box(&note).clone()));
    }

    /// An event from its stored bytes, as a scan reads it.
    #[divan::bench]
    fn read_a_note(bencher: Bencher<'_, '_>) {
        let json = note().json().clone();
        bencher.bench(|| Event::from_canonical(black_box(&json).clone()));
    }

    #[divan::bench]
    fn a_string_of_10_kb(bencher: Bencher<'_, '_>) {
        let text = article().content().expect("a text").into_owned();
        let mut out = String::with_capacity(2 * text.len());
        bencher.counter(BytesCount::of_str(&text)).bench_local(|| {
            out.clear();
            push_json_string(black_box(&text), &mut out);
            out.len()
        });
    }
}

/// Signatures, of events whose ids are known to be right, by an author who wrote before.
mod verify {
    use super::*;

    #[divan::bench]
    fn alone(bencher: Bencher<'_, '_>) {
        let (note, verifier) = (submitted(), Verifier::new());
        bencher.with_inputs(|| note.clone()).bench_values(|note| verifier.verify(note));
    }

    /// At once where the processor can; `towpath-schnorr` has more.
    #[divan::bench]
    fn burst_of_32(bencher: Bencher<'_, '_>) {
        let (note, verifier) = (submitted(), Verifier::new());
        bencher.with_inputs(|| vec![(note.clone(), ()); 32]).bench_values(|notes| verifier.verify_all(notes));
    }

    fn submitted() -> SubmittedEvent {
        SubmittedEvent::from_canonical(note()).expect("its id")
    }
}
