//! Qwen3: a decoder that normalises queries and keys head by head; Qwen3-Embedding pools its last
//! token.
//!
//! Names and formulas: `transformers` `modeling_qwen3.py`.

use super::Family;
use super::common::decoder::{Biases, Traits, Windows, causal_by_default, encoder};

pub(super) const FAMILY: Family =
    Family { model_types: &["qwen3"], spec: |config, weights| encoder(config, weights, &TRAITS) };

const TRAITS: Traits = Traits {
    family: "qwen3",
    head_norms: true,
    biases: Biases::Configured,
    windows: Windows::ByLayer,
    causal: causal_by_default,
};
