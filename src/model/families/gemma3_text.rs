//! Gemma 3's text model (EmbeddingGemma): decoder layers with a norm before and after each block,
//! normalised heads, scaled embeddings, and a window in most layers; in both directions where the
//! configuration says so.
//!
//! Names and formulas: `transformers` `modeling_gemma3.py`. Norms store their weight's distance
//! from 1.

use super::common::decoder::{gated_mlp, layer_type, read_heads};
use super::common::rope::rotary_by_layer_type;
use super::common::{Bias, activation, linear, rms_norm};
use super::family::Family;
use crate::error::ModelResult as Result;
use crate::model::spec::*;
use crate::model::tensor::{ElementType, Tensor};
use crate::model::weights::Weights;
use crate::source::Json;

pub(super) const FAMILY: Family = Family { model_types: &["gemma3_text"], spec: encoder };

fn encoder(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    // `final_logit_softcapping` is for the language-model head.
    if let Some(value) = config.get("attn_logit_softcapping") {
        return Err(config.unsupported("attn_logit_softcapping", value.to_string(), "null"));
    }
    let hidden = config.size("hidden_size")?;
    let embedding = scaled_embedding(config, weights, hidden)?;
    let layers = (0..config.size("num_hidden_layers")?)
        .map(|n| layer(config, weights, n, hidden))
        .collect::<Result<_>>()?;
    Ok(EncoderSpec {
        overflows_f16: true,
        final_norm: Some(norm(config, weights, "norm", hidden)?),
        ..EncoderSpec::new(
            "gemma3_text",
            hidden,
            Some(config.size("max_position_embeddings")?),
            embedding,
            layers,
        )
    })
}

/// `√hidden · word[id]`
pub(super) fn scaled_embedding(config: &Json, weights: &Weights, hidden: usize) -> Result<EmbeddingSpec> {
    let because = "vocab_size and hidden_size in config.json";
    let word = weights.tensor("embed_tokens.weight", &[config.size("vocab_size")?, hidden], because)?;
    let scale = embedding_scale(&word, hidden);
    Ok(EmbeddingSpec { word, scale, position: None, token_type: None, norm: None, projection: None })
}

/// √hidden, rounded as the weights are stored.
pub(super) fn embedding_scale(word: &Tensor, hidden: usize) -> f32 {
    let scale = (hidden as f32).sqrt();
    match word.element_type() {
        ElementType::F32 => scale,
        ElementType::F16 => half::f16::from_f32(scale).to_f32(),
        ElementType::Bf16 => half::bf16::from_f32(scale).to_f32(),
    }
}

fn norm(config: &Json, weights: &Weights, name: &str, size: usize) -> Result<NormSpec> {
    let eps = config.epsilon_or("rms_norm_eps", 1e-6)?;
    let norm = rms_norm(weights, name, size, eps, "hidden_size or head_dim in config.json")?;
    Ok(NormSpec { weight_offset: 1.0, ..norm })
}

/// Whether layer `n` sees all keys: `layer_types`, or every so many as older files say.
fn sees_all(config: &Json, n: usize) -> Result<bool> {
    config.heed(["sliding_window_pattern"]);
    match layer_type(config, n)? {
        Some("full_attention") => Ok(true),
        Some("sliding_attention") => Ok(false),
        Some(kind) => Err(config.unsupported("layer type", kind, "full_attention, sliding_attention")),
        None => Ok((n + 1).is_multiple_of(config.size_or("sliding_window_pattern", 6)?)),
    }
}

/// The keys that layer `n` sees. With `use_bidirectional_attention` the window is shared by the two sides; with
/// `is_causal: false` each side has it.
fn window(config: &Json, all: bool) -> Result<AttentionWindow> {
    let halved = config.flag_or("use_bidirectional_attention", false)?;
    let causal = config.flag_or("is_causal", true)?;
    config.heed(["sliding_window"]);
    if all {
        return Ok(if halved || !causal { AttentionWindow::ALL } else { AttentionWindow::CAUSAL });
    }
    let window = config.size("sliding_window")?;
    // The library halves the window once, and then counts with what it has in either direction.
    let window = if halved { window / 2 + 1 } else { window };
    Ok(match (halved, causal) {
        (_, false) => AttentionWindow { before: Some(window), after: Some(window) },
        (true, true) => AttentionWindow { before: Some(window - 1), after: Some(window - 1) },
        (false, true) => AttentionWindow { before: Some(window - 1), after: Some(0) },
    })
}

fn layer(config: &Json, weights: &Weights, n: usize, hidden: usize) -> Result<LayerSpec> {
    let (heads, kv_heads, head_dim) = read_heads(config, hidden)?;
    let all = sees_all(config, n)?;
    let rotary = match all {
        true => rotary_by_layer_type(config, "full_attention", "rope_theta", 1_000_000.0, head_dim)?,
        false => {
            rotary_by_layer_type(config, "sliding_attention", "rope_local_base_freq", 10_000.0, head_dim)?
        }
    };
    let bias = Bias::from(config.flag_or("attention_bias", false)?);
    let project = |name: &str, outputs: usize, inputs: usize| {
        let because = "hidden_size, num_attention_heads, num_key_value_heads and head_dim in config.json";
        linear(weights, &format!("layers.{n}.self_attn.{name}_proj"), outputs, inputs, bias, because)
    };
    let norm = |name: &str, size: usize| norm(config, weights, &format!("layers.{n}.{name}"), size).map(Some);
    let attention = AttentionSpec {
        heads,
        kv_heads,
        head_dim,
        scale: 1.0 / (config.number_or("query_pre_attn_scalar", 256.0)?.max(1e-9) as f32).sqrt(),
        query_key_value: LinearSpec::stack([
            project("q", heads * head_dim, hidden)?,
            project("k", kv_heads * head_dim, hidden)?,
            project("v", kv_heads * head_dim, hidden)?,
        ]),
        output: project("o", hidden, heads * head_dim)?,
        query_norm: norm("self_attn.q_norm", head_dim)?,
        key_norm: norm("self_attn.k_norm", head_dim)?,
        value_norm: None,
        rotary: Some(rotary),
        relative_bias: None,
        relative_positions: None,
        window: window(config, all)?,
    };
    let intermediate = config.size("intermediate_size")?;
    let activation = activation(config, "hidden_activation", "gelu_pytorch_tanh")?;
    Ok(LayerSpec {
        attention_pre_norm: norm("input_layernorm", hidden)?,
        attention_out_norm: norm("post_attention_layernorm", hidden)?,
        mlp_pre_norm: norm("pre_feedforward_layernorm", hidden)?,
        mlp_out_norm: norm("post_feedforward_layernorm", hidden)?,
        ..LayerSpec::new(attention, gated_mlp(config, weights, n, hidden, intermediate, activation)?)
    })
}
