//! The files of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), for taskvec's built-in model. Where they come from
//! is in `model/ORIGIN.md`.

/// What the model goes by.
pub const NAME: &str = "all-MiniLM-L6-v2";

/// Weights start on a cache line, so that they can be read as numbers in place.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static WEIGHTS: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/model.safetensors")));

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../model/", $name)))),*, ("model.safetensors", &WEIGHTS.0)]
    };
}

/// Each file of the model by its path, and its bytes.
pub static FILES: &[(&str, &[u8])] = files![
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
];
