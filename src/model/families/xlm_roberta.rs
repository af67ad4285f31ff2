//! XLM-RoBERTa: the RoBERTa architecture with a multilingual vocabulary.

use super::{Family, roberta};

pub(super) const FAMILY: Family = Family {
    model_types: &["xlm-roberta"],
    spec: |config, weights| roberta::encoder("xlm-roberta", config, weights),
};
