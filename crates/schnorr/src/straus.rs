//! The sum of many points, each times a number (Straus's method): for all of them together the sum so far is doubled four times, then each
//! adds the multiple that the next four bits of its number ask for.

use std::array;

use crate::halves::Half;
use crate::point::{IDENTITY, Points, Table, doubled, load, sum};

/// Hexadecimal digits, the lowest first, from -8 to 8, so that a table of the multiples up to 8 does.
pub(crate) type Digits = [i8; 33];

pub(crate) struct Term<'a, const N: usize> {
    pub(crate) multiples: &'a Table,
    pub(crate) times: [i8; N],
}

pub(crate) fn digits(of: Half) -> Digits {
    let mut carry = 0;
    let digits = array::from_fn(|at| {
        let digit = of.nibble(at).cast_signed() + carry;
        carry = i8::from(digit > 8);
        let digit = digit - 16 * carry;
        if of.is_negative { -digit } else { digit }
    });
    debug_assert_eq!(carry, 0, "{of:?}");
    digits
}

/// Those of what is below 2^64, and of so many times 2^64.
pub(crate) fn parted(digits: &Digits) -> [[i8; 17]; 2] {
    [array::from_fn(|at| if at < 16 { digits[at] } else { 0 }), array::from_fn(|at| digits[16 + at])]
}

/// The sums that the lanes come to, which together are the sum of all terms.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn sums<const N: usize>(terms: &[Term<'_, N>]) -> Points {
    let mut so_far = load([&IDENTITY; 8], 0);
    for at in (0..N).rev() {
        // Zero need not be doubled.
        if at + 1 < N {
            so_far = doubled(&so_far, 4);
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
            so_far = sum::<N>(&so_far, &load(array::from_fn(multiple), negative));
        }
    }
    so_far
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::halves::halves;

    /// The digits' number: its upper bits, and 64 lower ones.
    fn value(digits: &[i8]) -> (i128, i128) {
        let sum = |digits: &[i8]| digits.iter().rev().fold(0, |sum, digit| 16 * sum + i128::from(*digit));
        let (lower, upper) = (sum(&digits[..16]), sum(&digits[16..]));
        (upper + lower.div_euclid(1 << 64), lower.rem_euclid(1 << 64))
    }

    fn check(bytes: [u8; 32]) {
        for half in halves(&bytes).into_iter().chain(halves(&bytes).map(Half::negated)) {
            let digits = digits(half);
            assert!(digits.iter().all(|digit| (-8..=8).contains(digit)));
            let (high, low) = half.magnitude;
            let (upper, lower) = ((high << 64 | low >> 64).cast_signed(), i128::from(low as u64));
            let (upper, lower) =
                if half.is_negative { (-upper - i128::from(lower > 0), -lower) } else { (upper, lower) };
            assert_eq!(value(&digits), (upper, lower.rem_euclid(1 << 64)));
            let [below, above] = parted(&digits);
            assert_eq!(value(&[&below[..16], &above].concat()), value(&digits));
            assert_eq!(below[16], 0);
        }
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
