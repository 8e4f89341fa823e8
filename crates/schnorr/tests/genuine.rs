//! What is genuine to libsecp256k1 is genuine here, and nothing else is, wherever among others it is.

use std::collections::HashSet;
use std::fs;

use proptest::prelude::*;
use secp256k1::constants::CURVE_ORDER;
use secp256k1::{Keypair, Parity, Scalar, Secp256k1, SecretKey, schnorr};
use sha2::{Digest, Sha256};
use towpath_schnorr::{Key, Lanes, Signed};

/// `None` where the processor says itself that it cannot: then there is nothing to test.
fn lanes() -> Option<Lanes> {
    let lanes = Lanes::detect();
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    assert_eq!(lanes.is_some(), processor.contains("avx512ifma"), "found only where it is");
    if lanes.is_none() {
        println!("this processor has no AVX-512 IFMA: signatures are checked one by one");
    }
    lanes
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Made {
    key: [u8; 32],
    message: [u8; 32],
    signature: [u8; 64],
}

impl Made {
    fn sign(secret: [u8; 32], message: [u8; 32]) -> Self {
        let secp = Secp256k1::new();
        let pair = Keypair::from_secret_key(&secp, &SecretKey::from_byte_array(secret).expect("a key"));
        let signature = secp.sign_schnorr_no_aux_rand(&message, &pair).to_byte_array();
        Self { key: pair.x_only_public_key().0.serialize(), message, signature }
    }

    fn numbered(number: u8) -> Self {
        Self::sign([number + 1; 32], [number; 32])
    }

    fn is_genuine(&self) -> bool {
        let signature = schnorr::Signature::from_byte_array(self.signature);
        let key = secp256k1::XOnlyPublicKey::from_byte_array(self.key);
        key.is_ok_and(|key| Secp256k1::verification_only().verify_schnorr(&signature, &self.message, &key).is_ok())
    }
}

/// With keys that are new, and once more with what was kept of them. Each alone is what libsecp256k1 says it is, too.
fn are_genuine(lanes: &Lanes, made: &[Made]) -> bool {
    let keys: Vec<Key> = made.iter().map(|made| Key::new(made.key)).collect();
    let signed = |(made, key): (&Made, _)| Signed { key, message: made.message, signature: made.signature };
    let signed: Vec<Signed<'_>> = made.iter().zip(&keys).map(signed).collect();
    // What is kept of a key is the same whichever of the two found it out.
    signed.iter().step_by(2).for_each(|signed| _ = lanes.is_genuine(signed));
    let said = lanes.are_genuine(&signed);
    assert_eq!(lanes.are_genuine(&signed), said);
    for (made, signed) in made.iter().zip(&signed) {
        let new = Signed { key: &Key::new(made.key), ..*signed };
        assert_eq!([&new, signed, signed].map(|signed| lanes.is_genuine(signed)), [made.is_genuine(); 3]);
    }
    said
}

#[test]
fn any_number_of_them_are_genuine() {
    let Some(lanes) = lanes() else { return };
    let made: Vec<Made> = (0..100).map(Made::numbered).collect();
    for length in 1..=made.len() {
        assert!(are_genuine(&lanes, &made[..length]), "{length}");
    }
}

#[test]
fn one_key_may_sign_all_and_one_signature_may_come_twice() {
    let Some(lanes) = lanes() else { return };
    let by_one: Vec<Made> = (0..20).map(|number| Made::sign([7; 32], [number; 32])).collect();
    assert!(are_genuine(&lanes, &by_one));
    assert!(are_genuine(&lanes, &[Made::numbered(3); 20]));
    let key = Key::new(by_one[0].key);
    let signed = |made: &Made| Signed { key: &key, message: made.message, signature: made.signature };
    let shared: Vec<Signed<'_>> = by_one.iter().map(signed).collect();
    assert!(lanes.are_genuine(&shared));
}

#[test]
fn one_that_is_not_genuine_is_noticed_at_every_place() {
    let Some(lanes) = lanes() else { return };
    let other = Made::numbered(200);
    type Spoil = fn(&mut Made, &Made);
    let flaws: [(&str, Spoil); 11] = [
        ("another message", |made, _| made.message[31] ^= 1),
        ("a bit of the nonce", |made, _| made.signature[20] ^= 1),
        ("a bit of s", |made, _| made.signature[63] ^= 1),
        ("another's key", |made, other| made.key = other.key),
        ("another's signature", |made, other| made.signature = other.signature),
        ("another's nonce", |made, other| made.signature[..32].copy_from_slice(&other.signature[..32])),
        ("another's s", |made, other| made.signature[32..].copy_from_slice(&other.signature[32..])),
        ("a nonce that is no number", |made, _| made.signature[..32].fill(0xff)),
        ("an s that is out of range", |made, _| made.signature[32..].fill(0xff)),
        ("no s", |made, _| made.signature[32..].fill(0)),
        ("no key", |made, _| made.key.fill(0xff)),
    ];
    let genuine: Vec<Made> = (0..19).map(Made::numbered).collect();
    for (flaw, spoil) in flaws {
        for at in 0..genuine.len() {
            let mut made = genuine.clone();
            spoil(&mut made[at], &other);
            assert!(!made[at].is_genuine(), "{flaw}");
            assert!(!are_genuine(&lanes, &made), "{flaw}, at {at}");
        }
    }
}

/// Each would be let through if the random factors were all the same, or if those of one signature were.
#[test]
fn flaws_do_not_make_up_for_each_other() {
    let Some(lanes) = lanes() else { return };
    let (a, b) = (Made::numbered(1), Made::numbered(2));
    let with_s = |made: Made, of: &Made| {
        let mut signature = made.signature;
        signature[32..].copy_from_slice(&of.signature[32..]);
        Made { signature, ..made }
    };
    for made in [[with_s(a, &b), with_s(b, &a)], [with_s(b, &a), with_s(a, &b)]] {
        assert!(!are_genuine(&lanes, &made));
    }
    let one_more = secp256k1::Scalar::ONE;
    let one_less = secp256k1::Scalar::from_be_bytes({
        let order_less_one = secp256k1::constants::CURVE_ORDER;
        let mut bytes = order_less_one;
        bytes[31] -= 1;
        bytes
    })
    .unwrap();
    let shifted = |made: &Made, by: &secp256k1::Scalar| {
        let s = SecretKey::from_byte_array(made.signature[32..].try_into().unwrap()).unwrap().add_tweak(by).unwrap();
        let mut signature = made.signature;
        signature[32..].copy_from_slice(&s.secret_bytes());
        Made { signature, ..*made }
    };
    for by_one in [[a, b], [a, Made::sign([2; 32], [9; 32])]] {
        let made = [shifted(&by_one[0], &one_more), shifted(&by_one[1], &one_less)];
        assert!(!are_genuine(&lanes, &made), "what one has too much the other lacks");
    }
}

/// By the book but for the signs (BIP-340, "Default Signing"): if R or the key is of odd y, its number was not negated.
fn sign_without_negating(secret: u8, nonce: u8) -> (Made, [bool; 2]) {
    let secp = Secp256k1::new();
    let [secret, nonce] = [secret, nonce].map(|byte| SecretKey::from_byte_array([byte; 32]).expect("a number"));
    let [(key, key_parity), (r, r_parity)] = [secret, nonce].map(|number| number.x_only_public_key(&secp));
    let message = [7; 32];
    let tag = Sha256::digest("BIP0340/challenge");
    let challenge = [&tag[..], &tag, &r.serialize(), &key.serialize(), &message].concat();
    let e = SecretKey::from_byte_array(Sha256::digest(challenge).into()).expect("a number");
    let s = e.mul_tweak(&Scalar::from(secret)).and_then(|e_d| e_d.add_tweak(&Scalar::from(nonce))).expect("not zero");
    let signature = *[r.serialize(), s.secret_bytes()].as_flattened().first_chunk().expect("64 bytes");
    (Made { key: key.serialize(), message, signature }, [key_parity, r_parity].map(|parity| parity == Parity::Odd))
}

#[test]
fn a_nonce_or_a_key_of_odd_y_is_not_taken_for_the_even_one() {
    let Some(lanes) = lanes() else { return };
    let mut seen = HashSet::new();
    for (secret, nonce) in (1..12).flat_map(|secret| (20..32).map(move |nonce| (secret, nonce))) {
        let (made, odd) = sign_without_negating(secret, nonce);
        assert_eq!(made.is_genuine(), odd == [false; 2]);
        assert_eq!(are_genuine(&lanes, &[made]), odd == [false; 2], "{odd:?}");
        seen.insert(odd);
    }
    assert_eq!(seen.len(), 4);
}

#[test]
fn numbers_just_out_of_range_are_refused() {
    let Some(lanes) = lanes() else { return };
    let genuine = Made::numbered(1);
    let mut p = [0xff; 32];
    p[27..].copy_from_slice(&[0xfe, 0xff, 0xff, 0xfc, 0x2f]);
    let with = |at: usize, bytes: [u8; 32]| {
        let mut made = genuine;
        made.signature[at..at + 32].copy_from_slice(&bytes);
        made
    };
    for made in [with(0, p), with(32, CURVE_ORDER), Made { key: p, ..genuine }] {
        assert!(!made.is_genuine() && !are_genuine(&lanes, &[made]));
    }
}

#[test]
fn nothing_is_not_taken_for_genuine() {
    let Some(lanes) = lanes() else { return };
    assert!(!lanes.are_genuine(&[]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn it_says_what_libsecp256k1_says(
        seeds in prop::collection::vec((1..255_u8, any::<[u8; 32]>()), 1..40),
        spoilt in prop::option::weighted(0.7, (any::<prop::sample::Index>(), 0..128_usize, 0..8_u32)),
    ) {
        let Some(lanes) = lanes() else { return Ok(()) };
        let mut made: Vec<Made> = seeds.into_iter().map(|(key, message)| Made::sign([key; 32], message)).collect();
        if let Some((at, byte, bit)) = spoilt {
            let at = at.index(made.len());
            let Made { key, message, signature } = &mut made[at];
            let bytes = key.iter_mut().chain(message).chain(signature);
            *bytes.into_iter().nth(byte).unwrap() ^= 1 << bit;
        }
        prop_assert_eq!(are_genuine(&lanes, &made), made.iter().all(Made::is_genuine));
    }
}
