//! Activation functions, elementwise.

use crate::dispatch::dispatch;
use crate::gelu::{gelu_erf, gelu_tanh};
use crate::kernel::Kernel;
use crate::math::{exp, tanh};
use crate::rare_activation::RareActivation;
use crate::vector::{Vector, map};

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
    /// One that few models have. In a product it goes without gate, factor and residual.
    Rare(RareActivation),
}

dispatch! {
    /// Applies `activation` to each value.
    pub fn activate(activation: Activation, values: &mut [f32]) = activate_body
}

#[inline(always)]
fn activate_body<K: Kernel>(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Identity => {}
        Activation::GeluErf => map!(K::Row, values, |x| gelu_erf(x)),
        Activation::GeluTanh => map!(K::Row, values, |x| gelu_tanh(x)),
        Activation::Silu => map!(K::Row, values, |x| silu(x)),
        Activation::Relu => map!(K::Row, values, |x| relu(x)),
        Activation::Tanh => map!(K::Row, values, |x| tanh(x)),
        Activation::Rare(rare) => values.iter_mut().for_each(|x| *x = rare.of(*x)),
    }
}

#[inline(always)]
pub(crate) fn silu<V: Vector>(x: V) -> V {
    x / (V::splat(1.0) + exp(V::splat(0.0) - x))
}

#[inline(always)]
pub(crate) fn relu<V: Vector>(x: V) -> V {
    V::splat(0.0).max(x) // NaN stays NaN
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
