//! What a job is, so that it is seen whether an unfinished one is the same.

use crate::error::{CorpusError, Result};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;

pub(super) const NAME: &str = "manifest.json";

/// Changes with every change of how a job is cut into parts, or of what a part holds.
const VERSION: u64 = 1;

/// All that a job's output depends on.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Manifest {
    /// Each input file: path, bytes, modified, head.
    pub(crate) inputs: Vec<Value>,
    /// Options by name.
    pub(crate) options: Map<String, Value>,
    /// What the output says of its vectors.
    pub(crate) about: Value,
}

impl Manifest {
    fn json(&self) -> Value {
        json!({"version": VERSION, "inputs": self.inputs, "options": self.options, "about": self.about})
    }

    pub(super) fn read(path: &Path) -> Result<Manifest> {
        let bytes = std::fs::read(path).map_err(CorpusError::read(path))?;
        let wrong =
            || CorpusError::file(path, "it is not the manifest of a job; remove the folder to begin anew");
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        if value["version"] != VERSION {
            return Err(CorpusError::file(
                path,
                format!(
                    "it was written by another version of taskvec, {}; begin anew with --restart",
                    value["version"]
                ),
            ));
        }
        let inputs = value["inputs"].as_array().ok_or_else(wrong)?.clone();
        let options = value["options"].as_object().ok_or_else(wrong)?.clone();
        Ok(Manifest { inputs, options, about: value["about"].clone() })
    }

    /// Writes the manifest if there is none, else checks that the one there is the same.
    pub(super) fn settle(&self, path: &Path, folder: &Path) -> Result<()> {
        if !path.exists() {
            let write = || -> std::io::Result<()> {
                let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
                file.write_all(format!("{:#}\n", self.json()).as_bytes())?;
                file.as_file().sync_all()?;
                match file.persist_noclobber(path) {
                    // Another share was first: it is compared below.
                    Err(e) if e.error.kind() != std::io::ErrorKind::AlreadyExists => Err(e.error),
                    _ => Ok(()),
                }
            };
            write().map_err(CorpusError::write(path))?;
        }
        let differences = Manifest::read(path)?.differences(self);
        match differences.is_empty() {
            true => Ok(()),
            false => Err(CorpusError::Changed { path: folder.to_owned(), differences }),
        }
    }

    /// What is different now.
    pub(super) fn differences(&self, now: &Manifest) -> Vec<String> {
        let mut all = Vec::new();
        if self.inputs.len() != now.inputs.len() {
            all.push(format!("there were {} input files and are {}", self.inputs.len(), now.inputs.len()));
        }
        for (before, after) in self.inputs.iter().zip(&now.inputs) {
            let path = before["path"].as_str().unwrap_or_default();
            if before["path"] != after["path"] {
                all.push(format!(
                    "the input was {path} and is {}",
                    after["path"].as_str().unwrap_or_default()
                ));
                continue;
            }
            let changed = ["bytes", "modified", "head"].into_iter().find(|key| before[*key] != after[*key]);
            match changed {
                Some("bytes") => {
                    all.push(format!("{path} had {} bytes and has {}", before["bytes"], after["bytes"]))
                }
                Some("modified") => all.push(format!("{path} was modified")),
                Some(_) => all.push(format!("{path} begins otherwise")),
                None => {}
            }
        }
        all.extend(of_values(&self.options, &now.options));
        if let (Some(before), Some(after)) = (self.about.as_object(), now.about.as_object()) {
            all.extend(of_values(before, after));
        }
        all
    }
}

/// Which values differ, by their names.
fn of_values(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<String> {
    let said = |values: &Map<String, Value>, name: &str| match values.get(name) {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::String(text)) => format!("`{}`", start(text)),
        Some(value) => start(&value.to_string()),
    };
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let both = names.into_iter().map(|name| (name, said(before, name), said(after, name)));
    both.filter(|(_, before, after)| before != after)
        .map(|(name, before, after)| format!("{name} was {before} and is {after}"))
        .collect()
}

/// What a message has of a long value.
fn start(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
