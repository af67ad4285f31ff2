//! GELU without branches, a register at a time.
//!
//! With a = |x| and the share of the normal distribution above it, its tail, x·Φ(x) is
//! `max(x, 0) - a·tail(a)`. The tanh form is the same with a tail of `1 / (1 + e^(2u))`, where
//! u = √(2/π)·(a + 0.044715·a³).
//!
//! Where a register can be looked up in with another's lanes as indices, a tail is sixteen polynomials, one for
//! each index: 6 cycles for sixteen values on Zen 5, where 2 to the power of a polynomial takes 16.
//!
//! All polynomials were fitted on Chebyshev nodes by iteratively reweighted least squares, each error weighted
//! with what it does to `a·tail(a)`.

use crate::math::{ROUND, exp, polynomial};
use crate::vector::{ENTRIES, Vector};

/// Bound on the error of [`gelu_erf`] and [`gelu_tanh`], besides two roundings of the result.
#[cfg(test)]
const ERROR: f64 = 7.5e-8;
/// The same of [`rough_gelu_erf`].
#[cfg(test)]
const ROUGH_ERROR: f64 = 2e-5;

/// x·Φ(x), where Φ is the normal distribution.
#[inline(always)]
pub(crate) fn gelu_erf<V: Vector>(x: V) -> V {
    if V::LOOKS_UP {
        return gelu_in_pieces(x, &NORMAL);
    }
    let a = V::splat(LONGEST_TAIL).min(x.abs());
    positive(x) - a * normal_tail(a)
}

/// [`gelu_erf`] to 2e-5 and to 3e-4 of itself near 0: for sums of rounded products, where bf16 keeps 4e-3.
#[inline(always)]
pub(crate) fn rough_gelu_erf<V: Vector>(x: V) -> V {
    if V::LOOKS_UP {
        return gelu_in_pieces(x, &ROUGH_NORMAL);
    }
    let a = V::splat(LONGEST_TAIL).min(x.abs());
    positive(x) - a * rough_normal_tail(a)
}

/// x/2·(1 + tanh u), and `(1 + tanh u)/2` is `sigmoid(2u)`.
#[inline(always)]
pub(crate) fn gelu_tanh<V: Vector>(x: V) -> V {
    if V::LOOKS_UP {
        return gelu_in_pieces(x, &TANH);
    }
    const MINUS_2_SQRT_2_OVER_PI: f32 = -1.595_769_1;
    let cubic = (V::splat(0.044_715) * x * x).mul_add(x, x);
    x / (V::splat(1.0) + exp(V::splat(MINUS_2_SQRT_2_OVER_PI) * cubic))
}

/// max(x, 0), of NaN NaN.
#[inline(always)]
fn positive<V: Vector>(x: V) -> V {
    V::splat(0.0).max(x)
}

/// A tail with its sign changed, by pieces: piece k is a polynomial of `a·PIECES_PER_ONE - k`, which is within
/// ±1/2. Of each power, the highest first, the coefficients of all pieces; each a cache line.
#[repr(align(64))]
struct Pieces<const N: usize>([[f32; ENTRIES]; N]);

/// From one polynomial a row.
const fn by_power<const N: usize>(polynomials: [[f32; N]; ENTRIES]) -> Pieces<N> {
    let mut pieces = [[0.0; ENTRIES]; N];
    let mut at = 0;
    while at < N * ENTRIES {
        pieces[at / ENTRIES][at % ENTRIES] = polynomials[at % ENTRIES][at / ENTRIES];
        at += 1;
    }
    Pieces(pieces)
}

const PIECES_PER_ONE: f32 = 2.687_5;
/// Just before the last piece ends, so that nothing is rounded to the piece behind it, which is the first.
/// `a·tail(a)` is below 2.4e-8 from here on.
const END: f32 = (ENTRIES as f32 - 0.501) / PIECES_PER_ONE;

#[inline(always)]
fn gelu_in_pieces<V: Vector, const N: usize>(x: V, pieces: &Pieces<N>) -> V {
    let a = V::splat(END).min(x.abs());
    let (scale, round) = (V::splat(PIECES_PER_ONE), V::splat(ROUND));
    // The lowest bits of this sum are the piece's number.
    let piece = a.mul_add(scale, round);
    let t = a.mul_add(scale, round - piece);
    let mut minus_tail = piece.look_up(&pieces.0[0]);
    for coefficients in &pieces.0[1..] {
        minus_tail = minus_tail.mul_add(t, piece.look_up(coefficients));
    }
    a.mul_add(minus_tail, positive(x))
}

