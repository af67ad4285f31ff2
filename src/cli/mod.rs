//! The command line: arguments, and one file a command.

mod arguments;
mod bench;
mod compare;
mod devices;
mod embed;
mod explain;
mod hub;
mod input;
mod inspect;
mod models;
mod records;
mod rerank;
mod similarity;
mod sink;
mod verify;

pub(crate) use arguments::Arguments;

use arguments::Command;
use std::fmt;
use taskvec::{Embedder, Note, Prompt};

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
        Command::Bench(command) => bench::run(command),
        Command::Similarity(arguments) => similarity::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Compare(arguments) => compare::run(arguments),
        Command::Rerank(arguments) => rerank::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Models(arguments) => models::run(arguments),
    }
}

/// What the user should know about results, said on stderr at the end.
#[derive(Default)]
struct Warnings {
    note: Option<Note>,
    cut: usize,
    dimensions: Option<String>,
}

impl Warnings {
    /// Takes note of a text's prompt and of whether it was cut.
    fn note(&mut self, prompt: &Prompt, tokens: usize, untruncated: usize) {
        if self.note.is_none() {
            self.note.clone_from(&prompt.note);
        }
        self.cut += usize::from(untruncated > tokens);
    }

    /// Takes note of a size that the model was not trained to be cut to.
    fn about_dimensions(&mut self, embedder: &Embedder, dimensions: Option<usize>) {
        let trained = embedder.trained_dimensions();
        if let Some(wanted) =
            dimensions.filter(|&wanted| wanted < embedder.dimensions() && !trained.contains(&wanted))
        {
            let known = match trained {
                [] => "its files do not say that it was trained to be cut at all".to_owned(),
                sizes => format!(
                    "it was trained for {}",
                    sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
                ),
            };
            self.dimensions =
                Some(format!("the model was not trained to be cut to {wanted} values: {known}"));
        }
    }

    fn print(&self, embedder: &Embedder) {
        let device = embedder.device();
        if let Some(fault) = device.fault {
            eprintln!("taskvec: warning: a GPU failed, and {} did its work: {fault}", device.name);
        }
        if let Some(note) = &self.note {
            eprintln!("taskvec: warning: {note}");
        }
        if let Some(about) = &self.dimensions {
            eprintln!("taskvec: warning: {about}");
        }
        if self.cut > 0 {
            let texts = if self.cut == 1 { "text was" } else { "texts were" };
            let limit = embedder.max_tokens();
            eprintln!("taskvec: warning: {} {texts} cut to the limit of {limit} tokens", self.cut);
        }
    }
}

/// A text on one line, cut where it gets long.
fn shortened(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
