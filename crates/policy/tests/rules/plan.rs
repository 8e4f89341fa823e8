//! What committing an event means.

use towpath_policy::{
    DeletionRequest, Placement, Policy, Principal, Removal, Source, Write, authorise, has_expired, plan,
};
use towpath_protocol::Address;

use crate::{NOW, event, hex, key, policy};

fn write(kind: u16, tags: &[&[&str]]) -> Write {
    authorise(event(kind, tags, ""), Source::Client, &Principal::anonymous(), &policy(), NOW).unwrap()
}

fn address(kind: u16, d: &str) -> Address {
    Address { kind, pubkey: key(1).public_key(), d: d.into() }
}

#[test]
fn an_event_is_placed_by_its_kind() {
    let d: &[&[&str]] = &[&["d", "x"], &["d", "y"]];
    for (kind, placement) in [
        (1, Placement::Regular),
        (5, Placement::Regular),
        (62, Placement::Regular),
        (1059, Placement::Regular),
        (0, Placement::Replaceable(address(0, ""))),
        (10_002, Placement::Replaceable(address(10_002, ""))),
        (30_023, Placement::Replaceable(address(30_023, "x"))),
        (20_001, Placement::Ephemeral),
        (21_059, Placement::Ephemeral),
    ] {
        let write = plan(event(kind, d, ""), Source::Client, &Policy { vanish: false, ..policy() });
        assert_eq!(write.placement(), &placement, "{kind}");
        assert_eq!(write.is_ephemeral(), placement == Placement::Ephemeral);
        assert_eq!(write.event(), event(kind, d, "").event());
    }
    assert_eq!(write(30_023, &[]).placement(), &Placement::Replaceable(address(30_023, "")));
}

#[test]
fn a_deletion_names_ids_and_addresses() {
    let id = event(1, &[], "").event().id();
    let (id_hex, mine) = (id.to_hex(), hex(1));
    let deletion = write(
        5,
        &[
            &["e", &id_hex, "wss://hint"],
            &["e", &id_hex.to_uppercase()],
            &["e"],
            &["e", "short"],
            &["k", "1"],
            &["a", &format!("30023:{mine}:x:y:")],
            &["a", &format!("30023:{mine}:")],
            &["a", &format!("0:{mine}:ignored")],
            &["a", &format!("10002:{mine}")],
            &["a", &format!("1:{mine}:regular")],
            &["a", &format!("20001:{mine}:ephemeral")],
            &["a", "30023:nobody:x"],
            &["a"],
        ],
    );
    let addresses = vec![address(30_023, "x:y:"), address(30_023, ""), address(0, ""), address(10_002, "")];
    assert_eq!(deletion.removal(), &Removal::Delete(DeletionRequest { ids: vec![id], addresses }));
    assert_eq!(write(1, &[&["e", &id_hex]]).removal(), &Removal::None);
}

#[test]
fn a_request_to_vanish_removes_if_the_relay_honours_it() {
    let request = || event(62, &[&["relay", "ALL_RELAYS"]], "");
    assert_eq!(plan(request(), Source::Client, &policy()).removal(), &Removal::Vanish);
    assert_eq!(plan(request(), Source::Client, &Policy { vanish: false, ..policy() }).removal(), &Removal::None);
}

#[test]
fn an_event_ends_with_its_expiration() {
    let at = (NOW + 5).to_string();
    assert_eq!(write(1, &[&["expiration", &at]]).expires_at(), Some(NOW + 5));
    assert_eq!(write(1, &[&["expiration", &"9".repeat(30)]]).expires_at(), Some(u64::MAX));
    assert_eq!(write(1, &[]).expires_at(), None);
}

#[test]
fn an_event_has_expired_from_its_expiration_on() {
    for (tags, content, expected) in [
        (&[][..], "", false),
        (&[], "\"expiration\" is only a word here", false),
        (&[&["t", "expiration"][..]][..], "", false),
        (&[&["expiration", "1001"]], "", false),
        (&[&["expiration", "1000"]], "", true),
        (&[&["expiration", "0"]], "", true),
        (&[&["t", "x"], &["expiration", "999", "more"]], "", true),
        (&[&["expiration", "2000"], &["expiration", "1"]], "", false),
        (&[&["expiration", "99999999999999999999999"]], "", false),
        (&[&["expiration", "soon"]], "", false),
    ] {
        let event = event(1, tags, content).into_event();
        assert_eq!(has_expired(&event, 1000), expected, "{event:?}");
    }
}
