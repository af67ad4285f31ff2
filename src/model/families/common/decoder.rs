//! The decoder of Llama and its kin: RMSNorm before each block, rotary positions, grouped heads, a
//! gated feed-forward network, causal or not.

use super::rope::rotary;
use super::{Bias, activation, check_rotary_heads, head_dim, linear, rms_norm};
use crate::error::ModelResult as Result;
use crate::model::spec::*;
use crate::model::weights::Weights;
use crate::source::Json;
use serde_json::Value;

/// What sets one family apart from the others.
pub(in super::super) struct Traits {
    pub(in super::super) family: &'static str,
    /// Queries and keys are normalised head by head.
    pub(in super::super) head_norms: bool,
    /// Which of attention's linear layers have biases.
    pub(in super::super) biases: Biases,
    /// Which layers see a window of keys only.
    pub(in super::super) windows: Windows,
    /// Whether a query sees no later keys, where the configuration does not say.
    pub(in super::super) causal: fn(&Json) -> Result<bool>,
}

/// Which of attention's linear layers have biases.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Biases {
    /// None.
    None,
    /// Queries, keys and values.
    QueryKeyValue,
    /// All of them if `attention_bias` is set.
    Configured,
}

/// Which layers see a window of keys only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Windows {
    /// None of them.
    None,
    /// All of them, if `sliding_window` is set.
    All,
    /// Those that `layer_types` names, or the flags that it replaced.
    ByLayer,
}

/// Code of their own with which published models attend in both directions, without a word of it in
/// their configuration: gte-Qwen2 and stella, GritLM.
const BIDIRECTIONAL_CODE: [&str; 2] = ["modeling_qwen.Qwen2Model", "modeling_gritlm7b.MistralForCausalLM"];

/// `is_causal` and `use_bidirectional_attention`, else what is known of the code that `auto_map` names,
/// else causal.
pub(in super::super) fn causal_by_default(config: &Json) -> Result<bool> {
    config.heed(["is_causal", "use_bidirectional_attention", "auto_map"]);
    if config.get("is_causal").is_some() || config.get("use_bidirectional_attention").is_some() {
        return Ok(
            config.flag_or("is_causal", true)? && !config.flag_or("use_bidirectional_attention", false)?
        );
    }
    let maps = |key: &str| config.get("auto_map").and_then(|map| map.get(key)).and_then(Value::as_str);
    match maps("AutoModel").or_else(|| maps("AutoModelForCausalLM")) {
        None => Ok(true),
        Some(code) if BIDIRECTIONAL_CODE.iter().any(|known| code.ends_with(known)) => Ok(false),
        Some(code) => Err(config.unsupported(
            "code of its own (auto_map)",
            code,
            format!(
                "{}; for other code, say in config.json whether it is_causal",
                BIDIRECTIONAL_CODE.join(", ")
            ),
        )),
    }
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
    eps: f32,
}

pub(in super::super) fn encoder(config: &Json, weights: &Weights, traits: &Traits) -> Result<EncoderSpec> {
    let hidden = config.size("hidden_size")?;
    let vocabulary = config.size("vocab_size")?;
    let shape = Shape::read(config, hidden, traits)?;
    let because = "vocab_size and hidden_size in config.json";
    let embedding = EmbeddingSpec {
        word: weights.tensor("embed_tokens.weight", &[vocabulary, hidden], because)?,
        scale: 1.0,
        position: None,
        token_type: None,
        norm: None,
        projection: None,
    };
    let layers = (0..config.size("num_hidden_layers")?)
        .map(|n| layer(config, weights, n, &shape, traits))
        .collect::<Result<_>>()?;
    Ok(EncoderSpec {
        final_norm: Some(rms_norm(weights, "norm", hidden, shape.eps, "hidden_size in config.json")?),
        ..EncoderSpec::new(
            traits.family,
            hidden,
            Some(config.size("max_position_embeddings")?),
            embedding,
            layers,
        )
    })
}

impl Shape {
    fn read(config: &Json, hidden: usize, traits: &Traits) -> Result<Shape> {
        const DEFAULT_THETA: f64 = 10_000.0;
        let (heads, kv_heads, head_dim) = read_heads(config, hidden)?;
        Ok(Shape {
            hidden,
            intermediate: config.size("intermediate_size")?,
            heads,
            kv_heads,
            head_dim,
            rotary: rotary(config, head_dim, DEFAULT_THETA)?,
            causal: (traits.causal)(config)?,
            eps: config.epsilon_or("rms_norm_eps", 1e-6)?,
        })
    }
}

/// Query heads, key heads and their size.
pub(in super::super) fn read_heads(config: &Json, hidden: usize) -> Result<(usize, usize, usize)> {
    let heads = config.size("num_attention_heads")?;
    let kv_heads = config.size_or("num_key_value_heads", heads)?;
    if !heads.is_multiple_of(kv_heads) {
        return Err(config.error(format!(
            "`num_attention_heads` {heads} is not a multiple of `num_key_value_heads` {kv_heads}"
        )));
    }
    let head_dim = match config.get("head_dim") {
        Some(_) => config.size("head_dim")?,
        None => head_dim(config, hidden, heads)?,
    };
    check_rotary_heads(config, heads, head_dim)?;
    Ok((heads, kv_heads, head_dim))
}

