//! The model inside the program: sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0); its origin
//! is in `models/all-MiniLM-L6-v2/ORIGIN.md`.

use crate::model::ModelFiles;

/// Weights start on a cache line, so that they can be read as numbers in place.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static WEIGHTS: &Aligned<[u8]> = &Aligned(*include_bytes!("../models/all-MiniLM-L6-v2/model.safetensors"));

macro_rules! files {
    ($($name:literal),*) => {
        &[$(($name, include_bytes!(concat!("../models/all-MiniLM-L6-v2/", $name)))),*, ("model.safetensors", &WEIGHTS.0)]
    };
}

static FILES: &[(&str, &[u8])] = files![
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json"
];

/// The files of the built-in model.
pub(crate) fn files() -> ModelFiles {
    ModelFiles::Embedded { name: "all-MiniLM-L6-v2", files: FILES }
}
