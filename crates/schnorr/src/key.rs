//! A public key, and what is kept of it.

use std::fmt;
use std::sync::OnceLock;

use crate::limbs::{Limbs, from_bytes};
use crate::point::{Table, double, eight, lift, load, tables};

/// A public key, with multiples of its point once it was used: some 2 KiB, worth keeping for a key that signs more than once.
pub struct Key {
    x: [u8; 32],
    multiples: OnceLock<Box<[Table; 2]>>,
}

impl Key {
    /// Any bytes: what is signed by some that are no key is not genuine.
    pub fn new(x: [u8; 32]) -> Self {
        Self { x, multiples: OnceLock::new() }
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.x
    }

    /// Of the point, and of 2^128 times the point, so that half of a factor goes with each. `None` before [`prepare`].
    pub(crate) fn multiples(&self) -> Option<&[Table; 2]> {
        self.multiples.get().map(|tables| &**tables)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("x", &self.x).finish_non_exhaustive()
    }
}

/// Sees to the multiples of those that have none yet. `None` if one is no key.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn prepare<'a>(keys: impl Iterator<Item = &'a Key>) -> Option<()> {
    let new: Vec<&Key> = keys.filter(|key| key.multiples.get().is_none()).collect();
    let xs: Vec<Limbs> = new.iter().map(|key| from_bytes(&key.x)).collect::<Option<_>>()?;
    for (xs, keys) in xs.chunks(8).zip(new.chunks(8)) {
        let lower = load(lift(eight(xs))?.each_ref(), 0);
        let upper = (0..128).fold(lower, |point, _| double(&point));
        for ((lower, upper), key) in tables(&lower).into_iter().zip(tables(&upper)).zip(keys) {
            // Another thread may have been faster, with the same.
            let _ = key.multiples.set(Box::new([lower, upper]));
        }
    }
    Some(())
}
