//! Anything as model.safetensors: an error, or a model; never a panic.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use tempfile::TempDir;

static MODEL: LazyLock<TempDir> = LazyLock::new(|| common::copy_of("bert-bge"));

fuzz_target!(|contents: &[u8]| {
    std::fs::write(MODEL.path().join("model.safetensors"), contents).unwrap();
    common::open_and_embed(&MODEL);
});
