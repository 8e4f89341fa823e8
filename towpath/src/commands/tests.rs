//! The commands that work on a store, on the memory store: what goes in comes out, and only that.

use std::fs;
use std::io::Write;

use towpath_policy::Policy;
use towpath_protocol::{SecretKey, VerifiedEvent};
use towpath_relay::config::Config;
use towpath_store::memory::MemoryStore;
use towpath_store::{Cursor, EventStore, Seq};

use super::copy::copy;
use super::import::{Source, import};
use super::{export, query, stats};

const NOTE: u16 = 1;

fn alice() -> SecretKey {
    SecretKey::from_bytes([1; 32]).expect("a key")
}

fn event(created_at: u64, kind: u16, tags: &[&[&str]], content: &str) -> VerifiedEvent {
    alice().sign(created_at, kind, tags, content, &[7; 32])
}

fn line(event: &VerifiedEvent) -> String {
    event.event().as_str().to_owned() + "\n"
}

fn note(created_at: u64, content: &str) -> String {
    line(&event(created_at, NOTE, &[&["t", "towpath"]], content))
}

/// By one of three authors.
fn note_of(at: u64) -> String {
    let author = SecretKey::from_bytes([1 + (at % 3) as u8; 32]).expect("a key");
    line(&author.sign(1_700_000_000 + at, NOTE, &[], "hello", &[7; 32]))
}

/// The same event with another signature.
fn forged(mut line: String) -> String {
    let sig_at = line.find("\"sig\":\"").expect("a signature") + 7;
    line.replace_range(sig_at..sig_at + 4, "0000");
    line
}

fn imported(store: &dyn EventStore, lines: String) -> String {
    imported_if(true, store, lines)
}

fn imported_if(verified: bool, store: &dyn EventStore, lines: String) -> String {
    let source = Source::stream(std::io::Cursor::new(lines.into_bytes()));
    import(source, &Config::default(), store, verified).expect("the import runs").to_string()
}

fn exported(store: &dyn EventStore, since: u64, filter: &str) -> (String, Seq) {
    let mut output = Vec::new();
    let filter = query::parse(filter).expect("a filter");
    let from = export::cursor_at(store, Seq(since)).expect("the store can be read");
    let (_, last) = export::write_events(store, from, Some(&filter), &mut output).expect("memory can be written");
    (String::from_utf8(output).expect("JSON is text"), last)
}

#[test]
fn an_export_of_what_was_imported_is_the_same_lines() {
    let store = MemoryStore::new();
    let lines: String = (0..5000).map(|at| note(1_700_000_000 + at, "hello")).collect();
    let tally = imported(&store, lines.clone());
    assert_eq!(tally, "      5000 stored\n");
    let (exported, last) = exported(&store, 0, "{}");
    assert!(exported == lines, "the lines differ");
    assert_eq!(last, Seq(5000));
}

#[test]
fn what_was_removed_and_stored_again_is_exported_once() {
    let store = MemoryStore::new();
    let (old, new) = (event(1_700_000_000, 0, &[], "old"), event(1_700_000_001, 0, &[], "new"));
    let id = new.event().id().to_hex();
    let deletion = event(1_700_000_002, 5, &[&["e", &id]], "");
    imported(&store, [&old, &new, &deletion, &old].map(line).concat());
    assert_eq!(exported(&store, 0, "{}").0, [&deletion, &old].map(line).concat());
}

#[test]
fn any_number_of_blank_lines_is_not_the_end() {
    let store = MemoryStore::new();
    let blank = format!("{}\n", " ".repeat(450_000));
    let tally = imported(&store, blank.repeat(10) + &note(1_700_000_000, "behind them"));
    assert_eq!(tally, "         1 stored\n");
}

#[test]
fn what_cannot_be_stored_is_counted_by_reason_with_its_first_line() {
    let store = MemoryStore::new();
    let genuine = note(1_700_000_000, "genuine");
    let wrong_id = genuine.replace("genuine", "forged");
    let wrong_signature = forged(note(1_700_000_001, "other"));
    let lines = [
        genuine.clone(),
        "not JSON\n".to_owned(),
        "\n".to_owned(),
        wrong_id,
        wrong_signature,
        genuine,
        line(&event(1_700_000_000, NOTE, &[&["expiration", "1700000001"]], "gone")),
        line(&event(1_700_000_000, 20_001, &[], "ephemeral")),
        line(&event(1_700_000_001, 0, &[], "new profile")),
        line(&event(1_700_000_000, 0, &[], "old profile")),
        format!("{}\n", "x".repeat(600_000)),
    ];
    let tally = imported(&store, lines.concat());
    let expected = [
        "         2 stored",
        "         1 longer than a message may be (first on line 11)",
        "         1 not an event (first on line 2",
        "         1 wrong id (first on line 4",
        "         1 wrong signature (first on line 5",
        "         1 expired (first on line 7)",
        "         1 ephemeral (first on line 8)",
        "         1 stored already (first on line 6)",
        "         1 a newer version is stored (first on line 10)",
    ];
    let lines: Vec<&str> = tally.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{tally}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line} should start with {expected}");
    }
}

