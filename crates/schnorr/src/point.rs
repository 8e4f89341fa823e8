//! Eight points of the curve y² = x³ + 7 at a time, as (x·z : y·z : z).
//!
//! The sums are the complete formulas of Renes, Costello and Batina, "Complete addition formulas for prime order elliptic curves"
//! (EUROCRYPT 2016, algorithms 7 and 9): right for any two points, equal, opposite or zero, so that nobody can choose points that are not.

use std::array;

use crate::field::{
    Field, add, choose, lanes, mul, mul_add, neg, numbers, shl, small, sqr, sqrt, sub, times_21, triple,
};
use crate::limbs::{Limbs, ONE, ZERO, canonical, negated};

/// One point: x, y and z. Weights as of [`Points`].
pub(crate) type Point = [Limbs; 3];

/// The multiples 0 to 8 of a point.
pub(crate) type Table = [Point; 9];

/// A third root of one.
const BETA: Limbs = [0x9_6c28_7195_01ee, 0x7_512f_5899_5c13, 0xc_3434_e99c_f049, 0x7106_e644_79ea, 0x7ae9_6a2b_657c];

/// Zero.
pub(crate) const IDENTITY: Point = [ZERO, ONE, ZERO];

/// One point a lane. The weights of `x` and `y` are at most 2, that of `z` is 1.
#[derive(Clone, Copy)]
pub(crate) struct Points {
    x: Field,
    y: Field,
    z: Field,
}

/// One point a lane, negated in the lanes whose bit is set.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(crate) fn load(points: [&Point; 8], negative: u8) -> Points {
    let [x, y, z] = array::from_fn(|i| lanes(points.map(|point| &point[i])));
    Points { x, y: choose(negative, y, neg::<2>(y)), z }
}

/// The points of the lanes.
pub(crate) fn points(of: &Points) -> [Point; 8] {
    let (x, y, z) = (numbers(of.x), numbers(of.y), numbers(of.z));
    array::from_fn(|lane| [x[lane], y[lane], z[lane]])
}

/// Whether it is (0 : y : 0). Of no point is y zero as well: that could come of a mistake only, and would swallow whatever is added to it.
pub(crate) fn is_identity([x, y, z]: &Point) -> bool {
    canonical(*x) == ZERO && canonical(*y) != ZERO && canonical(*z) == ZERO
}

/// At least one and up to eight, one a lane; lanes that are left over hold the first.
pub(crate) fn eight(xs: &[Limbs]) -> [&Limbs; 8] {
    array::from_fn(|lane| xs.get(lane).unwrap_or(&xs[0]))
}

/// `a + b`. Compiled once for every `PLACE` that calls it, because then it is made a part of the loop there; as a call it costs a twentieth of a
/// check of 32.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn sum<const PLACE: usize>(a: &Points, b: &Points) -> Points {
    let (xx, yy, zz) = (mul(a.x, b.x), mul(a.y, b.y), mul(a.z, b.z));
    // Each is the sum of two products of unlike coordinates; weight 4.
    let xy = sub::<3>(mul(add(a.x, a.y), add(b.x, b.y)), add(xx, yy));
    let yz = sub::<3>(mul(add(a.y, a.z), add(b.y, b.z)), add(yy, zz));
    let xz = sub::<3>(mul(add(a.x, a.z), add(b.x, b.z)), add(xx, zz));
    let (xx3, xz21, zz21) = (triple(xx), times_21(xz), times_21(zz));
    let (minus, plus) = (sub::<2>(yy, zz21), add(yy, zz21));
    Points {
        x: mul_add(xy, minus, neg::<5>(yz), xz21),
        y: mul_add(minus, plus, xz21, xx3),
        z: mul_add(yz, plus, xx3, xy),
    }
}

/// `2^times·a`. The only caller of [`double`], which so becomes a part of this loop: a call each time costs a tenth of a check of one.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline(never)]
pub(crate) fn doubled(a: &Points, times: u32) -> Points {
    (0..times).fold(*a, |a, _| double(&a))
}

/// (β·x, y), in the lanes whose bit is set.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn turned(a: &Points, which: u8) -> Points {
    Points { x: choose(which, a.x, mul(a.x, lanes([&BETA; 8]))), ..*a }
}

/// `2·a`.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn double(a: &Points) -> Points {
    let (xy, yz, yy) = (mul(a.x, a.y), mul(a.y, a.z), sqr(a.y));
    let zz21 = times_21(sqr(a.z));
    let (minus, plus, yy8) = (sub::<4>(yy, triple(zz21)), add(yy, zz21), shl::<3>(yy));
    Points { x: shl::<1>(mul(minus, xy)), y: mul_add(minus, plus, zz21, yy8), z: mul(yz, yy8) }
}

/// The points of even y with these x; `None` if one of them is no point's.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn lift(xs: [&Limbs; 8]) -> Option<[Point; 8]> {
    let x = lanes(xs);
    let y_squared = add(mul(sqr(x), x), small(7));
    let y = sqrt(y_squared);
    let is_root = numbers(sub::<3>(sqr(y), y_squared)).iter().all(|difference| canonical(*difference) == ZERO);
    let even = |y: Limbs| if y[0] & 1 == 0 { y } else { negated(y) };
    let y = numbers(y).map(|y| even(canonical(y)));
    is_root.then(|| array::from_fn(|lane| [*xs[lane], y[lane], ONE]))
}

