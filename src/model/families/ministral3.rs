//! Ministral 3 (Nemotron-3-Embed): Llama's layers, whose queries grow with their position.
//!
//! Names and formulas: `transformers` `modeling_ministral3.py`.

use super::common::decoder::{Biases, Traits, Windows, causal_by_default, encoder};
use super::family::Family;
use crate::error::ModelResult as Result;
use crate::model::spec::{EncoderSpec, QueryGrowth};
use crate::model::weights::Weights;
use crate::source::Json;

pub(super) const FAMILY: Family = Family { model_types: &["ministral3"], spec: growing };

const TRAITS: Traits = Traits {
    family: "ministral3",
    head_norms: false,
    biases: Biases::None,
    windows: Windows::All,
    causal: causal_by_default,
};

/// `1 + beta · ln(1 + ⌊position / trained⌋)`: 1 up to the length that it was trained with first.
fn growing(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    let mut spec = encoder(config, weights, &TRAITS)?;
    let Some(rope) = config.object("rope_parameters")? else { return Ok(spec) };
    let beta = rope.number_or("llama_4_scaling_beta", 0.0)?;
    if beta != 0.0 {
        let trained = rope.size("original_max_position_embeddings")?;
        let growth = QueryGrowth { beta: beta as f32, trained };
        for rotary in spec.layers.iter_mut().filter_map(|layer| layer.attention_mut()?.rotary.as_mut()) {
            rotary.query_growth = Some(growth);
        }
    }
    Ok(spec)
}
