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
    }
}

fn leaves() -> impl Strategy<Value = Leaf> {
    let action = proptest::sample::select(&Action::ALL);
    let source = proptest::sample::select(vec![None, Some(Source::Client), Some(Source::Import), Some(Source::Relay)]);
    let event = proptest::option::of((any::<[u8; 32]>().prop_map(EventId::from_bytes), any::<u16>()));
    let actor = proptest::option::of(any::<[u8; 32]>().prop_map(PublicKey::from_bytes));
    let group = proptest::option::of(".{0,300}".prop_map(|id| Group::new(&id)));
    let removed = proptest::collection::btree_set(any::<u64>(), 0..20).prop_map(|set| set.into_iter().collect());
    (any::<(u32, u64, u64)>(), action, source, event, actor, group, removed).prop_map(
        |((stream, seq, committed_at_ms), action, source, event, actor, group, removed)| Leaf {
            stream,
            seq,
            committed_at_ms,
            action,
            source,
            event,
            actor,
            group,
            removed,
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
