//! A model's own prompts and the registry's, and the choice between them.

use super::registry::{self, Entry, UserRegistry};
use super::resolved::{Note, Prompt, PromptSource, TaskPrompt};
use crate::error::{ModelResult, RequestError, RequestResult};
use crate::source::{Json, ModelFiles};
use crate::task::Task;
use serde_json::Value;
use std::sync::Arc;

/// What a caller asks for in a prompt.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct PromptRequest<'a> {
    pub(crate) explicit: Option<&'a str>,
    pub(crate) template: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) task: Option<Task>,
    pub(crate) instruction: Option<&'a str>,
    pub(crate) adapter: Option<&'a str>,
    pub(crate) pooled: Option<bool>,
    pub(crate) title: Option<&'a str>,
}

/// A model's own prompts, and the registries' for its family.
pub(crate) struct ModelPrompts {
    pub(super) model: String,
    /// What it may go by.
    pub(super) names: Vec<String>,
    /// Name and text, in the file's order.
    pub(super) own: Vec<(String, String)>,
    pub(super) default: Option<String>,
    /// The user's entry for the model, which comes before its own prompts.
    pub(super) user: Option<Arc<Entry>>,
    pub(super) registry: Option<Arc<Entry>>,
    /// The names of the model's task adapters.
    pub(super) adapters: Vec<String>,
    /// The one of calls that say nothing, if there is one.
    pub(super) default_adapter: Option<String>,
    /// Whether the model's own pooling takes the prompt's tokens.
    pub(super) pooled: bool,
}

impl ModelPrompts {
    /// Reads config_sentence_transformers.json (`sentence`), and finds the registries' entries by the
    /// names of the folder and of `_name_or_path` in config.json.
    pub(crate) fn read(
        files: &ModelFiles,
        config: &Json,
        sentence: &Json,
        user: Option<&UserRegistry>,
    ) -> ModelResult<ModelPrompts> {
        let mut names = files.model_names();
        names.extend(config.text("_name_or_path")?.map(str::to_owned));
        names.extend(config.text("model_type")?.map(str::to_owned));
        let mut prompts = ModelPrompts {
            model: names.first().cloned().unwrap_or_default(),
            names: files.model_names(),
            own: Vec::new(),
            default: None,
            user: user.and_then(|registry| registry.find(&names)),
            registry: registry::find(&names),
            adapters: Vec::new(),
            default_adapter: None,
            pooled: true,
        };
        prompts.read_own(sentence, "prompts")?;
        prompts.read_markers(sentence)?;
        prompts.default = sentence.text("default_prompt_name")?.map(str::to_owned);
        if let Some(name) = prompts.default.as_deref().filter(|name| prompts.own_prompt(name).is_none()) {
            let problem = format!("`default_prompt_name` is `{name}`, but there is no such prompt");
            return Err(sentence.error(problem));
        }
        if let Some(metadata) = files.optional_json("artifact.metadata")? {
            for (name, key, default) in
                [("query", "query_token_id", "[unused0]"), ("document", "doc_token_id", "[unused1]")]
            {
                let marker = format!("{} ", metadata.text(key)?.unwrap_or(default));
                prompts.own.push((name.to_owned(), marker));
            }
        }
        // jina-embeddings-v3 keeps its prompts beside its adapters.
        prompts.read_own(config, "task_instructions")?;
        let adapters = config.list("lora_adaptations")?.unwrap_or_default();
        prompts.adapters = adapters.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        for name in prompts.adapters.clone() {
            if prompts.own_prompt(&name).is_none() {
                prompts.own.push((name, String::new()));
            }
        }
        Ok(prompts)
    }

    fn read_own(&mut self, json: &Json, key: &str) -> ModelResult<()> {
        let own = json.object(key)?;
        for (name, text) in own.iter().filter_map(|own| own.value.as_object()).flatten() {
            match text {
                Value::String(_) if self.own_prompt(name).is_some() => {}
                Value::String(text) => self.own.push((name.clone(), text.clone())),
                Value::Null => {}
                other => return Err(json.error(format!("the prompt `{name}` is {other}, expected a string"))),
            }
        }
        Ok(())
    }

