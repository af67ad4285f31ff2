//! Activation functions, elementwise.

use crate::gemm::Kernel;
use crate::isa::dispatch;
use crate::math::{erf, exp, tanh};

/// An activation function.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Activation {
    /// y = x
    #[default]
    Identity,
    /// x·Φ(x) with the exact normal distribution: x/2·(1 + erf(x/√2))
    GeluErf,
    /// The tanh form of GELU: x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
    GeluTanh,
    /// x·sigmoid(x), also called swish
    Silu,
    /// max(x, 0)
    Relu,
    /// tanh x
    Tanh,
}

dispatch! {
    /// Applies `activation` to each value.
    pub fn activate(activation: Activation, values: &mut [f32]) = activate_body
}

#[inline(always)]
pub(crate) fn activate_body<K: Kernel>(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Identity => {}
        Activation::GeluErf => values.iter_mut().for_each(|v| *v = gelu_erf::<K>(*v)),
        Activation::GeluTanh => values.iter_mut().for_each(|v| *v = gelu_tanh::<K>(*v)),
        Activation::Silu => values.iter_mut().for_each(|v| *v /= 1.0 + exp::<K>(-*v)),
        // Not `max`, which would hide a NaN.
        Activation::Relu => values.iter_mut().for_each(|v| *v = if *v < 0.0 { 0.0 } else { *v }),
        Activation::Tanh => values.iter_mut().for_each(|v| *v = tanh::<K>(*v)),
    }
}

#[inline(always)]
fn gelu_erf<K: Kernel>(x: f32) -> f32 {
    let half = 0.5 * x;
    K::mul_add(half, erf::<K>(x * std::f32::consts::FRAC_1_SQRT_2), half)
}

#[inline(always)]
fn gelu_tanh<K: Kernel>(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    let half = 0.5 * x;
    let inner = SQRT_2_OVER_PI * K::mul_add(0.044_715 * x * x, x, x);
    K::mul_add(half, tanh::<K>(inner), half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    /// Values of both GELU forms as PyTorch has them in f32, where x·Φ(x) loses digits at -3.
    #[test]
    fn gelu_has_the_published_values() {
        let inputs = [-3.0, -1.0, -0.5, 0.5, 1.0, 3.0];
        let erf = [-0.004050225, -0.158655256, -0.154268742, 0.345731229, 0.841344714, 2.995949745];
        let tanh = [-0.003637433, -0.158807993, -0.154285997, 0.345714003, 0.841192007, 2.996362686];
        for isa in Isa::available() {
            for (activation, expected) in [(Activation::GeluErf, erf), (Activation::GeluTanh, tanh)] {
                let mut values = inputs;
                activate(isa, activation, &mut values);
                for (got, want) in values.iter().zip(expected) {
                    assert!((got - want).abs() < 1e-6, "{isa:?} {activation:?}: {got} not {want}");
                }
            }
        }
    }

    #[test]
    fn every_activation_keeps_nan_and_large_values() {
        use Activation::*;
        for isa in Isa::available() {
            for activation in [Identity, GeluErf, GeluTanh, Silu, Relu, Tanh] {
                let mut values = [f32::NAN, 1e30, -1e30];
                activate(isa, activation, &mut values);
                assert!(values[0].is_nan(), "{isa:?} {activation:?}");
                assert!(values[1..].iter().all(|v| !v.is_nan()), "{isa:?} {activation:?} {values:?}");
            }
        }
    }
}
