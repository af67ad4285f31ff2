//! DeBERTa-v2 and -v3: BERT's layers whose attention also multiplies queries and keys with vectors of their distance.
//!
//! Names and formulas: `transformers` `modeling_deberta_v2.py`.

use super::bert;
use super::common::post_norm::{Names, Shape, layer};
use super::common::{Bias, layer_norm, linear};
use super::family::Family;
use crate::error::ModelResult as Result;
use crate::model::relative::RelativePositionsSpec;
use crate::model::spec::*;
use crate::model::tensor::Tensor;
use crate::model::weights::Weights;
use crate::source::Json;
use serde_json::Value;

pub(super) const FAMILY: Family = Family { model_types: &["deberta-v2"], spec: encoder };

const NAMES: Names = Names {
    query: "attention.self.query_proj",
    key: "attention.self.key_proj",
    value: "attention.self.value_proj",
    output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    mlp_norm: "output.LayerNorm",
};

fn encoder(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    check_supported(config)?;
    // The first decides how a language model's head is called, the others are the score's: task_heads.rs.
    config.heed(["legacy", "pooler_hidden_size", "pooler_hidden_act"]);
    let shape = Shape { eps: config.epsilon_or("layer_norm_eps", 1e-7)?, ..bert::shape(config)? };
    let hidden = shape.hidden;
    let table = |name: &str, key: &str, rows: usize| {
        let because = format!("{key} and hidden_size in config.json");
        weights.tensor(&format!("embeddings.{name}.weight"), &[rows, hidden], &because)
    };
    let positions = config.size_or("max_position_embeddings", 512)?;
    let has_positions = config.flag_or("position_biased_input", true)?;
    let position = || -> Result<_> {
        let table = table("position_embeddings", "max_position_embeddings", positions)?;
        Ok(PositionSpec { table, first: 0, uncounted: None })
    };
    let types = count(config, "type_vocab_size")?;
    let embedding = EmbeddingSpec {
        word: table("word_embeddings", "vocab_size", config.size("vocab_size")?)?,
        scale: 1.0,
        position: has_positions.then(position).transpose()?,
        token_type: types
            .map(|types| table("token_type_embeddings", "type_vocab_size", types))
            .transpose()?,
        norm: Some(layer_norm(weights, "embeddings.LayerNorm", hidden, shape.eps, Bias::Yes)?),
        projection: None,
    };
    let distances = Distances::read(config, weights, &shape, positions)?;
    let layers = (0..config.size("num_hidden_layers")?)
        .map(|n| {
            let prefix = format!("encoder.layer.{n}");
            let mut layer = layer(config, weights, &prefix, &shape, &NAMES, None)?;
            if let (Some(distances), Some(attention)) = (&distances, layer.attention_mut()) {
                distances.add_to(attention, weights, &prefix)?;
            }
            Ok(layer)
        })
        .collect::<Result<_>>()?;
    let max_tokens = has_positions.then_some(positions);
    Ok(EncoderSpec::new("deberta-v2", hidden, max_tokens, embedding, layers))
}

/// What no embedding model or reranker has been seen with.
fn check_supported(config: &Json) -> Result<()> {
    let hidden = config.size("hidden_size")?;
    let width = config.size_or("embedding_size", hidden)?;
    if width != hidden {
        return Err(config.unsupported("embedding_size", width.to_string(), "hidden_size"));
    }
    if let Some(width) = count(config, "conv_kernel_size")? {
        return Err(config.unsupported("conv_kernel_size", width.to_string(), "0"));
    }
    Ok(())
}

/// A number of things; 0 and -1 stand for none, as a key that is absent does.
fn count(config: &Json, key: &str) -> Result<Option<usize>> {
    match config.number_or(key, 0.0)? <= 0.0 {
        true => Ok(None),
        false => config.size(key).map(Some),
    }
}

/// What all layers share of their distances.
struct Distances {
    /// `[2 · span, hidden]`
    rows: Tensor,
    norm: Option<NormSpec>,
    shared_up_to: Option<usize>,
    /// Queries are multiplied with vectors of distances ("c2p"), keys are ("p2c").
    of_queries: bool,
    of_keys: bool,
    /// The vectors are made by the layers' own projections of keys and queries.
    shares_projections: bool,
}

impl Distances {
    fn read(config: &Json, weights: &Weights, shape: &Shape, positions: usize) -> Result<Option<Distances>> {
        if !config.flag_or("relative_attention", false)? {
            return Ok(None);
        }
        let farthest = count(config, "max_relative_positions")?.unwrap_or(positions);
        let buckets = count(config, "position_buckets")?;
        let span = buckets.unwrap_or(farthest);
        if !(4..=1 << 20).contains(&span) || farthest <= span / 2 + 1 {
            let problem = format!(
                "`position_buckets` is {span} for distances up to {farthest}: expected from 4 to 2^20, and not twice the distance"
            );
            return Err(config.error(problem));
        }
        let because = "position_buckets or max_relative_positions, and hidden_size in config.json";
        let rows = weights.tensor("encoder.rel_embeddings.weight", &[2 * span, shape.hidden], because)?;
        let norms = config.text("norm_rel_ebd")?.unwrap_or("none").to_lowercase();
        let norm = norms.split('|').any(|norm| norm.trim() == "layer_norm");
        let norm = norm.then(|| layer_norm(weights, "encoder.LayerNorm", shape.hidden, shape.eps, Bias::Yes));
        let kinds = kinds(config)?;
        let has = |kind: &str| kinds.iter().any(|other| other == kind);
        Ok(Some(Distances {
            rows,
            norm: norm.transpose()?,
            shared_up_to: buckets.map(|_| farthest),
            of_queries: has("c2p"),
            of_keys: has("p2c"),
            shares_projections: config.flag_or("share_att_key", false)?,
        }))
    }

    /// Gives a layer's attention its products with distances; all scores are divided by the root of their number.
    fn add_to(&self, attention: &mut AttentionSpec, weights: &Weights, prefix: &str) -> Result<()> {
        let hidden = self.rows.columns();
        let projection = |shared: &str, own: &str| {
            let because = "the hidden size in config.json";
            let name = if self.shares_projections { shared } else { own };
            linear(weights, &format!("{prefix}.attention.self.{name}"), hidden, hidden, Bias::Yes, because)
        };
        let keys = self.of_queries.then(|| projection("key_proj", "pos_key_proj")).transpose()?;
        let queries = self.of_keys.then(|| projection("query_proj", "pos_query_proj")).transpose()?;
        let products = 1 + usize::from(self.of_queries) + usize::from(self.of_keys);
        attention.scale = 1.0 / ((attention.head_dim * products) as f32).sqrt();
        attention.relative_positions = Some(RelativePositionsSpec {
            rows: self.rows.clone(),
            norm: self.norm.clone(),
            keys,
            queries,
            shared_up_to: self.shared_up_to,
        });
        Ok(())
    }
}

/// `pos_att_type`: a list, or names with bars between them.
fn kinds(config: &Json) -> Result<Vec<String>> {
    let names: Vec<String> = match config.get("pos_att_type") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(names)) => {
            let names = names.to_lowercase();
            names.split('|').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
        }
        Some(Value::Array(names)) => {
            names.iter().map(|name| name.as_str().unwrap_or_default().to_owned()).collect()
        }
        Some(_) => vec![String::new()],
    };
    match names.iter().find(|name| !["c2p", "p2c"].contains(&name.as_str())) {
        Some(other) => Err(config.unsupported("pos_att_type", other.as_str(), "c2p, p2c")),
        None => Ok(names),
    }
}