/// Of the normal distribution: `a·tail(a)` to 1e-8.
#[rustfmt::skip]
static NORMAL: Pieces<6> = by_power([
    [6.920_442e-5, 1.611_831_6e-6, -0.003_425_954_8, 8.049_321e-8, 0.148_443_64, -0.5],
    [4.716_782_5e-5, 3.140_878_7e-4, -0.002_753_439_6, -0.009_588_705, 0.138_515, -0.354_911_8],
    [-6.398_945_5e-7, 4.367_576e-4, -0.001_158_566_7, -0.015_581_095, 0.112_538_89, -0.228_381_96],
    [-3.692_257e-5, 3.332_375_8e-4, 4.520_556_2e-4, -0.016_533_697, 0.079_612_084, -0.132_151_35],
    [-4.184_416_3e-5, 1.235_437e-4, 0.001_375_072_9, -0.013_578_777, 0.049_037_22, -0.068_326_4],
    [-2.420_274_4e-5, -4.707_392_5e-5, 0.001_493_674, -0.009_103_166, 0.026_299_244, -0.031_409_875],
    [-4.116_626_3e-6, -1.157_689_4e-4, 0.001_129_112_3, -0.005_101_097, 0.012_280_928, -0.012_789_047],
    [6.537_303_8e-6, -1.053_162_3e-4, 6.664_893e-4, -0.002_419_726_5, 0.004_993_322_3, -0.004_598_391_7],
    [7.956_394e-6, -6.629_649_6e-5, 3.206_707_5e-4, -9.789_89e-4, 0.001_767_740_5, -0.001_456_635_1],
    [5.346_273_6e-6, -3.237_032_4e-5, 1.284_407e-4, -3.394_771_8e-4, 5.449_015_3e-4, -4.057_575_7e-4],
    [2.617_920_5e-6, -1.280_639_7e-5, 4.334_882_8e-5, -1.012_292e-4, 1.462_474e-4, -9.924_531e-5],
    [1.008_9e-6, -4.196_358e-6, 1.242_236e-5, -2.601_896_3e-5, 3.417_661_7e-5, -2.128_933_7e-5],
    [3.165_452_3e-7, -1.153_623_8e-6, 3.038_286_9e-6, -5.774_569_7e-6, 6.954_1e-6, -4.001_296e-6],
    [8.236_145e-8, -2.682_835_4e-7, 6.365_725_7e-7, -1.108_071_7e-6, 1.232_037_7e-6, -6.583_834e-7],
    [1.797_387e-8, -5.308_024_6e-8, 1.145_620_2e-7, -1.840_257_2e-7, 1.900_547e-7, -9.477_836e-8],
    [3.315_157_5e-9, -8.971_499e-9, 1.774_611_6e-8, -2.647_293_2e-8, 2.552_732_4e-8, -1.193_030_5e-8],
]);

/// The same to 3e-6.
#[rustfmt::skip]
static ROUGH_NORMAL: Pieces<4> = by_power([
    [-0.003_363_604_2, -3.068_847_6e-5, 0.148_448_17, -0.500_000_1],
    [-0.002_693_403_3, -0.009_514_947, 0.138_506_05, -0.354_913_74],
    [-0.001_131_070_2, -0.015_473_256, 0.112_533_77, -0.228_385_21],
    [4.521_859_8e-4, -0.016_450_76, 0.079_610_62, -0.132_153_91],
    [0.001_363_260_2, -0.013_547_949_5, 0.049_037_803, -0.068_327_35],
    [0.001_483_452, -0.009_114_815, 0.026_300_21, -0.031_409_52],
    [0.001_125_155_4, -0.005_129_985, 0.012_281_508, -0.012_788_149_5],
    [6.670_586_3e-4, -0.002_446_032_6, 0.004_993_470_4, -0.004_597_571_7],
    [3.226_180_9e-4, -9.955_559e-4, 0.001_767_686_1, -0.001_456_118],
    [1.299_959_3e-4, -3.475_682_5e-4, 5.448_187e-4, -4.055_048_6e-4],
    [4.417_033e-5, -1.044_306_85e-4, 1.461_956_3e-4, -9.914_528e-5],
    [1.275_302e-5, -2.706_811e-5, 3.415_402_5e-5, -2.125_654_5e-5],
    [3.144_983_8e-6, -6.063_007_3e-6, 6.946_459e-6, -3.992_279_7e-6],
    [6.648_814e-7, -1.175_151_6e-6, 1.229_947e-6, -6.562_862_6e-7],
    [1.208_277_5e-7, -1.972_976_8e-7, 1.895_819_5e-7, -9.436_343e-8],
    [1.891_469_2e-8, -2.871_610_3e-8, 2.543_770_7e-8, -1.186_017_8e-8],
]);

