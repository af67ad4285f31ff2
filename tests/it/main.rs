//! The library from outside: one binary, one module for what is tested.

mod broken_models;
mod broken_other_models;
mod broken_rerankers;
#[cfg(feature = "builtin")]
mod builtin;
mod fixtures;
mod hostile;
mod invariance;
mod keys;
mod layers;
mod long_texts;
mod mutations;
mod openings;
mod options;
mod other_results;
mod pickles;
mod published;
mod quantization;
mod random_models;
mod real_weights;
mod requests;
mod shaders;
mod stored;
mod tidy;

/// Embedders' options for every device and instruction set of this machine, by name.
fn devices() -> Vec<(String, taskvec::EmbedderBuilder)> {
    taskvec_testing::devices(cfg!(feature = "gpu"))
}
