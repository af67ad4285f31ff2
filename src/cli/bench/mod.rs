//! `taskvec bench`: what this machine can do, and how much of it kernels and models reach.

#[cfg(feature = "gpu")]
mod gpu;
mod kernels;
mod measure;
mod model;
mod roofline;

use super::Outcome;
use super::arguments::BenchCommand;
use std::path::Path;

pub(crate) fn run(command: &BenchCommand) -> Outcome {
    match command {
        BenchCommand::Kernels(arguments) => kernels::run(arguments),
        BenchCommand::Model(arguments) => model::run(arguments),
    }
}

/// Writes a file whole or not at all.
fn write_file(path: &Path, text: &str) -> Outcome {
    let mut sink = super::sink::Sink::open(Some(path))?;
    sink.write(text.as_bytes())?;
    sink.finish()
}

/// Says so if the build checks what it computes.
fn warn_of_debug_build() {
    if cfg!(debug_assertions) {
        eprintln!("taskvec: warning: this is a debug build, whose times mean little: cargo run --release");
    }
}
