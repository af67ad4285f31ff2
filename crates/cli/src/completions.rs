//! `taskvec completions`

use crate::arguments::{Arguments, CompletionsArguments};
use crate::outcome::Outcome;
use crate::sink::Sink;
use clap::CommandFactory;

pub(crate) fn run(arguments: &CompletionsArguments) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "taskvec", &mut script);
    let mut sink = Sink::open(None)?;
    sink.write(&script)?;
    sink.finish()
}
