//! One signature on its own (BIP-340, "Verification"): `e·P - s·G + R` is zero.
//!
//! Both numbers are in four parts of 64 bits, so that what the eight come to is added up side by side.

use secp256k1::SecretKey;

use crate::equation::challenge;
use crate::halves::{Half, halves};
use crate::limbs::from_bytes;
use crate::point::{Point, eight, is_identity, lift, load, points, sum, total};
use crate::straus::{Term, digits, parted, sums};
use crate::{Key, Signed};

/// Whether it holds; false also if the signature has no place in it: bytes that are no point's, an `s` that is out of range or zero.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn holds(generator: &Key, signed: &Signed<'_>) -> bool {
    is_zero(generator, signed).unwrap_or(false)
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn is_zero(generator: &Key, signed: &Signed<'_>) -> Option<bool> {
    let (nonce, s) = signed.signature.split_first_chunk()?;
    let e = challenge(nonce, signed.key.bytes(), &signed.message);
    let s = SecretKey::from_byte_array(*s.first_chunk()?).ok()?;
    // That of a key may be known, but there is a lane for it.
    let [nonce, key, base, ..] = lift(eight(&[from_bytes(nonce)?, signed.key.x()?, generator.x()?]))?;
    let [k0, k1, k2, k3] = terms(signed.key, &key, halves(&e));
    let [g0, g1, g2, g3] = terms(generator, &base, halves(&s.secret_bytes()).map(Half::negated));
    let others = total(&sums(&[k0, k1, k2, k3, g0, g1, g2, g3]));
    let all = sum::<1>(&load([&others; 8], 0), &load([&nonce; 8], 0));
    Some(is_identity(&points(&all)[0]))
}

/// So many times the key's point.
#[target_feature(enable = "avx512f,avx512ifma")]
fn terms<'a>(key: &'a Key, point: &Point, times: [Half; 2]) -> [Term<'a, 17>; 4] {
    let [[near, turned_near], [far, turned_far]] = key.quarters(point);
    let [[a0, a1], [b0, b1]] = times.map(|half| parted(&digits(half)));
    [(near, a0), (turned_near, b0), (far, a1), (turned_far, b1)].map(|(multiples, times)| Term { multiples, times })
}
