//! What is checked and looked up once a model's parts are known.

use super::ends::{EndKind, EndSpec, Head, ScoreActivation};
use super::files::{Json, ModelFiles};
use super::modules::{Input, Modules};
use super::spec::{Activation, EncoderSpec, LinearSpec};
use super::weights::{ADAPTED, Tensor, Weights};
use crate::error::{Error, Result};
use std::collections::HashSet;

/// Tensors that models carry for other ends than embeddings, by a part of their names.
const FOR_OTHER_ENDS: [&str; 20] = [
    "pooler",
    "cls",
    "lm_head",
    "classifier",
    "decoder",
    "head",
    "score",
    "qa_outputs",
    "predictions",
    "vocab_transform",
    "vocab_layer_norm",
    "vocab_projector",
    "position_ids",
    "inv_freq",
    // The other towers of EmbeddingGemma 2.
    "vision_tower",
    "audio_tower",
    "embed_vision",
    "embed_audio",
    // Read as one number a layer.
    "layer_scalar",
    "pre_classifier",
];

/// Checks that the file has no tensor that the family does not use: a model that has one computes
/// something more, and would get a wrong vector without it.
pub(super) fn nothing_left_out(weights: &Weights, encoder: &EncoderSpec, ends: &[EndSpec]) -> Result<()> {
    // A part of a tensor is named `whole[first..end]`.
    let whole = |tensor: &Tensor| tensor.name().split('[').next().unwrap_or_default().to_owned();
    let used: HashSet<String> =
        encoder.tensors().into_iter().chain(ends.iter().flat_map(EndSpec::tensors)).map(whole).collect();
    // A tied copy of the table, under the name that older T5 files have.
    let known =
        |name: &str| used.contains(name) || name == "encoder.embed_tokens.weight" || name == "shared.weight";
    // What the rows of a static table are read with.
    let of_table = |name: &str| encoder.layers.is_empty() && ["mapping", "weights"].contains(&name);
    let elsewhere = |name: &str| name.split('.').any(|part| FOR_OTHER_ENDS.contains(&part));
    // The two factors of an adapter belong to the matrix beside them, if that is used.
    let adapter = |name: &str| {
        let stem = name.strip_suffix("0.lora_A").or_else(|| name.strip_suffix("0.lora_B"));
        stem.is_some_and(|stem| stem.ends_with(ADAPTED) && used.contains(&format!("{stem}original")))
    };
    let mut left: Vec<&str> = weights
        .names()
        .filter(|name| !known(name) && !of_table(name) && !elsewhere(name) && !adapter(name))
        .collect();
    left.sort_unstable();
    match left.first() {
        None => Ok(()),
        Some(name) => Err(Error::UnknownTensor {
            path: weights.path().to_owned(),
            name: (*name).to_owned(),
            count: left.len(),
            family: encoder.family,
        }),
    }
}

/// The modules' configurations repeat the width of the hidden states.
pub(super) fn module_width(files: &ModelFiles, modules: &Modules, encoder: &EncoderSpec) -> Result<()> {
    let gives = match modules.input {
        Input::MaskedLanguageModel => encoder.embedding.word.rows(),
        Input::Transformer | Input::StaticEmbedding => encoder.width(),
    };
    match modules.expects {
        Some(width) if width != gives => {
            let problem = format!(
                "the next module expects {width} values a token, the {:?} gives {gives}",
                modules.input
            );
            Err(Error::Config { path: files.path("modules.json"), problem })
        }
        _ => Ok(()),
    }
}

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
    let ModelFiles::Folder(folder) = files else {
        return Vec::new();
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut sizes: Vec<usize> =
        names.filter_map(|name| name.strip_prefix("2_Dense_")?.parse().ok()).collect();
    sizes.sort_unstable();
    sizes
}

/// The projection of Stanford's ColBERT files, then unit length.
pub(super) fn stanford_projection(weights: &Weights, encoder: &EncoderSpec) -> Result<Vec<Head>> {
    let outputs = weights.shape("linear.weight").and_then(|shape| shape.first()).copied().unwrap_or(1);
    let weight =
        weights.tensor("linear.weight", &[outputs, encoder.width()], "the hidden size in config.json")?;
    let linear = LinearSpec { parts: vec![(weight, None)] };
    Ok(vec![Head::Dense { linear, activation: Activation::Identity }, Head::Normalize])
}

/// The heads that bge-m3 keeps in files of their own: a weight and a vector for each token.
///
/// FlagEmbedding, `inference/embedder/encoder_only/m3.py`.
pub(super) fn extra_ends(files: &ModelFiles, folder: &str, encoder: &EncoderSpec) -> Result<Vec<EndSpec>> {
    let mut ends = Vec::new();
    let sparse = token_linear(files, folder, "sparse_linear", Some(1), encoder)?;
    if let Some(linear) = sparse {
        let heads = vec![Head::Dense { linear, activation: Activation::Relu }];
        ends.push(EndSpec::of_tokens(EndKind::TokenWeights, heads));
    }
    if let Some(linear) = token_linear(files, folder, "colbert_linear", None, encoder)? {
        let heads = vec![Head::Dense { linear, activation: Activation::Identity }, Head::Normalize];
        ends.push(EndSpec::of_tokens(EndKind::TokenVectors, heads));
    }
    Ok(ends)
}

/// The linear layer in `{name}.safetensors` or `{name}.pt`, if there is one.
fn token_linear(
    files: &ModelFiles,
    folder: &str,
    name: &str,
    outputs: Option<usize>,
    encoder: &EncoderSpec,
) -> Result<Option<LinearSpec>> {
    let (safe, pickled) =
        (files.join(folder, &format!("{name}.safetensors"))?, files.join(folder, &format!("{name}.pt"))?);
    let weights = if files.has(&safe) {
        Weights::open_file(files, &safe)?
    } else if files.has(&pickled) {
        Weights::open_pickled(files, &pickled)?
    } else {
        return Ok(None);
    };
    let stored = weights.shape("weight").and_then(|shape| shape.first()).copied().unwrap_or(1);
    let outputs = outputs.unwrap_or(stored);
    let because = "the hidden size in config.json";
    let weight = weights.tensor("weight", &[outputs, encoder.width()], because)?;
    let bias = if weights.has("bias") { Some(weights.tensor("bias", &[outputs], because)?) } else { None };
    Ok(Some(LinearSpec { parts: vec![(weight, bias)] }))
}
