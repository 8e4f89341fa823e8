//! Who may publish what: every denial, and what just escapes it.

use towpath_policy::{Denial, Policy, Principal, Source, authorise, screen};
use towpath_protocol::VerifiedEvent;

use crate::{NOW, event, event_of, policy, proved};

/// Both ways in must say the same, for authorisation repeats the screen.
fn check(event: &VerifiedEvent, principal: &Principal, policy: &Policy, expected: Result<(), Denial>) {
    let screened = screen(event.event(), principal, policy, NOW);
    assert_eq!(screened, expected, "{:?}", event.event());
    assert_eq!(
        authorise(event.clone(), Source::Client, principal, policy, NOW).map(drop),
        expected,
        "{:?}",
        event.event()
    );
}

#[test]
fn ordinary_events_of_anybody_are_welcome() {
    for kind in [0, 1, 3, 5, 6, 7, 1059, 10_002, 20_001, 21_059, 30_023, 40_000, 65_535] {
        check(&event(kind, &[&["t", "x"], &["d", "y"]], "text"), &Principal::anonymous(), &policy(), Ok(()));
    }
}

#[test]
fn proofs_of_a_key_are_not_published() {
    check(&event(22_242, &[], ""), &proved(&[1]), &policy(), Err(Denial::Unpublishable));
}

#[test]
fn a_closed_relay_takes_events_from_whoever_proved_a_key() {
    let policy = Policy { auth_to_write: true, ..policy() };
    check(&event(1, &[], ""), &Principal::anonymous(), &policy, Err(Denial::AuthRequired));
    check(&event(1, &[], ""), &proved(&[1]), &policy, Ok(()));
    check(&event(1, &[], ""), &proved(&[2]), &policy, Ok(()));
    let reading_only = Policy { auth_to_read: true, ..Policy::default() };
    check(&event(1, &[], ""), &Principal::anonymous(), &reading_only, Ok(()));
}

#[test]
fn events_are_dated_within_bounds() {
    let open = policy();
    let strict = Policy { created_at_ahead_max_s: 0, created_at_behind_max_s: Some(60), ..policy() };
    let (ahead, old) = (|max_s| Err(Denial::TooFarAhead { max_s }), Err(Denial::TooOld { max_s: 60 }));
    for (at, kind, policy, expected) in [
        (NOW + 900, 1, &open, Ok(())),
        (NOW + 901, 1, &open, ahead(900)),
        (u64::MAX, 1, &open, ahead(900)),
        (0, 1, &open, Ok(())),
        (NOW, 1, &strict, Ok(())),
        (NOW + 1, 1, &strict, ahead(0)),
        (NOW - 60, 1, &strict, Ok(())),
        (NOW - 61, 1, &strict, old.clone()),
        (0, 1, &strict, old),
        (NOW - 172_800, 1059, &strict, Ok(())),
        (NOW - 172_800, 21_059, &strict, Ok(())),
        (NOW + 1, 1059, &strict, ahead(0)),
    ] {
        check(&event_of(1, at, kind, &[], ""), &Principal::anonymous(), policy, expected);
    }
}

#[test]
fn an_expiration_is_a_time_to_come() {
    let (malformed, expired) = (Err(Denial::MalformedExpiration), Err(Denial::Expired));
    let (now, next) = (NOW.to_string(), (NOW + 1).to_string());
    let huge = "9".repeat(30);
    for (value, expected) in [
        (&*next, Ok(())),
        (&*huge, Ok(())),
        (&*now, expired.clone()),
        ("0", expired),
        ("", malformed.clone()),
        ("soon", malformed.clone()),
        ("-1", malformed.clone()),
        ("+1", malformed.clone()),
        ("1e10", malformed.clone()),
        (" 1", malformed.clone()),
        ("1700000001.5", malformed.clone()),
    ] {
        check(&event(1, &[&["expiration", value]], ""), &Principal::anonymous(), &policy(), expected);
    }
    check(&event(1, &[&["expiration"]], ""), &Principal::anonymous(), &policy(), malformed);
    let first_counts = event(1, &[&["expiration", &next], &["expiration", "no time"]], "");
    check(&first_counts, &Principal::anonymous(), &policy(), Ok(()));
}

/// An event whose id has exactly so many leading zero bits, or at least eight.
fn mined(bits: u32, committed: Option<&str>) -> VerifiedEvent {
    let zeros = |event: &VerifiedEvent| {
        let id = event.event().id();
        let first = u64::from_be_bytes(id.as_bytes()[..8].try_into().unwrap());
        first.leading_zeros()
    };
    let nonce = |n: u32| {
        let n = n.to_string();
        match committed {
            Some(target) => event(1, &[&["nonce", &n, target]], ""),
            None => event(1, &[&["n", &n]], ""),
        }
    };
    (0..).map(nonce).find(|event| zeros(event) == bits).unwrap()
}

