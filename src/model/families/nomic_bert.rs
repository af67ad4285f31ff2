//! NomicBERT (nomic-embed-text v1 and v1.5): a post-LayerNorm encoder with rotary positions, SwiGLU,
//! and no biases in its linear layers.
//!
//! Names and formulas: `transformers` `modeling_nomic_bert.py`; the hub's files use the names of
//! nomic's own code, and GPT-2's for some configuration keys.

use super::Family;
use super::common::rope::rotary;
use super::common::rotary_post_norm::{
    Parts, Shape, embedding, has_native_names, layer, linear_as_stored, native_layer,
};
use super::common::{Bias, check_rotary_heads, head_dim, layer_norm};
use crate::error::Result;
use crate::model::files::Json;
use crate::model::spec::*;
use crate::model::weights::Weights;

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
        activation: Activation::Silu,
        rotary: rotary(config, head_dim, config.number_or("rotary_emb_base", 10_000.0)?)?,
    };
    let types = config.size_or("type_vocab_size", 2)?;
    let norms = ["emb_ln", "embeddings.LayerNorm"];
    let embedding = embedding(weights, config.size("vocab_size")?, types, hidden, norms, shape.eps)?;
    let native = has_native_names(weights);
    let layers = (0..size(config, "num_hidden_layers", "n_layer")?)
        .map(|n| if native { native_layer(weights, n, &shape) } else { hub_layer(weights, n, &shape) })
        .collect::<Result<_>>()?;
    let max_tokens = Some(max_tokens(config)?);
    Ok(EncoderSpec::new("nomic_bert", hidden, max_tokens, embedding, layers))
}

/// With a `rotary_scaling_factor` the frequencies of longer texts than the model was trained with
/// would change with the length; up to there they are the plain ones.
fn max_tokens(config: &Json) -> Result<usize> {
    let positions = size(config, "max_position_embeddings", "n_positions")?;
    match config.get("rotary_scaling_factor") {
        None => Ok(positions),
        Some(_) => Ok(positions.min(config.size_or("max_trained_positions", 2048)?)),
    }
}

/// Layer `n` by the names of nomic's own code.
fn hub_layer(weights: &Weights, n: usize, shape: &Shape) -> Result<LayerSpec> {
    let Shape { hidden, intermediate, eps, .. } = *shape;
    let name = |name: &str| format!("encoder.layers.{n}.{name}");
    let norm = |part: &str| layer_norm(weights, &name(part), hidden, eps, Bias::Yes);
    let mlp = MlpSpec {
        up: linear_as_stored(weights, &name("mlp.fc11"), intermediate, hidden)?,
        gate: Some(linear_as_stored(weights, &name("mlp.fc12"), intermediate, hidden)?),
        activation: shape.activation,
        down: linear_as_stored(weights, &name("mlp.fc2"), hidden, intermediate)?,
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

/// Switches that change the arithmetic, of nomic's own configuration.
fn check_supported(config: &Json) -> Result<()> {
    let flags =
        [("prenorm", false), ("use_rms_norm", false), ("rotary_emb_interleaved", false), ("causal", false)];
    for (flag, usual) in flags {
        if config.flag_or(flag, usual)? != usual {
            return Err(config.unsupported(flag, (!usual).to_string(), usual.to_string()));
        }
    }
    if config.number_or("moe_every_n_layers", 0.0)? > 0.0 || config.number_or("num_experts", 0.0)? > 0.0 {
        return Err(config.unsupported("feed-forward network", "mixture of experts", "swiglu"));
    }
    for key in ["activation_function", "hidden_act"] {
        let name = config.text(key)?.unwrap_or("swiglu");
        if !["swiglu", "silu", "swish"].contains(&name) {
            return Err(config.unsupported("activation", name, "swiglu"));
        }
    }
    match config.number_or("rotary_emb_fraction", 1.0)? {
        1.0 => Ok(()),
        fraction => Err(config.unsupported("rotary_emb_fraction", fraction.to_string(), "1.0")),
    }
}
