//! The encoding of leaves, both ways.

use proptest::prelude::*;

use super::*;

fn leaf() -> Leaf {
    Leaf {
        stream: 7,
        seq: 258,
        committed_at_ms: 1_700_000_000_123,
        action: Action::Replaced,
        source: Some(Source::Client),
        event: Some((EventId::from_bytes([0xe1; 32]), 30_023)),
        actor: Some(PublicKey::from_bytes([0xa1; 32])),
        group: Some(Group::new("garden")),
        removed: vec![3, 257],
        removed_elsewhere: vec![],
    }
}

fn leaves() -> impl Strategy<Value = Leaf> {
    let action = proptest::sample::select(&Action::ALL);
    let source = proptest::sample::select(vec![None, Some(Source::Client), Some(Source::Import), Some(Source::Relay)]);
    let event = proptest::option::of((any::<[u8; 32]>().prop_map(EventId::from_bytes), any::<u16>()));
    let actor = proptest::option::of(any::<[u8; 32]>().prop_map(PublicKey::from_bytes));
    let group = proptest::option::of(".{0,300}".prop_map(|id| Group::new(&id)));
    let own = proptest::collection::btree_set(any::<u64>(), 0..20);
    let elsewhere = proptest::collection::btree_set(any::<(u32, u64)>(), 0..5);
    let removed = (own, elsewhere);
    (any::<(u32, u64, u64)>(), action, source, event, actor, group, removed).prop_map(
        |((stream, seq, committed_at_ms), action, source, event, actor, group, (removed, elsewhere))| Leaf {
            stream,
            seq,
            committed_at_ms,
            action,
            source,
            event,
            actor,
            group,
            removed: removed.into_iter().collect(),
            removed_elsewhere: elsewhere.into_iter().filter(|(other, _)| *other != stream).collect(),
        },
    )
}

proptest! {
    #[test]
    fn a_leaf_is_read_as_it_was_written(leaf in leaves()) {
        prop_assert_eq!(Leaf::from_bytes(&leaf.to_bytes()), Ok(leaf));
    }

    #[test]
    fn a_leaf_has_one_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(leaf) = Leaf::from_bytes(&bytes) {
            prop_assert_eq!(leaf.to_bytes(), bytes);
        }
    }
}

#[test]
fn a_changed_or_missing_byte_is_another_leaf_or_none() {
    let leaf = leaf();
    let bytes = leaf.to_bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            match Leaf::from_bytes(&changed) {
                Ok(other) => assert!(other != leaf && other.to_bytes() == changed, "byte {at}"),
                Err(NotALeaf(why)) => assert!(!why.is_empty()),
            }
        }
        assert!(Leaf::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
    }
    assert_eq!(Leaf::from_bytes(&[&bytes[..], &[0]].concat()), Err(NotALeaf("bytes behind its end")));
}

#[test]
fn a_long_group_is_stood_for_by_its_hash() {
    let (at_most, longer) = ("g".repeat(255), "g".repeat(256));
    assert_eq!(Group::new(&at_most), Group::Id(at_most.into()));
    assert!(matches!(Group::new(&longer), Group::Hashed(_)));
}

/// The vectors of `docs/audit.md`, which other implementations are written against.
#[test]
fn the_vectors_of_the_specification_hold() {
    let vectors = vectors();
    let mut tree = crate::Tree::new();
    let mut page = String::new();
    for (name, leaf) in &vectors {
        let bytes = leaf.to_bytes();
        tree.append(leaf.hash(), |_| ());
        page.push_str(&format!("{name}\n{}\n{}\n", const_hex::encode(&bytes), leaf.hash()));
        assert_eq!(Leaf::from_bytes(&bytes).as_ref(), Ok(leaf));
    }
    page.push_str(&format!("root\n{}\n", tree.root()));
    let specified = include_str!("../../../../docs/audit.md");
    assert!(specified.contains(&page), "docs/audit.md must hold:\n{page}");
}

fn vectors() -> Vec<(&'static str, Leaf)> {
    let (id, key) = (EventId::from_bytes([0x11; 32]), PublicKey::from_bytes([0x22; 32]));
    let note = Leaf {
        stream: 0,
        seq: 1,
        committed_at_ms: 1_795_496_060_677,
        action: Action::Accepted,
        source: Some(Source::Client),
        event: Some((id, 1)),
        actor: Some(key),
        group: None,
        removed: vec![],
        removed_elsewhere: vec![],
    };
    let in_group =
        Leaf { seq: 2, group: Some(Group::new("towpath-team")), source: Some(Source::Import), ..note.clone() };
    let deletion = Leaf { seq: 3, action: Action::Deleted, event: Some((id, 5)), removed: vec![1, 2], ..note.clone() };
    let long_group = Leaf { seq: 4, group: Some(Group::new(&"g".repeat(256))), ..note.clone() };
    let expired = Leaf {
        seq: 5,
        action: Action::Expired,
        source: None,
        event: None,
        actor: None,
        removed: vec![4],
        removed_elsewhere: vec![],
        ..note.clone()
    };
    let failure =
        Leaf { seq: 6, action: Action::AuthFailed(AuthFailure::Relay), event: Some((id, 22_242)), ..note.clone() };
    vec![
        ("accepted", note),
        ("accepted in a group, by import", in_group),
        ("deleted, two entries", deletion),
        ("accepted in a group with an id of 256 bytes", long_group),
        ("expired", expired),
        ("auth-failed-relay", failure),
    ]
}
