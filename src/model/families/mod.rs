//! One file per model family: its configuration keys and tensor names, as an [`EncoderSpec`].
//!
//! To add a family, write a file with a `FAMILY` and list it in [`FAMILIES`]; see CONTRIBUTING.md.

mod bert;
mod mpnet;
mod qwen3;
mod roberta;
mod xlm_roberta;

use super::files::Json;
use super::spec::{Activation, EncoderSpec, LinearSpec, NormKind, NormSpec};
use super::weights::Weights;
use crate::error::Result;

/// How to read the models of one `model_type`.
pub(crate) struct Family {
    /// `model_type` in config.json.
    pub(crate) model_type: &'static str,
    /// Reads the configuration and finds the tensors.
    pub(crate) spec: fn(&Json, &Weights) -> Result<EncoderSpec>,
}

/// All families.
const FAMILIES: [&Family; 5] =
    [&bert::FAMILY, &roberta::FAMILY, &xlm_roberta::FAMILY, &mpnet::FAMILY, &qwen3::FAMILY];

/// The encoder that config.json describes, with its tensors.
pub(crate) fn encoder(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    let model_type = config.text("model_type")?;
    let model_type =
        model_type.ok_or_else(|| config.error("`model_type` is missing; it names the model family"))?;
    match FAMILIES.iter().find(|family| family.model_type == model_type) {
        Some(family) => (family.spec)(config, weights),
        None => {
            let known = FAMILIES.map(|family| family.model_type).join(", ");
            Err(config.unsupported("model_type", model_type, known))
        }
    }
}

/// The activation function under `key`, by its name in transformers' `ACT2FN`.
pub(super) fn activation(config: &Json, key: &str, default: &str) -> Result<Activation> {
    let name = config.text(key)?.unwrap_or(default);
    Ok(match name {
        "gelu" | "gelu_python" => Activation::GeluErf,
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_python_tanh" => Activation::GeluTanh,
        "silu" | "swish" => Activation::Silu,
        "relu" => Activation::Relu,
        "tanh" => Activation::Tanh,
        _ => {
            let known = "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, silu, relu, tanh";
            return Err(config.unsupported("activation", name, known));
        }
    })
}

/// Whether a linear layer has a bias tensor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bias {
    Yes,
    No,
}

impl From<bool> for Bias {
    fn from(has: bool) -> Bias {
        if has { Bias::Yes } else { Bias::No }
    }
}

/// The linear layer `name.weight` `[outputs, inputs]` and `name.bias` `[outputs]`.
pub(super) fn linear(
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

/// The LayerNorm `name.weight` and `name.bias`; old files call them `gamma` and `beta`.
pub(super) fn layer_norm(weights: &Weights, name: &str, size: usize, eps: f32) -> Result<NormSpec> {
    let because = "hidden_size in config.json";
    let tensor = |new: &str, old: &str| {
        let (new, old) = (format!("{name}.{new}"), format!("{name}.{old}"));
        let name = if !weights.has(&new) && weights.has(&old) { old } else { new };
        weights.tensor(&name, &[size], because)
    };
    let (weight, bias) = (tensor("weight", "gamma")?, tensor("bias", "beta")?);
    Ok(NormSpec { kind: NormKind::LayerNorm, weight, bias: Some(bias), eps })
}

/// The RMSNorm `name.weight`.
pub(super) fn rms_norm(
    weights: &Weights,
    name: &str,
    size: usize,
    eps: f32,
    because: &str,
) -> Result<NormSpec> {
    let weight = weights.tensor(&format!("{name}.weight"), &[size], because)?;
    Ok(NormSpec { kind: NormKind::RmsNorm, weight, bias: None, eps })
}

/// `hidden / heads`, which must be whole.
pub(super) fn head_dim(config: &Json, hidden: usize, heads: usize) -> Result<usize> {
    if hidden.is_multiple_of(heads) {
        return Ok(hidden / heads);
    }
    Err(config.error(format!("`hidden_size` {hidden} is not a multiple of `num_attention_heads` {heads}")))
}
