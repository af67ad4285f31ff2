//! Task prompts: which text goes around the text, and why.
//!
//! In order: an explicit prompt or template, a prompt name of the model, an instruction, the task. A
//! task is looked up in the user's registry, the model's own prompts, then the built-in registry.
//! Without any of these the model's default prompt, if it names one. What was chosen, and a task that
//! found nothing, is said with each result ([`Prompt`]).

mod model_prompts;
mod registry;
mod resolved;

pub(crate) use model_prompts::{ModelPrompts, PromptRequest};
pub(crate) use registry::{UserRegistry, registry_family};
pub use resolved::{Note, Prompt, PromptSource, TaskPrompt};

#[cfg(test)]
mod tests;
