//! The keys of authors who wrote before, ready for the next signature.
//!
//! Every key has one place, which the last author there holds: bounded, without upkeep, and nothing is gained by filling it. Must not
//! know: events.

use parking_lot::Mutex;
use towpath_protocol::{LiftedKey, PublicKey};

/// A power of two; some 100 bytes each.
const PLACES: usize = 4_096;

/// See the module.
pub(crate) struct Authors(Box<[Mutex<Option<LiftedKey>>]>);

impl Authors {
    pub(crate) fn new() -> Self {
        Self((0..PLACES).map(|_| Mutex::default()).collect())
    }

    /// `None` if the bytes are no key.
    pub(crate) fn lifted(&self, author: PublicKey) -> Option<LiftedKey> {
        let [.., high, low] = *author.as_bytes();
        let place = &self.0[usize::from(u16::from_be_bytes([high, low])) % self.0.len()];
        let kept = *place.lock();
        if let Some(kept) = kept.filter(|kept| kept.key() == author) {
            return Some(kept);
        }
        let lifted = LiftedKey::of(author)?;
        *place.lock() = Some(lifted);
        Some(lifted)
    }
}

#[cfg(test)]
mod tests {
    use towpath_protocol::SecretKey;

    use super::*;

    #[test]
    fn whoever_shares_a_place_gets_their_own_key_and_bytes_that_are_no_key_none() {
        let keys: Vec<PublicKey> = (1..=255)
            .flat_map(|n| [[n; 32], [n ^ 0x5a; 32]])
            .filter_map(SecretKey::from_bytes)
            .map(|secret| secret.public_key())
            .collect();
        let authors = Authors(Box::new([Mutex::default()]));
        for key in keys.iter().chain(&keys) {
            assert_eq!(authors.lifted(*key).map(|lifted| lifted.key()), Some(*key));
        }
        assert!(authors.lifted(PublicKey::from_bytes([0xff; 32])).is_none());
    }
}
