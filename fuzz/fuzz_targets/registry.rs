//! Anything as a registry of prompts: an error, or a registry; never a panic.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use taskvec::Embedder;

fuzz_target!(|contents: &[u8]| {
    let file = common::file(contents);
    let _ = Embedder::builder().registry(file.path());
});
