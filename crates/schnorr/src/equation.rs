//! The equation of many signatures (BIP-340, "Batch Verification"): the sum of `a·R + (a·e)·P` over all of them, less
//! `(sum of a·s)·G`, is zero.
//!
//! Its numbers are libsecp256k1's secret keys, because that is its one type for numbers from 1 to n - 1 that it multiplies and adds.
//! Nothing here is secret, so nothing need take the same time whatever its numbers are.

use std::sync::OnceLock;

use rand::RngCore;
use secp256k1::{Scalar, SecretKey};
use sha2::{Digest, Sha256};

use crate::halves::{Half, halves};
use crate::key::prepare;
use crate::limbs::{Limbs, from_bytes};
use crate::point::{Table, eight, is_identity, lift, load, tables, total};
use crate::straus::{Term, digits, sums};
use crate::{Key, Signed};

/// Whether it holds; false also if a signature has no place in it: bytes that are no point's, numbers that are out of range or zero.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn holds(generator: &Key, signed: &[Signed<'_>]) -> bool {
    is_zero(generator, signed).unwrap_or(false)
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn is_zero(generator: &Key, signed: &[Signed<'_>]) -> Option<bool> {
    let factors: Vec<Factors> = signed.iter().map(Factors::of).collect::<Option<_>>()?;
    let nonces = nonces(signed)?;
    let mut keys = by_key(signed, &factors)?;
    let (first, others) = factors.split_first()?;
    let of_generator = others.iter().try_fold(first.a_s, |total, factors| plus(&total, &factors.a_s))?;
    keys.push((generator, of_generator.negate()));
    prepare(keys.iter().map(|(key, _)| *key))?;

    let of_nonces = nonces.iter().zip(&factors);
    let of_nonces = of_nonces.map(|(multiples, Factors { a, .. })| Term { multiples, times: digits(Half::of(*a)) });
    let mut terms: Vec<Term<'_, _>> = of_nonces.collect();
    for (key, times) in &keys {
        let of_key = key.halves()?.iter().zip(halves(&times.secret_bytes()));
        terms.extend(of_key.map(|(multiples, half)| Term { multiples, times: digits(half) }));
    }
    Some(is_identity(&total(&sums(&terms))))
}

/// What one signature's equation is multiplied by, and what that makes of its numbers.
struct Factors {
    a: u128,
    a_e: SecretKey,
    a_s: SecretKey,
}

impl Factors {
    /// `None` if a number is out of range or zero.
    fn of(signed: &Signed<'_>) -> Option<Self> {
        let mut wide = [0; 32];
        rand::rng().fill_bytes(&mut wide[16..]);
        let a = u128::from_be_bytes(*wide.last_chunk()?);
        let factor = Scalar::from_be_bytes(wide).ok()?;
        let (nonce, s) = signed.signature.split_first_chunk()?;
        let e = SecretKey::from_byte_array(challenge(nonce, signed.key.bytes(), &signed.message)).ok()?;
        let s = SecretKey::from_byte_array(*s.first_chunk()?).ok()?;
        Some(Self { a, a_e: e.mul_tweak(&factor).ok()?, a_s: s.mul_tweak(&factor).ok()? })
    }
}

/// `None` if the sum is zero.
fn plus(a: &SecretKey, b: &SecretKey) -> Option<SecretKey> {
    a.add_tweak(&Scalar::from(*b)).ok()
}

/// Each key once, with the sum of its `a·e`: a client's events are one author's as a rule.
fn by_key<'a>(signed: &[Signed<'a>], factors: &[Factors]) -> Option<Vec<(&'a Key, SecretKey)>> {
    let mut keys: Vec<(&Key, SecretKey)> = Vec::with_capacity(signed.len() + 1);
    for (signed, factors) in signed.iter().zip(factors) {
        match keys.iter_mut().find(|(key, _)| key.bytes() == signed.key.bytes()) {
            Some((_, times)) => *times = plus(times, &factors.a_e)?,
            None => keys.push((signed.key, factors.a_e)),
        }
    }
    Some(keys)
}

/// BIP-340's hash of nonce, key and message.
pub(crate) fn challenge(nonce: &[u8; 32], key: &[u8; 32], message: &[u8; 32]) -> [u8; 32] {
    static TAGGED: OnceLock<Sha256> = OnceLock::new();
    let tagged = TAGGED.get_or_init(|| {
        let tag = Sha256::digest("BIP0340/challenge");
        Sha256::new().chain_update(tag).chain_update(tag)
    });
    tagged.clone().chain_update(nonce).chain_update(key).chain_update(message).finalize().into()
}

/// The multiples of each signature's R.
#[target_feature(enable = "avx512f,avx512ifma")]
fn nonces(signed: &[Signed<'_>]) -> Option<Vec<Table>> {
    let x = |signed: &Signed<'_>| from_bytes(signed.signature.first_chunk()?);
    let xs: Vec<Limbs> = signed.iter().map(x).collect::<Option<_>>()?;
    let mut nonces = Vec::with_capacity(xs.len());
    for xs in xs.chunks(8) {
        let points = lift(eight(xs))?;
        nonces.extend_from_slice(&tables(&load(points.each_ref(), 0))[..xs.len()]);
    }
    Some(nonces)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_factor_is_new_and_all_of_its_bits_are_drawn() {
        let key = Key::new([1; 32]);
        let signed = Signed { key: &key, message: [2; 32], signature: [3; 64] };
        let drawn: Vec<u128> = (0..200).map(|_| Factors::of(&signed).unwrap().a).collect();
        assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), drawn.len());
        assert_eq!(drawn.iter().fold(0, |ones, a| ones | a), u128::MAX);
        assert_eq!(drawn.iter().fold(u128::MAX, |ones, a| ones & a), 0);
    }
}
