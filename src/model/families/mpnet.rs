//! MPNet: a BERT-shaped encoder with a bucketed relative position bias shared by all layers.
//!
//! Names and formulas: `transformers` `modeling_mpnet.py`.

use super::bert::{self, AttentionNames};
use super::roberta::first_position;
use super::{Family, layer_norm};
use crate::error::Result;
use crate::model::files::Json;
use crate::model::spec::*;
use crate::model::weights::Weights;

pub(super) const FAMILY: Family = Family { model_type: "mpnet", spec: encoder };

/// The distance from which all fall into the last bucket (a constant in the reference).
const MAX_DISTANCE: usize = 128;

const NAMES: AttentionNames =
    AttentionNames { query: "attn.q", key: "attn.k", value: "attn.v", output: "attn.o", norm: "LayerNorm" };

fn encoder(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    let hidden = config.size("hidden_size")?;
    let vocabulary = config.size("vocab_size")?;
    let positions = config.size("max_position_embeddings")?;
    let first = first_position(config)?;
    let because = "vocab_size, max_position_embeddings and hidden_size in config.json";
    let table = |name: &str, rows: usize| {
        weights.tensor(&format!("embeddings.{name}.weight"), &[rows, hidden], because)
    };
    let eps = config.epsilon_or("layer_norm_eps", 1e-12)?;
    let embedding = EmbeddingSpec {
        word: table("word_embeddings", vocabulary)?,
        position: Some((table("position_embeddings", positions)?, first)),
        token_type: None,
        norm: Some(layer_norm(weights, "embeddings.LayerNorm", hidden, eps)?),
    };
    let bias = relative_bias(config, weights)?;
    let layers = (0..config.size("num_hidden_layers")?)
        .map(|n| bert::layer(config, weights, n, &NAMES, Some(bias.clone())))
        .collect::<Result<_>>()?;
    let max_tokens = Some(bert::max_tokens(config, first)?);
    Ok(EncoderSpec { family: "mpnet", hidden, max_tokens, embedding, layers, final_norm: None })
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
    Ok(RelativeBiasSpec { table, max_distance: MAX_DISTANCE })
}