/// Of the tanh form, to 1.1e-8.
#[rustfmt::skip]
static TANH: Pieces<6> = by_power([
    [7.073_954e-5, 1.687_845_7e-6, -0.003_442_934_5, 8.429_357e-8, 0.148_443_64, -0.5],
    [4.763_702e-5, 3.202_260_7e-4, -0.002_756_006_6, -0.009_624_436_5, 0.138_471_89, -0.354_927_18],
    [-2.211_059_2e-6, 4.400_657_5e-4, -0.001_138_182_5, -0.015_587_223, 0.112_442_05, -0.228_472_37],
    [-3.827_528_8e-5, 3.278_205e-4, 4.678_510_3e-4, -0.016_476_33, 0.079_568_8, -0.132_322_7],
    [-4.083_826_2e-5, 1.171_324_6e-4, 0.001_362_547_7, -0.013_515_475, 0.049_129_225, -0.068_474_41],
    [-2.265_385_2e-5, -4.585_032e-5, 0.001_469_706_1, -0.009_102_682, 0.026_460_854, -0.031_420_34],
    [-4.138_889e-6, -1.104_184_9e-4, 0.001_121_396_7, -0.005_152_370_3, 0.012_383_321, -0.012_658_741],
    [5.634_578_4e-6, -1.029_406e-4, 6.759_366e-4, -0.002_465_191, 0.004_990_234_5, -0.004_419_511],
    [7.535_479e-6, -6.756_621e-5, 3.313_662_3e-4, -9.904_767e-4, 0.001_707_171_1, -0.001_315_373_1],
    [5.506_345_6e-6, -3.411_215_6e-5, 1.319_809_5e-4, -3.292_044_3e-4, 4.868_023e-4, -3.274_692_3e-4],
    [2.841_166_6e-6, -1.340_773_6e-5, 4.209_164_8e-5, -8.873_672e-5, 1.133_211_6e-4, -6.679_852e-5],
    [1.077_328e-6, -4.061_481_4e-6, 1.053_712_3e-5, -1.897_838e-5, 2.106_806_6e-5, -1.092_666_1e-5],
    [3.003_337_4e-7, -9.325_654_6e-7, 2.026_838_3e-6, -3.149_396_7e-6, 3.059_387_6e-6, -1.402_248_1e-6],
    [6.094_439e-8, -1.593_796_1e-7, 2.932_215_2e-7, -3.965_988_6e-7, 3.393_921_3e-7, -1.381_089_9e-7],
    [8.881_432e-9, -1.990_134_6e-8, 3.123_511_4e-8, -3.707_286e-8, 2.813_485_6e-8, -1.021_206_5e-8],
    [9.153_388_6e-10, -1.781_878_9e-9, 2.398_763_2e-9, -2.516_534_5e-9, 1.705_035_8e-9, -5.545_512e-10],
]);

/// Beyond this the tail of the normal distribution is below 1e-23.
const LONGEST_TAIL: f32 = 10.0;

/// The share of the normal distribution above a: `erfc(a/√2) / 2`, for a in 0..=[`LONGEST_TAIL`].
///
/// Its logarithm to the base 2 is a polynomial of a here, and 2^t one of degree 5 between two integers.
#[inline(always)]
fn normal_tail<V: Vector>(a: V) -> V {
    let t = polynomial(
        a,
        [
            -1.039_574_3e-8,
            3.978_666_4e-7,
            -6.222_559e-6,
            5.018_236_3e-5,
            -1.936_158_7e-4,
            -1.720_240_7e-4,
            7.155_168_8e-3,
            -5.258_722_2e-2,
            -4.591_670_9e-1,
            -1.151_112_7,
            -0.999_999_64,
        ],
    );
    let n = (t + V::splat(ROUND)) - V::splat(ROUND);
    let power = polynomial(
        t - n,
        [1.327_645_7e-3, 9.675_541e-3, 5.550_713_5e-2, 2.402_212e-1, 6.931_469_4e-1, 1.000_000_1],
    );
    power.scale(n)
}

