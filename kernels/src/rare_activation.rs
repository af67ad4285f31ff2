//! Activation functions that few models have: a value at a time, after the product.

/// An activation function that few models have. PyTorch's names and constants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RareActivation {
    /// GELU (the exact form), kept within -10 and 10
    ClippedGelu,
    /// max(x, 0) + min(e^x - 1, 0), which is CELU too
    Elu,
    /// min(max(x + 3, 0), 6) / 6
    HardSigmoid,
    /// x·HardSigmoid(x)
    HardSwish,
    /// x, kept within -1 and 1
    HardTanh,
    /// (1 + erf((x - 0.707107) / (0.282095·√2))) / 2
    Laplace,
    /// x, or 0.01·x below 0
    LeakyRelu,
    /// -ln(1 + e^-x)
    LogSigmoid,
    /// x·tanh(Softplus(x))
    Mish,
    /// x·Sigmoid(1.702·x)
    QuickGelu,
    /// max(x, 0), at most 6
    Relu6,
    /// max(x, 0)²
    ReluSquared,
    /// 1.0507009873554805·(max(x, 0) + min(1.6732632423543772·(e^x - 1), 0))
    Selu,
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// ln(1 + e^x)
    Softplus,
    /// x / (1 + |x|)
    Softsign,
    /// x - tanh x
    TanhShrink,
}

/// Not 1/√2: transformers has six digits of it.
#[allow(clippy::approx_constant)]
const LAPLACE_MEAN: f64 = 0.707107;

impl RareActivation {
    /// All of them.
    pub const ALL: [RareActivation; 17] = {
        use RareActivation::*;
        [
            ClippedGelu,
            Elu,
            HardSigmoid,
            HardSwish,
            HardTanh,
            Laplace,
            LeakyRelu,
            LogSigmoid,
            Mish,
            QuickGelu,
            Relu6,
            ReluSquared,
            Selu,
            Sigmoid,
            Softplus,
            Softsign,
            TanhShrink,
        ]
    };

    /// The function of a value. NaN stays NaN.
    pub fn of(self, x: f32) -> f32 {
        use RareActivation::*;
        let x = f64::from(x);
        if x.is_nan() {
            return f32::NAN;
        }
        let relu6 = |x: f64| x.clamp(0.0, 6.0);
        let y = match self {
            ClippedGelu => (0.5 * x * libm::erfc(-x / std::f64::consts::SQRT_2)).clamp(-10.0, 10.0),
            Elu => {
                if x > 0.0 {
                    x
                } else {
                    x.exp_m1()
                }
            }
            HardSigmoid => relu6(x + 3.0) / 6.0,
            HardSwish => x * relu6(x + 3.0) / 6.0,
            HardTanh => x.clamp(-1.0, 1.0),
            Laplace => 0.5 * libm::erfc(-(x - LAPLACE_MEAN) / (0.282095 * std::f64::consts::SQRT_2)),
            LeakyRelu => {
                if x < 0.0 {
                    0.01 * x
                } else {
                    x
                }
            }
            LogSigmoid => -softplus(-x),
            Mish => x * softplus(x).tanh(),
            QuickGelu => x * sigmoid(1.702 * x),
            Relu6 => relu6(x),
            ReluSquared => x.max(0.0).powi(2),
            Selu => {
                let inner = if x > 0.0 { x } else { 1.673_263_242_354_377_2 * x.exp_m1() };
                1.050_700_987_355_480_5 * inner
            }
            Sigmoid => sigmoid(x),
            Softplus => softplus(x),
            Softsign => x / (1.0 + x.abs()),
            TanhShrink => x - x.tanh(),
        };
        y as f32
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PyTorch 2.15's values at -2, 0.5 and 4.
    #[test]
    fn each_has_the_published_values() {
        use RareActivation::*;
        let expected: [(RareActivation, [f32; 3]); 17] = [
            (ClippedGelu, [-0.045500, 0.345731, 3.999873]),
            (Elu, [-0.864665, 0.5, 4.0]),
            (HardSigmoid, [0.166667, 0.583333, 1.0]),
            (HardSwish, [-0.333333, 0.291667, 4.0]),
            (HardTanh, [-1.0, 0.5, 1.0]),
            (Laplace, [0.0, 0.231421, 1.0]),
            (LeakyRelu, [-0.02, 0.5, 4.0]),
            (LogSigmoid, [-2.126928, -0.474077, -0.018150]),
            (Mish, [-0.252501, 0.375245, 3.997413]),
            (QuickGelu, [-0.064341, 0.350388, 3.995585]),
            (Relu6, [0.0, 0.5, 4.0]),
            (ReluSquared, [0.0, 0.25, 16.0]),
            (Selu, [-1.520166, 0.525350, 4.202804]),
            (Sigmoid, [0.119203, 0.622459, 0.982014]),
            (Softplus, [0.126928, 0.974077, 4.018150]),
            (Softsign, [-0.666667, 0.333333, 0.8]),
            (TanhShrink, [-1.035972, 0.037883, 3.000671]),
        ];
        for (activation, values) in expected {
            for (x, want) in [-2.0, 0.5, 4.0].into_iter().zip(values) {
                let got = activation.of(x);
                assert!(
                    (got - want).abs() < 2e-6 * want.abs().max(1.0),
                    "{activation:?} of {x}: {got} not {want}"
                );
            }
            assert!(activation.of(f32::NAN).is_nan());
        }
    }
}
