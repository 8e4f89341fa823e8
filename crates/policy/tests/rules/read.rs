//! Who may read what.

use towpath_policy::{Policy, Principal, all_private, may_read, names_private};
use towpath_protocol::wire;

use crate::{event, hex, policy, proved};

#[test]
fn private_kinds_are_for_their_author_and_whom_they_are_addressed_to() {
    let (bob, carol) = (hex(2), hex(3));
    let to_both: &[&[&str]] = &[&["p", &bob, "wss://hint"], &["t", "x"], &["p", &carol]];
    for (kind, tags, secrets, expected) in [
        (1, to_both, &[][..], true),
        (1059, to_both, &[], false),
        (1059, to_both, &[1], true),
        (1059, to_both, &[2], true),
        (1059, to_both, &[3], true),
        (1059, to_both, &[4], false),
        (1059, to_both, &[4, 3], true),
        (4, to_both, &[2], true),
        (4, to_both, &[4], false),
        (21_059, to_both, &[4], false),
        (1059, &[], &[2], false),
        (1059, &[&["P", &bob]], &[2], false),
        (1059, &[&["p", &bob.to_uppercase()]], &[2], false),
        (1059, &[&["p", "", &bob]], &[2], false),
        (1059, &[&["p"]], &[2], false),
    ] {
        let event = event(kind, tags, "");
        assert_eq!(may_read(event.event(), &proved(secrets), &policy()), expected, "{secrets:?} {:?}", event.event());
    }
}

#[test]
fn the_operator_says_which_kinds_are_private() {
    let policy = Policy { private_kinds: vec![14], ..policy() };
    assert!(may_read(event(1059, &[], "").event(), &Principal::anonymous(), &policy));
    assert!(!may_read(event(14, &[], "").event(), &Principal::anonymous(), &policy));
}

#[test]
fn who_proved_no_key_reads_nothing_where_reading_needs_one() {
    let closed = Policy { auth_to_read: true, ..policy() };
    let note = event(1, &[], "");
    assert!(!may_read(note.event(), &Principal::anonymous(), &closed));
    assert!(may_read(note.event(), &proved(&[2]), &closed));
    assert!(may_read(note.event(), &Principal::anonymous(), &policy()));
}

#[test]
fn a_filter_is_private_if_all_its_kinds_are() {
    for (filter, all, any) in [
        (r#"{"kinds":[1059]}"#, true, true),
        (r#"{"kinds":[4,1059,21059],"limit":1}"#, true, true),
        (r#"{"kinds":[4,1]}"#, false, true),
        (r#"{"kinds":[1]}"#, false, false),
        (r#"{"kinds":[]}"#, false, false),
        (r#"{}"#, false, false),
        (r##"{"#p":["0000000000000000000000000000000000000000000000000000000000000000"]}"##, false, false),
    ] {
        let parsed = wire::filter(filter).unwrap();
        assert_eq!((all_private(&parsed, &policy()), names_private(&parsed, &policy())), (all, any), "{filter}");
    }
}

#[test]
fn proofs_add_up() {
    let mut principal = Principal::anonymous();
    assert!(!principal.is_authenticated());
    let keys = [crate::key(1).public_key(), crate::key(2).public_key()];
    for key in [keys[0], keys[1], keys[0]] {
        principal.add(key);
    }
    assert_eq!(principal.keys(), keys);
    assert!(principal.is_authenticated() && principal.is(&keys[1]));
    assert!(!principal.is(&crate::key(3).public_key()));
}
