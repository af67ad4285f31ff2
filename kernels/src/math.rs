//! exp, erf and tanh without branches, so that loops over them vectorise.
//!
//! Errors, over every f32 input (the tests sweep them): see the constants. NaN gives NaN.

use crate::gemm::Kernel;

/// Bound on the error of [`exp`] in units in the last place of the exact result.
#[cfg(test)]
pub(crate) const EXP_ULP: f64 = 2.0;
/// Bound on the error of [`tanh`] in units in the last place of the exact result.
#[cfg(test)]
pub(crate) const TANH_ULP: f64 = 3.0;
/// Bound on the error of [`erf`] in units in the last place of the exact result.
#[cfg(test)]
pub(crate) const ERF_ULP: f64 = 2.0;

/// e^x. Results below the smallest normal number are 0, those above the largest are infinite.
///
/// x = n·ln 2 + r with |r| <= ln 2 / 2; e^r by the degree-6 polynomial of Cephes' `expf`; ln 2 is
/// split in two so that r keeps its low bits.
#[inline(always)]
pub(crate) fn exp<K: Kernel>(x: f32) -> f32 {
    const LOWEST: f32 = -87.336_54; // ln of the smallest normal f32
    const HIGHEST: f32 = 88.722_83; // ln of the largest f32
    // Adding 1.5·2^23 rounds to an integer and leaves it in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    // `if` and not `min`/`max`, which would turn NaN into a number.
    let clamped = if x < LOWEST { LOWEST } else { x };
    let clamped = if clamped > HIGHEST { HIGHEST } else { clamped };
    let shifted = K::mul_add(clamped, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = K::mul_add(n, -0.693_359_4, clamped);
    let r = K::mul_add(n, 2.121_944_4e-4, r);
    let p = 1.987_569_1e-4;
    let p = K::mul_add(p, r, 1.398_199_9e-3);
    let p = K::mul_add(p, r, 8.333_452e-3);
    let p = K::mul_add(p, r, 4.166_579_6e-2);
    let p = K::mul_add(p, r, 1.666_666_5e-1);
    let p = K::mul_add(p, r, 0.5);
    let p = K::mul_add(p, r * r, r) + 1.0;
    // 2^n in two steps: n reaches 128, one more than an exponent can say.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    let result = p * power_of_two(half) * power_of_two(n - half);
    let result = if x < LOWEST { 0.0 } else { result };
    if x > HIGHEST { f32::INFINITY } else { result }
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// tanh x: Cephes' odd polynomial below 0.625, `1 - 2/(e^2|x| + 1)` above.
#[inline(always)]
pub(crate) fn tanh<K: Kernel>(x: f32) -> f32 {
    let a = x.abs();
    let s = x * x;
    let p = -5.704_988_6e-3;
    let p = K::mul_add(p, s, 2.063_908_8e-2);
    let p = K::mul_add(p, s, -5.373_971_5e-2);
    let p = K::mul_add(p, s, 1.333_144_1e-1);
    let p = K::mul_add(p, s, -3.333_328e-1);
    let small = K::mul_add(p * s, x, x);
    let large = (1.0 - 2.0 / (exp::<K>(2.0 * a) + 1.0)).copysign(x);
    if a > 0.625 { large } else { small }
}

/// erf x: an odd polynomial below 0.928, `1 - e^p(|x|)` above. The coefficients are minimax fits
/// published by N. Juffa ("erff" with a maximum error under 1 ulp given an exact exp).
#[inline(always)]
pub(crate) fn erf<K: Kernel>(x: f32) -> f32 {
    let a = x.abs();
    let s = x * x;
    let p = K::mul_add(a, -1.728_534_7e-5, 3.831_971_3e-4);
    let q = K::mul_add(a, -3.883_964_4e-3, 2.425_462_2e-2);
    let p = K::mul_add(p, s, q);
    let p = K::mul_add(p, a, -1.067_778_8e-1);
    let p = K::mul_add(p, a, -6.348_466_9e-1);
    let p = K::mul_add(p, a, -1.287_175_1e-1);
    let large = (1.0 - exp::<K>(K::mul_add(p, a, -a))).copysign(x);
    let p = -5.967_617e-4;
    let p = K::mul_add(p, s, 4.991_194e-3);
    let p = K::mul_add(p, s, -2.676_813_5e-2);
    let p = K::mul_add(p, s, 1.128_199_2e-1);
    let p = K::mul_add(p, s, -3.761_253_4e-1);
    let p = K::mul_add(p, s, 1.283_791_7e-1);
    let small = K::mul_add(p, x, x);
    if a > 0.927_734_4 { large } else { small }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::portable::Portable;

    /// Distance between `got` and the exact `want`, in units in the last place of `want`.
    fn ulps(got: f32, want: f64) -> f64 {
        if f64::from(got) == want || (want.abs() > f64::from(f32::MAX) && got.is_infinite()) {
            return 0.0;
        }
        let magnitude = (want.abs() as f32).max(f32::MIN_POSITIVE);
        let ulp = f64::from(f32::from_bits(magnitude.to_bits() + 1)) - f64::from(magnitude);
        (f64::from(got) - want).abs() / ulp
    }

    /// The worst error over the f32 inputs, one in `step`, and where it is.
    fn worst(step: usize, got: fn(f32) -> f32, want: fn(f64) -> f64) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for bits in (0..=u32::MAX).step_by(step) {
            let x = f32::from_bits(bits);
            if x.is_nan() {
                continue;
            }
            let error = ulps(got(x), want(f64::from(x)));
            if error.is_nan() || error > worst.0 {
                worst = (error, x);
            }
        }
        worst
    }

    /// A prime step: about 4 million inputs, spread over all exponents. `TASKVEC_SWEEP=1` takes
    /// every f32 there is.
    fn step() -> usize {
        if std::env::var_os("TASKVEC_SWEEP").is_some() { 1 } else { 1021 }
    }

    #[test]
    fn exp_is_within_its_bound() {
        let (error, x) = worst(step(), exp::<Portable>, |x| {
            let exact = libm::exp(x);
            if exact < f64::from(f32::MIN_POSITIVE) { 0.0 } else { exact }
        });
        assert!(error <= EXP_ULP, "{error} ulp at {x:e}");
    }

    #[test]
    fn tanh_is_within_its_bound() {
        let (error, x) = worst(step(), tanh::<Portable>, libm::tanh);
        assert!(error <= TANH_ULP, "{error} ulp at {x:e}");
    }

    #[test]
    fn erf_is_within_its_bound() {
        let (error, x) = worst(step(), erf::<Portable>, libm::erf);
        assert!(error <= ERF_ULP, "{error} ulp at {x:e}");
    }

    #[test]
    fn nan_stays_nan() {
        for f in [exp::<Portable>, tanh::<Portable>, erf::<Portable>] {
            assert!(f(f32::NAN).is_nan());
        }
    }
}
