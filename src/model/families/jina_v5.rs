//! jina-embeddings-v5-text: Qwen3 (small) or EuroBERT (nano), with a folder of low-rank changes for each task.
//!
//! Source: vLLM's `jina.py`; which of the two it is stands in `is_decoder`.

use super::common::decoder::encoder;
use super::family::Family;
use super::{eurobert, qwen3};

pub(super) const FAMILY: Family = Family {
    model_types: &["jina_embeddings_v5"],
    spec: |config, weights| match config.flag_or("is_decoder", true)? {
        true => encoder(config, weights, &qwen3::TRAITS),
        false => encoder(config, weights, &eurobert::TRAITS),
    },
};