    /// PyLate's markers for queries and documents stand in front of the prompts.
    fn read_markers(&mut self, json: &Json) -> ModelResult<()> {
        for (name, key) in [("query", "query_prefix"), ("document", "document_prefix")] {
            if let Some(marker) = json.text(key)? {
                let text = self.own_prompt(name).unwrap_or_default();
                let text = format!("{marker}{}", text.strip_prefix(marker).unwrap_or(text));
                self.own.retain(|(own, _)| own != name);
                self.own.push((name.to_owned(), text));
            }
        }
        Ok(())
    }

    /// Takes no prompt where none is asked for.
    pub(crate) fn forget_default(&mut self) {
        self.default = None;
    }

    /// The names by which it was looked up in the registry.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// What the registry says of the model that its files do not, and the entry's name.
    pub(crate) fn by_name(&self) -> Option<(&str, String)> {
        let entry = self.entry()?;
        let mut says = Vec::new();
        if !entry.prompts.is_empty() && self.own.iter().all(|(_, text)| text.is_empty()) {
            says.push("its prompts for tasks");
        }
        if !entry.pools_prompt {
            says.push("pooling leaves the prompt's tokens out");
        }
        if entry.layer_norm_before_cut {
            says.push("vectors get a LayerNorm before they are cut");
        }
        (!says.is_empty()).then(|| (entry.family.as_str(), says.join("; ")))
    }

    /// The model's name, for messages.
    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// The model's own prompts: name and text.
    pub(crate) fn own(&self) -> &[(String, String)] {
        &self.own
    }

    /// The entry that knows most about the model: the user's, or the built-in registry's.
    fn entry(&self) -> Option<&Entry> {
        self.user.as_deref().or(self.registry.as_deref())
    }

    /// Takes note of whether the model's pooling takes the prompt's tokens, by its own files; the
    /// registries may know better.
    pub(crate) fn set_pooled(&mut self, by_files: bool) {
        self.pooled = by_files && self.entry().is_none_or(|entry| entry.pools_prompt);
    }

    /// Whether pooling takes the prompt's tokens, unless the caller says otherwise.
    pub(crate) fn pooled(&self) -> bool {
        self.pooled
    }

    /// Whether vectors are brought to mean 0 and variance 1 before they are cut.
    pub(crate) fn layer_norm_before_cut(&self) -> bool {
        self.entry().is_some_and(|entry| entry.layer_norm_before_cut)
    }

    /// The name of the registry's entry for this model.
    pub(crate) fn registry_family(&self) -> Option<&str> {
        self.entry().map(|entry| entry.family.as_str())
    }

    fn own_prompt(&self, name: &str) -> Option<&str> {
        self.own.iter().find(|(own, _)| own == name).map(|(_, text)| text.as_str())
    }

    /// Chooses the prompt that is asked for.
    pub(crate) fn resolve(&self, request: &PromptRequest<'_>) -> RequestResult<Prompt> {
        check_conflicts(request)?;
        let mut prompt = if let Some(text) = request.explicit {
            Prompt::in_front(text, PromptSource::Explicit)
        } else if let Some(template) = request.template {
            explicit_template(template)?
        } else if let Some(name) = request.name {
            self.own_by_name(name)?
        } else if let Some(instruction) = request.instruction {
            self.by_instruction(instruction)?
        } else if let Some(task) = request.task {
            self.by_task(task)
        } else {
            self.default_prompt()
        };
        prompt.adapter = match (request.adapter, request.name, request.task) {
            (Some(name), ..) => Some(self.named_adapter(name)?),
            (None, Some(name), _) => self.adapters.iter().find(|adapter| *adapter == name).cloned(),
            (None, None, Some(task)) => self.adapter_for(task),
            (None, None, None) => None,
        };
        prompt.adapter = prompt.adapter.or_else(|| self.default_adapter.clone());
        prompt.pooled = request.pooled.unwrap_or(self.pooled);
        self.insert_title(&mut prompt, request)?;
        Ok(prompt)
    }

