//! Authors who wrote before, their keys ready for the next signature.
//!
//! Every key belongs in one set of places, where it takes that of the author who wrote least lately: bounded, without upkeep. Whoever
//! fills it with keys of nobody has others' found out about once more, for about as long as a check of one signature.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use secp256k1::XOnlyPublicKey;
use towpath_schnorr::Key;

use crate::ids::PublicKey;

/// A power of two.
const SETS: usize = 1_024;
/// With one place instead, a fifth of 1 000 authors would share theirs with another, and never be found.
const PLACES: usize = 4;

/// See the module. Some 4 KiB a place that is taken, 18 MiB in all.
pub(crate) struct Authors(Box<[Mutex<Set>]>);

/// The latest first.
type Set = [Option<Arc<Author>>; PLACES];

impl Authors {
    pub(crate) fn new() -> Self {
        Self::with_sets(SETS)
    }

    fn with_sets(sets: usize) -> Self {
        Self((0..sets).map(|_| Mutex::default()).collect())
    }

    /// The author with this key, who is the latest of their set now.
    pub(crate) fn of(&self, key: PublicKey) -> Arc<Author> {
        let [.., high, low] = *key.as_bytes();
        let mut set = self.0[usize::from(u16::from_be_bytes([high, low])) % self.0.len()].lock();
        let place = set.iter().position(|kept| kept.as_ref().is_some_and(|kept| kept.key == key));
        let author = place.and_then(|place| set[place].clone()).unwrap_or_else(|| Arc::new(Author::new(key)));
        // The latest is the first; a new one takes the place of the last.
        set[..=place.unwrap_or(PLACES - 1)].rotate_right(1);
        set[0] = Some(Arc::clone(&author));
        author
    }
}

/// The key of an author, with what was found out for checking signatures by it.
pub(crate) struct Author {
    key: PublicKey,
    /// The point of the curve that it stands for, which takes a square root; `None` if the bytes are no key.
    point: OnceLock<Option<XOnlyPublicKey>>,
    multiples: Key,
}

impl Author {
    fn new(key: PublicKey) -> Self {
        Self { key, point: OnceLock::new(), multiples: Key::new(*key.as_bytes()) }
    }

    /// For checking one signature by libsecp256k1.
    pub(crate) fn point(&self) -> Option<&XOnlyPublicKey> {
        self.point.get_or_init(|| XOnlyPublicKey::from_byte_array(*self.key.as_bytes()).ok()).as_ref()
    }

    /// For checking one, or many at once, where the processor can.
    pub(crate) fn multiples(&self) -> &Key {
        &self.multiples
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;

    fn keys() -> Vec<PublicKey> {
        let secrets = (1..=255).flat_map(|n| [[n; 32], [n ^ 0x5a; 32]]).filter_map(SecretKey::from_bytes);
        secrets.map(|secret| secret.public_key()).collect()
    }

    #[test]
    fn whoever_shares_a_set_gets_their_own_key() {
        let (authors, keys) = (Authors::with_sets(1), keys());
        for key in keys.iter().chain(&keys) {
            assert_eq!(authors.of(*key).key, *key);
        }
    }

    #[test]
    fn bytes_that_are_no_key_are_no_point() {
        assert!(Authors::new().of(PublicKey::from_bytes([0xff; 32])).point().is_none());
    }

    #[test]
    fn what_was_found_out_is_kept() {
        let (authors, keys) = (Authors::new(), keys());
        let found = |key| Arc::as_ptr(&authors.of(key));
        assert_eq!(found(keys[0]), found(keys[0]));
    }

    #[test]
    fn who_wrote_least_lately_makes_room() {
        let (authors, keys) = (Authors::with_sets(1), keys());
        for author in [0, 1, 2, 3, 0, 4] {
            authors.of(keys[author]);
        }
        let kept = authors.0[0].lock().each_ref().map(|kept| kept.as_ref().map(|kept| kept.key));
        assert_eq!(kept, [4, 0, 3, 2].map(|author| Some(keys[author])));
    }
}
