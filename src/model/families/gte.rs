//! Alibaba's `new` architecture (gte-en-v1.5, gte-multilingual, arctic-embed-m-v2.0): a
//! post-LayerNorm encoder with rotary positions and GeGLU.
//!
//! Names and formulas: `transformers` `modeling_gte.py`; the hub's files use the names of Alibaba's
//! own code.

use super::common::rotary_post_norm::{
    Parts, Shape, embedding, has_native_names, layer, linear_as_stored, native_layer,
};
use super::common::{Bias, layer_norm};
use super::family::Family;
use crate::error::ModelResult as Result;
use crate::model::spec::*;
use crate::model::weights::Weights;
use crate::source::Json;
use serde_json::Value;

pub(super) const FAMILY: Family = Family { model_types: &["gte", "new"], spec: encoder };

fn encoder(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    // Alibaba's own code has other kinds; transformers' class has these only, and no such keys.
    for (key, usual) in [("position_embedding_type", "rope"), ("layer_norm_type", "layer_norm")] {
        let found = config.text(key)?.unwrap_or(usual);
        if found != usual && config.text("model_type")? == Some("new") {
            return Err(config.unsupported(key, found, usual));
        }
    }
    if config.flag_or("logn_attention_scale", false)? {
        return Err(config.unsupported("logn_attention_scale", "true", "false"));
    }
    let shape = Shape::read(config, 1e-12, 160_000.0)?;
    let hidden = shape.hidden;
    // gte-base-en-v1.5 has no types: 0.
    let types = match config.get("type_vocab_size").and_then(Value::as_u64) {
        Some(0) => 0,
        _ => config.size_or("type_vocab_size", 1)?,
    };
    let norm = "embeddings.LayerNorm";
    let embedding = embedding(weights, config.size("vocab_size")?, types, hidden, [norm, norm], shape.eps)?;
    let native = has_native_names(weights);
    let layers = (0..config.size("num_hidden_layers")?)
        .map(|n| if native { native_layer(weights, n, &shape) } else { hub_layer(weights, n, &shape) })
        .collect::<Result<_>>()?;
    let max_tokens = Some(config.size("max_position_embeddings")?);
    Ok(EncoderSpec::new("gte", hidden, max_tokens, embedding, layers))
}

/// Layer `n` by the names of Alibaba's own code. The first half of `up_gate_proj` is up.
fn hub_layer(weights: &Weights, n: usize, shape: &Shape) -> Result<LayerSpec> {
    let Shape { hidden, intermediate, eps, .. } = *shape;
    let name = |name: &str| format!("encoder.layer.{n}.{name}");
    let norm = |part: &str| layer_norm(weights, &name(part), hidden, eps, Bias::Yes);
    let up_gate = linear_as_stored(weights, &name("mlp.up_gate_proj"), 2 * intermediate, hidden)?;
    let mlp = DenseMlpSpec {
        up: up_gate.rows(0..intermediate),
        gate: Some(up_gate.rows(intermediate..2 * intermediate)),
        activation: shape.activation,
        down: linear_as_stored(weights, &name("mlp.down_proj"), hidden, intermediate)?,
    };
    Ok(layer(
        shape,
        Parts {
            query_key_value: linear_as_stored(weights, &name("attention.qkv_proj"), 3 * hidden, hidden)?,
            output: linear_as_stored(weights, &name("attention.o_proj"), hidden, hidden)?,
            attention_norm: norm("attn_ln")?,
            mlp: mlp.into(),
            mlp_norm: norm("mlp_ln")?,
        },
    ))
}
