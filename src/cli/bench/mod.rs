//! `taskvec bench`: what this machine can do, and how much of it kernels and models reach.

mod kernels;
mod measure;
mod model;
mod roofline;

use super::arguments::BenchCommand;
use super::{Failure, Outcome};
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

/// Fails if the build checks what it computes: such times mean nothing.
fn require_release() -> Outcome {
    match cfg!(debug_assertions) {
        true => Err(Failure::Failed("this is a debug build; measure with cargo run --release".to_owned())),
        false => Ok(()),
    }
}
