//! BERT: post-LayerNorm encoder with learned positions. Also what RoBERTa differs little from.
//!
//! Names and formulas: `transformers` `modeling_bert.py`.

use super::{Bias, Family, activation, head_dim, layer_norm, linear};
use crate::error::Result;
use crate::model::files::Json;
use crate::model::spec::*;
use crate::model::weights::Weights;

pub(super) const FAMILY: Family =
    Family { model_type: "bert", spec: |config, weights| encoder("bert", config, weights, 0) };

/// A BERT-shaped encoder whose first token has the position `first_position`.
pub(super) fn encoder(
    family: &'static str,
    config: &Json,
    weights: &Weights,
    first_position: usize,
) -> Result<EncoderSpec> {
    check_supported(config)?;
    let hidden = config.size("hidden_size")?;
    let vocabulary = config.size("vocab_size")?;
    let positions = config.size("max_position_embeddings")?;
    let types = config.size_or("type_vocab_size", 2)?;
    let eps = config.epsilon_or("layer_norm_eps", 1e-12)?;
    let table = |name: &str, rows: usize, key: &str| {
        let because = format!("{key} and hidden_size in config.json");
        weights.tensor(&format!("embeddings.{name}.weight"), &[rows, hidden], &because)
    };
    let embedding = EmbeddingSpec {
        word: table("word_embeddings", vocabulary, "vocab_size")?,
        position: Some((table("position_embeddings", positions, "max_position_embeddings")?, first_position)),
        token_type: Some(table("token_type_embeddings", types, "type_vocab_size")?),
        norm: Some(layer_norm(weights, "embeddings.LayerNorm", hidden, eps)?),
    };
    let layers = (0..config.size("num_hidden_layers")?)
        .map(|n| layer(config, weights, n, &NAMES, None))
        .collect::<Result<_>>()?;
    let max_tokens = Some(max_tokens(config, first_position)?);
    Ok(EncoderSpec { family, hidden, max_tokens, embedding, layers, final_norm: None })
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
    let position = config.text("position_embedding_type")?.unwrap_or("absolute");
    if position != "absolute" {
        return Err(config.unsupported("position_embedding_type", position, "absolute"));
    }
    if config.flag_or("is_decoder", false)? {
        return Err(config.unsupported("is_decoder", "true", "false"));
    }
    Ok(())
}

/// What the tensors of a layer's attention are called, after `encoder.layer.N.attention.`.
pub(super) struct AttentionNames {
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    pub(super) output: &'static str,
    pub(super) norm: &'static str,
}

const NAMES: AttentionNames = AttentionNames {
    query: "self.query",
    key: "self.key",
    value: "self.value",
    output: "output.dense",
    norm: "output.LayerNorm",
};

/// Layer `n`: post-LayerNorm, biases everywhere.
pub(super) fn layer(
    config: &Json,
    weights: &Weights,
    n: usize,
    names: &AttentionNames,
    relative_bias: Option<RelativeBiasSpec>,
) -> Result<LayerSpec> {
    let hidden = config.size("hidden_size")?;
    let heads = config.size("num_attention_heads")?;
    let head_dim = head_dim(config, hidden, heads)?;
    let intermediate = config.size("intermediate_size")?;
    let eps = config.epsilon_or("layer_norm_eps", 1e-12)?;
    let layer = format!("encoder.layer.{n}");
    let square = |name: &str| {
        let because = "hidden_size in config.json";
        linear(weights, &format!("{layer}.attention.{name}"), hidden, hidden, Bias::Yes, because)
    };
    let norm = |name: &str| layer_norm(weights, &format!("{layer}.{name}"), hidden, eps);
    let attention = AttentionSpec {
        heads,
        kv_heads: heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        query_key_value: LinearSpec::stack([square(names.query)?, square(names.key)?, square(names.value)?]),
        output: square(names.output)?,
        query_norm: None,
        key_norm: None,
        rotary: None,
        relative_bias,
        visible: Visible::ALL,
    };
    let because = "intermediate_size and hidden_size in config.json";
    let dense = |name: &str, outputs: usize, inputs: usize| {
        linear(weights, &format!("{layer}.{name}"), outputs, inputs, Bias::Yes, because)
    };
    let mlp = MlpSpec {
        up: dense("intermediate.dense", intermediate, hidden)?,
        gate: None,
        activation: activation(config, "hidden_act", "gelu")?,
        down: dense("output.dense", hidden, intermediate)?,
    };
    Ok(LayerSpec {
        attention_pre_norm: None,
        attention,
        attention_post_norm: Some(norm(&format!("attention.{}", names.norm))?),
        mlp_pre_norm: None,
        mlp,
        mlp_post_norm: Some(norm("output.LayerNorm")?),
    })
}