/// The sum of the eight.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn total(of: &Points) -> Point {
    let mut all = *of;
    for half in [4, 2, 1] {
        let lanes = points(&all);
        all = sum::<1>(&all, &load(array::from_fn(|lane| &lanes[(lane + half) % 8]), 0));
    }
    points(&all)[0]
}

/// The multiples of each.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(crate) fn tables(of: &Points) -> [Table; 8] {
    let twice = doubled(of, 1);
    let mut multiples = [*of, twice, twice, twice, twice, twice, twice, twice];
    for i in 2..8 {
        multiples[i] = sum::<0>(&multiples[i - 1], of);
    }
    let multiples = multiples.map(|multiple| points(&multiple));
    array::from_fn(|lane| array::from_fn(|i| if i == 0 { IDENTITY } else { multiples[i - 1][lane] }))
}

#[cfg(test)]
mod tests {
    use secp256k1::{PublicKey, Secp256k1, SecretKey};

    use super::*;
    use crate::limbs::from_bytes;

    /// By libsecp256k1. Zero is zero times the generator.
    fn times_generator(number: i8) -> Point {
        if number == 0 {
            return IDENTITY;
        }
        let mut bytes = [0; 32];
        bytes[31] = number.unsigned_abs();
        let point = PublicKey::from_secret_key(&Secp256k1::new(), &SecretKey::from_byte_array(bytes).unwrap());
        let point = if number < 0 { point.negate(&Secp256k1::new()) } else { point }.serialize_uncompressed();
        let coordinate = |at: usize| from_bytes(point[at..at + 32].first_chunk().unwrap()).unwrap();
        [coordinate(1), coordinate(33), ONE]
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn are_equal(a: &Point, b: &Point) -> bool {
        let [[ax, ay, az], [bx, by, bz]] = [a, b].map(|point| point.each_ref().map(|number| lanes([number; 8])));
        let zero = |a, b| canonical(numbers(sub::<2>(a, b))[0]) == ZERO;
        is_identity(a) == is_identity(b) && zero(mul(ax, bz), mul(bx, az)) && zero(mul(ay, bz), mul(by, az))
    }

    /// Weights as a sum leaves them, and z that is not one.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn used(point: &Point) -> Points {
        let (one, zero) = (load([point; 8], 0), load([&IDENTITY; 8], 0));
        sum::<1>(&sum::<1>(&double(&one), &zero), &load([point; 8], 0xff))
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn sums_are_complete() {
        for a in -5..=5 {
            for b in -5..=5 {
                let found = points(&sum::<1>(&used(&times_generator(a)), &used(&times_generator(b))));
                assert!(found.iter().all(|found| are_equal(found, &times_generator(a + b))), "{a} + {b}");
            }
            let twice = points(&double(&used(&times_generator(a))));
            assert!(are_equal(&twice[3], &times_generator(2 * a)), "twice {a}");
        }
        // Of the same y.
        let a = load([&times_generator(7); 8], 0);
        let b = turned(&a, 0xff);
        let c = turned(&b, 0xff);
        assert!(is_identity(&points(&sum::<1>(&sum::<1>(&a, &b), &c))[0]), "the three on a line through them");
        let (a, mixed) = (points(&a), points(&turned(&a, 0b10)));
        assert!((0..8).all(|lane| (mixed[lane] == a[lane]) == (lane != 1)));
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn tables_are_of_multiples() {
        let of: [Point; 8] = array::from_fn(|lane| times_generator(lane as i8 + 1));
        let tables = tables(&load(of.each_ref(), 0b100));
        for (lane, table) in (1..).zip(&tables) {
            let sign = if lane == 3 { -1 } else { 1 };
            for (times, multiple) in (0..).zip(table) {
                assert!(are_equal(multiple, &times_generator(sign * lane * times)), "{times} times {lane}");
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn lifts_only_points() {
        let small = |x| [x, 0, 0, 0, 0];
        let points = [1, 2, 3, 4, 6, 8, 12, 13].map(small);
        let lifted = lift(points.each_ref()).expect("all of them are");
        assert!(lifted.iter().zip(&points).all(|([x, y, z], of)| x == of && y[0] & 1 == 0 && *z == ONE));
        for none in [0, 5] {
            for lane in 0..8 {
                let mut points = points;
                points[lane] = small(none);
                assert!(lift(points.each_ref()).is_none(), "{none}");
            }
        }
    }

    #[test]
    fn zero_is_one_point_and_nothing_is_none() {
        assert!(is_identity(&IDENTITY) && !is_identity(&[ZERO; 3]) && !is_identity(&times_generator(1)));
    }

    #[test]
    fn points_add_up_whichever_they_are() {
        if crate::Lanes::detect().is_some() {
            #[expect(unsafe_code, reason = "as in `Lanes`")]
            // SAFETY: the processor was just found to be able.
            unsafe {
                sums_are_complete();
                tables_are_of_multiples();
                lifts_only_points();
            }
        }
    }
}
