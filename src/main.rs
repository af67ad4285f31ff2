//! The `taskvec` command: a thin layer over the library.
#![deny(unsafe_code)]

mod cli;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Wrong usage ends here, with clap's message and exit code 2.
    let arguments = cli::Arguments::parse();
    match cli::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("taskvec: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
