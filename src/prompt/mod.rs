//! Task prompts: which text goes in front of the text, and why.
//!
//! In order: an explicit prompt, a prompt name of the model, an instruction, the task. A task is
//! looked up in the model's own prompts, then in the built-in registry. Without any of these the
//! model's default prompt, if it names one. What was chosen, and a task that found nothing, is
//! said with each result ([`Prompt`]).

mod registry;

use crate::error::{Error, Result};
use crate::model::{Json, ModelFiles};
use crate::task::Task;
use registry::Entry;
use serde_json::Value;
use std::fmt;

/// The text that was put in front of a text, where it came from, and what to know about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prompt {
    /// Put in front of the text as it is; often empty.
    pub text: String,
    /// Where it came from.
    pub source: PromptSource,
    /// Something that the caller should know: most often that the task had no effect.
    pub note: Option<Note>,
}

/// Where a prompt came from.
#[derive(Clone, PartialEq, Eq, Debug)]
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
            PromptSource::Instruction => write!(f, "the given instruction"),
        }
    }
}

/// Something that the caller should know about a prompt.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Note {
    /// The model has prompts, but none for this task: the text was embedded without one.
    NoPromptForTask {
        /// The task that was asked for.
        task: Task,
        /// The names of the model's own prompts.
        offered: Vec<String>,
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

/// What a caller asks for in a prompt.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct PromptRequest<'a> {
    pub(crate) explicit: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) task: Option<Task>,
    pub(crate) instruction: Option<&'a str>,
    pub(crate) title: Option<&'a str>,
}

/// A model's own prompts, and the registry's for its family.
pub(crate) struct ModelPrompts {
    model: String,
    /// Name and text, in the file's order.
    own: Vec<(String, String)>,
    default: Option<String>,
    registry: Option<&'static Entry>,
}

impl ModelPrompts {
    /// Reads config_sentence_transformers.json, if there, and finds the registry's entry by the
    /// names of the folder and of `_name_or_path` in config.json.
    pub(crate) fn read(files: &ModelFiles, config: &Json) -> Result<ModelPrompts> {
        let mut names = folder_names(files);
        names.extend(config.text("_name_or_path")?.map(str::to_owned));
        let model = names.first().cloned().unwrap_or_default();
        let mut prompts =
            ModelPrompts { model, own: Vec::new(), default: None, registry: registry::find(&names) };
        if let Some(json) = files.optional_json("config_sentence_transformers.json")? {
            prompts.read_own(&json)?;
        }
        Ok(prompts)
    }

    fn read_own(&mut self, json: &Json) -> Result<()> {
        let own = json.object("prompts")?;
        for (name, text) in own.iter().filter_map(|own| own.value.as_object()).flatten() {
            match text {
                Value::String(text) => self.own.push((name.clone(), text.clone())),
                Value::Null => {}
                other => return Err(json.error(format!("the prompt `{name}` is {other}, expected a string"))),
            }
        }
        self.default = json.text("default_prompt_name")?.map(str::to_owned);
        if let Some(name) = self.default.as_deref().filter(|name| self.own_prompt(name).is_none()) {
            return Err(json.error(format!("`default_prompt_name` is `{name}`, but there is no such prompt")));
        }
        Ok(())
    }

    /// The model's own prompts: name and text.
    pub(crate) fn own(&self) -> &[(String, String)] {
        &self.own
    }

    /// Whether pooling may take the prompt's tokens, as far as the registry knows.
    pub(crate) fn pools_prompt(&self) -> bool {
        self.registry.is_none_or(|entry| entry.pools_prompt)
    }

    /// Whether vectors are brought to mean 0 and variance 1 before they are cut.
    pub(crate) fn layer_norm_before_cut(&self) -> bool {
        self.registry.is_some_and(|entry| entry.layer_norm_before_cut)
    }

    /// The name of the registry's entry for this model.
    pub(crate) fn registry_family(&self) -> Option<&str> {
        self.registry.map(|entry| entry.family.as_str())
    }

    fn own_prompt(&self, name: &str) -> Option<&str> {
        self.own.iter().find(|(own, _)| own == name).map(|(_, text)| text.as_str())
    }

    /// Chooses the prompt that is asked for.
    pub(crate) fn resolve(&self, request: &PromptRequest<'_>) -> Result<Prompt> {
        check_conflicts(request)?;
        let mut prompt = if let Some(text) = request.explicit {
            found(text, PromptSource::Explicit)
        } else if let Some(name) = request.name {
            self.by_name(name)?
        } else if let Some(instruction) = request.instruction {
            self.by_instruction(instruction)?
        } else if let Some(task) = request.task {
            self.by_task(task)
        } else {
            self.default_prompt()
        };
        if let Some(title) = request.title {
            prompt.text = self.with_title(&prompt.text, title, request.task)?;
        }
        Ok(prompt)
    }

    fn by_name(&self, name: &str) -> Result<Prompt> {
        match self.own_prompt(name) {
            Some(text) => Ok(found(text, PromptSource::Model { name: name.to_owned() })),
            None => {
                let known = self.own.iter().map(|(name, _)| name.clone()).collect();
                Err(Error::UnknownPromptName { found: name.to_owned(), known })
            }
        }
    }

    fn by_instruction(&self, instruction: &str) -> Result<Prompt> {
        let template = self.registry.and_then(|entry| entry.instruction.clone());
        let template = template.or_else(|| self.own.iter().find_map(|(_, text)| instruction_template(text)));
        let template =
            template.ok_or_else(|| Error::InstructionNotSupported { model: self.model.clone() })?;
        Ok(found(&template.replace("{instruction}", instruction), PromptSource::Instruction))
    }

