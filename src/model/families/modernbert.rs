//! ModernBERT: pre-LayerNorm encoder with rotary positions, GeGLU, and a local window in most
//! layers; no biases unless the configuration asks for them.
//!
//! Names and formulas: `transformers` `modeling_modernbert.py`.

use super::common::decoder::layer_type;
use super::common::rope::rotary_by_layer_type;
use super::common::{Bias, activation, check_rotary_heads, head_dim, layer_norm, linear};
use super::family::Family;
use crate::error::ModelResult as Result;
use crate::model::spec::*;
use crate::model::weights::Weights;
use crate::source::Json;

pub(super) const FAMILY: Family = Family { model_types: &["modernbert"], spec: encoder };

fn encoder(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    let hidden = config.size("hidden_size")?;
    let vocabulary = config.size("vocab_size")?;
    let eps = config.epsilon_or("norm_eps", 1e-5)?;
    let norm_bias = Bias::from(config.flag_or("norm_bias", false)?);
    let because = "vocab_size and hidden_size in config.json";
    let embedding = EmbeddingSpec {
        word: weights.tensor("embeddings.tok_embeddings.weight", &[vocabulary, hidden], because)?,
        scale: 1.0,
        position: None,
        token_type: None,
        norm: Some(layer_norm(weights, "embeddings.norm", hidden, eps, norm_bias)?),
        projection: None,
    };
    let layers = (0..config.size("num_hidden_layers")?)
        .map(|n| layer(config, weights, n, hidden, eps, norm_bias))
        .collect::<Result<_>>()?;
    Ok(EncoderSpec {
        final_norm: Some(layer_norm(weights, "final_norm", hidden, eps, norm_bias)?),
        ..EncoderSpec::new(
            "modernbert",
            hidden,
            Some(config.size("max_position_embeddings")?),
            embedding,
            layers,
        )
    })
}

/// Whether layer `n` sees all keys: `layer_types`, or every third as older files say.
fn sees_all(config: &Json, n: usize) -> Result<bool> {
    config.heed(["global_attn_every_n_layers"]);
    match layer_type(config, n)? {
        Some("full_attention") => Ok(true),
        Some("sliding_attention") => Ok(false),
        Some(kind) => Err(config.unsupported("layer type", kind, "full_attention, sliding_attention")),
        None => Ok(n.is_multiple_of(config.size_or("global_attn_every_n_layers", 3)?)),
    }
}

fn layer(
    config: &Json,
    weights: &Weights,
    n: usize,
    hidden: usize,
    eps: f32,
    norm_bias: Bias,
) -> Result<LayerSpec> {
    let heads = config.size("num_attention_heads")?;
    let head_dim = head_dim(config, hidden, heads)?;
    check_rotary_heads(config, heads, head_dim)?;
    let intermediate = config.size("intermediate_size")?;
    let name = |name: &str| format!("layers.{n}.{name}");
    let attention_bias = Bias::from(config.flag_or("attention_bias", false)?);
    let mlp_bias = Bias::from(config.flag_or("mlp_bias", false)?);
    let project = |part: &str, outputs: usize, inputs: usize, bias: Bias| {
        linear(
            weights,
            &name(part),
            outputs,
            inputs,
            bias,
            "hidden_size and intermediate_size in config.json",
        )
    };
    let norm = |part: &str| layer_norm(weights, &name(part), hidden, eps, norm_bias).map(Some);
    let (window, rotary) = if sees_all(config, n)? {
        let rotary =
            rotary_by_layer_type(config, "full_attention", "global_rope_theta", 160_000.0, head_dim)?;
        (AttentionWindow::ALL, rotary)
    } else {
        config.heed(["local_attention"]);
        // As many keys on each side as half of the window.
        let side = match config.optional_size("sliding_window")? {
            Some(half) => Some(half),
            None => Some(config.size_or("local_attention", 128)? / 2),
        };
        let rotary =
            rotary_by_layer_type(config, "sliding_attention", "local_rope_theta", 10_000.0, head_dim)?;
        (AttentionWindow { before: side, after: side }, rotary)
    };
    let attention = AttentionSpec {
        heads,
        kv_heads: heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        query_key_value: project("attn.Wqkv", 3 * hidden, hidden, attention_bias)?,
        output: project("attn.Wo", hidden, hidden, attention_bias)?,
        query_norm: None,
        key_norm: None,
        value_norm: None,
        rotary: Some(rotary),
        relative_bias: None,
        relative_positions: None,
        window,
    };
    // The first half goes through the activation, the second multiplies.
    let gate_up = project("mlp.Wi", 2 * intermediate, hidden, mlp_bias)?;
    let mlp = DenseMlpSpec {
        up: gate_up.rows(intermediate..2 * intermediate),
        gate: Some(gate_up.rows(0..intermediate)),
        activation: activation(config, "hidden_activation", "gelu")?,
        down: project("mlp.Wo", hidden, intermediate, mlp_bias)?,
    };
    Ok(LayerSpec {
        // The embeddings have just been normalised.
        attention_pre_norm: if n == 0 { None } else { norm("attn_norm")? },
        mlp_pre_norm: norm("mlp_norm")?,
        ..LayerSpec::new(attention, mlp)
    })
}
