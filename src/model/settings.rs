//! What a model's configuration says beside its architecture: limits, sizes, the activation of scores.

use super::output_head::ScoreActivation;
use super::spec::EncoderSpec;
use super::transformer_settings::TransformerSettings;
use crate::error::ModelResult as Result;
use crate::source::{Json, ModelFiles};

/// `max_seq_length`, else the tokenizer's `model_max_length`, and never more than the architecture
/// can take. A call's own `max_length` comes before both.
pub(super) fn max_tokens(
    settings: &TransformerSettings,
    tokenizer: &Json,
    config: &Json,
    encoder: &EncoderSpec,
) -> Result<usize> {
    const UNLIMITED: f64 = 1e9; // tokenizers without a limit say 1e30
    tokenizer.heed(["model_max_length", "max_len"]);
    if encoder.layers.is_empty() {
        // A static table takes any length; model2vec sets a limit.
        let limit = config.get("max_length").map_or(Ok(MOST_TOKENS), |_| config.size("max_length"));
        return limit.map(|limit| limit.min(MOST_TOKENS));
    }
    let architecture = encoder.max_tokens.unwrap_or(MOST_TOKENS);
    if let Some(limit) = settings.call_tokens {
        return Ok(limit.min(architecture));
    }
    let arguments = &settings.tokenizer_arguments;
    if let Some(limit) = settings.max_tokens.filter(|_| arguments.get("model_max_length").is_none()) {
        return Ok(limit.min(architecture));
    }
    let tokenizer = tokenizer.with(arguments);
    let older = tokenizer.number_or("max_len", UNLIMITED)?;
    let limit = tokenizer.number_or("model_max_length", older)?;
    let limit = if (1.0..UNLIMITED).contains(&limit) { limit as usize } else { MOST_TOKENS };
    // sentence-transformers heeds this key in whatever configuration it stands.
    let positions = config.optional_size("max_position_embeddings")?.unwrap_or(MOST_TOKENS);
    Ok(limit.min(architecture).min(positions))
}

/// Tokens of a text for a model that has no positions and no limit of its own.
pub(super) const MOST_TOKENS: usize = 1 << 20;

/// What a reranker applies to its score: what its files name, else the sigmoid for a single label.
pub(super) fn score_activation(sentence: &Json, config: &Json) -> Result<ScoreActivation> {
    let nested = config.object("sentence_transformers")?;
    let places = [
        Some((sentence, "activation_fn")),
        nested.as_ref().map(|json| (json, "activation_fn")),
        Some((config, "sbert_ce_default_activation_function")),
    ];
    for (json, key) in places.into_iter().flatten() {
        // A path that is none of PyTorch's is not trusted, and counts as none.
        if let Some(name) = json.text(key)?.filter(|name| name.starts_with("torch.")) {
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
