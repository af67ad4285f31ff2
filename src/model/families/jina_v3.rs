//! jina-embeddings-v3: XLM-RoBERTa's layers with rotary positions. Its task adapters are a matter of
//! how matrices are read ([`Weights::with_adapter`]).
//!
//! Names and formulas: `transformers` `modeling_jina_embeddings_v3.py`.

use super::bert::max_tokens;
use super::common::rotary_post_norm::{Parts, Shape, embedding, layer, linear_as_stored};
use super::common::{Bias, layer_norm};
use super::family::Family;
use crate::error::ModelResult as Result;
use crate::model::spec::*;
use crate::model::weights::Weights;
use crate::source::Json;

pub(super) const FAMILY: Family = Family { model_types: &["jina_embeddings_v3"], spec: encoder };

pub(super) fn encoder(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    let shape = Shape::read(config, 1e-5, config.number_or("rotary_emb_base", 20_000.0)?)?;
    let hidden = shape.hidden;
    let types = config.size_or("type_vocab_size", 1)?;
    let norms = ["emb_ln", "embeddings.LayerNorm"];
    let embedding = embedding(weights, config.size("vocab_size")?, types, hidden, norms, shape.eps)?;
    let layers = (0..config.size("num_hidden_layers")?)
        .map(|n| layer_by_name(weights, n, &shape))
        .collect::<Result<_>>()?;
    let max_tokens = Some(config.size("max_position_embeddings")?);
    Ok(EncoderSpec::new("jina_embeddings_v3", hidden, max_tokens, embedding, layers))
}

/// The same with a table of positions instead of rotary ones: jina-reranker-v2. Positions are RoBERTa's.
pub(super) fn with_positions(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    let mut spec = encoder(config, weights)?;
    let (rows, padding) =
        (config.size("max_position_embeddings")?, config.token_id("pad_token_id")?.unwrap_or(1));
    let first = padding as usize + 1;
    let because = "max_position_embeddings and hidden_size in config.json";
    let table = weights.tensor("embeddings.position_embeddings.weight", &[rows, spec.hidden], because)?;
    spec.embedding.position = Some(PositionSpec { table, first, uncounted: Some(padding) });
    spec.layers.iter_mut().filter_map(LayerSpec::attention_mut).for_each(|attention| attention.rotary = None);
    spec.max_tokens = Some(max_tokens(config, first)?);
    Ok(spec)
}

fn layer_by_name(weights: &Weights, n: usize, shape: &Shape) -> Result<LayerSpec> {
    let Shape { hidden, intermediate, eps, .. } = *shape;
    let name = |name: &str| format!("encoder.layers.{n}.{name}");
    let norm = |part: &str| layer_norm(weights, &name(part), hidden, eps, Bias::Yes);
    let mlp = DenseMlpSpec {
        up: linear_as_stored(weights, &name("mlp.fc1"), intermediate, hidden)?,
        gate: None,
        activation: shape.activation,
        down: linear_as_stored(weights, &name("mlp.fc2"), hidden, intermediate)?,
    };
    Ok(layer(
        shape,
        Parts {
            query_key_value: linear_as_stored(weights, &name("mixer.Wqkv"), 3 * hidden, hidden)?,
            output: linear_as_stored(weights, &name("mixer.out_proj"), hidden, hidden)?,
            attention_norm: norm("norm1")?,
            mlp: mlp.into(),
            mlp_norm: norm("norm2")?,
        },
    ))
}
