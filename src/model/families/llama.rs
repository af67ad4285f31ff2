//! Llama, with its own rotary scaling; and NVIDIA's with attention in both directions.
//!
//! Names and formulas: `transformers` `modeling_llama.py`.

use super::common::decoder::{Biases, Traits, Windows, causal_by_default, encoder};
use super::family::Family;

pub(super) const FAMILY: Family = Family {
    model_types: &["llama", "llama_bidirec"],
    spec: |config, weights| encoder(config, weights, &TRAITS),
};

const TRAITS: Traits = Traits {
    family: "llama",
    head_norms: false,
    biases: Biases::Configured,
    windows: Windows::None,
    causal: |config| match config.text("model_type")? {
        Some("llama_bidirec") => {
            config.heed(["is_causal", "use_bidirectional_attention", "auto_map"]);
            Ok(false)
        }
        _ => causal_by_default(config),
    },
};
