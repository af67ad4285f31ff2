//! Anything as the command's input: an error that names the line, or texts; never a panic.
#![no_main]

mod common;

#[path = "../../crates/cli/src/input.rs"]
#[allow(dead_code)]
mod input;

/// What the command's module expects around it.
mod arguments {
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) enum InputFormat {
        Lines,
        Jsonl,
    }
}

mod outcome {
    #[derive(Debug)]
    #[allow(dead_code)]
    pub(crate) enum Failure {
        Failed(String),
        Usage(String),
    }

    pub(crate) type Outcome<T = ()> = Result<T, Failure>;
}

use arguments::InputFormat;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|contents: &[u8]| {
    let file = common::file(contents);
    for format in [None, Some(InputFormat::Lines), Some(InputFormat::Jsonl)] {
        let _ = input::from_file(file.path(), format);
    }
});
