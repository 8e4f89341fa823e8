//! A number modulo p = 2^256 - 2^32 - 977 on its own, as five limbs of 52 bits, the lowest first.

pub(crate) type Limbs = [u64; 5];

/// Of a limb.
pub(crate) const MASK: u64 = (1 << 52) - 1;
/// Of the highest limb of a number below 2^256.
pub(crate) const TOP_MASK: u64 = (1 << 48) - 1;
/// What 2^256 is modulo p.
pub(crate) const FOLD: u64 = 0x1_0000_03d1;
pub(crate) const P: Limbs = [MASK + 1 - FOLD, MASK, MASK, MASK, TOP_MASK];

pub(crate) const ZERO: Limbs = [0; 5];
pub(crate) const ONE: Limbs = [1, 0, 0, 0, 0];

/// `None` if it is not below p.
pub(crate) fn from_bytes(big_endian: &[u8; 32]) -> Option<Limbs> {
    let (words, _) = big_endian.as_chunks::<8>();
    let [w3, w2, w1, w0] = [0, 1, 2, 3].map(|at: usize| u64::from_be_bytes(words[at]));
    let limbs = [w0, w0 >> 52 | w1 << 12, w1 >> 40 | w2 << 24, w2 >> 28 | w3 << 36, w3 >> 16].map(|limb| limb & MASK);
    (canonical(limbs) == limbs).then_some(limbs)
}

/// The same number below p. Every limb may have 52 bits.
pub(crate) fn canonical(mut limbs: Limbs) -> Limbs {
    // The first round leaves less than 2^256 + 2^37, the second less than 2^256.
    for _ in 0..2 {
        let over = limbs[4] >> 48;
        limbs[4] &= TOP_MASK;
        limbs = carried(limbs.map(i128::from), i128::from(over) * i128::from(FOLD));
    }
    let is_below = limbs.iter().rev().lt(P.iter().rev());
    if is_below { limbs } else { [limbs[0] - P[0], 0, 0, 0, 0] }
}

/// Of a number below p.
pub(crate) fn negated(limbs: Limbs) -> Limbs {
    canonical(carried(std::array::from_fn(|i| i128::from(P[i]) - i128::from(limbs[i])), 0))
}

/// Brings limbs into 52 bits; `carry` is added to the lowest.
pub(crate) fn carried(limbs: [i128; 5], mut carry: i128) -> Limbs {
    limbs.map(|limb| {
        carry += limb;
        let kept = carry as u64 & MASK;
        carry >>= 52;
        kept
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(limbs: Limbs) -> [u8; 32] {
        let bit = |at: usize| limbs[at / 52] >> (at % 52) & 1;
        std::array::from_fn(|byte| (0..8).fold(0, |bits, at| bits | (bit(8 * (31 - byte) + at) as u8) << at))
    }

    #[test]
    fn numbers_from_p_on_are_not_taken() {
        let up_to = [ZERO, ONE, [MASK; 5].map(|limb| limb >> 4), [P[0] - 1, MASK, MASK, MASK, TOP_MASK]];
        for limbs in up_to {
            assert_eq!(from_bytes(&bytes_of(limbs)), Some(limbs), "{limbs:?}");
        }
        for limbs in [P, [P[0] + 1, MASK, MASK, MASK, TOP_MASK], [MASK, MASK, MASK, MASK, TOP_MASK]] {
            assert_eq!(from_bytes(&bytes_of(limbs)), None, "{limbs:?}");
        }
    }

    #[test]
    fn multiples_of_p_are_zero_and_what_is_around_them_is_not() {
        let shifted = |by: i128, times: u64| carried(P.map(|limb| i128::from(limb) * i128::from(times)), by);
        let less_one = [P[0] - 1, MASK, MASK, MASK, TOP_MASK];
        for times in 1..16 {
            assert_eq!([-1, 0, 1].map(|by| canonical(shifted(by, times))), [less_one, ZERO, ONE], "{times}");
        }
        assert_eq!(canonical([MASK; 5]), [(FOLD << 4) - 1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_number_and_its_negative_come_to_p() {
        assert_eq!(negated(ZERO), ZERO);
        assert_eq!(negated(ONE), [P[0] - 1, MASK, MASK, MASK, TOP_MASK]);
        assert_eq!(negated(negated([1, 2, 3, 4, 5])), [1, 2, 3, 4, 5]);
    }
}