/// [`normal_tail`] to five digits: the same form, of degrees 4 and 3.
#[inline(always)]
fn rough_normal_tail<V: Vector>(a: V) -> V {
    let t = polynomial(a, [4.387_456_9e-3, -4.672_478_5e-2, -4.636_834_9e-1, -1.149_955_3, -1.000_046_7]);
    let n = (t + V::splat(ROUND)) - V::splat(ROUND);
    let power = polynomial(t - n, [5.517_166_5e-2, 2.426_111_2e-1, 6.932_61e-1, 9.999_280_6e-1]);
    power.scale(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::dispatch;
    use crate::kernel::Kernel;
    use crate::math::tests::{on_each_isa, sweep};
    use crate::vector::map;
    use std::f64::consts::{FRAC_2_PI, SQRT_2};

    dispatch! { pub fn erf_forms(values: &mut [f32]) = erf_forms_body }
    dispatch! { pub fn rough_forms(values: &mut [f32]) = rough_forms_body }
    dispatch! { pub fn tanh_forms(values: &mut [f32]) = tanh_forms_body }
    dispatch! { pub fn erf_tables(values: &mut [f32]) = erf_tables_body }
    dispatch! { pub fn rough_tables(values: &mut [f32]) = rough_tables_body }
    dispatch! { pub fn tanh_tables(values: &mut [f32]) = tanh_tables_body }

    #[inline(always)]
    fn erf_forms_body<K: Kernel>(values: &mut [f32]) {
        map!(K::Row, values, |x| gelu_erf(x));
    }

    #[inline(always)]
    fn rough_forms_body<K: Kernel>(values: &mut [f32]) {
        map!(K::Row, values, |x| rough_gelu_erf(x));
    }

    #[inline(always)]
    fn tanh_forms_body<K: Kernel>(values: &mut [f32]) {
        map!(K::Row, values, |x| gelu_tanh(x));
    }

    // The tables where no instruction looks them up, too.

    #[inline(always)]
    fn erf_tables_body<K: Kernel>(values: &mut [f32]) {
        map!(K::Row, values, |x| gelu_in_pieces(x, &NORMAL));
    }

    #[inline(always)]
    fn rough_tables_body<K: Kernel>(values: &mut [f32]) {
        map!(K::Row, values, |x| gelu_in_pieces(x, &ROUGH_NORMAL));
    }

    #[inline(always)]
    fn tanh_tables_body<K: Kernel>(values: &mut [f32]) {
        map!(K::Row, values, |x| gelu_in_pieces(x, &TANH));
    }

    fn exact(x: f64) -> f64 {
        x * libm::erfc(-x / SQRT_2) / 2.0
    }

    fn exact_tanh_form(x: f64) -> f64 {
        x / (1.0 + libm::exp(-2.0 * FRAC_2_PI.sqrt() * (x + 0.044_715 * x * x * x)))
    }

    /// Besides two roundings. Of -∞ the formulas make NaN, which none of ours need be.
    fn error(got: f32, want: f64) -> f64 {
        if f64::from(got) == want || want.is_nan() {
            return 0.0;
        }
        (f64::from(got) - want).abs() - want.abs() * f64::from(f32::EPSILON)
    }

    #[test]
    fn both_forms_are_within_their_bounds() {
        sweep(ERROR, erf_forms, exact, error);
        sweep(ROUGH_ERROR, rough_forms, exact, error);
        sweep(ERROR, tanh_forms, exact_tanh_form, error);
    }

    #[test]
    fn tables_are_within_the_bounds_on_every_instruction_set() {
        sweep(ERROR, erf_tables, exact, error);
        sweep(ROUGH_ERROR, rough_tables, exact, error);
        sweep(ERROR, tanh_tables, exact_tanh_form, error);
    }

    #[test]
    fn rough_values_are_right_near_0_too() {
        let inputs: Vec<f32> = (-200..=200).map(|i| i as f32 * 1e-3).collect();
        for (isa, results) in on_each_isa(rough_forms, &inputs) {
            for (&x, got) in inputs.iter().zip(results) {
                let want = exact(f64::from(x));
                assert!((f64::from(got) - want).abs() <= 3e-4 * want.abs(), "{got} at {x} on {isa:?}");
            }
        }
    }

    #[test]
    fn nan_stays_nan_and_what_is_large_stays() {
        for form in [erf_forms, rough_forms, tanh_forms, erf_tables, rough_tables, tanh_tables] {
            for (isa, results) in on_each_isa(form, &[f32::NAN, f32::INFINITY, 1e30, -1e30, 0.0]) {
                assert!(results[0].is_nan(), "{isa:?}");
                assert_eq!(results[1..3], [f32::INFINITY, 1e30], "{isa:?}");
                assert!(results[3].abs() <= 2.4e-8 && results[4] == 0.0, "{isa:?}: {results:?}");
            }
        }
    }
}