#[test]
fn of_signatures_checked_at_once_only_the_wrong_ones_are_left_out_and_the_order_stays() {
    let (store, wrong) = (MemoryStore::new(), [3, 70, 71, 150]);
    let some: String = (0..200).map(|at| if wrong.contains(&at) { forged(note_of(at)) } else { note_of(at) }).collect();
    let tally = imported(&store, some);
    assert_eq!(tally, "       196 stored\n         4 wrong signature (first on line 4: bad signature)\n");
    let good: String = (0..200).filter(|at| !wrong.contains(at)).map(note_of).collect();
    assert!(exported(&store, 0, "{}").0 == good, "the lines differ");
}

#[test]
fn a_copy_is_of_the_same_events_and_ends_at_the_first_that_is_not_genuine() {
    let (from, to) = (MemoryStore::new(), MemoryStore::new());
    let lines: String = (0..600).map(note_of).collect();
    imported(&from, lines.clone());
    let copied = copy(&from, &to, "copy", &Policy::default()).expect("the copy");
    assert_eq!((copied.accepted, copied.known, copied.refused), (600, 0, 0));
    assert!(exported(&to, 0, "{}").0 == lines, "the lines differ");

    let behind: [String; 4] = [note_of(600), forged(note_of(601)), forged(note_of(602)), note_of(603)];
    imported_if(false, &from, behind.concat());
    let error = copy(&from, &to, "copy", &Policy::default()).expect_err("a forgery");
    let id = &behind[1][r#"{"id":""#.len()..][..64];
    assert_eq!(error.to_string(), format!("{id} is not genuine in the source"));
    assert!(exported(&to, 0, "{}").0 == lines, "what came with it stays behind");
}

#[test]
fn an_export_goes_on_after_a_sequence_number_and_leaves_out_what_was_deleted() {
    let store = MemoryStore::new();
    let doomed = event(1_700_000_000, NOTE, &[], "doomed");
    let deletion = line(&event(1_700_000_001, 5, &[&["e", &doomed.event().id().to_hex()]], ""));
    let (first, second) = (note(1_700_000_002, "first"), note(1_700_000_003, "second"));
    imported(&store, [line(&doomed), first.clone(), deletion.clone(), second.clone()].concat());

    let (all, last) = exported(&store, 0, "{}");
    assert_eq!(all, [first.as_str(), &deletion, &second].concat());
    assert_eq!(exported(&store, 2, "{\"kinds\":[1]}").0, second);
    assert_eq!(exported(&store, last.0, "{}").0, "");
}

#[test]
fn an_interrupted_import_goes_on_behind_the_last_line_that_was_stored() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("events.jsonl");
    let mut config = Config::default();
    config.store.data = folder.path().to_owned();
    let append = |line: &str| {
        let mut file = fs::File::options().create(true).append(true).open(&path).expect("the file opens");
        file.write_all(line.as_bytes()).expect("the file is written");
    };
    let import_file = |store: &dyn EventStore, resume| {
        let source = Source::file(&path, resume, &config)?;
        import(source, &config, store, true).map(|tally| tally.to_string())
    };

    append(&note(1_700_000_000, "first"));
    assert!(import_file(&MemoryStore::new(), true).is_err(), "there is nothing to resume yet");
    import_file(&MemoryStore::new(), false).expect("the import runs");
    append(&note(1_700_000_001, "second"));
    append("not JSON\n");
    // A store of its own shows that the first line was not even read.
    let resumed = import_file(&MemoryStore::new(), true).expect("the import resumes");
    assert!(resumed.starts_with("         1 stored\n"), "{resumed}");
    assert!(resumed.contains("(first on line 3"), "{resumed}");

    fs::write(&path, note(1_700_000_009, "another file of that name")).expect("the file is written");
    assert!(import_file(&MemoryStore::new(), true).is_err(), "another file is no continuation");
}

#[test]
fn the_kinds_of_what_is_stored_are_counted() {
    let store = MemoryStore::new();
    let doomed = event(1_700_000_000, NOTE, &[], "doomed");
    let lines = [
        line(&doomed),
        line(&event(1_700_000_000, 0, &[], "old profile")),
        line(&event(1_700_000_001, 0, &[], "new profile")),
        line(&event(1_700_000_001, 5, &[&["e", &doomed.event().id().to_hex()]], "")),
        note(1_700_000_002, "kept"),
    ];
    imported(&store, lines.concat());
    let kinds = stats::by_kind(&store).expect("the store can be read");
    assert_eq!(kinds.keys().copied().collect::<Vec<_>>(), [0, 1, 5]);
    assert!(stats::report(&store.stats().expect("figures"), &kinds).contains("last sequence  5"));
    assert!(store.snapshot().unwrap() != Cursor::start());
}
