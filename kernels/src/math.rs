//! exp, 2^x and tanh without branches, a register at a time.
//!
//! Errors, over every f32 input (the tests sweep them): see the constants. NaN gives NaN.

use crate::vector::Vector;

/// Bound on the error of [`exp`] in units in the last place of the exact result.
#[cfg(test)]
pub(crate) const EXP_ULP: f64 = 2.0;
/// Bound on the error of [`exp2_without_overflow`] in units in the last place of the exact result.
#[cfg(test)]
pub(crate) const EXP2_ULP: f64 = 2.0;
/// Bound on the error of [`tanh`] in units in the last place of the exact result.
#[cfg(test)]
pub(crate) const TANH_ULP: f64 = 3.0;
/// Adding 1.5·2^23 to a number rounds it to an integer.
pub(crate) const ROUND: f32 = 12_582_912.0;
/// ln of the smallest normal f32.
const LOWEST: f32 = -87.336_54;
/// log₂ of the smallest normal f32.
const LOWEST_POWER: f32 = -126.0;
/// ln of the largest f32.
const HIGHEST: f32 = 88.722_83;

/// Evaluates a polynomial, highest power first.
#[inline(always)]
pub(crate) fn polynomial<V: Vector, const N: usize>(x: V, coefficients: [f32; N]) -> V {
    let mut sum = V::splat(coefficients[0]);
    for &coefficient in &coefficients[1..] {
        sum = sum.mul_add(x, V::splat(coefficient));
    }
    sum
}

/// e^x. Results below the smallest normal number are 0, those above the largest are infinite.
#[inline(always)]
pub(crate) fn exp<V: Vector>(x: V) -> V {
    let result = exp_without_overflow(V::splat(HIGHEST).min(x));
    x.select_greater(V::splat(HIGHEST), V::splat(f32::INFINITY), result)
}

/// [`exp`] where x is known to be at most [`HIGHEST`].
///
/// x = n·ln 2 + r with |r| <= ln 2 / 2; e^r by the degree-6 polynomial of Cephes' `expf`; ln 2 is
/// split in two so that r keeps its low bits.
#[inline(always)]
pub(crate) fn exp_without_overflow<V: Vector>(x: V) -> V {
    let clamped = V::splat(LOWEST).max(x);
    let n = clamped.mul_add(V::splat(std::f32::consts::LOG2_E), V::splat(ROUND)) - V::splat(ROUND);
    let r = n.mul_add(V::splat(-0.693_359_4), clamped);
    let r = n.mul_add(V::splat(2.121_944_4e-4), r);
    let p =
        polynomial(r, [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5]);
    let p = p.mul_add(r * r, r) + V::splat(1.0);
    V::splat(LOWEST).select_greater(x, V::splat(0.0), p.scale(n))
}

/// 2^x where x is known to be at most 126; results below 2^[`LOWEST_POWER`] are 0, and 2^0 is 1.
///
/// x = n + r with |r| <= 1/2; 2^r by the degree-6 polynomial of Cephes' `exp2f`.
#[inline(always)]
pub(crate) fn exp2_without_overflow<V: Vector>(x: V) -> V {
    let clamped = V::splat(LOWEST_POWER).max(x);
    let n = (clamped + V::splat(ROUND)) - V::splat(ROUND);
    let p = polynomial(
        clamped - n,
        [1.535_336_2e-4, 1.339_887_4e-3, 9.618_437e-3, 5.550_332_5e-2, 2.402_264_8e-1, 6.931_472e-1, 1.0],
    );
    V::splat(LOWEST_POWER).select_greater(x, V::splat(0.0), p.scale(n))
}

