//! Every key that transformers and sentence-transformers read of a model's files is read by taskvec too, known to change
//! nothing, or refused by name.
//!
//! `tests/keys/keys.json` has the keys; `list.py` there takes them from the vendors' sources.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use taskvec::{Device, Embedder, ModelNote, Reranker};
use taskvec_testing::{ModelFolder, fixture, root};

/// What there is to know about a model's files, or why they are refused.
fn notes(folder: &Path, is_reranker: bool) -> Result<Vec<ModelNote>, String> {
    let why = |error: taskvec::Error| format!("{error:#}");
    if is_reranker {
        let builder = Reranker::builder().device(Device::Cpu).threads(1);
        return builder.open(folder).map(|model| model.notes()).map_err(why);
    }
    let builder = Embedder::builder().device(Device::Cpu).threads(1);
    builder.open(folder).map(|model| model.notes()).map_err(why)
}

fn unknown(notes: Vec<ModelNote>) -> BTreeSet<String> {
    let key = |note| match note {
        ModelNote::UnknownKey { file, key } => {
            Some(format!("{} {key}", file.file_name().unwrap_or_default().to_string_lossy()))
        }
        _ => None,
    };
    notes.into_iter().filter_map(key).collect()
}

#[test]
fn every_key_that_the_reference_reads_is_known() {
    let path = root().join("tests/keys/keys.json");
    let lists: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let (mut unheard, mut total) = (BTreeSet::new(), 0);
    for (name, list) in lists["lists"].as_object().unwrap() {
        let text = |key: &str| list[key].as_str().unwrap();
        let folder = ModelFolder::copy_of(&fixture(text("fixture")));
        let (file, is_reranker) = (text("file"), text("fixture").starts_with("reranker"));
        let path = folder.file(file);
        let before: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for key in list["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()) {
            total += 1;
            // No key takes this: what is opened all the same has not heeded it.
            let mut after = before.clone();
            let inside = list["inside"].as_str();
            match inside {
                Some(inside) => after[inside][key] = json!("no such value"),
                None => after[key] = json!("no such value"),
            }
            std::fs::write(&path, after.to_string()).unwrap();
            let found = notes(folder.path(), is_reranker).map(unknown).unwrap_or_default();
            let shown = inside.map_or(key.to_owned(), |inside| format!("{inside}.{key}"));
            let is_of_key = |unknown: &String| unknown.ends_with(&format!(" {shown}"));
            if found.iter().any(is_of_key) {
                unheard.insert(format!("{name}: {shown}"));
            }
        }
    }
    let list: Vec<String> = unheard.into_iter().collect();
    assert!(list.is_empty(), "nobody knows {} of {total}:\n{}", list.len(), list.join("\n"));
}

/// The fixtures are models as vendors write them: no warning is due, whatever the folders are called.
#[test]
fn the_fixtures_have_no_key_that_is_unknown() {
    let mut unheard = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("tests/fixtures")).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // As a hub's client has it: below a commit, which may start as a module's folder does.
        let folder = ModelFolder::empty();
        let snapshot = folder.file(&format!("snapshots/0123456789/{name}"));
        std::fs::create_dir_all(snapshot.parent().unwrap()).unwrap();
        taskvec_testing::copy(&path, &snapshot);
        let found = notes(&snapshot, name.starts_with("reranker")).unwrap_or_else(|e| panic!("{name}: {e}"));
        unheard.extend(unknown(found).into_iter().map(|key| format!("{name}: {key}")));
    }
    assert!(unheard.is_empty(), "{unheard:#?}");
}

#[test]
fn a_key_that_nobody_knows_is_named() {
    let folder = ModelFolder::copy_of(&fixture("bert-e5"));
    let files = [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "1_Pooling/config.json",
    ];
    for file in files {
        folder.edit(file, |json| json["a_key_of_nobody"] = json!(1));
    }
    let found = notes(folder.path(), false).unwrap();
    for file in files {
        let is_named = |note: &ModelNote| matches!(note, ModelNote::UnknownKey { file: found, key } if key == "a_key_of_nobody" && found.ends_with(file));
        assert!(found.iter().any(is_named), "{file}: {found:?}");
    }
}