    /// What each task does.
    pub(crate) fn tasks(&self) -> Vec<TaskPrompt> {
        let of_task = |task| {
            let request = PromptRequest { task: Some(task), ..PromptRequest::default() };
            let prompt = self.resolve(&request).ok()?;
            let trained = prompt.note.is_none()
                && match &prompt.source {
                    PromptSource::Model { .. } | PromptSource::UserRegistry { .. } => true,
                    PromptSource::Registry { .. } => {
                        self.registry.as_ref().is_some_and(|entry| entry.trained.contains(&task))
                    }
                    _ => false,
                };
            Some(TaskPrompt { task, prompt, trained })
        };
        Task::ALL.into_iter().filter_map(of_task).collect()
    }

    /// The adapters of a model that keeps them in folders, and the one of calls that say nothing.
    pub(crate) fn set_adapters(&mut self, names: &[String], default: Option<String>) {
        self.adapters = names.to_vec();
        self.default_adapter = default;
    }

    /// The adapter for a task: the one of its name, or for a kind of query the one for queries.
    fn adapter_for(&self, task: Task) -> Option<String> {
        let tasks = std::iter::once(task).chain(task.is_kind_of_query().then_some(Task::RetrievalQuery));
        let mut names = tasks.flat_map(own_names);
        names.find_map(|name| self.adapters.iter().find(|own| simplified(own) == simplified(name))).cloned()
    }

    fn named_adapter(&self, name: &str) -> RequestResult<String> {
        let found = self.adapters.iter().find(|adapter| *adapter == name).cloned();
        found.ok_or_else(|| RequestError::InvalidOption {
            option: "adapter",
            found: format!("`{name}`"),
            expected: match self.adapters.as_slice() {
                [] => format!("none: {} has no task adapters", self.model),
                names => format!("one of {}", names.join(", ")),
            },
        })
    }

    fn own_by_name(&self, name: &str) -> RequestResult<Prompt> {
        match self.own_prompt(name) {
            Some(text) => Ok(Prompt::in_front(text, PromptSource::Model { name: name.to_owned() })),
            None => {
                let known = self.own.iter().map(|(name, _)| name.clone()).collect();
                Err(RequestError::UnknownPromptName { found: name.to_owned(), known })
            }
        }
    }

    fn by_instruction(&self, instruction: &str) -> RequestResult<Prompt> {
        let template = self.entry().and_then(|entry| entry.instruction.clone());
        let template = template.or_else(|| self.own.iter().find_map(|(_, text)| instruction_template(text)));
        let template =
            template.ok_or_else(|| RequestError::InstructionNotSupported { model: self.model.clone() })?;
        let mut prompt = Prompt::new(&template, PromptSource::Instruction);
        prompt.text = prompt.text.replace("{instruction}", instruction);
        Ok(prompt)
    }

    fn by_task(&self, task: Task) -> Prompt {
        if let Some((entry, text)) =
            self.user.as_ref().and_then(|entry| Some((entry, entry.prompts.get(&task)?)))
        {
            return Prompt::new(text, PromptSource::UserRegistry { family: entry.family.clone() });
        }
        let own: Vec<&(String, String)> = self.own_for(task);
        let has_prompts = self.own.iter().any(|(_, text)| !text.is_empty());
        let source = |name: &str| PromptSource::Model { name: name.to_owned() };
        if let Some((name, text)) = own.iter().find(|(_, text)| !text.is_empty()) {
            return Prompt::in_front(text, source(name));
        }
        // An empty `query` or `document` may only have been added when the file was saved, so the
        // registry is asked first.
        let registered = self.registry.as_ref().and_then(|entry| Some((entry, entry.prompts.get(&task)?)));
        if let Some((entry, text)) = registered {
            return Prompt::new(text, PromptSource::Registry { family: entry.family.clone() });
        }
        if let (true, Some((name, text))) = (has_prompts, own.first()) {
            return Prompt::in_front(text, source(name));
        }
        if task.is_kind_of_query()
            && let Some((name, text)) =
                self.own_for(Task::RetrievalQuery).iter().find(|(_, text)| !text.is_empty())
        {
            let note = Some(Note::QueryPromptUsed { task });
            return Prompt { note, ..Prompt::in_front(text, source(name)) };
        }
        let note = if has_prompts {
            let offered = self.own.iter().filter(|(_, text)| !text.is_empty());
            Note::NoPromptForTask { task, offered: offered.map(|(name, _)| name.clone()).collect() }
        } else if self.entry().is_some_and(|entry| entry.trained_without_prompts) {
            Note::TrainedWithoutPrompts { task }
        } else {
            Note::NoPromptsKnown { task }
        };
        Prompt { note: Some(note), ..Prompt::in_front("", PromptSource::None) }
    }

