//! Anything as a registry of prompts: an error, or a registry; never a panic.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use taskvec::{Device, Embedder};
use tempfile::TempDir;

static MODEL: LazyLock<TempDir> = LazyLock::new(|| common::copy_of("bert-bge"));

fuzz_target!(|contents: &[u8]| {
    let file = common::file(contents);
    // The registry is read first: an error ends it there.
    let builder = Embedder::builder().device(Device::Reference).threads(1).registry(file.path());
    let _ = builder.open(MODEL.path());
});
