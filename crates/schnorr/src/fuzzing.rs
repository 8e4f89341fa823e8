//! What the fuzz target runs: whatever the bytes, a signature is genuine if libsecp256k1 says so, and many if it says so of each.

use secp256k1::{Keypair, Secp256k1, SecretKey, XOnlyPublicKey, schnorr};
use sha2::{Digest, Sha256};

use crate::{Key, Lanes, Signed};

/// What says how a signature is made, and the bytes of key, message and signature.
const BYTES: usize = 1 + 32 + 32 + 64;

struct Made {
    key: [u8; 32],
    message: [u8; 32],
    signature: [u8; 64],
}

impl Made {
    /// As the bytes are; or signed over them; or that with one bit changed.
    fn of(bytes: &[u8; BYTES]) -> Option<Self> {
        let (how, rest) = bytes.split_first()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (message, rest) = rest.split_first_chunk()?;
        let mut made = Self { key: *key, message: *message, signature: *rest.first_chunk()? };
        if how % 4 > 0 {
            let secp = Secp256k1::new();
            // Few, so that keys come again.
            let secret = SecretKey::from_byte_array(Sha256::digest([key[0] % 8]).into()).ok()?;
            let pair = Keypair::from_secret_key(&secp, &secret);
            made.key = pair.x_only_public_key().0.serialize();
            made.signature = secp.sign_schnorr_no_aux_rand(message, &pair).to_byte_array();
        }
        if how % 4 == 3 {
            let bit = usize::from(u16::from_be_bytes([rest[0], rest[1]])) % (8 * 128);
            let mut all = made.key.iter_mut().chain(&mut made.message).chain(&mut made.signature);
            *all.nth(bit / 8)? ^= 1 << (bit % 8);
        }
        Some(made)
    }

    fn is_genuine(&self) -> bool {
        let signature = schnorr::Signature::from_byte_array(self.signature);
        let key = XOnlyPublicKey::from_byte_array(self.key);
        key.is_ok_and(|key| Secp256k1::verification_only().verify_schnorr(&signature, &self.message, &key).is_ok())
    }
}

/// Up to 100 signatures, twice with the same keys.
pub fn signatures(data: &[u8]) {
    let Some(lanes) = Lanes::detect() else { return };
    let made: Vec<Made> = data.as_chunks().0.iter().take(100).filter_map(Made::of).collect();
    let keys: Vec<Key> = made.iter().map(|made| Key::new(made.key)).collect();
    let signed = |(made, key): (&Made, _)| Signed { key, message: made.message, signature: made.signature };
    let signed: Vec<Signed<'_>> = made.iter().zip(&keys).map(signed).collect();
    let each: Vec<bool> = made.iter().map(Made::is_genuine).collect();
    let all = !each.is_empty() && each.iter().all(|is_genuine| *is_genuine);
    for _ in 0..2 {
        assert_eq!(lanes.are_genuine(&signed), all);
        assert!(signed.iter().map(|signed| lanes.is_genuine(signed)).eq(each.iter().copied()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_bytes(mut data in prop::collection::vec(any::<u8>(), 0..BYTES * 12), how in prop::option::of(1..3_u8)) {
            // Of bytes alone one in four is as it comes, which is never genuine.
            for (of, first) in how.into_iter().flat_map(|how| (0..).map(move |at| (how, at * BYTES)).take(12)) {
                data.get_mut(first).into_iter().for_each(|byte| *byte = of);
            }
            signatures(&data);
        }
    }
}
