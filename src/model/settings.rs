//! What a model's configuration says beside its architecture: limits, sizes, the activation of scores.

use super::output_head::ScoreActivation;
use super::spec::EncoderSpec;
use crate::error::ModelResult as Result;
use crate::source::{Json, ModelFiles};

/// sentence_bert_config.json, which older models name after their architecture.
pub(super) fn settings(files: &ModelFiles, folder: &str) -> Result<Option<Json>> {
    const NAMES: [&str; 7] = [
        "sentence_bert_config.json",
        "sentence_roberta_config.json",
        "sentence_distilbert_config.json",
        "sentence_camembert_config.json",
        "sentence_albert_config.json",
        "sentence_xlm-roberta_config.json",
        "sentence_xlnet_config.json",
    ];
    for name in NAMES {
        if let Some(json) = files.optional_json(&files.join(folder, name)?)? {
            return Ok(Some(json));
        }
    }
    Ok(None)
}

/// `max_seq_length`, else the tokenizer's `model_max_length`, and never more than the architecture
/// can take.
pub(super) fn max_tokens(
    files: &ModelFiles,
    folder: &str,
    settings: Option<&Json>,
    config: &Json,
    encoder: &EncoderSpec,
) -> Result<usize> {
    const UNLIMITED: f64 = 1e9; // tokenizers without a limit say 1e30
    const WITHOUT_ANY_LIMIT: usize = 512; // what models without positions were trained with
    let architecture = encoder.max_tokens.unwrap_or(usize::MAX);
    if encoder.layers.is_empty() {
        // A static table takes any length; model2vec sets a limit.
        let limit = config.get("max_length").map_or(Ok(STATIC_LIMIT), |_| config.size("max_length"));
        return limit.map(|limit| limit.min(STATIC_LIMIT));
    }
    if let Some(settings) = settings.filter(|settings| settings.get("max_seq_length").is_some()) {
        return Ok(settings.size("max_seq_length")?.min(architecture));
    }
    let tokenizer = files.optional_json(&files.join(folder, "tokenizer_config.json")?)?;
    let limit = tokenizer.map_or(Ok(UNLIMITED), |json| json.number_or("model_max_length", UNLIMITED))?;
    let limit = if (1.0..UNLIMITED).contains(&limit) {
        limit as usize
    } else {
        encoder.max_tokens.unwrap_or(WITHOUT_ANY_LIMIT)
    };
    Ok(limit.min(architecture))
}

/// Tokens of a text for a model that has no positions and no limit of its own.
const STATIC_LIMIT: usize = 1 << 20;

/// What a reranker applies to its score: what its files name, else the sigmoid for a single label.
pub(super) fn score_activation(files: &ModelFiles, config: &Json) -> Result<ScoreActivation> {
    let sentence = files.optional_json("config_sentence_transformers.json")?;
    let nested = config.object("sentence_transformers")?;
    let places = [
        sentence.as_ref().map(|json| (json, "activation_fn")),
        nested.as_ref().map(|json| (json, "activation_fn")),
        Some((config, "sbert_ce_default_activation_function")),
    ];
    for (json, key) in places.into_iter().flatten() {
        if let Some(name) = json.text(key)? {
            return match name.rsplit('.').next().unwrap_or(name) {
                "Identity" => Ok(ScoreActivation::Identity),
                "Sigmoid" => Ok(ScoreActivation::Sigmoid),
                "Tanh" => Ok(ScoreActivation::Tanh),
                _ => Err(json.unsupported("activation", name, "Identity, Sigmoid, Tanh")),
            };
        }
    }
    Ok(ScoreActivation::Sigmoid)
}

/// Sizes that config.json says the vectors may be cut to.
pub(super) fn trained_dimensions(config: &Json) -> Result<Vec<usize>> {
    for key in ["matryoshka_dimensions", "matryoshka_dims"] {
        if let Some(list) = config.list(key)? {
            let sizes: Option<Vec<usize>> =
                list.iter().map(|size| size.as_u64().map(|size| size as usize)).collect();
            return sizes.ok_or_else(|| config.error(format!("`{key}` has an entry that is no size")));
        }
    }
    Ok(Vec::new())
}

/// The sizes of the folders `2_Dense_{size}`: projections to other sizes.
pub(super) fn dense_folders(files: &ModelFiles) -> Vec<usize> {
    let size = |name: &String| name.strip_prefix("2_Dense_")?.parse().ok();
    let mut sizes: Vec<usize> = files.folders().iter().filter_map(size).collect();
    sizes.sort_unstable();
    sizes
}
