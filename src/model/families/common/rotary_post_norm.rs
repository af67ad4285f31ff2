//! The layer of the rotary encoders (nomic, gte, jina): LayerNorm after each addition, rotary
//! positions, full attention. The families differ in names, biases and the feed-forward network.

use super::rope::rotary;
use super::{Bias, activation, check_rotary_heads, head_dim, layer_norm, linear};
use crate::error::ModelResult as Result;
use crate::model::spec::*;
use crate::model::weights::Weights;
use crate::source::Json;

/// The sizes of a layer, and the frequencies that all layers share.
pub(in super::super) struct Shape {
    pub(in super::super) hidden: usize,
    pub(in super::super) intermediate: usize,
    pub(in super::super) heads: usize,
    pub(in super::super) head_dim: usize,
    pub(in super::super) eps: f32,
    pub(in super::super) activation: Activation,
    pub(in super::super) rotary: RotarySpec,
}

impl Shape {
    /// The sizes by the usual configuration keys, with the family's own defaults.
    pub(in super::super) fn read(config: &Json, default_eps: f64, default_theta: f64) -> Result<Shape> {
        let hidden = config.size("hidden_size")?;
        let heads = config.size("num_attention_heads")?;
        let head_dim = head_dim(config, hidden, heads)?;
        check_rotary_heads(config, heads, head_dim)?;
        Ok(Shape {
            hidden,
            intermediate: config.size("intermediate_size")?,
            heads,
            head_dim,
            eps: config.epsilon_or("layer_norm_eps", default_eps)?,
            activation: activation(config, "hidden_act", "gelu")?,
            rotary: rotary(config, head_dim, default_theta)?,
        })
    }
}

/// The parts of a layer.
pub(in super::super) struct Parts {
    pub(in super::super) query_key_value: LinearSpec,
    pub(in super::super) output: LinearSpec,
    pub(in super::super) attention_norm: NormSpec,
    pub(in super::super) mlp: MlpSpec,
    pub(in super::super) mlp_norm: NormSpec,
}

/// A layer of these parts.
pub(in super::super) fn layer(shape: &Shape, parts: Parts) -> LayerSpec {
    let attention = AttentionSpec {
        heads: shape.heads,
        kv_heads: shape.heads,
        head_dim: shape.head_dim,
        scale: 1.0 / (shape.head_dim as f32).sqrt(),
        query_key_value: parts.query_key_value,
        output: parts.output,
        query_norm: None,
        key_norm: None,
        value_norm: None,
        rotary: Some(shape.rotary.clone()),
        relative_bias: None,
        relative_positions: None,
        window: AttentionWindow::ALL,
    };
    LayerSpec {
        attention_post_norm: Some(parts.attention_norm),
        mlp_post_norm: Some(parts.mlp_norm),
        ..LayerSpec::new(attention, parts.mlp)
    }
}

/// A linear layer that has a bias if the file has one for it.
pub(in super::super) fn linear_as_stored(
    weights: &Weights,
    name: &str,
    outputs: usize,
    inputs: usize,
) -> Result<LinearSpec> {
    let bias = Bias::from(weights.has(&format!("{name}.bias")));
    linear(weights, name, outputs, inputs, bias, "the sizes in config.json")
}

/// Whether the file has the names that transformers' own classes give these models' tensors.
pub(in super::super) fn has_native_names(weights: &Weights) -> bool {
    weights.has("layers.0.self_attn.q_proj.weight")
}

/// Layer `n` by transformers' own names, with a gated feed-forward network.
pub(in super::super) fn native_layer(weights: &Weights, n: usize, shape: &Shape) -> Result<LayerSpec> {
    let Shape { hidden, intermediate, eps, .. } = *shape;
    let name = |name: &str| format!("layers.{n}.{name}");
    let square = |part: &str| linear_as_stored(weights, &name(part), hidden, hidden);
    let norm = |part: &str| layer_norm(weights, &name(part), hidden, eps, Bias::Yes);
    let (q, k, v) = (square("self_attn.q_proj")?, square("self_attn.k_proj")?, square("self_attn.v_proj")?);
    let mlp = DenseMlpSpec {
        up: linear_as_stored(weights, &name("mlp.up_proj"), intermediate, hidden)?,
        gate: Some(linear_as_stored(weights, &name("mlp.gate_proj"), intermediate, hidden)?),
        activation: shape.activation,
        down: linear_as_stored(weights, &name("mlp.down_proj"), hidden, intermediate)?,
    };
    Ok(layer(
        shape,
        Parts {
            query_key_value: LinearSpec::stack([q, k, v]),
            output: square("self_attn.o_proj")?,
            attention_norm: norm("post_attention_layernorm")?,
            mlp: mlp.into(),
            mlp_norm: norm("post_mlp_layernorm")?,
        },
    ))
}

/// Word and, if there is one, type table, then a LayerNorm of one of these names.
pub(in super::super) fn embedding(
    weights: &Weights,
    vocabulary: usize,
    types: usize,
    hidden: usize,
    norm_names: [&str; 2],
    eps: f32,
) -> Result<EmbeddingSpec> {
    let because = "vocab_size, type_vocab_size and hidden_size in config.json";
    let table = |name: &str, rows: usize| {
        weights.tensor(&format!("embeddings.{name}.weight"), &[rows, hidden], because)
    };
    let token_type = if types > 0 { Some(table("token_type_embeddings", types)?) } else { None };
    let [first, second] = norm_names;
    let norm = if weights.has(&format!("{second}.weight")) { second } else { first };
    Ok(EmbeddingSpec {
        word: table("word_embeddings", vocabulary)?,
        scale: 1.0,
        position: None,
        token_type,
        norm: Some(layer_norm(weights, norm, hidden, eps, Bias::Yes)?),
        projection: None,
    })
}
