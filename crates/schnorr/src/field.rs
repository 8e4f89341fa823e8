//! Eight numbers modulo p = 2^256 - 2^32 - 977 at a time, one in each lane.
//!
//! Five limbs of 52 bits each, because that is what the multiplication takes: of a limb with more bits it would silently use the lower
//! 52. So every function takes and leaves limbs below 2^52, and there is room for numbers up to 2^260. How large they can be is kept in
//! mind as their *weight*: a number of weight w is below w·(2^256 + 2^216). No weight may come to more than 15, nor the weights of two
//! factors multiply to more than 225, or both products of `a·b + c·d` together. The formulas of points come to 8, and to 20.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_mask_blend_epi64,
    _mm512_set_epi64, _mm512_set1_epi64, _mm512_slli_epi64, _mm512_srli_epi64, _mm512_sub_epi64,
};
use std::array;

use crate::limbs::{FOLD, Limbs, MASK, P, TOP_MASK};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Field([__m512i; 5]);

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn splat(x: u64) -> __m512i {
    _mm512_set1_epi64(x.cast_signed())
}

/// The same small number in every lane; weight 1, or 0 if it is 0.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(crate) fn small(x: u32) -> Field {
    Field([splat(x.into()), splat(0), splat(0), splat(0), splat(0)])
}

/// One number a lane.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(crate) fn lanes(numbers: [&Limbs; 8]) -> Field {
    let [a, b, c, d, e, f, g, h] = numbers;
    Field(array::from_fn(|i| {
        let [a, b, c, d, e, f, g, h] = [a[i], b[i], c[i], d[i], e[i], f[i], g[i], h[i]].map(u64::cast_signed);
        _mm512_set_epi64(h, g, f, e, d, c, b, a)
    }))
}

/// The numbers of the lanes.
pub(crate) fn numbers(x: Field) -> [Limbs; 8] {
    let limbs: [[u64; 8]; 5] = x.0.map(bytemuck::must_cast);
    array::from_fn(|lane| limbs.map(|limb| limb[lane]))
}

/// `b` in the lanes whose bit is set, `a` in the others.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(crate) fn choose(lanes: u8, a: Field, b: Field) -> Field {
    Field(array::from_fn(|i| _mm512_mask_blend_epi64(lanes, a.0[i], b.0[i])))
}

/// Weights add up.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(crate) fn add(a: Field, b: Field) -> Field {
    carry(array::from_fn(|i| _mm512_add_epi64(a.0[i], b.0[i])))
}

/// `a - b`, as `a + W·p - b`, where `W` is more than the weight of `b`. Adds `W` to the weight of `a`.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(crate) fn sub<const W: u64>(a: Field, b: Field) -> Field {
    const { assert!(W >= 2, "a limb of p itself can be less than one of `b`") };
    carry(array::from_fn(|i| _mm512_sub_epi64(_mm512_add_epi64(a.0[i], splat(W * P[i])), b.0[i])))
}

/// `-a`, as `W·p - a`, where `W` is more than the weight of `a`; weight `W`.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(crate) fn neg<const W: u64>(a: Field) -> Field {
    sub::<W>(small(0), a)
}

/// `a·2^N`, with so many times the weight.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(crate) fn shl<const N: u32>(a: Field) -> Field {
    carry(array::from_fn(|i| _mm512_slli_epi64::<N>(a.0[i])))
}

/// `3·a`, with three times the weight.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(crate) fn triple(a: Field) -> Field {
    carry(array::from_fn(|i| _mm512_add_epi64(a.0[i], _mm512_slli_epi64::<1>(a.0[i]))))
}

/// `21·a`, which is three times the curve's 7; weight 1.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(crate) fn times_21(a: Field) -> Field {
    let a: [_; 5] = array::from_fn(|i| {
        let five = _mm512_add_epi64(a.0[i], _mm512_slli_epi64::<2>(a.0[i]));
        _mm512_add_epi64(five, _mm512_slli_epi64::<4>(a.0[i]))
    });
    fold(a, splat(0))
}

/// Weight 1.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(crate) fn mul(a: Field, b: Field) -> Field {
    let mut columns = [splat(0); 10];
    accumulate(&mut columns, a, b);
    reduce(columns)
}

/// `a·b + c·d`; weight 1.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(crate) fn mul_add(a: Field, b: Field, c: Field, d: Field) -> Field {
    let mut columns = [splat(0); 10];
    accumulate(&mut columns, a, b);
    accumulate(&mut columns, c, d);
    reduce(columns)
}

