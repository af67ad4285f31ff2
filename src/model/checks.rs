//! What is checked once a model's parts are known: nothing contradicts, nothing is left out.

use super::modules::{Input, Modules};
use super::output_head::OutputHead;
use super::spec::EncoderSpec;
use super::tensor::Tensor;
use super::weights::{ADAPTED, Weights};
use crate::error::{ModelError, ModelResult as Result};
use crate::source::ModelFiles;
use std::collections::HashSet;

/// Tensors that models carry for other outputs than embeddings, by a part of their names.
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
pub(super) fn nothing_left_out(
    weights: &Weights,
    encoder: &EncoderSpec,
    outputs: &[OutputHead],
) -> Result<()> {
    // A part of a tensor is named `whole[first..end]`.
    let whole = |tensor: &Tensor| tensor.name().split('[').next().unwrap_or_default().to_owned();
    let used: HashSet<String> = encoder
        .tensors()
        .into_iter()
        .chain(outputs.iter().flat_map(OutputHead::tensors))
        .map(whole)
        .collect();
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
        Some(name) => Err(ModelError::UnknownTensor {
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
            Err(ModelError::Config { path: files.path("modules.json"), problem })
        }
        _ => Ok(()),
    }
}
