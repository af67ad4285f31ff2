//! One file per model family: its configuration keys and tensor names, as an [`EncoderSpec`].
//!
//! To add a family, write a file with a `FAMILY` and list it in [`FAMILIES`]; see CONTRIBUTING.md.
//! What several of them are built from is in `common/`.

mod albert;
mod bert;
pub(in crate::model) mod common;
mod deberta_v2;
mod distilbert;
mod electra;
mod embedding_gemma2;
mod eurobert;
mod family;
mod gemma;
mod gemma3_text;
mod gte;
mod jina_bert;
mod jina_v3;
mod jina_v5;
mod lfm2;
mod llama;
mod ministral3;
mod mistral;
mod modernbert;
mod mpnet;
mod nomic_bert;
mod qwen2;
mod qwen3;
mod roberta;
mod t5;
mod xlm_roberta;

use super::spec::{Activation, EncoderSpec, LayerSpec, MlpSpec};
use super::weights::Weights;
use crate::error::ModelResult as Result;
use crate::source::Json;
use family::Family;
use serde_json::Value;

/// All families.
const FAMILIES: &[&Family] = &[
    &albert::FAMILY,
    &bert::FAMILY,
    &deberta_v2::FAMILY,
    &distilbert::FAMILY,
    &electra::FAMILY,
    &embedding_gemma2::FAMILY,
    &eurobert::FAMILY,
    &gemma::FAMILY,
    &gemma3_text::FAMILY,
    &gte::FAMILY,
    &jina_v3::FAMILY,
    &jina_v5::FAMILY,
    &lfm2::FAMILY,
    &llama::FAMILY,
    &ministral3::FAMILY,
    &mistral::FAMILY,
    &modernbert::FAMILY,
    &mpnet::FAMILY,
    &nomic_bert::FAMILY,
    &qwen2::FAMILY,
    &qwen3::FAMILY,
    &roberta::FAMILY,
    &t5::FAMILY,
    &xlm_roberta::FAMILY,
];

/// The encoder that config.json describes, with its tensors.
pub(crate) fn encoder(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    let model_type = match config.text("model_type")? {
        Some(model_type) => model_type,
        None => by_own_code(config)
            .ok_or_else(|| config.error("`model_type` is missing; it names the model family"))?,
    };
    let config = &with_own_names(config, model_type);
    match FAMILIES.iter().find(|family| family.model_types.contains(&model_type)) {
        Some(family) => {
            checked(config, causal_where_asked(config, model_type, (family.spec)(config, weights)?)?)
        }
        None => {
            let known: Vec<&str> = FAMILIES.iter().flat_map(|family| family.model_types).copied().collect();
            Err(config.unsupported("model_type", model_type, known.join(", ")))
        }
    }
}

/// The family of a model whose code of its own says it all: jina-reranker-v2's.
fn by_own_code(config: &Json) -> Option<&'static str> {
    let code = config.get("auto_map").and_then(|map| map.get("AutoConfig")).and_then(Value::as_str)?;
    code.ends_with("XLMRobertaFlashConfig").then_some("xlm-roberta")
}

/// The configuration with its family's own names of what others call otherwise: transformers' `attribute_map`.
fn with_own_names(config: &Json, model_type: &str) -> Json {
    let names: &[(&str, &str)] = match model_type {
        "distilbert" => {
            &[("hidden_size", "dim"), ("num_attention_heads", "n_heads"), ("num_hidden_layers", "n_layers")]
        }
        "t5" => &[
            ("hidden_size", "d_model"),
            ("num_attention_heads", "num_heads"),
            ("num_hidden_layers", "num_layers"),
            ("head_dim", "d_kv"),
        ],
        _ => &[],
    };
    let given = names.iter().filter_map(|(other, own)| Some(((*own).to_owned(), config.get(other)?.clone())));
    config.with(&Json::new(config.path.clone(), Value::Object(given.collect())))
}

/// `is_causal: true` makes an encoder see no later keys, as `is_decoder` does one of BERT's kind. transformers heeds
/// the former in the families whose attention is its own, for a text by itself.
fn causal_where_asked(config: &Json, model_type: &str, mut spec: EncoderSpec) -> Result<EncoderSpec> {
    if let Some(layers) = config.get("per_layer_config") {
        return Err(config.unsupported(
            "per_layer_config",
            layers.to_string(),
            "the same settings for all layers",
        ));
    }
    let causal = match model_type {
        "bert" | "camembert" | "electra" | "roberta" | "xlm-roberta" => {
            let flags = [config.flag_or("is_causal", false)?, config.flag_or("is_decoder", false)?];
            flags.contains(&true)
        }
        "albert" | "distilbert" | "eurobert" | "gte" | "jina_embeddings_v3" | "nomic_bert" | "t5" => {
            config.flag_or("is_causal", false)?
        }
        "modernbert" if config.flag_or("is_causal", false)? => {
            // The reference is causal for short texts, and in layers without a window.
            return Err(config.unsupported("is_causal", "true", "false"));
        }
        _ => false,
    };
    if causal {
        let attention = spec.layers.iter_mut().filter_map(LayerSpec::attention_mut);
        attention.for_each(|attention| attention.window.after = Some(0));
    }
    Ok(spec)
}

/// Activations that go with a gate are part of a product's kernel; the rare ones are not.
fn checked(config: &Json, spec: EncoderSpec) -> Result<EncoderSpec> {
    let gated = |layer: &LayerSpec| match (&layer.mlp, &layer.per_layer_input) {
        (MlpSpec::Dense(mlp), None) if mlp.gate.is_none() => None,
        (MlpSpec::Dense(mlp), _) => Some(mlp.activation),
        (MlpSpec::Experts(experts), _) => Some(experts.activation),
    };
    match spec.layers.iter().find_map(gated) {
        Some(Activation::Rare(rare)) => {
            let supported = "gelu, gelu_new, silu, relu, tanh, linear";
            Err(config.unsupported("activation with a gate", format!("{rare:?}"), supported))
        }
        _ => Ok(spec),
    }
}
