//! The keys of authors who wrote before, ready for the next signature.
//!
//! Every key belongs in one set of places, where it takes that of the author who wrote least lately: bounded, without upkeep, and nothing
//! is gained by filling it. Must not know: events.

use parking_lot::Mutex;
use towpath_protocol::{LiftedKey, PublicKey};

/// A power of two.
const SETS: usize = 1_024;
/// With one place instead, a fifth of 1 000 authors would share theirs with another, and never be found.
const PLACES: usize = 4;

/// See the module. Some 100 bytes a place.
pub(crate) struct Authors(Box<[Mutex<Set>]>);

/// The latest first.
type Set = [Option<LiftedKey>; PLACES];

impl Authors {
    pub(crate) fn new() -> Self {
        Self::with_sets(SETS)
    }

    fn with_sets(sets: usize) -> Self {
        Self((0..sets).map(|_| Mutex::default()).collect())
    }

    /// `None` if the bytes are no key.
    pub(crate) fn lifted(&self, author: PublicKey) -> Option<LiftedKey> {
        let [.., high, low] = *author.as_bytes();
        let set = &self.0[usize::from(u16::from_be_bytes([high, low])) % self.0.len()];
        if let Some(kept) = find(&mut set.lock(), author) {
            return Some(kept);
        }
        let lifted = LiftedKey::of(author)?;
        let mut set = set.lock();
        set.rotate_right(1);
        set[0] = Some(lifted);
        Some(lifted)
    }
}

/// Finds the key of `author`, who is the latest now.
fn find(set: &mut Set, author: PublicKey) -> Option<LiftedKey> {
    let place = set.iter().position(|kept| kept.is_some_and(|kept| kept.key() == author))?;
    set[..=place].rotate_right(1);
    set[0]
}

#[cfg(test)]
mod tests {
    use towpath_protocol::SecretKey;

    use super::*;

    fn keys() -> Vec<PublicKey> {
        let secrets = (1..=255).flat_map(|n| [[n; 32], [n ^ 0x5a; 32]]).filter_map(SecretKey::from_bytes);
        secrets.map(|secret| secret.public_key()).collect()
    }

    #[test]
    fn whoever_shares_a_set_gets_their_own_key_and_bytes_that_are_no_key_none() {
        let (authors, keys) = (Authors::with_sets(1), keys());
        for key in keys.iter().chain(&keys) {
            assert_eq!(authors.lifted(*key).map(|lifted| lifted.key()), Some(*key));
        }
        assert!(authors.lifted(PublicKey::from_bytes([0xff; 32])).is_none());
    }

    #[test]
    fn who_wrote_least_lately_makes_room() {
        let (authors, keys) = (Authors::with_sets(1), keys());
        for author in [0, 1, 2, 3, 0, 4] {
            authors.lifted(keys[author]);
        }
        let kept = authors.0[0].lock().map(|kept| kept.map(|kept| kept.key()));
        assert_eq!(kept, [4, 0, 3, 2].map(|author| Some(keys[author])));
    }
}
