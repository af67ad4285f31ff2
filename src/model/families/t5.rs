//! The encoder of T5 (Instructor, gtr, sentence-t5): RMSNorm before each block, unscaled attention
//! with a bucketed relative position bias, no biases, no positions.
//!
//! Names and formulas: `transformers` `modeling_t5.py`.

use super::common::{Bias, activation_named, linear, rms_norm};
use super::family::Family;
use crate::error::ModelResult as Result;
use crate::model::relative::RelativeBiasSpec;
use crate::model::spec::*;
use crate::model::weights::Weights;
use crate::source::Json;

pub(super) const FAMILY: Family = Family { model_types: &["t5"], spec: encoder };

fn encoder(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    if config.flag_or("is_decoder", false)? {
        return Err(config.unsupported("is_decoder", "true", "false"));
    }
    let hidden = config.size("d_model")?;
    let vocabulary = config.size("vocab_size")?;
    let eps = config.epsilon_or("layer_norm_epsilon", 1e-6)?;
    let because = "vocab_size and d_model in config.json";
    let name = if weights.has("shared.weight") { "shared.weight" } else { "encoder.embed_tokens.weight" };
    let embedding = EmbeddingSpec {
        word: weights.tensor(name, &[vocabulary, hidden], because)?,
        scale: 1.0,
        position: None,
        token_type: None,
        norm: None,
        projection: None,
    };
    let bias = relative_bias(config, weights)?;
    let layers = (0..config.size("num_layers")?)
        .map(|n| layer(config, weights, n, hidden, eps, &bias))
        .collect::<Result<_>>()?;
    let final_norm = rms_norm(weights, "encoder.final_layer_norm", hidden, eps, "d_model in config.json")?;
    // Any length works; models say how long a text they were trained for.
    Ok(EncoderSpec {
        overflows_f16: true,
        final_norm: Some(final_norm),
        ..EncoderSpec::new("t5", hidden, None, embedding, layers)
    })
}

/// The first block's table, which all blocks use.
fn relative_bias(config: &Json, weights: &Weights) -> Result<RelativeBiasSpec> {
    let heads = config.size("num_heads")?;
    let buckets = config.size_or("relative_attention_num_buckets", 32)?;
    let max_distance = config.size_or("relative_attention_max_distance", 128)?;
    if !buckets.is_multiple_of(4) || buckets / 4 >= max_distance || max_distance > 1 << 16 {
        return Err(config.error(format!(
            "{buckets} buckets up to distance {max_distance}: expected a multiple of 4 buckets, four times the \
             distance at most, and a distance up to 2^16"
        )));
    }
    let name = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
    let because = "relative_attention_num_buckets and num_heads in config.json";
    Ok(RelativeBiasSpec::Buckets { table: weights.tensor(name, &[buckets, heads], because)?, max_distance })
}

fn layer(
    config: &Json,
    weights: &Weights,
    n: usize,
    hidden: usize,
    eps: f32,
    bias: &RelativeBiasSpec,
) -> Result<LayerSpec> {
    let (heads, head_dim) = (
        config.size("num_heads")?,
        config.size(if config.get("head_dim").is_some() { "head_dim" } else { "d_kv" })?,
    );
    if heads > 1 << 16 || head_dim > 1 << 16 {
        return Err(config.error(format!("{heads} heads of size {head_dim}: expected at most 2^16 of both")));
    }
    let width = heads * head_dim;
    let block = format!("encoder.block.{n}.layer");
    let project = |name: &str, outputs: usize, inputs: usize| {
        let because = "num_heads, d_kv and d_model in config.json";
        linear(weights, &format!("{block}.0.SelfAttention.{name}"), outputs, inputs, Bias::No, because)
    };
    let norm = |index: usize| {
        rms_norm(weights, &format!("{block}.{index}.layer_norm"), hidden, eps, "d_model in config.json")
            .map(Some)
    };
    let attention = AttentionSpec {
        heads,
        kv_heads: heads,
        head_dim,
        scale: 1.0,
        query_key_value: LinearSpec::stack([
            project("q", width, hidden)?,
            project("k", width, hidden)?,
            project("v", width, hidden)?,
        ]),
        output: project("o", hidden, width)?,
        query_norm: None,
        key_norm: None,
        value_norm: None,
        rotary: None,
        relative_bias: Some(bias.clone()),
        relative_positions: None,
        window: AttentionWindow::ALL,
    };
    Ok(LayerSpec {
        attention_pre_norm: norm(0)?,
        mlp_pre_norm: norm(1)?,
        ..LayerSpec::new(attention, mlp(config, weights, &format!("{block}.1.DenseReluDense"), hidden)?)
    })
}

/// `feed_forward_proj` names the activation, with `gated-` before it where there is a gate.
fn mlp(config: &Json, weights: &Weights, prefix: &str, hidden: usize) -> Result<DenseMlpSpec> {
    let intermediate = config.size("d_ff")?;
    let kind = config.text("feed_forward_proj")?.unwrap_or("relu");
    let (gated, name) = match kind.strip_prefix("gated-") {
        // T5 v1.1's "gelu" is the tanh form.
        Some("gelu") => (true, "gelu_new"),
        Some(name) => (true, name),
        None => (false, kind),
    };
    // Newer files spell it out, and that counts.
    let name = config.text("dense_act_fn")?.unwrap_or(name);
    let gated = config.flag_or("is_gated_act", gated)?;
    let dense = |name: &str, outputs: usize, inputs: usize| {
        linear(
            weights,
            &format!("{prefix}.{name}"),
            outputs,
            inputs,
            Bias::No,
            "d_ff and d_model in config.json",
        )
    };
    let down = dense("wo", hidden, intermediate)?;
    let activation = activation_named(config, name)?;
    Ok(match gated {
        false => DenseMlpSpec { up: dense("wi", intermediate, hidden)?, gate: None, activation, down },
        true => DenseMlpSpec {
            up: dense("wi_1", intermediate, hidden)?,
            gate: Some(dense("wi_0", intermediate, hidden)?),
            activation,
            down,
        },
    })
}
