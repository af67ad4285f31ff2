//! JinaBERT v2 (jina-embeddings-v2): BERT with a linear bias by distance (ALiBi) instead of positions,
//! and a gated feed-forward network. The variant for code also normalises queries and keys.
//!
//! Its `model_type` is `bert`; `position_embedding_type` tells it apart. Names and formulas: the
//! vendor's `modeling_bert.py`, in the repositories that `auto_map` names.

use super::common::{Bias, activation_named, head_dim, layer_norm, linear};
use crate::error::ModelResult as Result;
use crate::model::relative::RelativeBiasSpec;
use crate::model::spec::*;
use crate::model::weights::Weights;
use crate::source::Json;

pub(super) fn encoder(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    config.heed(["hidden_act"]); // feed_forward_type comes before it
    let hidden = config.size("hidden_size")?;
    let eps = config.epsilon_or("layer_norm_eps", 1e-12)?;
    let table = |name: &str, rows: usize| {
        let because = "vocab_size, type_vocab_size and hidden_size in config.json";
        weights.tensor(&format!("embeddings.{name}.weight"), &[rows, hidden], because)
    };
    let embedding = EmbeddingSpec {
        word: table("word_embeddings", config.size("vocab_size")?)?,
        scale: 1.0,
        position: None,
        token_type: Some(table("token_type_embeddings", config.size_or("type_vocab_size", 2)?)?),
        norm: Some(layer_norm(weights, "embeddings.LayerNorm", hidden, eps, Bias::Yes)?),
        projection: None,
    };
    let layers = (0..config.size("num_hidden_layers")?)
        .map(|n| layer(config, weights, &format!("encoder.layer.{n}"), hidden, eps))
        .collect::<Result<_>>()?;
    let max_tokens = Some(config.size("max_position_embeddings")?);
    Ok(EncoderSpec::new("bert (jina v2)", hidden, max_tokens, embedding, layers))
}

fn layer(config: &Json, weights: &Weights, prefix: &str, hidden: usize, eps: f32) -> Result<LayerSpec> {
    let heads = config.size("num_attention_heads")?;
    let head_dim = head_dim(config, hidden, heads)?;
    let because = "hidden_size in config.json";
    let square = |part: &str| {
        linear(weights, &format!("{prefix}.attention.{part}"), hidden, hidden, Bias::Yes, because)
    };
    let norm = |part: &str| layer_norm(weights, &format!("{prefix}.{part}"), hidden, eps, Bias::Yes);
    let normalises = weights.has(&format!("{prefix}.attention.self.layer_norm_q.weight"));
    let query_key = |part: &str| {
        if normalises { norm(&format!("attention.self.{part}")).map(Some) } else { Ok(None) }
    };
    let attention = AttentionSpec {
        heads,
        kv_heads: heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        query_key_value: LinearSpec::stack([
            square("self.query")?,
            square("self.key")?,
            square("self.value")?,
        ]),
        output: square("output.dense")?,
        query_norm: query_key("layer_norm_q")?,
        key_norm: query_key("layer_norm_k")?,
        value_norm: None,
        rotary: None,
        relative_bias: Some(RelativeBiasSpec::Linear),
        relative_positions: None,
        window: AttentionWindow::ALL,
    };
    let code = weights.has(&format!("{prefix}.mlp.up_gated_layer.weight"));
    let names =
        if code { ["layer_norm_1", "layer_norm_2"] } else { ["attention.output.LayerNorm", "mlp.layernorm"] };
    Ok(LayerSpec {
        attention_post_norm: Some(norm(names[0])?),
        mlp_post_norm: Some(norm(names[1])?),
        ..LayerSpec::new(attention, mlp(config, weights, prefix, hidden, code)?)
    })
}

/// The halves of the first matrix are gate and value; in the variant for code, value and gate.
fn mlp(config: &Json, weights: &Weights, prefix: &str, hidden: usize, code: bool) -> Result<DenseMlpSpec> {
    let intermediate = config.size("intermediate_size")?;
    let activation = match config.text("feed_forward_type")?.unwrap_or("geglu") {
        "geglu" => activation_named(config, "gelu")?,
        "reglu" => activation_named(config, "relu")?,
        other => return Err(config.unsupported("feed_forward_type", other, "geglu, reglu")),
    };
    let [first, second] =
        if code { ["mlp.up_gated_layer", "mlp.down_layer"] } else { ["mlp.gated_layers", "mlp.wo"] };
    let stored = |part: &str, outputs: usize, inputs: usize| {
        let name = format!("{prefix}.{part}");
        let bias = Bias::from(weights.has(&format!("{name}.bias")));
        linear(weights, &name, outputs, inputs, bias, "intermediate_size and hidden_size in config.json")
    };
    let both = stored(first, 2 * intermediate, hidden)?;
    let halves = [both.rows(0..intermediate), both.rows(intermediate..2 * intermediate)];
    let [gate, up] = if code {
        let [up, gate] = halves;
        [gate, up]
    } else {
        halves
    };
    Ok(DenseMlpSpec { up, gate: Some(gate), activation, down: stored(second, hidden, intermediate)? })
}
