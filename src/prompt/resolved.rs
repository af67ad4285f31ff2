//! A prompt as it was chosen: the text, where it came from, and what to know about it.

use crate::task::Task;
use std::fmt;

/// The text that was put around a text, where it came from, and what to know about it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Prompt {
    /// Put in front of the text as it is; often empty.
    pub text: String,
    /// Put behind the text as it is; almost always empty.
    pub suffix: String,
    /// Whether pooling takes its tokens; Instructor's and others' are seen by the transformer and kept
    /// out of the mean.
    pub pooled: bool,
    /// The model's task adapter that the weights are used with, for models that have some.
    pub adapter: Option<String>,
    /// Where it came from.
    pub source: PromptSource,
    /// Something that the caller should know: most often that the task had no effect.
    pub note: Option<Note>,
}

impl Prompt {
    /// The prompt around a text: what the tokenizer gets.
    pub fn around(&self, text: &str) -> String {
        format!("{}{text}{}", self.text, self.suffix)
    }

    /// From a template: what stands before and after `{text}`, or all of it before.
    pub(super) fn new(template: &str, source: PromptSource) -> Prompt {
        let (text, suffix) = template.split_once("{text}").unwrap_or((template, ""));
        Prompt { suffix: suffix.to_owned(), ..Prompt::in_front(text, source) }
    }

    /// Text in front, as it is.
    pub(super) fn in_front(text: &str, source: PromptSource) -> Prompt {
        let (text, suffix) = (text.to_owned(), String::new());
        Prompt { text, suffix, pooled: true, adapter: None, source, note: None }
    }
}

/// Where a prompt came from.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum PromptSource {
    /// No prompt was asked for, and the model has no default.
    None,
    /// The caller gave it.
    Explicit,
    /// The model's own prompt of this name.
    Model {
        /// Its name in config_sentence_transformers.json.
        name: String,
    },
    /// The model's own prompt of this name, which it uses by default.
    ModelDefault {
        /// Its name in config_sentence_transformers.json.
        name: String,
    },
    /// The built-in registry's prompt for this family of models.
    Registry {
        /// The family's name in the registry.
        family: String,
    },
    /// The prompt for this family in the registry file that the caller gave.
    UserRegistry {
        /// The family's name in the file.
        family: String,
    },
    /// The caller's instruction, in the family's form.
    Instruction,
}

impl fmt::Display for PromptSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PromptSource::None => write!(f, "no prompt"),
            PromptSource::Explicit => write!(f, "given explicitly"),
            PromptSource::Model { name } => write!(f, "the model's prompt `{name}`"),
            PromptSource::ModelDefault { name } => write!(f, "the model's default prompt `{name}`"),
            PromptSource::Registry { family } => write!(f, "the built-in registry, {family}"),
            PromptSource::UserRegistry { family } => write!(f, "the given registry, {family}"),
            PromptSource::Instruction => write!(f, "the given instruction"),
        }
    }
}

/// What a model does with a task: [`Embedder::tasks`](crate::Embedder::tasks).
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct TaskPrompt {
    /// The task.
    pub task: Task,
    /// The exact text around a text, and where it came from.
    pub prompt: Prompt,
    /// Whether the model's authors trained it with this prompt for this task, as far as their files
    /// or publications say; otherwise the prompt is the nearest that they trained, or there is none.
    pub trained: bool,
}

/// Something that the caller should know about a prompt.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Note {
    /// The model has prompts, but none for this task: the text was embedded without one.
    NoPromptForTask {
        /// The task that was asked for.
        task: Task,
        /// The names of the model's own prompts.
        offered: Vec<String>,
    },
    /// The model has no prompt for this task, which is a kind of query: its query prompt was used.
    QueryPromptUsed {
        /// The task that was asked for.
        task: Task,
    },
    /// The model was trained without prompts: its vectors are the same for every task.
    TrainedWithoutPrompts {
        /// The task that was asked for.
        task: Task,
    },
    /// Neither the model's files nor the registry know a prompt: if it was trained with prompts,
    /// they must be given explicitly.
    NoPromptsKnown {
        /// The task that was asked for.
        task: Task,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::NoPromptForTask { task, offered } => write!(
                f,
                "the model has no prompt for the task {task}, so none was used; its prompts: {}",
                offered.join(", ")
            ),
            Note::QueryPromptUsed { task } => {
                write!(f, "the model has no prompt for the task {task}, so its prompt for queries was used")
            }
            Note::TrainedWithoutPrompts { task } => write!(
                f,
                "the model was trained without task prompts, so the task {task} does not change its vectors"
            ),
            Note::NoPromptsKnown { task } => write!(
                f,
                "no prompt for the task {task} is known for this model, so none was used; if it was trained with prompts, give one explicitly"
            ),
        }
    }
}