/// tanh x: Cephes' odd polynomial below 0.625, `1 - 2/(e^2|x| + 1)` above.
#[inline(always)]
pub(crate) fn tanh<V: Vector>(x: V) -> V {
    let a = x.abs();
    let s = x * x;
    let p = polynomial(s, [-5.704_988_6e-3, 2.063_908_8e-2, -5.373_971_5e-2, 1.333_144_1e-1, -3.333_328e-1]);
    let small = (p * s).mul_add(x, x);
    let one = V::splat(1.0);
    let large = (one - V::splat(2.0) / (exp(a + a) + one)).copysign(x);
    a.select_greater(V::splat(0.625), large, small)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::dispatch::dispatch;
    use crate::isa::Isa;
    use crate::kernel::Kernel;
    use crate::vector::map;

    dispatch! { pub fn exps(values: &mut [f32]) = exps_body }
    dispatch! { pub fn powers(values: &mut [f32]) = powers_body }
    dispatch! { pub fn tanhs(values: &mut [f32]) = tanhs_body }

    #[inline(always)]
    fn exps_body<K: Kernel>(values: &mut [f32]) {
        map!(K::Row, values, |x| exp(x));
    }

    #[inline(always)]
    fn powers_body<K: Kernel>(values: &mut [f32]) {
        map!(K::Row, values, |x| exp2_without_overflow(x));
    }

    #[inline(always)]
    fn tanhs_body<K: Kernel>(values: &mut [f32]) {
        map!(K::Row, values, |x| tanh(x));
    }

    /// What every instruction set makes of values.
    pub(crate) fn on_each_isa(f: fn(Isa, &mut [f32]), values: &[f32]) -> Vec<(Isa, Vec<f32>)> {
        let run = |isa| {
            let mut results = values.to_vec();
            f(isa, &mut results);
            (isa, results)
        };
        Isa::available().into_iter().map(run).collect()
    }

    /// Distance between `got` and the exact `want`, in units in the last place of `want`.
    fn ulps(got: f32, want: f64) -> f64 {
        if f64::from(got) == want || (want.abs() > f64::from(f32::MAX) && got.is_infinite()) {
            return 0.0;
        }
        let magnitude = (want.abs() as f32).max(f32::MIN_POSITIVE);
        let ulp = f64::from(f32::from_bits(magnitude.to_bits() + 1)) - f64::from(magnitude);
        (f64::from(got) - want).abs() / ulp
    }

    /// That the error is within its bound for the f32 inputs, one in [`step`].
    pub(crate) fn sweep(
        bound: f64,
        got: fn(Isa, &mut [f32]),
        want: fn(f64) -> f64,
        error: fn(f32, f64) -> f64,
    ) {
        let mut all = (0..=u32::MAX).step_by(step()).map(f32::from_bits).filter(|x| !x.is_nan());
        loop {
            let inputs: Vec<f32> = all.by_ref().take(1 << 16).collect();
            if inputs.is_empty() {
                return;
            }
            let exact: Vec<f64> = inputs.iter().map(|&x| want(f64::from(x))).collect();
            for (isa, results) in on_each_isa(got, &inputs) {
                for ((&x, got), &want) in inputs.iter().zip(results).zip(&exact) {
                    let error = error(got, want);
                    assert!(error <= bound, "{error:e} at {x:e} on {isa:?}");
                }
            }
        }
    }

    /// A prime step: about 4 million inputs, spread over all exponents. `TASKVEC_SWEEP=1` takes
    /// every f32 there is.
    fn step() -> usize {
        match std::env::var_os("TASKVEC_SWEEP") {
            _ if cfg!(miri) => 44_000_027,
            Some(_) => 1,
            None => 1021,
        }
    }

    /// Of values in a row, all or, where each takes milliseconds, few.
    fn some(values: impl Iterator<Item = i32>) -> impl Iterator<Item = i32> {
        values.step_by(if cfg!(miri) { 20_011 } else { 1 })
    }

    #[test]
    fn exp_is_within_its_bound() {
        let want = |x| {
            let exact = libm::exp(x);
            if exact < f64::from(f32::MIN_POSITIVE) { 0.0 } else { exact }
        };
        sweep(EXP_ULP, exps, want, ulps);
    }

    #[test]
    fn powers_of_two_are_within_their_bound() {
        let inputs: Vec<f32> = some(-1_300_000..=1_260_000).map(|i| i as f32 / 1e4).collect();
        for (isa, results) in on_each_isa(powers, &inputs) {
            for (&x, got) in inputs.iter().zip(results) {
                let exact = if x < LOWEST_POWER { 0.0 } else { libm::exp2(f64::from(x)) };
                let error = ulps(got, exact);
                assert!(error <= EXP2_ULP, "{error} ulp at {x:e} on {isa:?}");
            }
        }
        for (isa, results) in on_each_isa(powers, &[0.0, -0.0, f32::NEG_INFINITY, -1e30]) {
            assert_eq!(results, [1.0, 1.0, 0.0, 0.0], "{isa:?}");
        }
    }

    #[test]
    fn tanh_is_within_its_bound() {
        sweep(TANH_ULP, tanhs, libm::tanh, ulps);
    }

    #[test]
    fn nan_stays_nan() {
        for f in [exps, powers, tanhs] {
            for (isa, results) in on_each_isa(f, &[f32::NAN; 50]) {
                assert!(results.iter().all(|value| value.is_nan()), "{isa:?}");
            }
        }
    }
}
