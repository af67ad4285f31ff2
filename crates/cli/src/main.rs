//! The `taskvec` command: a thin layer over the library.
#![deny(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod arguments;
mod bench;
mod compare;
mod completions;
mod corpus;
mod devices;
mod embed;
mod explain;
mod heat_map;
mod hub;
mod input;
mod inspect;
mod leftovers;
mod map;
mod merge;
mod models;
mod outcome;
mod output_options;
mod progress;
mod records;
mod rerank;
mod search;
#[cfg(feature = "serve")]
mod serve;
mod similarity;
mod sink;
mod text;
mod verify;
mod warnings;

use arguments::{Arguments, Command};
use clap::Parser;
use outcome::{Failure, Outcome};
use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "gpu")]
    taskvec_gpu_unsafe::quiet_drivers();
    // Wrong usage ends here, with clap's message and exit code 2.
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Interrupted(problem)) => {
            eprintln!("taskvec: {problem}");
            leftovers::end_by_signal()
        }
        Err(failure) => {
            eprintln!("taskvec: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Runs the command that the arguments name.
fn run(arguments: &Arguments) -> Outcome {
    match &arguments.command {
        Command::Embed(arguments) => embed::run(arguments),
        Command::Merge(arguments) => merge::run(arguments),
        Command::Search(arguments) => search::run(arguments),
        Command::Map(arguments) => map::run(arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::Devices => devices::run(),
        Command::Bench(command) => bench::run(command),
        Command::Similarity(arguments) => similarity::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Compare(arguments) => compare::run(arguments),
        Command::Rerank(arguments) => rerank::run(arguments),
        #[cfg(feature = "serve")]
        Command::Serve(arguments) => serve::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Models(arguments) => models::run(arguments),
        Command::Completions(arguments) => completions::run(arguments),
    }
}
