//! The text tower of EmbeddingGemma 2: Gemma's layers with plain norm weights, unscaled attention
//! over normalised queries, keys and values, a third block that mixes in per-layer embeddings, and
//! a projection of each token at the end.
//!
//! Names and formulas: `transformers` `modeling_embedding_gemma2.py`. Tensors of the other towers
//! are left alone.

use super::common::decoder::{gated_mlp, layer_type};
use super::common::rope::rotary_by_layer_type;
use super::common::{Bias, activation, check_rotary_heads, linear, rms_norm};
use super::family::Family;
use super::gemma3_text::scaled_embedding;
use crate::error::ModelResult as Result;
use crate::model::spec::*;
use crate::model::weights::Weights;
use crate::source::Json;

pub(super) const FAMILY: Family =
    Family { model_types: &["embedding_gemma2", "embedding_gemma2_text"], spec: encoder };

fn encoder(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    let text = config.object("text_config")?;
    let config = text.as_ref().unwrap_or(config);
    let hidden = config.size("hidden_size")?;
    let size = config.size("hidden_size_per_layer_input")?;
    let count = config.size("num_hidden_layers")?;
    let eps = config.epsilon_or("rms_norm_eps", 1e-6)?;
    let layers = (0..count).map(|n| layer(config, weights, n, hidden)).collect::<Result<_>>()?;
    let because = "num_hidden_layers, hidden_size_per_layer_input and hidden_size in config.json";
    let projection =
        count.checked_mul(size).ok_or_else(|| config.error("the per-layer embeddings are too large"))?;
    let projection =
        linear(weights, "ple.per_layer_model_projection", projection, hidden, Bias::No, because)?;
    let norm = rms_norm(weights, "ple.per_layer_projection_norm", size, eps, because)?;
    // The reference scales the projection by 1/√hidden before the norm. The norm takes a scale out
    // again, all but its effect on eps.
    let norm = NormSpec { eps: eps * hidden as f32, ..norm };
    let output = config.size("embedding_dim")?;
    let because = "embedding_dim and hidden_size in config.json";
    let embedding = scaled_embedding(config, weights, hidden)?;
    let max_tokens = Some(config.size("max_position_embeddings")?);
    Ok(EncoderSpec {
        overflows_f16: true,
        final_norm: Some(rms_norm(weights, "norm", hidden, eps, "hidden_size in config.json")?),
        output: Some(linear(weights, "embedding_projection", output, hidden, Bias::No, because)?),
        per_layer_embeddings: Some(PerLayerEmbeddingsSpec { projection, norm }),
        ..EncoderSpec::new("embedding_gemma2", hidden, max_tokens, embedding, layers)
    })
}

/// Key heads and head size of layer `n`: its own entry, or the ones for its type.
fn heads(config: &Json, n: usize, all: bool) -> Result<(usize, usize)> {
    let own = config.object("per_layer_config")?;
    let own = own.map(|layers| layers.object(&n.to_string())).transpose()?.flatten();
    let size = |key: &str, global_key: &str| match &own {
        Some(own) if own.get(key).is_some() => own.size(key),
        _ if all && config.get(global_key).is_some() => config.size(global_key),
        _ => config.size(key),
    };
    Ok((size("num_key_value_heads", "num_global_key_value_heads")?, size("head_dim", "global_head_dim")?))
}

fn layer(config: &Json, weights: &Weights, n: usize, hidden: usize) -> Result<LayerSpec> {
    let all = match layer_type(config, n)? {
        Some("full_attention") => true,
        Some("sliding_attention") => false,
        kind => {
            return Err(config.unsupported(
                "layer type",
                kind.unwrap_or("none"),
                "full_attention, sliding_attention",
            ));
        }
    };
    let intermediate = config.size("intermediate_size")?;
    let activation = activation(config, "hidden_activation", "gelu_pytorch_tanh")?;
    let mlp = gated_mlp(config, weights, n, hidden, intermediate, activation)?;
    let norm = |name: &str| norm(config, weights, &format!("layers.{n}.{name}"), hidden);
    Ok(LayerSpec {
        attention_pre_norm: Some(norm("input_layernorm")?),
        attention_out_norm: Some(norm("post_attention_layernorm")?),
        mlp_pre_norm: Some(norm("pre_feedforward_layernorm")?),
        mlp_out_norm: Some(norm("post_feedforward_layernorm")?),
        per_layer_input: Some(per_layer_input(config, weights, n, hidden, activation)?),
        ..LayerSpec::new(attention(config, weights, n, hidden, all)?, mlp)
    })
}

