//! Mistral: a decoder whose layers all see a window of keys, if `sliding_window` is set.
//!
//! Names and formulas: `transformers` `modeling_mistral.py`.

use super::common::decoder::{Biases, Traits, Windows, causal_by_default, encoder};
use super::family::Family;

pub(super) const FAMILY: Family =
    Family { model_types: &["mistral"], spec: |config, weights| encoder(config, weights, &TRAITS) };

const TRAITS: Traits = Traits {
    family: "mistral",
    head_norms: false,
    biases: Biases::None,
    windows: Windows::All,
    causal: causal_by_default,
};
