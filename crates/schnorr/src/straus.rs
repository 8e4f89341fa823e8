//! The sum of many points, each times a number of 128 bits (Straus's method): for all of them together the sum so far is doubled four
//! times, then each adds the multiple that the next four bits of its number ask for.

use std::array;

use crate::point::{IDENTITY, Points, Table, double, load, sum};

/// 32 hexadecimal digits, the lowest first, and what an upper half carries out of them. From -7 to 8, so that a table of the multiples up to 8
/// does.
pub(crate) type Digits = [i8; 33];

pub(crate) struct Term<'a> {
    pub(crate) multiples: &'a Table,
    pub(crate) times: Digits,
}

/// The digits of the lower and of the upper half of a number.
pub(crate) fn split(big_endian: &[u8; 32]) -> [Digits; 2] {
    let mut halves = [[0; 33]; 2];
    let mut carry = 0;
    for at in 0..64 {
        let byte = big_endian[31 - at / 2];
        let digit = (byte >> (4 * (at % 2)) & 15).cast_signed() + carry;
        carry = i8::from(digit > 8);
        halves[at / 32][at % 32] = digit - 16 * carry;
    }
    halves[1][32] = carry;
    halves
}

/// The digits of a number of 128 bits.
pub(crate) fn digits(big_endian: &[u8; 16]) -> Digits {
    let mut wide = [0; 32];
    wide[16..].copy_from_slice(big_endian);
    let [mut digits, [carry, ..]] = split(&wide);
    digits[32] = carry;
    digits
}

/// The sums that the lanes come to, which together are the sum of all terms.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn sums(terms: &[Term<'_>]) -> Points {
    // Zero, so the first digits need no doubling.
    let mut so_far = load([&IDENTITY; 8], 0);
    for at in (0..33).rev() {
        if at < 32 {
            for _ in 0..4 {
                so_far = double(&so_far);
            }
        }
        for terms in terms.chunks(8) {
            let digit = |lane: usize| terms.get(lane).map_or(0, |term| term.times[at]);
            let digits: [i8; 8] = array::from_fn(digit);
            if digits == [0; 8] {
                continue;
            }
            let negative = (0..8).fold(0, |bits, lane| bits | u8::from(digits[lane] < 0) << lane);
            let multiple = |lane: usize| {
                terms.get(lane).map_or(&IDENTITY, |term| &term.multiples[usize::from(digits[lane].unsigned_abs())])
            };
            so_far = sum(&so_far, &load(array::from_fn(multiple), negative));
        }
    }
    so_far
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The number again: its upper and its lower half, each with what is beyond 128 bits.
    fn value(digits: Digits) -> (i128, i128) {
        assert!(digits.iter().all(|digit| (-7..=8).contains(digit)));
        let sum = |digits: &[i8]| digits.iter().rev().fold(0, |sum, digit| 16 * sum + i128::from(*digit));
        (sum(&digits[16..]), sum(&digits[..16]))
    }

    fn half(big_endian: &[u8]) -> (i128, i128) {
        let [upper, lower] =
            [0, 8].map(|at| i128::from(u64::from_be_bytes(big_endian[at..at + 8].try_into().unwrap())));
        (upper, lower)
    }

    fn normal((upper, lower): (i128, i128)) -> (i128, i128) {
        (upper + lower.div_euclid(1 << 64), lower.rem_euclid(1 << 64))
    }

    fn check(bytes: [u8; 32]) {
        let [lower, upper] = split(&bytes);
        assert_eq!(lower[32], 0, "what is carried out of it is in the upper half");
        // Either what the half is, or that less 2^128, made up for in the upper half.
        let (found, whole) = (normal(value(lower)), half(&bytes[16..]));
        let carried = i128::from(found != whole);
        assert_eq!((found.0 + (carried << 64), found.1), whole);
        let (above, below) = normal(value(upper));
        let (expected_above, expected_below) = half(&bytes[..16]);
        assert_eq!((above, below), normal((expected_above, expected_below + carried)));
        let alone = digits(bytes[16..].first_chunk().unwrap());
        assert_eq!(normal(value(alone)), whole);
    }

    #[test]
    fn digits_at_the_ends_of_their_range_are_those_of_the_number() {
        for byte in [0x00, 0x01, 0x07, 0x08, 0x09, 0x0f, 0x78, 0x80, 0x88, 0x89, 0x98, 0x99, 0xf0, 0xff] {
            check([byte; 32]);
            let mut one = [0; 32];
            one[16] = byte;
            check(one);
        }
    }

    proptest! {
        #[test]
        fn digits_are_those_of_the_number(bytes: [u8; 32]) {
            check(bytes);
        }
    }
}
