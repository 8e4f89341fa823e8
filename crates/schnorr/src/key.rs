//! A public key, and what is kept of it.

use std::array;
use std::fmt;
use std::sync::OnceLock;

use crate::limbs::{Limbs, from_bytes};
use crate::point::{Point, Table, doubled, lift, load, points, tables, turned};

/// A public key, with multiples of its point once it was used: some 2 KiB, or 4 if it was used alone; worth keeping for a key that signs
/// more than once.
pub struct Key {
    x: [u8; 32],
    /// Of the point, and of the point turned.
    lower: OnceLock<Box<[Table; 2]>>,
    /// Of 2^64 times each of these.
    upper: OnceLock<Box<[Table; 2]>>,
}

impl Key {
    /// Any bytes: what is signed by some that are no key is not genuine.
    pub fn new(x: [u8; 32]) -> Self {
        Self { x, lower: OnceLock::new(), upper: OnceLock::new() }
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.x
    }

    /// Of its point. `None` if it is no number that a point can have.
    pub(crate) fn x(&self) -> Option<Limbs> {
        from_bytes(&self.x)
    }

    /// For a factor in halves: of the point, and of the point turned. `None` before [`prepare`].
    pub(crate) fn halves(&self) -> Option<&[Table; 2]> {
        self.lower.get().map(|tables| &**tables)
    }

    /// For a factor in quarters: the same, then of 2^64 times each. `point` is its own, and looked at only if they are not kept.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(crate) fn quarters(&self, point: &Point) -> [&[Table; 2]; 2] {
        if let (Some(lower), Some(upper)) = (self.lower.get(), self.upper.get()) {
            return [lower, upper];
        }
        let far = points(&doubled(&load([point; 8], 0), 64))[0];
        let four = load(array::from_fn(|lane| [point, point, &far, &far][lane % 4]), 0);
        let [near, turned_near, far, turned_far, ..] = tables(&turned(&four, 0b1010));
        // Another thread may have been faster, with the same.
        [
            self.lower.get_or_init(|| Box::new([near, turned_near])),
            self.upper.get_or_init(|| Box::new([far, turned_far])),
        ]
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("x", &self.x).finish_non_exhaustive()
    }
}

/// Sees to the halves of those that have none yet. `None` if one is no key.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn prepare<'a>(keys: impl Iterator<Item = &'a Key>) -> Option<()> {
    let new: Vec<&Key> = keys.filter(|key| key.lower.get().is_none()).collect();
    let xs: Vec<Limbs> = new.iter().map(|key| key.x()).collect::<Option<_>>()?;
    for (xs, keys) in xs.chunks(4).zip(new.chunks(4)) {
        // Each in two lanes, in one of them turned.
        let xs: [&Limbs; 4] = array::from_fn(|lane| xs.get(lane).unwrap_or(&xs[0]));
        let twice = load(lift(array::from_fn(|lane| xs[lane % 4]))?.each_ref(), 0);
        let [a, b, c, d, of_turned @ ..] = tables(&turned(&twice, 0b1111_0000));
        for ((of_point, of_turned), key) in [a, b, c, d].into_iter().zip(of_turned).zip(keys) {
            let _ = key.lower.set(Box::new([of_point, of_turned]));
        }
    }
    Some(())
}