    /// The model's own prompts for a task, best name first.
    fn own_for(&self, task: Task) -> Vec<&(String, String)> {
        let by_name =
            |wanted: &&str| self.own.iter().find(|(name, _)| simplified(name) == simplified(wanted));
        own_names(task).iter().filter_map(by_name).collect()
    }

    fn default_prompt(&self) -> Prompt {
        let default = self.default.as_deref().and_then(|name| Some((name, self.own_prompt(name)?)));
        match default {
            Some((name, text)) => {
                Prompt::in_front(text, PromptSource::ModelDefault { name: name.to_owned() })
            }
            None => Prompt::in_front("", PromptSource::None),
        }
    }

    /// Puts a title where the prompt has a place for one: `{title}` of a template of the caller's or a registry's, or
    /// the `none` in EmbeddingGemma's `title: none | text: `. Without a title, `{title}` becomes `none`; an empty title
    /// is none.
    fn insert_title(&self, prompt: &mut Prompt, request: &PromptRequest<'_>) -> RequestResult<()> {
        const PLACE: &str = "{title}";
        const NO_TITLE: &str = "title: none";
        // In a model's own prompt it is text like any other: sentence-transformers knows no titles.
        let of_registry =
            matches!(prompt.source, PromptSource::Registry { .. } | PromptSource::UserRegistry { .. });
        let is_template = request.template.is_some() || of_registry;
        let title = request.title.filter(|title| !title.is_empty());
        if is_template && prompt.text.contains(PLACE) {
            prompt.text = prompt.text.replace(PLACE, title.unwrap_or("none"));
            return Ok(());
        }
        let Some(title) = title else {
            return Ok(());
        };
        if !prompt.text.contains(NO_TITLE) {
            let task = request.task.map_or("no task", Task::name).to_owned();
            return Err(RequestError::TitleNotSupported { model: self.model.clone(), task });
        }
        prompt.text = prompt.text.replacen(NO_TITLE, &format!("title: {title}"), 1);
        Ok(())
    }
}

/// A caller's template must say where the text goes.
fn explicit_template(template: &str) -> RequestResult<Prompt> {
    if template.matches("{text}").count() == 1 {
        return Ok(Prompt::new(template, PromptSource::Explicit));
    }
    Err(RequestError::InvalidOption {
        option: "template",
        found: format!("`{template}`"),
        expected: "a template with {text} in it once, such as `passage: {text}`".to_owned(),
    })
}

fn check_conflicts(request: &PromptRequest<'_>) -> RequestResult<()> {
    let given = [
        (request.explicit.is_some(), "a prompt"),
        (request.template.is_some(), "a template"),
        (request.name.is_some(), "a prompt name"),
        (request.instruction.is_some(), "an instruction"),
    ];
    let mut given = given.into_iter().filter_map(|(is, what)| is.then_some(what));
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        return Err(RequestError::Conflict { first, second, because: "each says what goes around the text" });
    }
    match request {
        PromptRequest { instruction: Some(_), task: Some(Task::RetrievalDocument), .. } => {
            Err(RequestError::Conflict {
                first: "an instruction",
                second: "the task retrieval-document",
                because: "documents are embedded without one",
            })
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
