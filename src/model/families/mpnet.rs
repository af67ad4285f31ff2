//! MPNet: a BERT-shaped encoder with a bucketed relative position bias shared by all layers.
//!
//! Names and formulas: `transformers` `modeling_mpnet.py`.

use super::bert;
use super::common::post_norm::{Names, layer};
use super::common::{Bias, layer_norm};
use super::family::Family;
use crate::error::ModelResult as Result;
use crate::model::relative::RelativeBiasSpec;
use crate::model::spec::*;
use crate::model::weights::Weights;
use crate::source::Json;

pub(super) const FAMILY: Family = Family { model_types: &["mpnet"], spec: encoder };

/// Positions start behind it, whatever `pad_token_id` is (a constant in the reference).
const PADDING_ID: usize = 1;

/// The distance from which all fall into the last bucket (a constant in the reference).
const MAX_DISTANCE: usize = 128;

const NAMES: Names = Names {
    query: "attention.attn.q",
    key: "attention.attn.k",
    value: "attention.attn.v",
    output: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    mlp_norm: "output.LayerNorm",
};

fn encoder(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    let shape = bert::shape(config)?;
    let hidden = shape.hidden;
    let vocabulary = config.size("vocab_size")?;
    let positions = config.size("max_position_embeddings")?;
    let because = "vocab_size, max_position_embeddings and hidden_size in config.json";
    let table = |name: &str, rows: usize| {
        weights.tensor(&format!("embeddings.{name}.weight"), &[rows, hidden], because)
    };
    let embedding = EmbeddingSpec {
        word: table("word_embeddings", vocabulary)?,
        scale: 1.0,
        position: Some(PositionSpec {
            table: table("position_embeddings", positions)?,
            first: PADDING_ID + 1,
            uncounted: Some(PADDING_ID as u32),
        }),
        token_type: None,
        norm: Some(layer_norm(weights, "embeddings.LayerNorm", hidden, shape.eps, Bias::Yes)?),
        projection: None,
    };
    let bias = relative_bias(config, weights)?;
    let layers = (0..config.size("num_hidden_layers")?)
        .map(|n| layer(config, weights, &format!("encoder.layer.{n}"), &shape, &NAMES, Some(bias.clone())))
        .collect::<Result<_>>()?;
    let max_tokens = Some(bert::max_tokens(config, PADDING_ID + 1)?);
    Ok(EncoderSpec::new("mpnet", hidden, max_tokens, embedding, layers))
}

fn relative_bias(config: &Json, weights: &Weights) -> Result<RelativeBiasSpec> {
    let heads = config.size("num_attention_heads")?;
    let buckets = config.size_or("relative_attention_num_buckets", 32)?;
    // Half of a side's buckets hold one distance each; the other half reach to MAX_DISTANCE.
    if buckets < 4 || buckets % 4 != 0 || buckets / 4 >= MAX_DISTANCE {
        let problem =
            format!("`relative_attention_num_buckets` is {buckets}, expected a multiple of 4 from 4 to 508");
        return Err(config.error(problem));
    }
    let because = "relative_attention_num_buckets and num_attention_heads in config.json";
    let table = weights.tensor("encoder.relative_attention_bias.weight", &[buckets, heads], because)?;
    Ok(RelativeBiasSpec::Buckets { table, max_distance: MAX_DISTANCE })
}
