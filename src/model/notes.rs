//! What a caller should know about a model's files.

use crate::source::Json;
use serde_json::{Map, Value};
use std::fmt;
use std::path::PathBuf;
use std::sync::LazyLock;

/// Something that a caller should know about a model: [`Embedder::notes`](crate::Embedder::notes).
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum ModelNote {
    /// A file has a key that taskvec does not know, so that it was not heeded.
    UnknownKey {
        /// The file.
        file: PathBuf,
        /// Its key; with a dot between, where it stands inside an object.
        key: String,
    },
    /// What was taken from the model's name, since its files do not say it.
    ByName {
        /// The entry of the prompt registry that goes with the name.
        family: String,
        /// What it says.
        says: String,
    },
    /// No name that the model goes by is known, so that what only a name says is not known either: a prompt for each
    /// task, that pooling leaves the prompt out (Instructor), or a LayerNorm before a cut (nomic-embed-text-v1.5).
    UnknownName {
        /// The names that were looked up.
        names: Vec<String>,
    },
}

impl fmt::Display for ModelNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelNote::UnknownKey { file, key } => write!(
                f,
                "{} has the key `{key}`, which taskvec does not know: if it changes what the model gives, its vectors are not the model's",
                file.display()
            ),
            ModelNote::ByName { family, says } => {
                write!(f, "by its name the model is of the family {family}: {says}")
            }
            ModelNote::UnknownName { names } => write!(
                f,
                "the name {} is not known: prompts, and what else only a name says (whether pooling leaves the prompt out, whether vectors get a LayerNorm before a cut), are those of its files",
                names.join(" or ")
            ),
        }
    }
}

/// The keys of a file that nobody has asked for and that are not known to change nothing. `kind` names the file's list in
/// harmless_keys.json.
pub(super) fn unknown_keys(kind: &str, file: &Json) -> Vec<ModelNote> {
    let unasked = file.unasked();
    if unasked.is_empty() {
        return Vec::new();
    }
    let unknown = unasked.into_iter().filter(|(key, value)| !says_nothing(value) && !is_harmless(kind, key));
    unknown.map(|(key, _)| ModelNote::UnknownKey { file: file.path.clone(), key }).collect()
}

/// What a key says where it says nothing: it is as good as absent.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

/// Keys that change nothing in a vector, by kind of file, each with the reason.
fn is_harmless(kind: &str, key: &str) -> bool {
    static HARMLESS: LazyLock<Map<String, Value>> =
        // It is part of the program, and a test reads it: a mistake in it is ours.
        LazyLock::new(|| serde_json::from_str(include_str!("harmless_keys.json")).unwrap_or_default());
    let top = key.split('.').next().unwrap_or(key);
    HARMLESS.get(kind).is_some_and(|keys| keys.get(key).is_some() || keys.get(top).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_harmless_key_has_its_reason() {
        let files: Map<String, Value> = serde_json::from_str(include_str!("harmless_keys.json")).unwrap();
        for (file, keys) in &files {
            for (key, reason) in keys.as_object().unwrap() {
                assert!(
                    reason.as_str().is_some_and(|reason| reason.len() > 10),
                    "{file}: {key} has no reason"
                );
            }
        }
    }

    #[test]
    fn a_key_that_nobody_knows_is_named() {
        let json = Json::new(
            "m/config.json".into(),
            json!({"hidden_size": 4, "dropout": 0.1, "twist": 2, "void": null}),
        );
        json.get("hidden_size");
        let notes = unknown_keys("config.json", &json);
        assert_eq!(notes, [ModelNote::UnknownKey { file: "m/config.json".into(), key: "twist".into() }]);
        assert!(notes[0].to_string().contains("`twist`"));
    }
}
