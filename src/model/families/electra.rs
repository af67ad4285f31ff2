//! ELECTRA: BERT whose embeddings may be narrower than its hidden states.
//!
//! Names and formulas: `transformers` `modeling_electra.py`.

use super::bert::{Positions, encoder_of_width};
use super::family::Family;

pub(super) const FAMILY: Family = Family {
    model_types: &["electra"],
    spec: |config, weights| {
        let width = config.size_or("embedding_size", 128)?;
        encoder_of_width("electra", config, weights, Positions::FromZero, width)
    },
};
