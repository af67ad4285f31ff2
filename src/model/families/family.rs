//! What a family is.

use crate::error::ModelResult as Result;
use crate::model::spec::EncoderSpec;
use crate::model::weights::Weights;
use crate::source::Json;

/// How to read the models of one architecture.
pub(crate) struct Family {
    /// Its names for `model_type` in config.json.
    pub(crate) model_types: &'static [&'static str],
    /// Reads the configuration and finds the tensors.
    pub(crate) spec: fn(&Json, &Weights) -> Result<EncoderSpec>,
}
