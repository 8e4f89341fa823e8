//! NIP-98: what a request's event must say.

use towpath_policy::{HttpAuthDenial, Policy, RelayUrl, check_http_auth};
use towpath_protocol::SecretKey;

use super::{NOW, policy};

const HERE: &str = "https://relay.example.com/audit/x?y=1";
const TARGET: &str = "/audit/x?y=1";

#[test]
fn a_key_is_proved_for_one_request_at_one_time() {
    let alice = SecretKey::from_bytes([1; 32]).unwrap();
    let sign =
        |kind, at, url: &str, method: &str| alice.sign(at, kind, &[&["u", url], &["method", method]], "", &[0; 32]);
    let check = |event| check_http_auth(&event, "GET", TARGET, &policy(), NOW);
    assert_eq!(check(sign(27_235, NOW, HERE, "GET")), Ok(alice.public_key()));
    assert_eq!(check(sign(27_235, NOW - 60, HERE, "GET")), Ok(alice.public_key()));
    let below = Policy { urls: RelayUrl::parse("wss://relay.example.com/inbox").into_iter().collect(), ..policy() };
    let proof = sign(27_235, NOW, HERE, "GET");
    assert_eq!(check_http_auth(&proof, "GET", TARGET, &below, NOW), Ok(alice.public_key()), "its path is no matter");
    for (event, denial) in [
        (sign(22_242, NOW, HERE, "GET"), HttpAuthDenial::Kind),
        (sign(27_235, NOW - 61, HERE, "GET"), HttpAuthDenial::Time),
        (sign(27_235, NOW + 61, HERE, "GET"), HttpAuthDenial::Time),
        (sign(27_235, NOW, HERE, "POST"), HttpAuthDenial::Method),
        (sign(27_235, NOW, "https://relay.example.com/audit/x", "GET"), HttpAuthDenial::Url),
        (sign(27_235, NOW, "https://elsewhere.example.com/audit/x?y=1", "GET"), HttpAuthDenial::Url),
        (sign(27_235, NOW, "wss://relay.example.com/audit/x?y=1", "GET"), HttpAuthDenial::Url),
        (sign(27_235, NOW, TARGET, "GET"), HttpAuthDenial::Url),
        (sign(27_235, NOW, "https://relay.example.com/other/audit/x?y=1", "GET"), HttpAuthDenial::Url),
        (sign(27_235, NOW, "https://relay.example.com?to=/audit/x?y=1", "GET"), HttpAuthDenial::Url),
        (alice.sign(NOW, 27_235, &[&["method", "GET"]], "", &[0; 32]), HttpAuthDenial::Url),
    ] {
        assert_eq!(check(event.clone()), Err(denial), "{event:?}");
    }
}
