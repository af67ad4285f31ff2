//! Qwen3: pre-RMSNorm decoder layers with rotary positions, grouped heads and normalised queries
//! and keys; Qwen3-Embedding pools its last token.
//!
//! Names and formulas: `transformers` `modeling_qwen3.py`.

use super::{Bias, Family, activation, linear, rms_norm};
use crate::error::Result;
use crate::model::files::Json;
use crate::model::spec::*;
use crate::model::weights::Weights;

pub(super) const FAMILY: Family = Family { model_type: "qwen3", spec: encoder };

fn encoder(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    let hidden = config.size("hidden_size")?;
    let vocabulary = config.size("vocab_size")?;
    let layers = config.size("num_hidden_layers")?;
    let eps = config.epsilon_or("rms_norm_eps", 1e-6)?;
    let shape = Shape::read(config, hidden)?;
    let because = "vocab_size and hidden_size in config.json";
    let embedding = EmbeddingSpec {
        word: weights.tensor("embed_tokens.weight", &[vocabulary, hidden], because)?,
        position: None,
        token_type: None,
        norm: None,
    };
    let layers = (0..layers).map(|n| layer(config, weights, n, &shape, eps)).collect::<Result<_>>()?;
    Ok(EncoderSpec {
        family: "qwen3",
        hidden,
        max_tokens: Some(config.size("max_position_embeddings")?),
        embedding,
        layers,
        final_norm: Some(rms_norm(weights, "norm", hidden, eps, "hidden_size in config.json")?),
    })
}

/// What all layers have in common.
struct Shape {
    hidden: usize,
    intermediate: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    rotary: RotarySpec,
    causal: bool,
}

impl Shape {
    fn read(config: &Json, hidden: usize) -> Result<Shape> {
        let heads = config.size("num_attention_heads")?;
        let kv_heads = config.size_or("num_key_value_heads", heads)?;
        if heads % kv_heads != 0 {
            return Err(config.error(format!(
                "`num_attention_heads` {heads} is not a multiple of `num_key_value_heads` {kv_heads}"
            )));
        }
        let head_dim = match config.get("head_dim") {
            Some(_) => config.size("head_dim")?,
            None => super::head_dim(config, hidden, heads)?,
        };
        if head_dim % 2 != 0 || head_dim > 1 << 16 || heads > 1 << 16 {
            return Err(config.error(format!(
                "{heads} heads of size {head_dim}: expected an even head size, at most 2^16 of both"
            )));
        }
        let causal =
            config.flag_or("is_causal", true)? && !config.flag_or("use_bidirectional_attention", false)?;
        let rotary = RotarySpec::from_theta(rope_theta(config)?, head_dim);
        let intermediate = config.size("intermediate_size")?;
        Ok(Shape { hidden, intermediate, heads, kv_heads, head_dim, rotary, causal })
    }
}

/// The base of the rotary frequencies, where it is used unscaled.
fn rope_theta(config: &Json) -> Result<f64> {
    const DEFAULT: f64 = 10_000.0;
    let mut theta = config.number_or("rope_theta", DEFAULT)?;
    // Newer files say `rope_parameters`, older ones `rope_scaling`.
    for key in ["rope_parameters", "rope_scaling"] {
        if let Some(rope) = config.object(key)? {
            let kind = rope.text("rope_type")?.or(rope.text("type")?).unwrap_or("default");
            if kind != "default" {
                return Err(config.unsupported("rope type", kind, "default"));
            }
            theta = rope.number_or("rope_theta", theta)?;
        }
    }
    if config.number_or("partial_rotary_factor", 1.0)? != 1.0 {
        return Err(
            config.error("`partial_rotary_factor` is not 1: rotating a part of each head is not supported")
        );
    }
    if theta > 0.0 {
        Ok(theta)
    } else {
        Err(config.error(format!("`rope_theta` is {theta}, expected a positive number")))
    }
}

/// Which keys layer `n` sees: `layer_types` where the file has it, else the flags it replaced.
fn visible(config: &Json, n: usize, causal: bool) -> Result<Visible> {
    let kind = match config.list("layer_types")? {
        Some(kinds) => kinds
            .get(n)
            .and_then(|kind| kind.as_str())
            .ok_or_else(|| config.error(format!("`layer_types` has no name for layer {n}")))?,
        None if config.flag_or("use_sliding_window", false)?
            && n >= config.size_or("max_window_layers", 28)? =>
        {
            "sliding_attention"
        }
        None => "full_attention",
    };
    let all = if causal { Visible::CAUSAL } else { Visible::ALL };
    match kind {
        "full_attention" => Ok(all),
        // The window counts the query's own position.
        "sliding_attention" if causal => {
            Ok(Visible { before: Some(config.size("sliding_window")? - 1), ..all })
        }
        _ => {
            Err(config.unsupported("layer type", kind, "full_attention; sliding_attention in causal models"))
        }
    }
}

fn layer(config: &Json, weights: &Weights, n: usize, shape: &Shape, eps: f32) -> Result<LayerSpec> {
    let Shape { hidden, intermediate, heads, kv_heads, head_dim, .. } = *shape;
    let because = "hidden_size, num_attention_heads, num_key_value_heads and head_dim in config.json";
    let bias = Bias::from(config.flag_or("attention_bias", false)?);
    let project = |name: &str, outputs: usize, inputs: usize| {
        linear(weights, &format!("layers.{n}.self_attn.{name}_proj"), outputs, inputs, bias, because)
    };
    let norm = |name: &str, size: usize, because: &str| {
        rms_norm(weights, &format!("layers.{n}.{name}"), size, eps, because)
    };
    let attention = AttentionSpec {
        heads,
        kv_heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        query_key_value: LinearSpec::stack([
            project("q", heads * head_dim, hidden)?,
            project("k", kv_heads * head_dim, hidden)?,
            project("v", kv_heads * head_dim, hidden)?,
        ]),
        output: project("o", hidden, heads * head_dim)?,
        query_norm: Some(norm("self_attn.q_norm", head_dim, "head_dim in config.json")?),
        key_norm: Some(norm("self_attn.k_norm", head_dim, "head_dim in config.json")?),
        rotary: Some(shape.rotary.clone()),
        relative_bias: None,
        visible: visible(config, n, shape.causal)?,
    };
    let because = "intermediate_size and hidden_size in config.json";
    let mlp = |name: &str, outputs: usize, inputs: usize| {
        linear(weights, &format!("layers.{n}.mlp.{name}_proj"), outputs, inputs, Bias::No, because)
    };
    let mlp = MlpSpec {
        up: mlp("up", intermediate, hidden)?,
        gate: Some(mlp("gate", intermediate, hidden)?),
        activation: activation(config, "hidden_act", "silu")?,
        down: mlp("down", hidden, intermediate)?,
    };
    Ok(LayerSpec {
        attention_pre_norm: Some(norm("input_layernorm", hidden, "hidden_size in config.json")?),
        attention,
        attention_post_norm: None,
        mlp_pre_norm: Some(norm("post_attention_layernorm", hidden, "hidden_size in config.json")?),
        mlp,
        mlp_post_norm: None,
    })
}