#[test]
fn work_is_measured_and_must_be_meant() {
    let policy = Policy { pow_bits_min: 4, ..policy() };
    let anyone = Principal::anonymous();
    check(&mined(3, Some("4")), &anyone, &policy, Err(Denial::Work { bits: 3, required: 4 }));
    check(&mined(0, None), &anyone, &policy, Err(Denial::Work { bits: 0, required: 4 }));
    check(&mined(4, Some("4")), &anyone, &policy, Ok(()));
    check(&mined(8, Some("8")), &anyone, &policy, Ok(()));
    check(&mined(5, Some("3")), &anyone, &policy, Err(Denial::WorkCommitment { committed: 3, required: 4 }));
    check(&mined(4, None), &anyone, &policy, Ok(()));
    check(&mined(4, Some("much")), &anyone, &policy, Ok(()));
    check(&mined(0, Some("0")), &anyone, &Policy { pow_bits_min: 0, ..policy }, Ok(()));
}

#[test]
fn protected_events_come_from_their_author() {
    let protected = event(1, &[&["t", "x"], &["-"]], "");
    for (who, expected) in [
        (Principal::anonymous(), Err(Denial::ProtectedAnonymous)),
        (proved(&[2]), Err(Denial::ProtectedOther)),
        (proved(&[1]), Ok(())),
        (proved(&[2, 1]), Ok(())),
    ] {
        check(&protected, &who, &policy(), expected);
    }
    for tags in [&[&["-", "x"][..]][..], &[&["t", "-"]], &[&["--"]]] {
        check(&event(1, tags, ""), &Principal::anonymous(), &policy(), Ok(()));
    }
}

#[test]
fn reposts_do_not_carry_protected_events() {
    let (protected, open) = (event_of(2, NOW, 1, &[&["-"]], ""), event_of(2, NOW, 1, &[], ""));
    let carried = Err(Denial::RepostOfProtected);
    for (kind, content, expected) in [
        (6, protected.event().as_str(), carried.clone()),
        (16, protected.event().as_str(), carried.clone()),
        (1, protected.event().as_str(), Ok(())),
        (6, open.event().as_str(), Ok(())),
        (6, "", Ok(())),
        (6, "not an event", Ok(())),
    ] {
        check(&event(kind, &[], content), &proved(&[1]), &policy(), expected);
    }
    let deep = format!(r#"{{"more":{}{},"tags":[["-"]]}}"#, "[".repeat(1_000), "]".repeat(1_000));
    for kept in [
        r#"{"tags":[["-"]]}"#,
        r#"{"kind":1,"tags":[["t","x"],["-"]],"content":"without a signature"}"#,
        r#"{"tags":[],"tags":[["-"]]}"#,
        r#"{"tags":[["x",1],{},["-"]]}"#,
        &deep,
    ] {
        check(&event(6, &[], kept), &proved(&[1]), &policy(), carried.clone());
    }
    check(&event(6, &[], r#"{"tags":[["-","x"],["t","-"],[]]}"#), &proved(&[1]), &policy(), Ok(()));
    let spelled_differently = format!(" {}", protected.event().as_str().replace("\"-\"", "\"\\u002d\""));
    check(&event(6, &[], &spelled_differently), &proved(&[2]), &policy(), carried);
}

#[test]
fn requests_to_vanish_name_this_relay() {
    let (nowhere, elsewhere) = (Err(Denial::VanishWithoutRelay), Err(Denial::VanishElsewhere));
    for (tags, expected) in [
        (&[&["relay", "ALL_RELAYS"][..]][..], Ok(())),
        (&[&["relay", "wss://relay.example.com/"]], Ok(())),
        (&[&["relay", "wss://other.example.com"], &["relay", "WSS://Relay.Example.com:443"]], Ok(())),
        (&[], nowhere.clone()),
        (&[&["p", "ALL_RELAYS"]], nowhere),
        (&[&["relay", "wss://other.example.com"]], elsewhere.clone()),
        (&[&["relay", "wss://relay.example.com/inbox"]], elsewhere.clone()),
        (&[&["relay"]], elsewhere.clone()),
        (&[&["relay", "all_relays"]], elsewhere),
    ] {
        check(&event(62, tags, ""), &Principal::anonymous(), &policy(), expected);
    }
    let closed = Policy { auth_to_write: true, pow_bits_min: 32, created_at_behind_max_s: Some(60), ..policy() };
    let request = event_of(1, NOW - 61, 62, &[&["relay", "ALL_RELAYS"]], "");
    check(&request, &Principal::anonymous(), &closed, Ok(()));
    let ignoring = Policy { vanish: false, ..closed };
    check(&request, &Principal::anonymous(), &ignoring, Err(Denial::AuthRequired));
    let ignoring = Policy { vanish: false, ..policy() };
    check(&event(62, &[], ""), &Principal::anonymous(), &ignoring, Ok(()));
}

#[test]
fn a_deletion_names_so_many_targets_and_no_more() {
    let deletion = |targets: usize| {
        let ids: Vec<String> = (0..targets).map(|target| format!("{target:064x}")).collect();
        let tags: Vec<[&str; 2]> = ids.iter().map(|id| ["e", id.as_str()]).collect();
        event(5, &tags.iter().map(|tag| &tag[..]).collect::<Vec<_>>(), "")
    };
    check(&deletion(4_096), &Principal::anonymous(), &policy(), Ok(()));
    check(&deletion(4_097), &Principal::anonymous(), &policy(), Err(Denial::TooManyTargets { max: 4_096 }));
}
