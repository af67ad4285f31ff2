//! One file per model family: its configuration keys and tensor names, as an [`EncoderSpec`].
//!
//! To add a family, write a file with a `FAMILY` and list it in [`FAMILIES`]; see CONTRIBUTING.md.
//! What several of them are built from is in `common/`.

mod albert;
mod bert;
pub(in crate::model) mod common;
mod distilbert;
mod embedding_gemma2;
mod eurobert;
mod family;
mod gemma3_text;
mod gte;
mod jina_bert;
mod jina_v3;
mod llama;
mod mistral;
mod modernbert;
mod mpnet;
mod nomic_bert;
mod qwen2;
mod qwen3;
mod roberta;
mod t5;
mod xlm_roberta;

use super::spec::EncoderSpec;
use super::weights::Weights;
use crate::error::ModelResult as Result;
use crate::source::Json;
use family::Family;

/// All families.
const FAMILIES: &[&Family] = &[
    &albert::FAMILY,
    &bert::FAMILY,
    &distilbert::FAMILY,
    &embedding_gemma2::FAMILY,
    &eurobert::FAMILY,
    &gemma3_text::FAMILY,
    &gte::FAMILY,
    &jina_v3::FAMILY,
    &llama::FAMILY,
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
    let model_type = config.text("model_type")?;
    let model_type =
        model_type.ok_or_else(|| config.error("`model_type` is missing; it names the model family"))?;
    match FAMILIES.iter().find(|family| family.model_types.contains(&model_type)) {
        Some(family) => (family.spec)(config, weights),
        None => {
            let known: Vec<&str> = FAMILIES.iter().flat_map(|family| family.model_types).copied().collect();
            Err(config.unsupported("model_type", model_type, known.join(", ")))
        }
    }
}
