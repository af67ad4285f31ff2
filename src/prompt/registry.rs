//! The built-in registry: prompts of models whose own files carry none, or not for every task.
//!
//! The data is `registry.json`, with the source of each entry beside it.

use crate::task::Task;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The prompts of one model family.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What to call it in messages.
    pub(crate) family: String,
    /// Prompt by task. An empty prompt: the model takes this task without one.
    pub(crate) prompts: HashMap<Task, String>,
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

/// The entry for a model that goes by any of these names, most telling name first.
pub(crate) fn find(names: &[String]) -> Option<&'static Entry> {
    static REGISTRY: LazyLock<Vec<Entry>> = LazyLock::new(|| parse(include_str!("registry.json")));
    names.iter().find_map(|name| REGISTRY.iter().find(|entry| entry.is_for(name)))
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

/// Reads the registry. It is part of the program, and a test reads it: a mistake in it is ours.
fn parse(json: &str) -> Vec<Entry> {
    let entries: Vec<Value> = serde_json::from_str(json).unwrap_or_default();
    entries.iter().map(entry).collect()
}

fn entry(value: &Value) -> Entry {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let list = |key: &str| -> Vec<String> {
        let items = value.get(key).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let flag = |key: &str, default: bool| value.get(key).and_then(Value::as_bool).unwrap_or(default);
    let prompts = value.get("prompts").and_then(Value::as_object).into_iter().flatten();
    Entry {
        family: text("family").unwrap_or_default(),
        prompts: prompts
            .filter_map(|(task, prompt)| Some((task.parse().ok()?, prompt.as_str()?.to_owned())))
            .collect(),
        instruction: text("instruction"),
        pools_prompt: flag("pools_prompt", true),
        layer_norm_before_cut: flag("layer_norm_before_cut", false),
        trained_without_prompts: flag("trained_without_prompts", false),
        matches: list("match"),
        except: list("except"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_complete() {
        let entries: Vec<Value> = serde_json::from_str(include_str!("registry.json")).unwrap();
        assert!(entries.len() > 5);
        for value in &entries {
            let entry = entry(value);
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
            ("intfloat/multilingual-e5-small", Some("E5")),
            ("e5-base-v2", Some("E5")),
            ("multilingual-e5-large-instruct", Some("multilingual-e5-large-instruct")),
            ("e5-mistral-7b-instruct", Some("e5-mistral, SFR, Linq, gte-Qwen2")),
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
            ("gte-Qwen2-1.5B-instruct", Some("e5-mistral, SFR, Linq, gte-Qwen2")),
            ("stella_en_1.5B_v5", Some("stella")),
            ("gtr-t5-base", Some("models trained without prompts")),
            ("some-model-ge5", None),
        ];
        for (name, family) in cases {
            let found = find(&[name.to_owned()]).map(|entry| entry.family.as_str());
            assert_eq!(found, family, "{name}");
        }
    }
}