    fn by_task(&self, task: Task) -> Prompt {
        let own = own_names(task)
            .iter()
            .filter_map(|wanted| self.own.iter().find(|(name, _)| simplified(name) == simplified(wanted)));
        let own: Vec<&(String, String)> = own.collect();
        let has_prompts = self.own.iter().any(|(_, text)| !text.is_empty());
        let source = |name: &str| PromptSource::Model { name: name.to_owned() };
        if let Some((name, text)) = own.iter().find(|(_, text)| !text.is_empty()) {
            return found(text, source(name));
        }
        // An empty `query` or `document` may only have been added when the file was saved, so the
        // registry is asked first.
        let registered = self.registry.and_then(|entry| Some((entry, entry.prompts.get(&task)?)));
        if let Some((entry, text)) = registered {
            return found(text, PromptSource::Registry { family: entry.family.clone() });
        }
        if let (true, Some((name, text))) = (has_prompts, own.first()) {
            return found(text, source(name));
        }
        let note = if has_prompts {
            let offered = self.own.iter().filter(|(_, text)| !text.is_empty());
            Note::NoPromptForTask { task, offered: offered.map(|(name, _)| name.clone()).collect() }
        } else if self.registry.is_some_and(|entry| entry.trained_without_prompts) {
            Note::TrainedWithoutPrompts { task }
        } else {
            Note::NoPromptsKnown { task }
        };
        Prompt { note: Some(note), ..found("", PromptSource::None) }
    }

    fn default_prompt(&self) -> Prompt {
        let default = self.default.as_deref().and_then(|name| Some((name, self.own_prompt(name)?)));
        match default {
            Some((name, text)) => found(text, PromptSource::ModelDefault { name: name.to_owned() }),
            None => found("", PromptSource::None),
        }
    }

    /// EmbeddingGemma's document prompt is `title: none | text: `: a title takes `none`'s place.
    fn with_title(&self, prompt: &str, title: &str, task: Option<Task>) -> Result<String> {
        const NO_TITLE: &str = "title: none";
        if prompt.contains(NO_TITLE) {
            return Ok(prompt.replacen(NO_TITLE, &format!("title: {title}"), 1));
        }
        let task = task.map_or("no task", Task::name).to_owned();
        Err(Error::TitleNotSupported { model: self.model.clone(), task })
    }
}

fn found(text: &str, source: PromptSource) -> Prompt {
    Prompt { text: text.to_owned(), source, note: None }
}

fn check_conflicts(request: &PromptRequest<'_>) -> Result<()> {
    let conflict = |first, second, because| Err(Error::Conflict { first, second, because });
    let one = "each says what goes in front of the text";
    match request {
        PromptRequest { explicit: Some(_), name: Some(_), .. } => conflict("a prompt", "a prompt name", one),
        PromptRequest { explicit: Some(_), instruction: Some(_), .. } => {
            conflict("a prompt", "an instruction", one)
        }
        PromptRequest { name: Some(_), instruction: Some(_), .. } => {
            conflict("a prompt name", "an instruction", one)
        }
        PromptRequest { instruction: Some(_), task: Some(Task::RetrievalDocument), .. } => {
            conflict("an instruction", "the task retrieval-document", "documents are embedded without one")
        }
        _ => Ok(()),
    }
}

/// `Instruct: {instruction}\nQuery:` from a prompt of that form, with its own space or none.
fn instruction_template(prompt: &str) -> Option<String> {
    let (_, rest) = prompt.strip_prefix("Instruct: ")?.split_once("\nQuery:")?;
    Some(format!("Instruct: {{instruction}}\nQuery:{rest}"))
}

/// The names under which models' own files keep the prompt for a task, best first.
fn own_names(task: Task) -> &'static [&'static str] {
    match task {
        Task::RetrievalQuery => &["query", "search_query", "retrieval_query", "s2p_query"],
        Task::RetrievalDocument => {
            &["document", "passage", "corpus", "search_document", "retrieval_document", "retrieval_passage"]
        }
        Task::SemanticSimilarity => {
            &["semantic_similarity", "sts", "sentence_similarity", "text_matching", "s2s_query"]
        }
        Task::Classification => &["classification"],
        Task::Clustering => &["clustering", "separation"],
        Task::QuestionAnswering => &["question_answering"],
        Task::FactVerification => &["fact_verification", "fact_checking"],
        Task::CodeRetrievalQuery => &["code_retrieval_query", "code_retrieval", "instruction_retrieval"],
    }
}

/// Letters and digits in lower case: `Retrieval-query`, `retrieval.query` and `RetrievalQuery`
/// are one name.
fn simplified(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The last parts of the model folder's path. In the hub's cache the folder is named by a hash,
/// and the model two folders above it.
fn folder_names(files: &ModelFiles) -> Vec<String> {
    if let ModelFiles::Embedded { name, .. } = files {
        return vec![(*name).to_owned()];
    }
    let root = files.root();
    let mut names = root.iter().rev().map(|part| part.to_string_lossy().into_owned());
    let folder = names.next();
    let in_hub_cache = names.next().is_some_and(|parent| parent == "snapshots");
    let hub_name = names.next().filter(|_| in_hub_cache);
    hub_name.into_iter().chain(folder).collect()
}

#[cfg(test)]
mod tests;
