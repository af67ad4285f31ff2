//! RoBERTa, and CamemBERT, which is the same: BERT whose positions start behind the padding id, and do not count tokens of that id.
//!
//! Names and formulas: `transformers` `modeling_roberta.py`.

use super::bert::{self, Positions};
use super::family::Family;
use crate::error::ModelResult as Result;
use crate::model::spec::EncoderSpec;
use crate::model::weights::Weights;
use crate::source::Json;
use serde_json::Value;

pub(super) const FAMILY: Family = Family {
    model_types: &["roberta", "camembert"],
    spec: |config, weights| encoder("roberta", config, weights),
};

/// A RoBERTa-shaped encoder: the first token's position is `pad_token_id + 1`, and tokens of that id, which a
/// text may hold, have the position `pad_token_id`.
pub(super) fn encoder(family: &'static str, config: &Json, weights: &Weights) -> Result<EncoderSpec> {
    bert::encoder(family, config, weights, Positions::Behind(padding_id(config)?))
}

/// `pad_token_id`, or 1 where the configuration does not say.
fn padding_id(config: &Json) -> Result<u32> {
    match config.get("pad_token_id") {
        None => Ok(1),
        Some(id) => {
            let id = id.as_u64().filter(|&id| id < 1 << 31);
            id.map(|id| id as u32).ok_or_else(|| {
                let found = config.get("pad_token_id").map(Value::to_string).unwrap_or_default();
                config.error(format!("`pad_token_id` is {found}, expected a token id"))
            })
        }
    }
}
