//! A number as two of half its length.
//!
//! The curve has a map by which (x, y) is turned into (β·x, y), and that is λ times the point (Gallant, Lambert and Vanstone, "Faster Point
//! Multiplication on Elliptic Curves with Efficient Endomorphisms", CRYPTO 2001). So `k` times a point is `a` times the point and `b` times
//! the turned one, for all `a` and `b` with `a + b·λ = k` modulo n. Two short pairs come to zero, (A1, -MINUS_B1) and (2^128 + A2, A1);
//! taking from (k, 0) as many of each as go into it leaves two short numbers.

const A1: u128 = 0x3086_d221_a7d4_6bcd_e86c_90e4_9284_eb15;
const MINUS_B1: u128 = 0xe443_7ed6_010e_8828_6f54_7fa9_0abf_e4c3;
const A2: u128 = 0x14ca_50f7_a8e2_f3f6_57c1_108d_9d44_cfd8;

/// A number between -2^130 and 2^130.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Half {
    pub(crate) is_negative: bool,
    pub(crate) magnitude: Wide,
}

/// Its upper and its lower 128 bits.
pub(crate) type Wide = (u128, u128);

impl Half {
    pub(crate) fn of(number: u128) -> Self {
        Self { is_negative: false, magnitude: (0, number) }
    }

    fn of_wide(number: Wide) -> Self {
        let is_negative = number.0 >> 127 == 1;
        Self { is_negative, magnitude: if is_negative { minus((0, 0), number) } else { number } }
    }

    /// So many times the opposite.
    pub(crate) fn negated(self) -> Self {
        Self { is_negative: !self.is_negative, ..self }
    }

    /// Four bits of the magnitude, from the lowest.
    pub(crate) fn nibble(self, at: usize) -> u8 {
        let (high, low) = self.magnitude;
        (if at < 32 { low >> (4 * at) } else { high >> (4 * (at - 32)) }) as u8 & 15
    }
}

/// `a` and `b`. The number may be n or more.
pub(crate) fn halves(big_endian: &[u8; 32]) -> [Half; 2] {
    let [high, low] = [0, 16].map(|at| big_endian[at..].first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes)));
    // How often each pair goes into it, as 2^256 is nearly n: less than four too few, which makes the halves two bits longer.
    let (first, second) = (times(high, A1).0, times(high, MINUS_B1).0);
    let a = minus(minus(minus((high, low), times(first, A1)), times(second, A2)), (second, 0));
    let b = minus(times(first, MINUS_B1), times(second, A1));
    [a, b].map(Half::of_wide)
}

fn times(a: u128, b: u128) -> Wide {
    const LOW: u128 = u64::MAX as u128;
    let ((a1, a0), (b1, b0)) = ((a >> 64, a & LOW), (b >> 64, b & LOW));
    let lowest = a0 * b0;
    let middle = a1 * b0 + (lowest >> 64);
    let other = a0 * b1 + (middle & LOW);
    (a1 * b1 + (middle >> 64) + (other >> 64), other << 64 | lowest & LOW)
}

/// Modulo 2^256, where what is below zero is in the upper half.
fn minus(a: Wide, b: Wide) -> Wide {
    let (low, borrow) = a.1.overflowing_sub(b.1);
    (a.0.wrapping_sub(b.0).wrapping_sub(borrow.into()), low)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secp256k1::constants::CURVE_ORDER;
    use secp256k1::{Scalar, SecretKey};

    use super::*;

    const LAMBDA: [u8; 32] = [
        0x53, 0x63, 0xad, 0x4c, 0xc0, 0x5c, 0x30, 0xe0, 0xa5, 0x26, 0x1c, 0x02, 0x88, 0x12, 0x64, 0x5a, 0x12, 0x2e,
        0x22, 0xea, 0x20, 0x81, 0x66, 0x78, 0xdf, 0x02, 0x96, 0x7c, 0x1b, 0x23, 0xbd, 0x72,
    ];

    /// `None` of zero.
    fn modulo_n(half: Half) -> Option<SecretKey> {
        let (high, low) = half.magnitude;
        assert!(high < 4, "below 2^130");
        let bytes: Vec<u8> = [high, low].into_iter().flat_map(u128::to_be_bytes).collect();
        let number = SecretKey::from_byte_array(*bytes.first_chunk().unwrap()).ok()?;
        Some(if half.is_negative { number.negate() } else { number })
    }

    /// What the halves come to; `None` is zero.
    fn again(bytes: [u8; 32]) -> Option<SecretKey> {
        let [a, b] = halves(&bytes).map(modulo_n);
        let b = b.map(|b| b.mul_tweak(&Scalar::from_be_bytes(LAMBDA).unwrap()).unwrap());
        match (a, b) {
            (Some(a), Some(b)) => a.add_tweak(&Scalar::from(b)).ok(),
            (a, b) => a.or(b),
        }
    }

    fn check(bytes: [u8; 32]) {
        assert_eq!(again(bytes), SecretKey::from_byte_array(bytes).ok());
    }

    #[test]
    fn halves_of_the_ends_of_the_range_come_to_the_number() {
        for byte in [0x00, 0x01, 0x7f, 0x80] {
            check([byte; 32]);
            for at in 0..32 {
                let mut bytes = [0; 32];
                bytes[at] = byte;
                check(bytes);
            }
        }
        let [mut one_less, mut two_less] = [CURVE_ORDER; 2];
        one_less[31] -= 1;
        two_less[31] -= 2;
        // Of this one the second pair is taken more than three times too few.
        let furthest = 0xffff_fffd_6b8a_aac9_0a9c_d5c3_e644_63e1_u128;
        let furthest = *[furthest, u128::MAX].map(u128::to_be_bytes).as_flattened().first_chunk().unwrap();
        [LAMBDA, one_less, two_less, furthest].into_iter().for_each(check);
    }

    #[test]
    fn of_more_than_there_are_they_come_to_what_is_above() {
        assert_eq!(again(CURVE_ORDER), None, "zero");
        let mut one_more = CURVE_ORDER;
        one_more[31] += 1;
        for bytes in [one_more, [0xff; 32]] {
            let above = minus(of_bytes(bytes), of_bytes(CURVE_ORDER));
            assert_eq!(of_bytes(again(bytes).unwrap().secret_bytes()), above);
        }
    }

    fn of_bytes(bytes: [u8; 32]) -> Wide {
        let [high, low] = [0, 16].map(|at| u128::from_be_bytes(*bytes[at..].first_chunk().unwrap()));
        (high, low)
    }

    proptest! {
        #[test]
        fn halves_come_to_the_number(bytes: [u8; 32]) {
            prop_assume!(SecretKey::from_byte_array(bytes).is_ok());
            check(bytes);
        }
    }
}
