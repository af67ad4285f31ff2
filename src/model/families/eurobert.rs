//! EuroBERT: Llama's layers with attention in both directions.
//!
//! Names and formulas: `transformers` `modeling_eurobert.py`.

use super::common::decoder::{Biases, Traits, Windows, encoder};
use super::family::Family;

pub(super) const FAMILY: Family =
    Family { model_types: &["eurobert"], spec: |config, weights| encoder(config, weights, &TRAITS) };

pub(super) const TRAITS: Traits = Traits {
    family: "eurobert",
    head_norms: false,
    biases: Biases::Configured,
    windows: Windows::None,
    causal: |_| Ok(false),
};
