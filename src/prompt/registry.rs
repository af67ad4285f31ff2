//! Registries of prompts: of models whose own files carry none, or not for every task.
//!
//! The built-in one is `registry.json`, with the source of each entry beside it. A user's file has the
//! same form, and its entries come first.

use crate::error::{ModelError, ModelResult as Result};
use crate::task::Task;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// The prompts of one model family.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What to call it in messages.
    pub(crate) family: String,
    /// Prompt by task, or a template with `{text}`. An empty one: the model takes this task without.
    pub(crate) prompts: HashMap<Task, String>,
    /// The tasks whose prompts its authors name; for the others it is the nearest of those.
    pub(crate) trained: Vec<Task>,
    /// A prompt with `{instruction}` in it, where the model takes instructions in its users' words.
    pub(crate) instruction: Option<String>,
    /// Whether pooling takes the prompt's tokens, whatever the model's files say or leave out.
    pub(crate) pools_prompt: bool,
    /// Whether vectors are brought to mean 0 and variance 1 before they are cut to fewer dimensions.
    pub(crate) layer_norm_before_cut: bool,
    /// Known to have been trained with no prompt for any task.
    pub(crate) trained_without_prompts: bool,
    matches: Vec<String>,
    except: Vec<String>,
}

/// The built-in entry for a model that goes by any of these names, most telling name first.
pub(crate) fn find(names: &[String]) -> Option<Arc<Entry>> {
    // It is part of the program, and a test reads it: a mistake in it is ours.
    static BUILT_IN: LazyLock<Vec<Arc<Entry>>> =
        LazyLock::new(|| parse(include_bytes!("registry.json")).unwrap_or_default());
    find_in(&BUILT_IN, names)
}

/// The name of the built-in registry's entry for a model of this name.
pub(crate) fn registry_family(name: &str) -> Option<String> {
    find(&[name.to_owned()]).map(|entry| entry.family.clone())
}

fn find_in(entries: &[Arc<Entry>], names: &[String]) -> Option<Arc<Entry>> {
    names.iter().find_map(|name| entries.iter().find(|entry| entry.is_for(name))).cloned()
}

/// Entries of a user's own.
#[derive(Clone, Debug)]
pub(crate) struct UserRegistry(Vec<Arc<Entry>>);

impl UserRegistry {
    /// Reads a registry file.
    pub(crate) fn read(path: &Path) -> Result<UserRegistry> {
        const MOST: u64 = 16 << 20;
        let io = |source| ModelError::Io { path: path.to_owned(), action: "read the registry", source };
        let bytes = std::fs::metadata(path).map_err(io)?.len();
        if bytes > MOST {
            return Err(ModelError::FileTooLarge { path: path.to_owned(), bytes, limit: MOST });
        }
        let entries = parse(&std::fs::read(path).map_err(io)?);
        entries.map(UserRegistry).map_err(|problem| ModelError::Config { path: path.to_owned(), problem })
    }

    /// The entry for a model that goes by any of these names.
    pub(crate) fn find(&self, names: &[String]) -> Option<Arc<Entry>> {
        find_in(&self.0, names)
    }
}

impl Entry {
    /// Whether one of the entry's patterns stands in `name` at word borders, and no exception does.
    fn is_for(&self, name: &str) -> bool {
        let name = delimited(name);
        let has = |pattern: &String| name.contains(&delimited(pattern));
        self.matches.iter().any(has) && !self.except.iter().any(has)
    }
}

/// `-a-b-` for `A_b`: lower case, every other sign a dash, a dash at both ends.
fn delimited(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.fold("-".to_owned(), |joined, word| joined + &word.to_lowercase() + "-")
}

/// Reads a registry: a list of entries. What it does not know in one is an error, so that a typing
/// error does not pass for a prompt.
fn parse(json: &[u8]) -> std::result::Result<Vec<Arc<Entry>>, String> {
    let value: Value = serde_json::from_slice(json).map_err(|e| format!("not valid JSON: {e}"))?;
    let entries = value.as_array().ok_or("expected a list of entries")?;
    let read = |(i, value)| entry(value).map(Arc::new).map_err(|problem| format!("entry {i}: {problem}"));
    entries.iter().enumerate().map(read).collect()
}

const KEYS: [&str; 10] = [
    "family",
    "match",
    "except",
    "source",
    "prompts",
    "trained",
    "instruction",
    "pools_prompt",
    "layer_norm_before_cut",
    "trained_without_prompts",
];

