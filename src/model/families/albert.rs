//! ALBERT: BERT whose layers share their weights, and whose embeddings are narrower than its
//! hidden states.
//!
//! Names and formulas: `transformers` `modeling_albert.py`.

use super::bert;
use super::common::post_norm::{Names, Shape, layer};
use super::common::{Bias, activation, layer_norm, linear};
use super::family::Family;
use crate::error::ModelResult as Result;
use crate::model::spec::*;
use crate::model::weights::Weights;
use crate::source::Json;

pub(super) const FAMILY: Family = Family { model_types: &["albert"], spec: encoder };

const NAMES: Names = Names {
    query: "attention.query",
    key: "attention.key",
    value: "attention.value",
    output: "attention.dense",
    attention_norm: "attention.LayerNorm",
    up: "ffn",
    down: "ffn_output",
    mlp_norm: "full_layer_layer_norm",
};

fn encoder(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    let shape = Shape { activation: activation(config, "hidden_act", "gelu_new")?, ..bert::shape(config)? };
    let (hidden, width) = (shape.hidden, config.size("embedding_size")?);
    let because = "vocab_size, max_position_embeddings, type_vocab_size and embedding_size in config.json";
    let table = |name: &str, rows: usize| {
        weights.tensor(&format!("embeddings.{name}.weight"), &[rows, width], because)
    };
    let projection = linear(
        weights,
        "encoder.embedding_hidden_mapping_in",
        hidden,
        width,
        Bias::Yes,
        "hidden_size and embedding_size in config.json",
    );
    let embedding = EmbeddingSpec {
        word: table("word_embeddings", config.size("vocab_size")?)?,
        scale: 1.0,
        position: Some(PositionSpec {
            table: table("position_embeddings", config.size("max_position_embeddings")?)?,
            first: 0,
            uncounted: None,
        }),
        token_type: Some(table("token_type_embeddings", config.size_or("type_vocab_size", 2)?)?),
        norm: Some(layer_norm(weights, "embeddings.LayerNorm", width, shape.eps, Bias::Yes)?),
        projection: Some(projection?),
    };
    let (count, groups) = (config.size("num_hidden_layers")?, config.size_or("num_hidden_groups", 1)?);
    let inner = config.size_or("inner_group_num", 1)?;
    let mut layers = Vec::new();
    for n in 0..count {
        // Layer n belongs to group n · groups / count, and runs all the layers in it.
        let group = n * groups / count;
        for k in 0..inner {
            let prefix = format!("encoder.albert_layer_groups.{group}.albert_layers.{k}");
            layers.push(layer(config, weights, &prefix, &shape, &NAMES, None)?);
        }
    }
    let max_tokens = Some(bert::max_tokens(config, 0)?);
    Ok(EncoderSpec::new("albert", hidden, max_tokens, embedding, layers))
}