fn norm(config: &Json, weights: &Weights, name: &str, size: usize) -> Result<NormSpec> {
    let eps = config.epsilon_or("rms_norm_eps", 1e-6)?;
    rms_norm(weights, name, size, eps, "hidden_size or head_dim in config.json")
}

fn attention(config: &Json, weights: &Weights, n: usize, hidden: usize, all: bool) -> Result<AttentionSpec> {
    let heads_of_queries = config.size("num_attention_heads")?;
    let (kv_heads, head_dim) = heads(config, n, all)?;
    check_rotary_heads(config, heads_of_queries, head_dim)?;
    if !heads_of_queries.is_multiple_of(kv_heads) {
        let problem =
            format!("{heads_of_queries} query heads are not a multiple of {kv_heads} key heads in layer {n}");
        return Err(config.error(problem));
    }
    let (window, kind, theta) = if all {
        (AttentionWindow::ALL, "full_attention", 1_000_000.0)
    } else {
        let side = Some(config.size("sliding_window")?);
        (AttentionWindow { before: side, after: side }, "sliding_attention", 10_000.0)
    };
    let bias = Bias::from(config.flag_or("attention_bias", false)?);
    let project = |name: &str, outputs: usize, inputs: usize| {
        let because =
            "hidden_size, num_attention_heads and the layer's key heads and head size in config.json";
        linear(weights, &format!("layers.{n}.self_attn.{name}_proj"), outputs, inputs, bias, because)
    };
    let norm = |name: &str| norm(config, weights, &format!("layers.{n}.self_attn.{name}"), head_dim);
    let key_norm = norm("k_norm")?;
    Ok(AttentionSpec {
        heads: heads_of_queries,
        kv_heads,
        head_dim,
        scale: 1.0,
        query_key_value: LinearSpec::stack([
            project("q", heads_of_queries * head_dim, hidden)?,
            project("k", kv_heads * head_dim, hidden)?,
            project("v", kv_heads * head_dim, hidden)?,
        ]),
        output: project("o", hidden, heads_of_queries * head_dim)?,
        query_norm: Some(norm("q_norm")?),
        value_norm: Some(NormSpec { weight: None, ..key_norm.clone() }),
        key_norm: Some(key_norm),
        rotary: Some(rotary_by_layer_type(config, kind, "rope_theta", theta, head_dim)?),
        relative_bias: None,
        relative_positions: None,
        window,
    })
}

/// The block that mixes in the per-layer embeddings, and the scale at the layer's end.
fn per_layer_input(
    config: &Json,
    weights: &Weights,
    n: usize,
    hidden: usize,
    activation: Activation,
) -> Result<PerLayerInputSpec> {
    let size = config.size("hidden_size_per_layer_input")?;
    let name = |name: &str| format!("layers.{n}.ple_block.{name}");
    let because = "hidden_size_per_layer_input and hidden_size in config.json";
    let scale = weights.tensor(&format!("layers.{n}.layer_scalar"), &[1], "one number a layer")?;
    Ok(PerLayerInputSpec {
        gate: linear(weights, &name("per_layer_input_gate"), size, hidden, Bias::No, because)?,
        activation,
        project: linear(weights, &name("per_layer_projection"), hidden, size, Bias::No, because)?,
        norm: norm(config, weights, &name("post_per_layer_input_norm"), hidden)?,
        scale: scale.to_vec()?.first().copied().unwrap_or(1.0),
    })
}
