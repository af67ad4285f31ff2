//! Qwen2: a decoder with biases on queries, keys and values.
//!
//! Names and formulas: `transformers` `modeling_qwen2.py`. gte-Qwen2 and stella-1.5B attend in both
//! directions, which only their own code says: config.json names it under `auto_map`.

use super::Family;
use super::common::decoder::{Biases, Traits, Windows, causal_by_default, encoder};
use crate::error::Result;
use crate::model::files::Json;
use serde_json::Value;

pub(super) const FAMILY: Family =
    Family { model_types: &["qwen2"], spec: |config, weights| encoder(config, weights, &TRAITS) };

const TRAITS: Traits = Traits {
    family: "qwen2",
    head_norms: false,
    biases: Biases::QueryKeyValue,
    windows: Windows::ByLayer,
    causal,
};

fn causal(config: &Json) -> Result<bool> {
    let code = config.get("auto_map").and_then(|map| map.get("AutoModel")).and_then(Value::as_str);
    let bidirectional_code = code.is_some_and(|code| code.ends_with("modeling_qwen.Qwen2Model"));
    Ok(causal_by_default(config)? && !bidirectional_code)
}
