//! Many signatures at once, and one by one: each of so many by different keys. At once needs AVX-512 IFMA.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::ItemsCount;
use secp256k1::{Keypair, Secp256k1, SecretKey, XOnlyPublicKey, schnorr};
use towpath_schnorr::{Key, Lanes, Signed};

fn main() {
    divan::main();
}

struct Made {
    key: Key,
    point: XOnlyPublicKey,
    message: [u8; 32],
    signature: [u8; 64],
}

fn sign(secret: u8, number: u8) -> Made {
    let secp = Secp256k1::new();
    let secret = SecretKey::from_byte_array([secret; 32]).expect("a key");
    let (pair, message) = (Keypair::from_secret_key(&secp, &secret), [number; 32]);
    let point = pair.x_only_public_key().0;
    let signature = secp.sign_schnorr_no_aux_rand(&message, &pair).to_byte_array();
    Made { key: Key::new(point.serialize()), point, message, signature }
}

fn made(count: u8) -> Vec<Made> {
    (0..count).map(|number| sign(number + 1, number)).collect()
}

fn signed(made: &[Made]) -> Vec<Signed<'_>> {
    made.iter().map(|made| Signed { key: &made.key, message: made.message, signature: made.signature }).collect()
}

#[divan::bench(args = [1, 2, 4, 8, 16, 32, 64])]
fn at_once(bencher: Bencher<'_, '_>, count: u8) {
    let (made, lanes) = (made(count), Lanes::detect().expect("a processor with AVX-512 IFMA"));
    let signed = signed(&made);
    bencher.counter(ItemsCount::new(count)).bench_local(|| assert!(lanes.are_genuine(black_box(&signed))));
}

/// By keys that were never used before.
#[divan::bench(args = [1, 2, 4, 8, 16, 32, 64])]
fn at_once_by_new_keys(bencher: Bencher<'_, '_>, count: u8) {
    let lanes = Lanes::detect().expect("a processor with AVX-512 IFMA");
    bencher
        .counter(ItemsCount::new(count))
        .with_inputs(|| made(count))
        .bench_local_refs(|made| assert!(lanes.are_genuine(&signed(made))));
}

/// As of a client's burst.
#[divan::bench(args = [2, 8, 32])]
fn at_once_by_one_key(bencher: Bencher<'_, '_>, count: u8) {
    let lanes = Lanes::detect().expect("a processor with AVX-512 IFMA");
    let by_one: Vec<Made> = (0..count).map(|number| sign(1, number)).collect();
    let signed = signed(&by_one);
    bencher.counter(ItemsCount::new(count)).bench_local(|| assert!(lanes.are_genuine(black_box(&signed))));
}

#[divan::bench]
fn alone(bencher: Bencher<'_, '_>) {
    let (made, lanes) = (made(1), Lanes::detect().expect("a processor with AVX-512 IFMA"));
    let signed = signed(&made);
    bencher.bench_local(|| assert!(lanes.is_genuine(black_box(&signed[0]))));
}

#[divan::bench]
fn alone_by_new_keys(bencher: Bencher<'_, '_>) {
    let lanes = Lanes::detect().expect("a processor with AVX-512 IFMA");
    bencher.with_inputs(|| made(1)).bench_local_refs(|made| assert!(lanes.is_genuine(&signed(made)[0])));
}

#[divan::bench]
fn one_by_one(bencher: Bencher<'_, '_>) {
    let (made, secp) = (made(1), Secp256k1::verification_only());
    let signature = schnorr::Signature::from_byte_array(made[0].signature);
    bencher.bench_local(|| secp.verify_schnorr(black_box(&signature), &made[0].message, &made[0].point));
}
