//! `taskvec bench`: what this machine can do, and how much of it kernels and models reach.

#[cfg(feature = "gpu")]
mod gpu;
mod kernels;
mod measure;
mod model;
mod output;
mod peaks;
mod point;
mod roofline;
mod search;

use crate::arguments::BenchCommand;
use crate::outcome::Outcome;

pub(crate) fn run(command: &BenchCommand) -> Outcome {
    match command {
        #[cfg(feature = "gpu")]
        BenchCommand::Kernels(arguments) if arguments.model.is_on_gpu() => gpu::run(arguments),
        BenchCommand::Kernels(arguments) => kernels::run(arguments),
        BenchCommand::Model(arguments) => model::run(arguments),
        BenchCommand::Search(arguments) => search::run(arguments),
    }
}
