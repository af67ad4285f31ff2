//! BERT: post-LayerNorm encoder with learned positions. Also what RoBERTa differs little from.
//!
//! Names and formulas: `transformers` `modeling_bert.py`.

use super::common::post_norm::{Names, Shape, layer};
use super::common::{Bias, activation, layer_norm, linear};
use super::family::Family;
use super::jina_bert;
use crate::error::ModelResult as Result;
use crate::model::spec::*;
use crate::model::weights::Weights;
use crate::source::Json;

pub(super) const FAMILY: Family = Family { model_types: &["bert"], spec: bert_or_jina };

fn bert_or_jina(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    match config.text("position_embedding_type")? {
        Some("alibi") => jina_bert::encoder(config, weights),
        _ => encoder("bert", config, weights, Positions::FromZero),
    }
}

/// How tokens are numbered.
#[derive(Clone, Copy)]
pub(super) enum Positions {
    FromZero,
    /// Behind the padding id, whose occurrences are not counted.
    Behind(u32),
}

impl Positions {
    fn first(self) -> usize {
        match self {
            Positions::FromZero => 0,
            Positions::Behind(padding) => padding as usize + 1,
        }
    }

    fn uncounted(self) -> Option<u32> {
        match self {
            Positions::FromZero => None,
            Positions::Behind(padding) => Some(padding),
        }
    }
}

/// A BERT-shaped encoder.
pub(super) fn encoder(
    family: &'static str,
    config: &Json,
    weights: &Weights,
    numbered: Positions,
) -> Result<EncoderSpec> {
    encoder_of_width(family, config, weights, numbered, config.size("hidden_size")?)
}

/// A BERT-shaped encoder whose embeddings have `width` values, and are projected to the hidden size if that is another.
pub(super) fn encoder_of_width(
    family: &'static str,
    config: &Json,
    weights: &Weights,
    numbered: Positions,
    width: usize,
) -> Result<EncoderSpec> {
    check_supported(config)?;
    let shape = shape(config)?;
    let hidden = shape.hidden;
    let vocabulary = config.size("vocab_size")?;
    let positions = config.size("max_position_embeddings")?;
    let types = config.size_or("type_vocab_size", 2)?;
    let table = |name: &str, rows: usize, key: &str| {
        let because = format!("{key} and hidden_size or embedding_size in config.json");
        weights.tensor(&format!("embeddings.{name}.weight"), &[rows, width], &because)
    };
    let projection = || {
        let because = "hidden_size and embedding_size in config.json";
        linear(weights, "embeddings_project", hidden, width, Bias::Yes, because)
    };
    let embedding = EmbeddingSpec {
        word: table("word_embeddings", vocabulary, "vocab_size")?,
        scale: 1.0,
        position: Some(PositionSpec {
            table: table("position_embeddings", positions, "max_position_embeddings")?,
            first: numbered.first(),
            uncounted: numbered.uncounted(),
        }),
        token_type: Some(table("token_type_embeddings", types, "type_vocab_size")?),
        norm: Some(layer_norm(weights, "embeddings.LayerNorm", width, shape.eps, Bias::Yes)?),
        projection: if width == hidden { None } else { Some(projection()?) },
    };
    let layers = (0..config.size("num_hidden_layers")?)
        .map(|n| layer(config, weights, &format!("encoder.layer.{n}"), &shape, &NAMES, None))
        .collect::<Result<_>>()?;
    let max_tokens = Some(max_tokens(config, numbered.first())?);
    Ok(EncoderSpec::new(family, hidden, max_tokens, embedding, layers))
}

/// The rows of the position table from the first token's position on.
pub(super) fn max_tokens(config: &Json, first_position: usize) -> Result<usize> {
    let positions = config.size("max_position_embeddings")?;
    positions.checked_sub(first_position).filter(|&n| n > 0).ok_or_else(|| {
        config.error(format!("`max_position_embeddings` is {positions}, expected more than {first_position}"))
    })
}

/// Switches of the configuration that change the arithmetic and that no embedding model uses.
fn check_supported(config: &Json) -> Result<()> {
    // transformers 5 has no other kind any more, and leaves the key unread; the weights were trained with theirs.
    let position = config.text("position_embedding_type")?.unwrap_or("absolute");
    if position != "absolute" {
        return Err(config.unsupported("position_embedding_type", position, "absolute, alibi"));
    }
    Ok(())
}

const NAMES: Names = Names {
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    mlp_norm: "output.LayerNorm",
};

/// The sizes of a layer by BERT's configuration keys.
pub(super) fn shape(config: &Json) -> Result<Shape> {
    Ok(Shape {
        hidden: config.size("hidden_size")?,
        heads: config.size("num_attention_heads")?,
        intermediate: config.size("intermediate_size")?,
        eps: config.epsilon_or("layer_norm_eps", 1e-12)?,
        activation: activation(config, "hidden_act", "gelu")?,
    })
}