/// `a·a`; weight 1.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(crate) fn sqr(a: Field) -> Field {
    let mut columns = [splat(0); 10];
    for i in 0..5 {
        for j in i + 1..5 {
            multiply(&mut columns, i + j, a.0[i], a.0[j]);
        }
    }
    let mut columns = columns.map(|column| _mm512_slli_epi64::<1>(column));
    for i in 0..5 {
        multiply(&mut columns, 2 * i, a.0[i], a.0[i]);
    }
    reduce(columns)
}

/// A root if there is one: a^((p + 1) / 4), whose exponent is 223 ones, a zero, 22 ones, 0000 11 00. Weight 1.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn sqrt(a: Field) -> Field {
    // a to so many ones.
    let ones_2 = mul(squares(a, 1), a);
    let ones_3 = mul(squares(ones_2, 1), a);
    let ones_6 = mul(squares(ones_3, 3), ones_3);
    let ones_9 = mul(squares(ones_6, 3), ones_3);
    let ones_11 = mul(squares(ones_9, 2), ones_2);
    let ones_22 = mul(squares(ones_11, 11), ones_11);
    let ones_44 = mul(squares(ones_22, 22), ones_22);
    let ones_88 = mul(squares(ones_44, 44), ones_44);
    let ones_176 = mul(squares(ones_88, 88), ones_88);
    let ones_220 = mul(squares(ones_176, 44), ones_44);
    let ones_223 = mul(squares(ones_220, 3), ones_3);
    let upper = mul(squares(ones_223, 23), ones_22);
    squares(mul(squares(upper, 6), ones_2), 2)
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn squares(mut a: Field, times: u32) -> Field {
    for _ in 0..times {
        a = sqr(a);
    }
    a
}

/// Adds the 25 products of limbs to the columns they belong in.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn accumulate(columns: &mut [__m512i; 10], a: Field, b: Field) {
    for i in 0..5 {
        for j in 0..5 {
            multiply(columns, i + j, a.0[i], b.0[j]);
        }
    }
}

/// One product of 104 bits: its lower half to column `at`, its upper half to the next.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn multiply(columns: &mut [__m512i; 10], at: usize, a: __m512i, b: __m512i) {
    columns[at] = _mm512_madd52lo_epu64(columns[at], a, b);
    columns[at + 1] = _mm512_madd52hi_epu64(columns[at + 1], a, b);
}

/// Columns of at most 18 halves of products each, of a sum below 2^520: what is above 2^260 is worth 16·FOLD, and goes to the lower five.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn reduce(mut columns: [__m512i; 10]) -> Field {
    for i in 5..9 {
        columns[i + 1] = _mm512_add_epi64(columns[i + 1], _mm512_srli_epi64::<52>(columns[i]));
        columns[i] = _mm512_and_si512(columns[i], splat(MASK));
    }
    let [c0, c1, c2, c3, c4, upper @ ..] = columns;
    let mut lower = [c0, c1, c2, c3, c4, splat(0), splat(0), splat(0), splat(0), splat(0)];
    for (i, limb) in upper.into_iter().enumerate() {
        multiply(&mut lower, i, limb, splat(FOLD << 4));
    }
    let [l0, l1, l2, l3, l4, above, ..] = lower;
    fold([l0, l1, l2, l3, l4], above)
}

/// Limbs below 2^58, and a sixth `above` them, below 2^37: what is above 2^256 is worth FOLD. Weight 1.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn fold(mut limbs: [__m512i; 5], above: __m512i) -> Field {
    let above = _mm512_add_epi64(_mm512_srli_epi64::<48>(limbs[4]), _mm512_slli_epi64::<4>(above));
    limbs[4] = _mm512_and_si512(limbs[4], splat(TOP_MASK));
    limbs[0] = _mm512_madd52lo_epu64(limbs[0], above, splat(FOLD));
    limbs[1] = _mm512_madd52hi_epu64(limbs[1], above, splat(FOLD));
    carry(limbs)
}

