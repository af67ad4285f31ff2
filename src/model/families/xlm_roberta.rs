//! XLM-RoBERTa: the RoBERTa architecture with a multilingual vocabulary. jina-embeddings-v3 says in
//! its configuration that it is one too, and is not.

use super::family::Family;
use super::{jina_v3, roberta};

pub(super) const FAMILY: Family = Family {
    model_types: &["xlm-roberta"],
    spec: |config, weights| match config.text("position_embedding_type")? {
        Some("rotary") => jina_v3::encoder(config, weights),
        _ => roberta::encoder("xlm-roberta", config, weights),
    },
};
