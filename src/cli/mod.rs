//! The command line: arguments, and one file a command.

mod arguments;
mod devices;
mod embed;
mod input;
mod inspect;
mod records;
mod similarity;
mod sink;

pub(crate) use arguments::Arguments;

use arguments::Command;
use std::fmt;
use taskvec::{Embedder, Embedding};

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something went wrong: exit code 1.
    Failed(String),
    /// The arguments contradict each other in a way that clap does not see: exit code 2.
    Usage(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Failed(problem) => write!(f, "error: {problem}"),
            Failure::Usage(problem) => write!(f, "usage: {problem}\n\nFor more information, try '--help'."),
        }
    }
}

impl From<taskvec::Error> for Failure {
    fn from(error: taskvec::Error) -> Self {
        Failure::Failed(error.to_string())
    }
}

/// The result of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Runs the command that the arguments name.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    match &arguments.command {
        Command::Embed(arguments) => embed::run(arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::Devices => devices::run(),
        Command::Similarity(arguments) => similarity::run(arguments),
    }
}

/// Says on stderr what the user should know about the results: the prompt's note, once, and how
/// many texts were cut.
fn warn(embedder: &Embedder, embeddings: &[Embedding]) {
    if let Some(note) = embeddings.first().and_then(|embedding| embedding.prompt.note.as_ref()) {
        eprintln!("taskvec: warning: {note}");
    }
    let cut = embeddings.iter().filter(|embedding| embedding.truncated()).count();
    if cut > 0 {
        let texts = if cut == 1 { "text was" } else { "texts were" };
        eprintln!("taskvec: warning: {cut} {texts} cut to the limit of {} tokens", embedder.max_tokens());
    }
}
