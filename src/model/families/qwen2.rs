//! Qwen2: a decoder with biases on queries, keys and values.
//!
//! Names and formulas: `transformers` `modeling_qwen2.py`. gte-Qwen2 and stella-1.5B attend in both
//! directions, which only the code says that config.json names under `auto_map`.

use super::common::decoder::{Biases, Traits, Windows, causal_by_default, encoder};
use super::family::Family;

pub(super) const FAMILY: Family =
    Family { model_types: &["qwen2"], spec: |config, weights| encoder(config, weights, &TRAITS) };

const TRAITS: Traits = Traits {
    family: "qwen2",
    head_norms: false,
    biases: Biases::QueryKeyValue,
    windows: Windows::ByLayer,
    causal: causal_by_default,
};
