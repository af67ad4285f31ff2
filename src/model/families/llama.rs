//! Llama, with its own rotary scaling.
//!
//! Names and formulas: `transformers` `modeling_llama.py`.

use super::common::decoder::{Biases, Traits, Windows, causal_by_default, encoder};
use super::family::Family;

pub(super) const FAMILY: Family =
    Family { model_types: &["llama"], spec: |config, weights| encoder(config, weights, &TRAITS) };

const TRAITS: Traits = Traits {
    family: "llama",
    head_norms: false,
    biases: Biases::Configured,
    windows: Windows::None,
    causal: causal_by_default,
};
