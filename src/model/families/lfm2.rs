//! LFM2: layers of short convolutions, and some of attention; LFM2.5-Embedding and -ColBERT see both ways.
//!
//! Names and formulas: `transformers` `modeling_lfm2.py`; what sees both ways is the vendor's code of its own, of which
//! the convolution is centred.

use super::common::decoder::{layer_type, read_heads};
use super::common::rope::rotary;
use super::common::{Bias, activation_named, linear, rms_norm};
use super::family::Family;
use crate::error::ModelResult as Result;
use crate::model::spec::*;
use crate::model::weights::Weights;
use crate::source::Json;
use serde_json::Value;

pub(super) const FAMILY: Family = Family { model_types: &["lfm2"], spec: encoder };

/// The vendor's own code that sees both ways.
const BOTH_WAYS: &str = "modeling_lfm2_bidirectional.Lfm2BidirectionalModel";

fn encoder(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    let hidden = config.size("hidden_size")?;
    let because = "vocab_size and hidden_size in config.json";
    let word = weights.tensor("embed_tokens.weight", &[config.size("vocab_size")?, hidden], because)?;
    let embedding =
        EmbeddingSpec { word, scale: 1.0, position: None, token_type: None, norm: None, projection: None };
    let causal = is_causal(config)?;
    let layers = (0..config.size("num_hidden_layers")?)
        .map(|n| layer(config, weights, n, hidden, causal))
        .collect::<Result<_>>()?;
    let eps = config.epsilon_or("norm_eps", 1e-5)?;
    let positions = Some(config.size("max_position_embeddings")?);
    Ok(EncoderSpec {
        final_norm: Some(rms_norm(weights, "embedding_norm", hidden, eps, "hidden_size in config.json")?),
        ..EncoderSpec::new("lfm2", hidden, positions, embedding, layers)
    })
}

fn is_causal(config: &Json) -> Result<bool> {
    let code = config.get("auto_map").and_then(|map| map.get("AutoModel")).and_then(Value::as_str);
    match code {
        None => config.flag_or("is_causal", true),
        Some(code) if code.ends_with(BOTH_WAYS) => Ok(false),
        Some(code) => Err(config.unsupported("code of its own (auto_map)", code, BOTH_WAYS)),
    }
}

/// Whether layer `n` has attention: by `layer_types`, or by the list of older files.
fn attends(config: &Json, n: usize) -> Result<bool> {
    config.heed(["full_attn_idxs"]);
    match layer_type(config, n)? {
        Some("full_attention") => Ok(true),
        Some("conv") => Ok(false),
        Some(kind) => Err(config.unsupported("layer type", kind, "full_attention, conv")),
        None => {
            let places = config.list("full_attn_idxs")?;
            let places =
                places.ok_or_else(|| config.error("`layer_types` is missing, and `full_attn_idxs` too"))?;
            Ok(places.iter().any(|place| place.as_u64() == Some(n as u64)))
        }
    }
}

fn layer(config: &Json, weights: &Weights, n: usize, hidden: usize, causal: bool) -> Result<LayerSpec> {
    let eps = config.epsilon_or("norm_eps", 1e-5)?;
    let name = |name: &str| format!("layers.{n}.{name}");
    let norm =
        |part: &str| rms_norm(weights, &name(part), hidden, eps, "hidden_size in config.json").map(Some);
    let mixer: MixerSpec = match attends(config, n)? {
        true => attention(config, weights, n, hidden, causal)?.into(),
        false => convolution(config, weights, n, hidden, causal)?.into(),
    };
    // `intermediate_size` may be adjusted by other keys: what is stored counts.
    config.heed([
        "intermediate_size",
        "block_auto_adjust_ff_dim",
        "block_ffn_dim_multiplier",
        "block_multiple_of",
    ]);
    let intermediate = match weights.shape(&name("feed_forward.w1.weight")) {
        Some(&[rows, _]) => rows,
        _ => config.size("intermediate_size")?,
    };
    let project = |part: &str, outputs: usize, inputs: usize| {
        let because = "hidden_size in config.json and the shape of w1";
        linear(weights, &name(&format!("feed_forward.{part}")), outputs, inputs, Bias::No, because)
    };
    let mlp = DenseMlpSpec {
        up: project("w3", intermediate, hidden)?,
        gate: Some(project("w1", intermediate, hidden)?),
        activation: activation_named(config, "silu")?,
        down: project("w2", hidden, intermediate)?,
    };
    Ok(LayerSpec {
        attention_pre_norm: norm("operator_norm")?,
        mlp_pre_norm: norm("ffn_norm")?,
        ..LayerSpec::new(mixer, mlp)
    })
}

fn attention(
    config: &Json,
    weights: &Weights,
    n: usize,
    hidden: usize,
    causal: bool,
) -> Result<AttentionSpec> {
    let (heads, kv_heads, head_dim) = read_heads(config, hidden)?;
    let eps = config.epsilon_or("norm_eps", 1e-5)?;
    let name = |part: &str| format!("layers.{n}.self_attn.{part}");
    let project = |part: &str, outputs: usize, inputs: usize| {
        let because = "hidden_size, num_attention_heads, num_key_value_heads and head_dim in config.json";
        linear(weights, &name(part), outputs, inputs, Bias::No, because)
    };
    let head_norm =
        |part: &str| rms_norm(weights, &name(part), head_dim, eps, "head_dim in config.json").map(Some);
    Ok(AttentionSpec {
        heads,
        kv_heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        query_key_value: LinearSpec::stack([
            project("q_proj", heads * head_dim, hidden)?,
            project("k_proj", kv_heads * head_dim, hidden)?,
            project("v_proj", kv_heads * head_dim, hidden)?,
        ]),
        output: project("out_proj", hidden, heads * head_dim)?,
        query_norm: head_norm("q_layernorm")?,
        key_norm: head_norm("k_layernorm")?,
        value_norm: None,
        rotary: Some(rotary(config, head_dim, 1_000_000.0)?),
        relative_bias: None,
        relative_positions: None,
        window: if causal { AttentionWindow::CAUSAL } else { AttentionWindow::ALL },
    })
}

fn convolution(
    config: &Json,
    weights: &Weights,
    n: usize,
    hidden: usize,
    causal: bool,
) -> Result<ShortConvSpec> {
    if config.flag_or("conv_bias", false)? {
        return Err(config.unsupported("conv_bias", "true", "false"));
    }
    let taps = config.size_or("conv_L_cache", 3)?;
    if !causal && taps.is_multiple_of(2) {
        return Err(config.unsupported(
            "conv_L_cache",
            taps.to_string(),
            "an odd number, which has a middle",
        ));
    }
    let name = |part: &str| format!("layers.{n}.conv.{part}");
    let because = "hidden_size and conv_L_cache in config.json";
    Ok(ShortConvSpec {
        input: linear(weights, &name("in_proj"), 3 * hidden, hidden, Bias::No, because)?,
        taps: weights.tensor(&name("conv.weight"), &[hidden, 1, taps], because)?,
        before: if causal { taps - 1 } else { taps / 2 },
        output: linear(weights, &name("out_proj"), hidden, hidden, Bias::No, because)?,
    })
}
