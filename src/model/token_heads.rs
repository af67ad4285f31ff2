//! Heads on each token that models keep outside sentence-transformers' modules: Stanford's ColBERT projection, and
//! bge-m3's weights and vectors.

use super::late_interaction::LateInteraction;
use super::output_head::{HeadModule, OutputHead, OutputKind};
use super::spec::{Activation, EncoderSpec, LinearSpec};
use super::weights::Weights;
use crate::error::ModelResult as Result;
use crate::source::ModelFiles;

/// The projection of Stanford's ColBERT files, then unit length.
pub(super) fn stanford_projection(weights: &Weights, encoder: &EncoderSpec) -> Result<Vec<HeadModule>> {
    let outputs = weights.shape("linear.weight").and_then(|shape| shape.first()).copied().unwrap_or(1);
    let weight =
        weights.tensor("linear.weight", &[outputs, encoder.width()], "the hidden size in config.json")?;
    let linear = LinearSpec { parts: vec![(weight, None)] };
    Ok(vec![
        HeadModule::Dense { linear, activation: Activation::Identity, residual: None },
        HeadModule::Normalize,
    ])
}

/// The heads that bge-m3 keeps in files of their own.
#[derive(Default)]
pub(super) struct M3Heads {
    /// A weight and a vector for each token, if there are files of them.
    pub(super) outputs: Vec<OutputHead>,
    /// How token vectors are made, if there are some: the first token's is left out, and there are no other rules.
    pub(super) late_interaction: Option<LateInteraction>,
}

/// Reads bge-m3's heads. Other models have none.
///
/// FlagEmbedding, `inference/embedder/encoder_only/m3.py`.
pub(super) fn m3_heads(files: &ModelFiles, folder: &str, encoder: &EncoderSpec) -> Result<M3Heads> {
    let mut heads = M3Heads::default();
    if let Some(linear) = token_linear(files, folder, "sparse_linear", Some(1), encoder)? {
        let modules = vec![HeadModule::Dense { linear, activation: Activation::Relu, residual: None }];
        heads.outputs.push(OutputHead::of_tokens(OutputKind::TokenWeights, modules));
    }
    if let Some(linear) = token_linear(files, folder, "colbert_linear", None, encoder)? {
        let dense = HeadModule::Dense { linear, activation: Activation::Identity, residual: None };
        let modules = vec![dense, HeadModule::Normalize];
        heads.outputs.push(OutputHead::of_tokens(OutputKind::TokenVectors, modules));
        heads.late_interaction = Some(LateInteraction { skip_first: true, ..LateInteraction::default() });
    }
    Ok(heads)
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
