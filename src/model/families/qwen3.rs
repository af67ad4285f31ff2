//! Qwen3: a decoder that normalises queries and keys head by head; Qwen3-Embedding pools its last
//! token; pplx-embed attends in both directions.
//!
//! Names and formulas: `transformers` `modeling_qwen3.py`.

use super::common::decoder::{Biases, Traits, Windows, causal_by_default, encoder};
use super::common::{Bias, linear};
use super::family::Family;
use crate::error::ModelResult as Result;
use crate::model::spec::EncoderSpec;
use crate::model::weights::Weights;
use crate::source::Json;

pub(super) const FAMILY: Family =
    Family { model_types: &["qwen3", "bidirectional_pplx_qwen3"], spec: with_projection };

/// voyage-4-nano projects each token's state before pooling.
fn with_projection(config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    let mut spec = encoder(config, weights, &TRAITS)?;
    if let Some(&[outputs, _]) = weights.shape("linear.weight") {
        let because = "hidden_size in config.json";
        spec.output = Some(linear(weights, "linear", outputs, spec.hidden, Bias::No, because)?);
    }
    Ok(spec)
}

pub(super) const TRAITS: Traits = Traits {
    family: "qwen3",
    head_norms: true,
    biases: Biases::Configured,
    windows: Windows::ByLayer,
    causal: |config| match config.text("model_type")? {
        Some("bidirectional_pplx_qwen3") => {
            config.heed(["is_causal", "use_bidirectional_attention", "auto_map"]);
            Ok(false)
        }
        _ => causal_by_default(config),
    },
};