/// Brings the limbs but the highest into 52 bits.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn carry(mut limbs: [__m512i; 5]) -> Field {
    for i in 0..4 {
        limbs[i + 1] = _mm512_add_epi64(limbs[i + 1], _mm512_srli_epi64::<52>(limbs[i]));
        limbs[i] = _mm512_and_si512(limbs[i], splat(MASK));
    }
    let carried = Field(limbs);
    // Too heavy, or below zero.
    debug_assert!(numbers(carried).as_flattened().iter().all(|limb| *limb <= MASK), "{:?}", numbers(carried));
    carried
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limbs::{ONE, ZERO, canonical, carried};

    /// The hard ones: at the ends of the range, and limbs as full as they may be.
    fn edges() -> Vec<Limbs> {
        let near_p = [P[0] - 1, MASK, MASK, MASK, TOP_MASK];
        let full = [MASK, MASK, MASK, MASK, TOP_MASK];
        let [heavy, heaviest] = [13, 15].map(full_of_weight);
        let sparse = [0, MASK, 0, MASK, 0];
        vec![
            ZERO,
            ONE,
            P,
            near_p,
            full,
            heavy,
            heaviest,
            sparse,
            [FOLD, 0, 0, 0, 0],
            [0, 0, 0, 0, 1 << 47],
            [1, 2, 3, 4, 5],
        ]
    }

    /// The largest.
    fn full_of_weight(weight: u64) -> Limbs {
        [MASK, MASK, MASK, MASK, weight * ((1 << 48) + (1 << 8)) - 1]
    }

    fn plus(a: Limbs, b: Limbs) -> Limbs {
        canonical(carried(array::from_fn(|i| i128::from(a[i]) + i128::from(b[i])), 0))
    }

    /// Bit by bit.
    fn times(a: Limbs, b: Limbs) -> Limbs {
        let bits = (0..5).flat_map(|limb| (0..52).map(move |bit| b[limb] >> bit & 1));
        let (product, _) = bits.fold((ZERO, canonical(a)), |(product, power), bit| {
            (if bit == 1 { plus(product, power) } else { product }, plus(power, power))
        });
        product
    }

    fn minus(a: Limbs) -> Limbs {
        crate::limbs::negated(canonical(a))
    }

    /// What every lane holds, below p; and that no limb holds more than it may.
    fn seen(x: Field) -> Limbs {
        let lanes = numbers(x);
        assert!(lanes.iter().all(|lane| *lane == lanes[0] && lane.iter().all(|limb| *limb <= MASK)), "{lanes:?}");
        canonical(lanes[0])
    }

    fn weighs_one(x: Field) -> Limbs {
        assert!(numbers(x)[0][4] < (1 << 48) + (1 << 8), "{:?}", numbers(x)[0]);
        seen(x)
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn agrees() {
        let each = |number: &Limbs| lanes([number; 8]);
        for a in &edges() {
            let light = canonical(*a);
            let (x, y) = (each(a), each(&light));
            assert_eq!(weighs_one(sqr(x)), times(*a, *a));
            assert_eq!(seen(neg::<2>(y)), minus(light));
            assert_eq!(seen(triple(y)), times(light, small_number(3)));
            assert_eq!(weighs_one(times_21(x)), times(*a, small_number(21)));
            assert_eq!(seen(shl::<3>(y)), times(light, small_number(8)));
            assert_eq!(weighs_one(mul(x, small(7))), times(*a, small_number(7)));
            for b in &edges() {
                let z = each(b);
                assert_eq!(weighs_one(mul(x, z)), times(*a, *b), "{a:?} by {b:?}");
                assert_eq!(weighs_one(mul_add(x, y, y, z)), plus(times(*a, light), times(light, *b)));
                // The most that leaves room for what is added.
                if b[4] < 14 << 48 {
                    assert_eq!(seen(sub::<14>(y, z)), plus(light, minus(*b)));
                }
                assert_eq!(seen(add(y, each(&canonical(*b)))), plus(light, canonical(*b)));
            }
            let root = seen(sqrt(sqr(y)));
            assert!(root == light || root == minus(light), "{a:?}");
        }
    }

    fn small_number(x: u64) -> Limbs {
        [x, 0, 0, 0, 0]
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn sums_of_products_have_room() {
        let [most, eight, seven] = [15, 8, 7].map(full_of_weight);
        let [x, y, z] = [most, eight, seven].map(|number| lanes([&number; 8]));
        assert_eq!(weighs_one(mul_add(x, y, x, z)), plus(times(most, eight), times(most, seven)));
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn keeps_lanes_apart() {
        let each: [Limbs; 8] = array::from_fn(|lane| small_number(lane as u64 + 2));
        let x = lanes(each.each_ref());
        assert_eq!(numbers(x), each);
        let squares: [Limbs; 8] = array::from_fn(|lane| times(each[lane], each[lane]));
        assert_eq!(numbers(sqr(x)).map(canonical), squares);
        let mixed = numbers(choose(0b1010_0001, x, sqr(x)));
        assert_eq!([0, 1, 5, 6, 7].map(|lane| mixed[lane]), [squares[0], each[1], squares[5], each[6], squares[7]]);
    }

    #[test]
    fn arithmetic_is_right_at_the_ends_of_its_range_and_in_every_lane() {
        if crate::Lanes::detect().is_some() {
            #[expect(unsafe_code, reason = "as in `Lanes`")]
            // SAFETY: the processor was just found to be able.
            unsafe {
                agrees();
                sums_of_products_have_room();
                keeps_lanes_apart();
            }
        }
    }
}