/// The type of layer `n` in `layer_types`, if the file has that.
pub(in super::super) fn layer_type(config: &Json, n: usize) -> Result<Option<&str>> {
    let Some(kinds) = config.list("layer_types")? else {
        return Ok(None);
    };
    let kind = kinds.get(n).and_then(|kind| kind.as_str());
    kind.map(Some).ok_or_else(|| config.error(format!("`layer_types` has no name for layer {n}")))
}

/// Mistral's window: `null` is none, and without the key it has transformers' default.
fn mistral_window(config: &Json) -> Result<Option<usize>> {
    const DEFAULT: usize = 4096;
    match config.value.get("sliding_window") {
        None => Ok(Some(DEFAULT)),
        Some(_) => config.optional_size("sliding_window"),
    }
}

/// Which keys the queries of layer `n` see.
fn window(config: &Json, n: usize, causal: bool, windows: Windows) -> Result<AttentionWindow> {
    let by_flags = || -> Result<bool> {
        Ok(config.flag_or("use_sliding_window", false)? && n >= config.size_or("max_window_layers", 28)?)
    };
    config.heed(["use_sliding_window", "max_window_layers", "sliding_window"]);
    let windowed = match windows {
        Windows::None => false,
        Windows::All => match layer_type(config, n)? {
            Some("full_attention") => false,
            _ => mistral_window(config)?.is_some(),
        },
        Windows::ByLayer => match layer_type(config, n)? {
            Some("full_attention") => false,
            Some("sliding_attention") => true,
            Some(kind) => {
                return Err(config.unsupported("layer type", kind, "full_attention, sliding_attention"));
            }
            None => by_flags()?,
        },
    };
    let size = || match windows {
        Windows::All => Ok(mistral_window(config)?.unwrap_or(1)),
        _ => config.size("sliding_window"),
    };
    match (windowed, causal) {
        (false, true) => Ok(AttentionWindow::CAUSAL),
        (false, false) => Ok(AttentionWindow::ALL),
        // The window counts the query's own position.
        (true, true) => Ok(AttentionWindow { before: Some(size()? - 1), ..AttentionWindow::CAUSAL }),
        // In both directions each side has the window: transformers' `create_bidirectional_sliding_window_mask`.
        (true, false) => {
            let side = Some(size()?);
            Ok(AttentionWindow { before: side, after: side })
        }
    }
}

fn layer(config: &Json, weights: &Weights, n: usize, shape: &Shape, traits: &Traits) -> Result<LayerSpec> {
    let Shape { hidden, intermediate, heads, kv_heads, head_dim, eps, .. } = *shape;
    let (query_key_value_bias, output_bias) = match traits.biases {
        Biases::None => (Bias::No, Bias::No),
        Biases::QueryKeyValue => (Bias::Yes, Bias::No),
        Biases::Configured => {
            let bias = Bias::from(config.flag_or("attention_bias", false)?);
            (bias, bias)
        }
    };
    let project = |name: &str, outputs: usize, inputs: usize, bias: Bias| {
        let because = "hidden_size, num_attention_heads, num_key_value_heads and head_dim in config.json";
        linear(weights, &format!("layers.{n}.self_attn.{name}_proj"), outputs, inputs, bias, because)
    };
    let norm = |name: &str, size: usize, because: &str| {
        rms_norm(weights, &format!("layers.{n}.{name}"), size, eps, because).map(Some)
    };
    let head_norm = |name: &str| match traits.head_norms {
        true => norm(name, head_dim, "head_dim in config.json"),
        false => Ok(None),
    };
    let attention = AttentionSpec {
        heads,
        kv_heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        query_key_value: LinearSpec::stack([
            project("q", heads * head_dim, hidden, query_key_value_bias)?,
            project("k", kv_heads * head_dim, hidden, query_key_value_bias)?,
            project("v", kv_heads * head_dim, hidden, query_key_value_bias)?,
        ]),
        output: project("o", hidden, heads * head_dim, output_bias)?,
        query_norm: head_norm("self_attn.q_norm")?,
        key_norm: head_norm("self_attn.k_norm")?,
        value_norm: None,
        rotary: Some(shape.rotary.clone()),
        relative_bias: None,
        relative_positions: None,
        window: window(config, n, shape.causal, traits.windows)?,
    };
    let mlp = gated_mlp(config, weights, n, hidden, intermediate, activation(config, "hidden_act", "silu")?)?;
    Ok(LayerSpec {
        attention_pre_norm: norm("input_layernorm", hidden, "hidden_size in config.json")?,
        mlp_pre_norm: norm("post_attention_layernorm", hidden, "hidden_size in config.json")?,
        ..LayerSpec::new(attention, mlp)
    })
}

/// `down(activation(gate) ⊙ up)` of layer `n`.
pub(in super::super) fn gated_mlp(
    config: &Json,
    weights: &Weights,
    n: usize,
    hidden: usize,
    intermediate: usize,
    activation: Activation,
) -> Result<DenseMlpSpec> {
    let bias = Bias::from(config.flag_or("mlp_bias", false)?);
    let project = |name: &str, outputs: usize, inputs: usize| {
        let because = "intermediate_size and hidden_size in config.json";
        linear(weights, &format!("layers.{n}.mlp.{name}_proj"), outputs, inputs, bias, because)
    };
    Ok(DenseMlpSpec {
        up: project("up", intermediate, hidden)?,
        gate: Some(project("gate", intermediate, hidden)?),
        activation,
        down: project("down", hidden, intermediate)?,
    })
}
