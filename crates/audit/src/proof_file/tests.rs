//! Proof files: what a good one proves, and that no changed one proves anything.

use towpath_policy::Source;
use towpath_protocol::SecretKey;

use super::*;
use crate::tree::tests::Kept;
use crate::{Action, Group, Tree, prove_inclusion};

fn relay() -> SecretKey {
    SecretKey::from_bytes([7; 32]).unwrap()
}

fn note() -> Event {
    let alice = SecretKey::from_bytes([1; 32]).unwrap();
    alice.sign(100, 1, &[&["h", "team"]], "a note", &[0; 32]).into_event()
}

fn leaf(seq: u64, event: &Event) -> Leaf {
    Leaf {
        stream: 0,
        seq,
        committed_at_ms: 5,
        action: Action::Accepted,
        source: Some(Source::Client),
        event: Some((event.id(), event.kind())),
        actor: Some(event.pubkey()),
        group: Some(Group::new("team")),
        removed: vec![],
        removed_elsewhere: vec![],
    }
}

pub(crate) fn file() -> ProofFile {
    let (mut tree, mut kept) = (Tree::new(), Kept::default());
    for seq in 1..=9 {
        tree.append(leaf(seq, &note()).hash(), |node| kept.keep(node));
    }
    let checkpoint = Checkpoint::of_stream(relay().public_key(), 0, tree.head());
    let checkpoint = checkpoint.to_event(&relay(), &checkpoint.text(), 200, &[0; 32]);
    let path = prove_inclusion(&kept, 4, 9).unwrap();
    ProofFile::new(&leaf(5, &note()), &path, checkpoint.event(), Some(&note())).unwrap()
}

fn check(file: &ProofFile) -> Result<Proved, Lie> {
    file.check(&relay().public_key(), &Verifier::new())
}

#[test]
fn a_good_file_proves_leaf_event_and_time() {
    let read = ProofFile::parse(&file().to_json().unwrap()).unwrap();
    let proved = check(&read).unwrap();
    assert_eq!((proved.leaf, proved.head.size, proved.signed_at), (leaf(5, &note()), 9, 200));
    assert_eq!(proved.event, Some(note()));
    let without = ProofFile { event: None, ..read };
    assert!(check(&without).unwrap().event.is_none());
}

#[test]
fn no_changed_file_proves_anything() {
    let good = file();
    let changed =
        |from: &str, to: &str| ProofFile::parse(&good.to_json().unwrap().replace(from, to)).and_then(|f| check(&f));
    assert!(matches!(changed("a note", "a lie"), Err(Lie::Forged(_))));
    assert!(matches!(changed("towpath-proof-1", "towpath-proof-2"), Err(Lie::Malformed(_))));
    assert!(matches!(changed("\"path\"", "\"road\""), Err(Lie::Malformed(_))));
    assert!(matches!(changed("\"created_at\": 200", "\"created_at\": 201"), Err(Lie::Checkpoint(_))));
    let other_place = ProofFile { leaf: const_hex::encode(leaf(6, &note()).to_bytes()), ..good.clone() };
    assert_eq!(check(&other_place).unwrap_err(), Lie::NotIncluded);
    let longer = ProofFile { path: [&good.path[..], &good.path[..1]].concat(), ..good.clone() };
    assert_eq!(check(&longer).unwrap_err(), Lie::NotIncluded);
    let bob = SecretKey::from_bytes([2; 32]).unwrap();
    let other = bob.sign(100, 1, &[&["h", "team"]], "a note", &[0; 32]);
    let other_event = ProofFile { event: Some(value(other.event()).unwrap()), ..good.clone() };
    assert_eq!(check(&other_event).unwrap_err(), Lie::OtherEvent("event id"));
    assert_eq!(good.check(&bob.public_key(), &Verifier::new()).unwrap_err(), Lie::OtherRelay(relay().public_key()));
}
