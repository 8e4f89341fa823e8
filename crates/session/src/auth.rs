//! NIP-42 for one connection: one challenge, and every key proven with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use towpath_policy::{AuthDenial, Policy, Principal, check_auth};
use towpath_protocol::VerifiedEvent;

/// A challenge from 16 random bytes.
pub fn new_challenge(random: [u8; 16]) -> String {
    const_hex::encode(random)
}

/// Keys that one connection may prove: every one costs a look at each private event.
const KEYS_MAX: usize = 64;

/// The state of one connection.
#[derive(Debug)]
pub struct Auth {
    challenge: String,
    sent: AtomicBool,
    principal: Arc<RwLock<Principal>>,
}

impl Auth {
    /// Nobody yet.
    pub fn new(challenge: String) -> Self {
        Self { challenge, sent: AtomicBool::new(false), principal: Arc::default() }
    }

    /// What the client has to sign, the first time it is asked for: one challenge a connection, sent once.
    pub fn unsent_challenge(&self) -> Option<&str> {
        (!self.sent.swap(true, Ordering::AcqRel)).then_some(&self.challenge)
    }

    /// Who is asking; shared, so that keys proven later count for what began earlier.
    pub fn principal(&self) -> &Arc<RwLock<Principal>> {
        &self.principal
    }

    /// Whether any key was proven.
    pub fn is_authenticated(&self) -> bool {
        self.principal.read().is_authenticated()
    }

    /// Adds the key that `event` proves to those proven before.
    pub fn prove(&self, event: &VerifiedEvent, policy: &Policy, now: u64) -> Result<(), AuthDenial> {
        let key = check_auth(event, &self.challenge, policy, now)?;
        let mut principal = self.principal.write();
        if principal.keys().len() >= KEYS_MAX && !principal.is(&key) {
            return Err(AuthDenial::TooManyKeys { max: KEYS_MAX });
        }
        principal.add(key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use towpath_policy::RelayUrl;
    use towpath_protocol::{PublicKey, SecretKey};

    use super::*;

    const NOW: u64 = 1_700_000_000;
    const HERE: &str = "wss://relay.example.com";

    fn key(person: u8) -> SecretKey {
        SecretKey::from_bytes([person; 32]).unwrap()
    }

    fn policy() -> Policy {
        Policy { urls: RelayUrl::parse(HERE).into_iter().collect(), ..Policy::default() }
    }

    /// What `person` sends when asked for a proof.
    fn proof(person: u8, kind: u16, at: u64, challenge: &str, relay: &str) -> VerifiedEvent {
        key(person).sign(at, kind, &[&["relay", relay], &["challenge", challenge]], "", &[0; 32])
    }

    fn prove(auth: &Auth, person: u8) -> Result<(), AuthDenial> {
        auth.prove(&proof(person, 22_242, NOW, &auth.challenge, HERE), &policy(), NOW)
    }

    #[test]
    fn a_challenge_spells_out_all_of_its_randomness() {
        let all_but_zero: [u8; 16] = std::array::from_fn(|n| n as u8 * 17);
        assert_eq!(new_challenge(all_but_zero), "00112233445566778899aabbccddeeff");
        assert_eq!(new_challenge([0; 16]).len(), 32);
    }

    #[test]
    fn a_connection_has_one_challenge_and_is_sent_it_once() {
        let auth = Auth::new("c".into());
        assert_eq!(auth.unsent_challenge(), Some("c"));
        assert_eq!(auth.unsent_challenge(), None);
        assert_eq!(prove(&auth, 1), Ok(()));
        assert_eq!(auth.unsent_challenge(), None, "nor again after a proof");
        assert_eq!(prove(&auth, 2), Ok(()), "it serves for every key");
    }

    #[test]
    fn a_client_may_answer_the_challenge_however_it_came_to_know_it() {
        let auth = Auth::new("c".into());
        assert_eq!(prove(&auth, 1), Ok(()));
        assert_eq!(auth.unsent_challenge(), Some("c"));
    }

    #[test]
    fn keys_accumulate_and_count_for_what_began_earlier() {
        let auth = Auth::new("c".into());
        let began_earlier = Arc::clone(auth.principal());
        assert!(!auth.is_authenticated());
        for person in [1, 2, 1] {
            assert_eq!(prove(&auth, person), Ok(()));
            assert!(auth.is_authenticated());
        }
        let proven: Vec<PublicKey> = [1, 2].map(|person| key(person).public_key()).into();
        assert_eq!(began_earlier.read().keys(), proven, "each once, in the order of their proofs");
    }

    #[test]
    fn a_connection_proves_so_many_keys_and_no_more() {
        let auth = Auth::new("c".into());
        let persons = 1..=u8::try_from(KEYS_MAX).unwrap();
        persons.for_each(|person| assert_eq!(prove(&auth, person), Ok(()), "{person}"));
        assert_eq!(prove(&auth, 200), Err(AuthDenial::TooManyKeys { max: KEYS_MAX }));
        assert_eq!(auth.principal().read().keys().len(), KEYS_MAX);
        assert_eq!(prove(&auth, 1), Ok(()), "a key that is proven already takes no room");
    }

    #[test]
    fn a_refused_proof_proves_nothing_and_takes_nothing_away() {
        let auth = Auth::new("c".into());
        assert_eq!(prove(&auth, 1), Ok(()));
        let skew_max_s = policy().auth_skew_max_s;
        for (event, expected) in [
            (proof(2, 1, NOW, "c", HERE), AuthDenial::Kind),
            (proof(2, 22_242, NOW - skew_max_s - 1, "c", HERE), AuthDenial::Time { skew_max_s }),
            (proof(2, 22_242, NOW + skew_max_s + 1, "c", HERE), AuthDenial::Time { skew_max_s }),
            (proof(2, 22_242, NOW, "d", HERE), AuthDenial::Challenge),
            (proof(2, 22_242, NOW, "", HERE), AuthDenial::Challenge),
            (proof(2, 22_242, NOW, "c", "wss://elsewhere.example.com"), AuthDenial::Relay),
            (proof(2, 22_242, NOW, "c", "relay.example.com"), AuthDenial::Relay),
            (key(2).sign(NOW, 22_242, &[&["challenge", "c"]], "", &[0; 32]), AuthDenial::Relay),
            (key(2).sign(NOW, 22_242, &[&["relay", HERE]], "", &[0; 32]), AuthDenial::Challenge),
        ] {
            assert_eq!(auth.prove(&event, &policy(), NOW), Err(expected), "{event:?}");
            assert_eq!(auth.principal().read().keys(), [key(1).public_key()], "{event:?}");
        }
    }
}
