//! Options of a model and of a call, as data.

use crate::device::Device;
use crate::error::{Error, RequestError};
use crate::names::serialized_as_name;
use crate::precision::Precision;
use crate::task::Task;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// How a model is opened: what [`Builder`](crate::Builder) sets.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelOptions {
    pub(crate) device: Device,
    pub(crate) threads: Option<usize>,
    pub(crate) cores: Option<Vec<usize>>,
    pub(crate) max_tokens: Option<usize>,
    pub(crate) batch_tokens: Option<usize>,
    pub(crate) instruction_set: Option<String>,
    pub(crate) precision: Precision,
    pub(crate) dimensions: Option<usize>,
    /// A registry file of the caller's own.
    pub(crate) registry: Option<PathBuf>,
}

/// What to do with a text that has more tokens than the model takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub enum Truncation {
    /// Cut it where the model's files say, and say so in the result: its end, for almost all; where they say its
    /// start (`truncation_side`), prompt and text are cut together, as transformers does.
    #[default]
    Model,
    /// Cut off its end, and say so in the result.
    End,
    /// Cut off its start, and say so in the result. The prompt stays.
    Start,
    /// Return an error.
    Error,
    /// Embed it in windows of as many tokens as the model takes, each with the prompt, and take the
    /// mean of their vectors (of their directions, where vectors have unit length), weighted by their
    /// tokens. Nothing is lost, but no window knows the others.
    Windows {
        /// Tokens that each window shares with the one before it.
        overlap: usize,
    },
}

impl fmt::Display for Truncation {
    /// `model`, `end`, `start`, `error`, `windows` or `windows:OVERLAP`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Truncation::Model => f.write_str("model"),
            Truncation::End => f.write_str("end"),
            Truncation::Start => f.write_str("start"),
            Truncation::Error => f.write_str("error"),
            Truncation::Windows { overlap: 0 } => f.write_str("windows"),
            Truncation::Windows { overlap } => write!(f, "windows:{overlap}"),
        }
    }
}

impl FromStr for Truncation {
    type Err = Error;

    /// Reads what [`Display`](fmt::Display) writes; `truncate`, `truncate-end` and `truncate-start` are
    /// `model`, `end` and `start`.
    fn from_str(text: &str) -> Result<Truncation, Error> {
        let name = text.to_ascii_lowercase().replace('_', "-");
        let overlap = name.strip_prefix("windows:").map(str::parse);
        match (name.as_str(), overlap) {
            ("model" | "truncate", _) => Ok(Truncation::Model),
            ("end" | "truncate-end", _) => Ok(Truncation::End),
            ("start" | "truncate-start", _) => Ok(Truncation::Start),
            ("error", _) => Ok(Truncation::Error),
            ("windows", _) => Ok(Truncation::Windows { overlap: 0 }),
            (_, Some(Ok(overlap))) => Ok(Truncation::Windows { overlap }),
            _ => Err(RequestError::InvalidOption {
                option: "truncation",
                found: format!("`{text}`"),
                expected: "end, start, error, windows or windows:OVERLAP".to_owned(),
            }
            .into()),
        }
    }
}

serialized_as_name!(Truncation);

/// How to embed the texts of a call. A [`Task`] is enough: `embed(text, Task::Clustering)`.
///
/// ```
/// # use taskvec::{EmbedOptions, Task};
/// let how = EmbedOptions::new().task(Task::RetrievalDocument).title("Tea").dimensions(128);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct EmbedOptions {
    pub(crate) task: Option<Task>,
    pub(crate) prompt: Option<String>,
    pub(crate) template: Option<String>,
    pub(crate) prompt_name: Option<String>,
    pub(crate) instruction: Option<String>,
    pub(crate) adapter: Option<String>,
    pub(crate) pool_prompt: Option<bool>,
    pub(crate) title: Option<String>,
    pub(crate) dimensions: Option<usize>,
    pub(crate) normalize: Option<bool>,
    pub(crate) truncation: Truncation,
}

impl EmbedOptions {
    /// No task: the model's default prompt if it has one, else none.
    pub fn new() -> Self {
        EmbedOptions::default()
    }

    /// What the vectors are for; chooses the prompt.
    pub fn task(mut self, task: Task) -> Self {
        self.task = Some(task);
        self
    }

    /// The task that was asked for.
    pub fn asked_task(&self) -> Option<Task> {
        self.task
    }

    /// Puts this text in front, whatever the model's prompts are; empty: nothing.
    pub fn prompt(mut self, prompt: impl Into<String>) -> Self {
        self.prompt = Some(prompt.into());
        self
    }

    /// Puts the text where `{text}` stands in this template, and a title, or `none`, where `{title}`
    /// does: `Summarize sentence "{text}" in one word:`.
    pub fn template(mut self, template: impl Into<String>) -> Self {
        self.template = Some(template.into());
        self
    }

    /// Uses the model's own prompt of this name.
    pub fn prompt_name(mut self, name: impl Into<String>) -> Self {
        self.prompt_name = Some(name.into());
        self
    }

    /// Uses the model's task adapter of this name, whatever the task is (jina-embeddings-v3's
    /// `retrieval.query`, `text-matching`, …).
    pub fn adapter(mut self, name: impl Into<String>) -> Self {
        self.adapter = Some(name.into());
        self
    }

    /// Lets pooling take the prompt's tokens, or keeps them out. Default: as the model's files or the
    /// registries say; Instructor's are kept out.
    pub fn pool_prompt(mut self, pool: bool) -> Self {
        self.pool_prompt = Some(pool);
        self
    }

    /// Tells an instruction model (such as Qwen3-Embedding) the task in your own words:
    /// `Given a customer's question, find the paragraph of the manual that answers it`.
    pub fn instruction(mut self, instruction: impl Into<String>) -> Self {
        self.instruction = Some(instruction.into());
        self
    }

    /// The document's title, for models whose document prompt has a place for one.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Keeps the first values of each vector only (Matryoshka), at unit length if the model's
    /// vectors have that. Models not trained for it lose more accuracy by it.
    pub fn dimensions(mut self, dimensions: usize) -> Self {
        self.dimensions = Some(dimensions);
        self
    }

    /// Brings vectors to unit length, or leaves them as they are, whatever the model's own modules
    /// say. Default: as they say.
    pub fn normalize(mut self, normalize: bool) -> Self {
        self.normalize = Some(normalize);
        self
    }

    /// What to do with texts that are too long.
    pub fn truncation(mut self, truncation: Truncation) -> Self {
        self.truncation = truncation;
        self
    }
}

impl From<Task> for EmbedOptions {
    fn from(task: Task) -> Self {
        EmbedOptions::new().task(task)
    }
}

impl From<&EmbedOptions> for EmbedOptions {
    fn from(options: &EmbedOptions) -> Self {
        options.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncation_is_read_as_it_is_written() {
        let windows = |overlap| Truncation::Windows { overlap };
        for truncation in [
            Truncation::Model,
            Truncation::End,
            Truncation::Start,
            Truncation::Error,
            windows(0),
            windows(17),
        ] {
            assert_eq!(truncation.to_string().parse::<Truncation>().unwrap(), truncation);
        }
        assert_eq!("TRUNCATE_START".parse::<Truncation>().unwrap(), Truncation::Start);
        for wrong in ["", "windows:", "windows:-1", "middle"] {
            assert!(wrong.parse::<Truncation>().is_err(), "{wrong}");
        }
    }
}
