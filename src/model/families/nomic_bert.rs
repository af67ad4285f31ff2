//! NomicBERT: a post-LayerNorm encoder with rotary positions. nomic-embed-text v1 and v1.5 have SwiGLU
//! and no biases in their linear layers; v2 has both biases and, in every other layer, a mixture of
//! experts.
//!
//! Names and formulas: `transformers` `modeling_nomic_bert.py`; the hub's files use the names of
//! nomic's own code, and GPT-2's for some configuration keys.

use super::common::rope::rotary;
use super::common::rotary_post_norm::{
    Parts, Shape, embedding, has_native_names, layer, linear_as_stored, native_layer,
};
use super::common::{Bias, activation_named, check_rotary_heads, head_dim, layer_norm};
use super::family::Family;
use crate::error::ModelResult as Result;
use crate::model::spec::*;
use crate::model::weights::Weights;
use crate::source::Json;

pub(super) const FAMILY: Family = Family { model_types: &["nomic_bert"], spec: encoder };

/// The value of the first of two keys that the file has.
fn size(config: &Json, key: &str, older: &str) -> Result<usize> {
    config.size(if config.get(key).is_none() && config.get(older).is_some() { older } else { key })
}

fn encoder(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    check_supported(config)?;
    let hidden = size(config, "hidden_size", "n_embd")?;
    let heads = size(config, "num_attention_heads", "n_head")?;
    let head_dim = head_dim(config, hidden, heads)?;
    check_rotary_heads(config, heads, head_dim)?;
    let older_eps = config.epsilon_or("layer_norm_epsilon", 1e-12)?;
    let shape = Shape {
        hidden,
        intermediate: size(config, "intermediate_size", "n_inner")?,
        heads,
        head_dim,
        eps: config.epsilon_or("layer_norm_eps", f64::from(older_eps))?,
        activation: activation(config)?,
        rotary: stretched(config, head_dim)?,
    };
    let types = config.size_or("type_vocab_size", 2)?;
    let norms = ["emb_ln", "embeddings.LayerNorm"];
    let embedding = embedding(weights, config.size("vocab_size")?, types, hidden, norms, shape.eps)?;
    let native = has_native_names(weights);
    let layers = (0..size(config, "num_hidden_layers", "n_layer")?)
        .map(
            |n| if native { native_layer(weights, n, &shape) } else { hub_layer(config, weights, n, &shape) },
        )
        .collect::<Result<_>>()?;
    let max_tokens = Some(size(config, "max_position_embeddings", "n_positions")?);
    Ok(EncoderSpec::new("nomic_bert", hidden, max_tokens, embedding, layers))
}

/// SwiGLU, or the plain GELU of v2.
fn activation(config: &Json) -> Result<Activation> {
    let key = if config.get("activation_function").is_some() { "activation_function" } else { "hidden_act" };
    match config.text(key)?.unwrap_or("swiglu") {
        "swiglu" => Ok(Activation::Silu),
        name => activation_named(config, name),
    }
}

/// With a `rotary_scaling_factor`, the frequencies of longer texts than the model was trained with
/// depend on the length.
fn stretched(config: &Json, head_dim: usize) -> Result<RotarySpec> {
    // transformers' default; nomic's own files always have their key.
    let theta = config.number_or("rotary_emb_base", 1000.0)?;
    let mut rotary = rotary(config, head_dim, theta)?;
    if config.get("rotary_scaling_factor").is_some() {
        let factor = config.number_or("rotary_scaling_factor", 1.0)?;
        if factor < 1.0 || head_dim <= 2 {
            return Err(config.error(format!(
                "`rotary_scaling_factor` is {factor}, expected 1 or more, with heads of more than 2"
            )));
        }
        let trained = config.size_or("max_trained_positions", 2048)?;
        rotary.longer = Some(LongerSpec::DynamicNtk { theta, factor, trained });
    }
    Ok(rotary)
}

/// Layer `n` by the names of nomic's own code.
fn hub_layer(config: &Json, weights: &Weights, n: usize, shape: &Shape) -> Result<LayerSpec> {
    let Shape { hidden, intermediate, eps, .. } = *shape;
    let name = |name: &str| format!("encoder.layers.{n}.{name}");
    let norm = |part: &str| layer_norm(weights, &name(part), hidden, eps, Bias::Yes);
    let mlp = if weights.has(&name("mlp.router.layer.weight")) {
        MlpSpec::Experts(Box::new(experts(config, weights, &name("mlp"), shape)?))
    } else {
        let gated = weights.has(&name("mlp.fc11.weight"));
        let stored = |part: &str| linear_as_stored(weights, &name(part), intermediate, hidden);
        let [up, gate] = if gated { ["mlp.fc11", "mlp.fc12"] } else { ["mlp.fc1", ""] };
        MlpSpec::Dense(DenseMlpSpec {
            up: stored(up)?,
            gate: if gated { Some(stored(gate)?) } else { None },
            activation: shape.activation,
            down: linear_as_stored(weights, &name("mlp.fc2"), hidden, intermediate)?,
        })
    };
    Ok(layer(
        shape,
        Parts {
            query_key_value: linear_as_stored(weights, &name("attn.Wqkv"), 3 * hidden, hidden)?,
            output: linear_as_stored(weights, &name("attn.out_proj"), hidden, hidden)?,
            attention_norm: norm("norm1")?,
            mlp,
            mlp_norm: norm("norm2")?,
        },
    ))
}

/// The mixture of experts whose tensors start with `prefix`.
fn experts(config: &Json, weights: &Weights, prefix: &str, shape: &Shape) -> Result<ExpertsSpec> {
    let Shape { hidden, intermediate, activation, .. } = *shape;
    let (count, top) = (config.size("num_experts")?, config.size("moe_top_k")?);
    if top > count || count > 1 << 16 {
        return Err(
            config.error(format!("`moe_top_k` is {top} of {count} experts, expected at most all, and 2^16"))
        );
    }
    let because = "num_experts, n_inner and n_embd in config.json";
    let stacked = |part: &str| {
        weights.tensor(&format!("{prefix}.experts.mlp.{part}"), &[count * intermediate, hidden], because)
    };
    let bias = format!("{prefix}.experts.bias");
    Ok(ExpertsSpec {
        router: linear_as_stored(weights, &format!("{prefix}.router.layer"), count, hidden)?,
        top,
        up: stacked("w1")?,
        down: stacked("w2")?,
        activation,
        bias: if weights.has(&bias) { Some(weights.tensor(&bias, &[hidden], because)?) } else { None },
    })
}

/// Switches that change the arithmetic, of nomic's own configuration.
fn check_supported(config: &Json) -> Result<()> {
    let flags = [
        ("prenorm", false),
        ("use_rms_norm", false),
        ("rotary_emb_interleaved", false),
        ("causal", false),
        ("moe_normalize_expert_weights", false),
    ];
    for (flag, usual) in flags {
        if config.flag_or(flag, usual)? != usual {
            return Err(config.unsupported(flag, (!usual).to_string(), usual.to_string()));
        }
    }
    if config.number_or("num_shared_experts", 0.0)? > 0.0 {
        return Err(config.unsupported("num_shared_experts", "more than 0", "0"));
    }
    match config.number_or("rotary_emb_fraction", 1.0)? {
        1.0 => Ok(()),
        fraction => Err(config.unsupported("rotary_emb_fraction", fraction.to_string(), "1.0")),
    }
}
