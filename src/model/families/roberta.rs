//! RoBERTa: BERT whose positions start behind the padding id.
//!
//! Names and formulas: `transformers` `modeling_roberta.py`.

use super::bert;
use super::family::Family;
use crate::error::ModelResult as Result;
use crate::model::spec::EncoderSpec;
use crate::model::weights::Weights;
use crate::source::Json;
use serde_json::Value;

pub(super) const FAMILY: Family =
    Family { model_types: &["roberta"], spec: |config, weights| encoder("roberta", config, weights) };

/// A RoBERTa-shaped encoder: the first token's position is `pad_token_id + 1`.
pub(super) fn encoder(family: &'static str, config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    bert::encoder(family, config, weights, first_position(config)?)
}

/// `pad_token_id + 1`; the id is 1 where the configuration does not say.
pub(super) fn first_position(config: &Json) -> Result<usize> {
    match config.get("pad_token_id") {
        None => Ok(2),
        Some(id) => {
            let id = id.as_u64().filter(|&id| id < 1 << 31);
            id.map(|id| id as usize + 1).ok_or_else(|| {
                let found = config.get("pad_token_id").map(Value::to_string).unwrap_or_default();
                config.error(format!("`pad_token_id` is {found}, expected a token id"))
            })
        }
    }
}
