//! XLM-RoBERTa: the RoBERTa architecture with a multilingual vocabulary. jina-embeddings-v3 says in
//! its configuration that it is one too, and is not; jina-reranker-v2 is one under that model's names.

use super::family::Family;
use super::{jina_v3, roberta};

pub(super) const FAMILY: Family = Family {
    model_types: &["xlm-roberta"],
    spec: |config, weights| match config.text("position_embedding_type")? {
        Some("rotary") => jina_v3::encoder(config, weights),
        _ if weights.has("encoder.layers.0.mixer.Wqkv.weight") => jina_v3::with_positions(config, weights),
        _ => roberta::encoder("xlm-roberta", config, weights),
    },
};