fn entry(value: &Value) -> std::result::Result<Entry, String> {
    let object = value.as_object().ok_or_else(|| format!("it is {value}, expected an object"))?;
    if let Some(key) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("there is no key `{key}`; keys: {}", KEYS.join(", ")));
    }
    let text = |key: &str| match object.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(format!("`{key}` is {other}, expected a string")),
    };
    let list = |key: &str| -> std::result::Result<Vec<String>, String> {
        let expected = || format!("`{key}` is no list of strings");
        let items = match object.get(key) {
            None => return Ok(Vec::new()),
            Some(list) => list.as_array().ok_or_else(expected)?,
        };
        items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<_>>().ok_or_else(expected)
    };
    let flag = |key: &str, default: bool| match object.get(key) {
        None => Ok(default),
        Some(value) => value.as_bool().ok_or_else(|| format!("`{key}` is {value}, expected true or false")),
    };
    let task = |name: &str| name.parse::<Task>().map_err(|e| e.to_string());
    let mut prompts = HashMap::new();
    for (name, prompt) in object.get("prompts").and_then(Value::as_object).into_iter().flatten() {
        let prompt = prompt
            .as_str()
            .ok_or_else(|| format!("the prompt for `{name}` is {prompt}, expected a string"))?;
        if prompt.matches("{text}").count() > 1 {
            return Err(format!("the prompt for `{name}` has {{text}} more than once"));
        }
        prompts.insert(task(name)?, prompt.to_owned());
    }
    let instruction = text("instruction")?;
    if instruction.as_ref().is_some_and(|template| !template.contains("{instruction}")) {
        return Err("`instruction` has no {instruction} in it".to_owned());
    }
    let matches = list("match")?;
    if matches.iter().all(|pattern| delimited(pattern) == "-") {
        return Err("`match` names no model".to_owned());
    }
    Ok(Entry {
        family: text("family")?.ok_or("there is no `family`")?,
        prompts,
        trained: list("trained")?.iter().map(|name| task(name)).collect::<std::result::Result<_, _>>()?,
        instruction,
        pools_prompt: flag("pools_prompt", true)?,
        layer_norm_before_cut: flag("layer_norm_before_cut", false)?,
        trained_without_prompts: flag("trained_without_prompts", false)?,
        matches,
        except: list("except")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_complete() {
        let entries: Vec<Value> = serde_json::from_str(include_str!("registry.json")).unwrap();
        assert!(entries.len() > 5);
        for value in &entries {
            let entry = entry(value).unwrap();
            assert!(!entry.family.is_empty() && !entry.matches.is_empty(), "{value}");
            assert!(
                value["source"].as_str().is_some_and(|source| source.len() > 10),
                "{}: no source",
                entry.family
            );
            let named = value["prompts"].as_object().unwrap().len();
            assert_eq!(entry.prompts.len(), named, "{}: a name that is no task", entry.family);
            assert_eq!(
                named,
                if entry.trained_without_prompts { 0 } else { Task::ALL.len() },
                "{}",
                entry.family
            );
            if let Some(template) = &entry.instruction {
                assert!(template.contains("{instruction}"), "{}", entry.family);
            }
        }
    }

    #[test]
    fn models_are_recognised_by_their_usual_names() {
        let cases = [
            ("jinaai/jina-embeddings-v3", Some("jina-embeddings-v3")),
            ("UAE-Large-V1", Some("UAE-Large")),
            ("GritLM-7B", Some("GritLM")),
            ("mdbr-leaf-ir", Some("arctic-embed, mxbai-embed-large")),
            ("potion-base-8M", Some("models trained without prompts")),
            ("bge-code-v1", Some("bge-code, bge-en-icl, bge-multilingual-gemma2")),
            ("cl-nagoya/ruri-v3-310m", Some("ruri-v3")),
            ("deepvk/USER2-base", Some("USER2, BERTA")),
            ("Kingsoft-LLM/QZhou-Embedding", Some("harrier, BidirLM, QZhou")),
            ("intfloat/multilingual-e5-small", Some("E5")),
            ("e5-base-v2", Some("E5")),
            ("multilingual-e5-large-instruct", Some("multilingual-e5-large-instruct")),
            ("e5-mistral-7b-instruct", Some("e5-mistral, SFR, Linq, gte-Qwen2, …")),
            ("bge-small-en-v1.5", Some("BGE (English)")),
            ("models--BAAI--bge-base-zh-v1.5", Some("BGE (Chinese)")),
            ("snowflake-arctic-embed-m-v1.5", Some("arctic-embed, mxbai-embed-large")),
            ("snowflake-arctic-embed-l-v2.0", Some("arctic-embed v2")),
            ("Qwen3-Embedding-0.6B", Some("Qwen3-Embedding")),
            ("all-MiniLM-L6-v2", Some("models trained without prompts")),
            ("nomic-embed-text-v1.5", Some("nomic-embed-text-v1.5")),
            ("nomic-embed-text-v1", Some("nomic-embed-text, modernbert-embed")),
            ("google/embeddinggemma-300m", Some("EmbeddingGemma")),
            ("hkunlp/instructor-xl", Some("Instructor")),
            ("gte-Qwen2-1.5B-instruct", Some("e5-mistral, SFR, Linq, gte-Qwen2, …")),
            ("stella_en_1.5B_v5", Some("stella")),
            ("gtr-t5-base", Some("models trained without prompts")),
            ("some-model-ge5", None),
        ];
        for (name, family) in cases {
            let found = find(&[name.to_owned()]).map(|entry| entry.family.clone());
            assert_eq!(found.as_deref(), family, "{name}");
        }
    }
}
