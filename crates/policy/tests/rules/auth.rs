//! Whether an AUTH event proves its key.

use towpath_policy::{AuthDenial, Policy, check_auth};

use crate::{NOW, event_of, key, policy};

fn check(at: u64, kind: u16, tags: &[&[&str]], expected: Result<(), AuthDenial>) {
    let proof = event_of(1, at, kind, tags, "");
    let proved = check_auth(&proof, "challenge", &policy(), NOW);
    assert_eq!(proved, expected.map(|()| key(1).public_key()), "{:?}", proof.event());
}

#[test]
fn a_proof_answers_this_relays_challenge_now() {
    let relay: &[&str] = &["relay", "wss://relay.example.com"];
    let challenge: &[&str] = &["challenge", "challenge"];
    let time = Err(AuthDenial::Time { skew_max_s: 600 });
    check(NOW, 22_242, &[relay, challenge], Ok(()));
    check(NOW, 22_242, &[challenge, &["relay", "ws://RELAY.example.com:80/path"]], Ok(()));
    check(NOW - 600, 22_242, &[relay, challenge], Ok(()));
    check(NOW + 600, 22_242, &[relay, challenge], Ok(()));

    check(NOW, 1, &[relay, challenge], Err(AuthDenial::Kind));
    check(NOW - 601, 22_242, &[relay, challenge], time);
    check(NOW + 601, 22_242, &[relay, challenge], time);
    check(u64::MAX, 22_242, &[relay, challenge], time);
    for bad in [&["challenge", "other"][..], &["challenge"], &["challenge", "Challenge"], &["x", "challenge"]] {
        check(NOW, 22_242, &[relay, bad], Err(AuthDenial::Challenge));
        check(NOW, 22_242, &[relay, bad, challenge], if bad[0] == "x" { Ok(()) } else { Err(AuthDenial::Challenge) });
    }
    check(NOW, 22_242, &[relay], Err(AuthDenial::Challenge));
    for bad in [
        "wss://other.example.com",
        "wss://relay.example.com.evil.net",
        "wss://relay.example.com:8080",
        "relay.example.com",
        "",
    ] {
        check(NOW, 22_242, &[&["relay", bad], challenge], Err(AuthDenial::Relay));
    }
    check(NOW, 22_242, &[challenge], Err(AuthDenial::Relay));
}

#[test]
fn a_relay_without_a_name_proves_nobody() {
    let proof = event_of(1, NOW, 22_242, &[&["relay", "wss://relay.example.com"], &["challenge", "c"]], "");
    assert_eq!(check_auth(&proof, "c", &Policy::default(), NOW), Err(AuthDenial::Relay));
}
