//! Gemma, the first: Llama's layers with scaled embeddings, and norms that store their weight's distance from 1.
//!
//! Names and formulas: `transformers` `modeling_gemma.py`.

use super::common::decoder::{Biases, Traits, Windows, causal_by_default, encoder};
use super::family::Family;
use super::gemma3_text::embedding_scale;
use crate::error::ModelResult as Result;
use crate::model::spec::EncoderSpec;
use crate::model::weights::Weights;
use crate::source::Json;

pub(super) const FAMILY: Family = Family { model_types: &["gemma"], spec: gemma };

const TRAITS: Traits = Traits {
    family: "gemma",
    head_norms: false,
    biases: Biases::Configured,
    windows: Windows::None,
    causal: causal_by_default,
};

fn gemma(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    let mut spec = encoder(config, weights, &TRAITS)?;
    spec.overflows_f16 = true;
    spec.embedding.scale = embedding_scale(&spec.embedding.word, spec.hidden);
    let before =
        spec.layers.iter_mut().flat_map(|layer| [&mut layer.attention_pre_norm, &mut layer.mlp_pre_norm]);
    before.chain([&mut spec.final_norm]).flatten().for_each(|norm| norm.weight_offset = 1.0);
    Ok(spec)
}
