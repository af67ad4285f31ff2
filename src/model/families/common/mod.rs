//! What several families are built from: linear layers and norms by their tensor names, whole
//! layers of the two common shapes, rotary frequencies.

pub(super) mod decoder;
pub(super) mod post_norm;
pub(super) mod rope;
pub(super) mod rotary_post_norm;

use crate::error::ModelResult as Result;
use crate::model::spec::{Activation, LinearSpec, NormKind, NormSpec, RareActivation};
use crate::model::weights::Weights;
use crate::source::Json;

/// The activation function under `key`, by its name in transformers' `ACT2FN`.
pub(in crate::model) fn activation(config: &Json, key: &str, default: &str) -> Result<Activation> {
    activation_named(config, config.text(key)?.unwrap_or(default))
}

/// The activation function of this name in transformers' `ACT2FN`.
pub(in crate::model) fn activation_named(config: &Json, name: &str) -> Result<Activation> {
    Ok(match name {
        "gelu" | "gelu_python" => Activation::GeluErf,
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_python_tanh" | "gelu_accurate" => {
            Activation::GeluTanh
        }
        "silu" | "swish" => Activation::Silu,
        "relu" => Activation::Relu,
        "tanh" => Activation::Tanh,
        "linear" => Activation::Identity,
        "gelu_10" => Activation::Rare(RareActivation::ClippedGelu),
        "laplace" => Activation::Rare(RareActivation::Laplace),
        "leaky_relu" => Activation::Rare(RareActivation::LeakyRelu),
        "mish" => Activation::Rare(RareActivation::Mish),
        "quick_gelu" => Activation::Rare(RareActivation::QuickGelu),
        "relu2" => Activation::Rare(RareActivation::ReluSquared),
        "relu6" => Activation::Rare(RareActivation::Relu6),
        "sigmoid" => Activation::Rare(RareActivation::Sigmoid),
        _ => {
            let known = "gelu, gelu_10, gelu_accurate, gelu_fast, gelu_new, gelu_pytorch_tanh, gelu_python, laplace, \
                         leaky_relu, linear, mish, quick_gelu, relu, relu2, relu6, sigmoid, silu, swish, tanh";
            return Err(config.unsupported("activation", name, known));
        }
    })
}

/// Whether a linear layer has a bias tensor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum Bias {
    Yes,
    No,
}

impl From<bool> for Bias {
    fn from(has: bool) -> Bias {
        if has { Bias::Yes } else { Bias::No }
    }
}

/// The linear layer `name.weight` `[outputs, inputs]` and `name.bias` `[outputs]`.
pub(in crate::model) fn linear(
    weights: &Weights,
    name: &str,
    outputs: usize,
    inputs: usize,
    bias: Bias,
    because: &str,
) -> Result<LinearSpec> {
    let weight = weights.tensor(&format!("{name}.weight"), &[outputs, inputs], because)?;
    let bias = match bias {
        Bias::Yes => Some(weights.tensor(&format!("{name}.bias"), &[outputs], because)?),
        Bias::No => None,
    };
    Ok(LinearSpec { parts: vec![(weight, bias)] })
}

/// The LayerNorm `name.weight` and, if there is one, `name.bias`; old files call them `gamma` and
/// `beta`.
pub(in crate::model) fn layer_norm(
    weights: &Weights,
    name: &str,
    size: usize,
    eps: f32,
    bias: Bias,
) -> Result<NormSpec> {
    let because = "the width of the hidden states in config.json";
    let tensor = |new: &str, old: &str| {
        let (new, old) = (format!("{name}.{new}"), format!("{name}.{old}"));
        let name = if !weights.has(&new) && weights.has(&old) { old } else { new };
        weights.tensor(&name, &[size], because)
    };
    let weight = tensor("weight", "gamma")?;
    let bias = if bias == Bias::Yes { Some(tensor("bias", "beta")?) } else { None };
    Ok(NormSpec { kind: NormKind::LayerNorm, size, weight: Some(weight), weight_offset: 0.0, bias, eps })
}

/// The RMSNorm `name.weight`.
pub(in crate::model) fn rms_norm(
    weights: &Weights,
    name: &str,
    size: usize,
    eps: f32,
    because: &str,
) -> Result<NormSpec> {
    let weight = weights.tensor(&format!("{name}.weight"), &[size], because)?;
    Ok(NormSpec { kind: NormKind::RmsNorm, size, weight: Some(weight), weight_offset: 0.0, bias: None, eps })
}

/// `hidden / heads`, which must be whole.
pub(in crate::model) fn head_dim(config: &Json, hidden: usize, heads: usize) -> Result<usize> {
    if hidden.is_multiple_of(heads) {
        return Ok(hidden / heads);
    }
    Err(config.error(format!(
        "`hidden_size` {hidden} is not a multiple of `num_attention_heads` {heads} (or what this family calls them)"
    )))
}

/// An even size of a head, as rotary positions need it, that cannot make products overflow.
pub(in crate::model) fn check_rotary_heads(config: &Json, heads: usize, head_dim: usize) -> Result<()> {
    if head_dim.is_multiple_of(2) && head_dim <= 1 << 16 && heads <= 1 << 16 {
        return Ok(());
    }
    let problem =
        format!("{heads} heads of size {head_dim}: expected an even head size, at most 2^16 of both");
    Err(config.error(problem))
}
