//! The way in: from code for any processor to code for one that has what it takes.

use crate::{Key, Signed, alone, equation};

/// The x of the curve's generator, whose y is even, as that of a key is (SEC 2, section 2.4.1).
const GENERATOR: [u8; 32] = [
    0x79, 0xbe, 0x66, 0x7e, 0xf9, 0xdc, 0xbb, 0xac, 0x55, 0xa0, 0x62, 0x95, 0xce, 0x87, 0x0b, 0x07, 0x02, 0x9b, 0xfc,
    0xdb, 0x2d, 0xce, 0x28, 0xd9, 0x59, 0xf2, 0x81, 0x5b, 0x16, 0xf8, 0x17, 0x98,
];

/// Checks signatures, eight numbers at a time. Made only where the instructions are, so whoever has one may use them.
#[derive(Debug)]
pub struct Lanes {
    generator: Key,
}

impl Lanes {
    /// `None` if the processor cannot: then signatures are checked one by one.
    pub fn detect() -> Option<Self> {
        let able = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma");
        able.then(|| Self { generator: Key::new(GENERATOR) })
    }

    /// True if every signature is its key's over its message, but for a chance of 2^-128. False if one is not, if there is none, or if one
    /// cannot be dealt with here, as a number of it is out of range: each must be looked at alone then, and the time spent here is lost.
    ///
    /// Each of 32 takes a sixth of a check by libsecp256k1, each of two a half; by keys that are new a quarter, and two thirds.
    pub fn are_genuine(&self, signed: &[Signed<'_>]) -> bool {
        #[expect(unsafe_code, reason = "the compiler does not know which processor this is")]
        // SAFETY: `detect` found the instructions here, or there would be no `self`.
        unsafe {
            equation::holds(&self.generator, signed)
        }
    }

    /// True if the signature is its key's over its message. False if it is not, or cannot be dealt with here.
    ///
    /// Takes three fifths of the time that libsecp256k1 does, seven tenths if the key is new to both.
    pub fn is_genuine(&self, signed: &Signed<'_>) -> bool {
        #[expect(unsafe_code, reason = "the compiler does not know which processor this is")]
        // SAFETY: as above.
        unsafe {
            alone::holds(&self.generator, signed)
        }
    }
}
