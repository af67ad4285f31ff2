//! DistilBERT: BERT with half the layers, no token types, and names of its own.
//!
//! Names and formulas: `transformers` `modeling_distilbert.py`.

use super::bert;
use super::common::post_norm::{Names, Shape, layer};
use super::common::{Bias, activation, layer_norm};
use super::family::Family;
use crate::error::ModelResult as Result;
use crate::model::spec::*;
use crate::model::weights::Weights;
use crate::source::Json;

pub(super) const FAMILY: Family = Family { model_types: &["distilbert"], spec: encoder };

/// A constant in the reference.
const EPS: f32 = 1e-12;

const NAMES: Names = Names {
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    mlp_norm: "output_layer_norm",
};

fn encoder(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    let hidden = config.size("dim")?;
    let shape = Shape {
        hidden,
        heads: config.size("n_heads")?,
        intermediate: config.size("hidden_dim")?,
        eps: EPS,
        activation: activation(config, "activation", "gelu")?,
    };
    let because = "vocab_size, max_position_embeddings and dim in config.json";
    let table = |name: &str, rows: usize| {
        weights.tensor(&format!("embeddings.{name}.weight"), &[rows, hidden], because)
    };
    let embedding = EmbeddingSpec {
        word: table("word_embeddings", config.size("vocab_size")?)?,
        scale: 1.0,
        position: Some(PositionSpec {
            table: table("position_embeddings", config.size("max_position_embeddings")?)?,
            first: 0,
            uncounted: None,
        }),
        token_type: None,
        norm: Some(layer_norm(weights, "embeddings.LayerNorm", hidden, EPS, Bias::Yes)?),
        projection: None,
    };
    let layers = (0..config.size("n_layers")?)
        .map(|n| layer(config, weights, &format!("transformer.layer.{n}"), &shape, &NAMES, None))
        .collect::<Result<_>>()?;
    let max_tokens = Some(bert::max_tokens(config, 0)?);
    Ok(EncoderSpec::new("distilbert", hidden, max_tokens, embedding, layers))
}
