//! The same files give the same from a folder as from the Hub: vectors, fingerprints, warnings and errors.

use crate::hub_server::{COMMIT, Fault, Server, command};
use serde_json::json;
use std::path::Path;
use std::process::{Command, Output};
use taskvec_testing::{FIXTURES, ModelFolder, fixture};
use tempfile::TempDir;

/// What a model is asked for: what it cannot give must be the same error.
const ASKED: [&[&str]; 5] = [
    &["embed", "Is it <s> what [MASK]?", "--format", "jsonl", "--task", "query"],
    &["embed", "Is it the same?", "--format", "jsonl", "--give", "sparse"],
    &["embed", "Is it the same?", "--format", "jsonl", "--give", "tokens"],
    &["rerank", "Is it the same?", "It is.", "It is not."],
    &["inspect"],
];

/// The exit status, standard output and standard error.
type Seen = (Option<i32>, String, String);

/// What a command gave; the folder's own name is what both ways may differ in.
fn seen(output: &Output, folder: &Path) -> Seen {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let plain = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).replace(&folder.display().to_string(), "MODEL");
        text.replace("org/tiny", "MODEL").replace(name, "MODEL")
    };
    (output.status.code(), plain(&output.stdout), plain(&output.stderr))
}

/// What each command gives of the folder and of the same files on the Hub.
fn both_ways(folder: &ModelFolder) -> Vec<[Seen; 2]> {
    let (server, cache) = (Server::start(folder.path(), Fault::None), TempDir::new().unwrap());
    let snapshot = cache.path().join("hub/models--org--tiny/snapshots").join(COMMIT);
    let run = |arguments: &[&str]| {
        let mut local = Command::new(env!("CARGO_BIN_EXE_taskvec"));
        local.args(arguments).args(["--device", "cpu", "--model"]).arg(folder.path());
        let mut hub = command(&server.endpoint, cache.path(), arguments, "org/tiny");
        // The first call downloads, and shows how far it is.
        hub.output().unwrap();
        let [local, hub] = [local, hub].map(|mut command| command.output().unwrap());
        [seen(&local, folder.path()), seen(&hub, &snapshot)]
    };
    ASKED.map(run).into()
}

fn same(case: &str, folder: &ModelFolder) {
    let results = both_ways(folder);
    for ([local, hub], asked) in results.iter().zip(ASKED) {
        let pairs = local.1.lines().chain(local.2.lines()).zip(hub.1.lines().chain(hub.2.lines()));
        let differing = pairs.filter(|(local, hub)| local != hub);
        assert_eq!(differing.collect::<Vec<_>>(), [], "{case}: {asked:?}");
        assert_eq!(local, hub, "{case}: {asked:?}");
    }
    assert!(
        results.iter().any(|[local, _]| local.0 == Some(0) && !local.1.is_empty()),
        "{case}: {results:?}"
    );
}

#[test]
fn every_family_gives_the_same() {
    let others = [
        "bge-m3",
        "colbert",
        "colbert-pylate",
        "reranker-bert",
        "reranker-gte",
        "reranker-modernbert",
        "reranker-xlm-roberta",
        "splade-bert",
        "splade-distilbert",
        "splade-modernbert",
        "splade-xlm-roberta",
    ];
    for name in FIXTURES.iter().chain(&others) {
        same(name, &ModelFolder::copy_of(&fixture(name)));
    }
}

/// The module's folder is called otherwise; `written` stands in modules.json.
fn rename_module(folder: &ModelFolder, from: &str, to: &str, written: &str) {
    std::fs::create_dir_all(folder.file(to).parent().unwrap()).unwrap();
    std::fs::rename(folder.file(from), folder.file(to)).unwrap();
    folder.edit("modules.json", |modules| {
        let modules = modules.as_array_mut().unwrap();
        modules.iter_mut().find(|module| module["path"] == from).unwrap()["path"] = json!(written);
    });
}

/// The weights in two files of these names, and an index that says so.
fn shard(folder: &ModelFolder, names: [&str; 2]) {
    let mut first = folder.tensors("model.safetensors");
    let middle = first.keys().nth(first.len() / 2).unwrap().clone();
    let second = first.split_off(&middle);
    let mut map = serde_json::Map::new();
    for (tensors, file) in [first, second].iter().zip(names) {
        tensors.keys().for_each(|name| drop(map.insert(name.clone(), json!(file))));
        folder.write_tensors(file, tensors);
    }
    folder.write("model.safetensors.index.json", json!({ "weight_map": map }).to_string());
    folder.remove("model.safetensors");
}

/// A way to lay out a model, or something beside it that counts.
type Change = (&'static str, &'static str, fn(&ModelFolder));

const LAYOUTS: &[Change] = &[
    ("a module's folder of another name", "bert-bge", |m| rename_module(m, "1_Pooling", "pool", "pool")),
    ("a module's folder with ./", "bert-bge", |m| rename_module(m, "1_Pooling", "1_Pooling", "./1_Pooling")),
    ("a module's folder with / behind", "bert-bge", |m| rename_module(m, "1_Pooling", "Pool", "Pool/")),
    ("a module's folder inside another", "bert-bge", |m| rename_module(m, "1_Pooling", "a/b/c", "a/b/c")),
    ("a module's folder with a blank", "bert-bge", |m| rename_module(m, "1_Pooling", "my pool", "my pool")),
    ("a Dense of another name", "t5-gtr", |m| rename_module(m, "2_Dense", "projection", "projection")),
    ("shards of any name", "bert-e5", |m| shard(m, ["a.safetensors", "weights-of-b.safetensors"])),
    ("shards in a folder", "bert-e5", |m| shard(m, ["model-1-of-2.safetensors", "parts/two.safetensors"])),
    ("a pickle beside another folder's safetensors", "bge-m3", |m| {
        m.write(
            "other/model.safetensors",
            std::fs::read(fixture("bert-e5").join("model.safetensors")).unwrap(),
        );
    }),
    ("a pickle and safetensors", "bert-e5", |m| m.write("pytorch_model.bin", "not read")),
    ("tokens beside the tokenizer", "bert-e5", |m| {
        m.write("added_tokens.json", r#"{"[MASK]": 4}"#);
        m.write("special_tokens_map.json", r#"{"additional_special_tokens": ["what"]}"#);
    }),
    ("a chat template in a file of its own", "qwen3-embedding", |m| {
        m.write("chat_template.jinja", "{% for m in messages %}<u>{{ m.content }}{% endfor %}");
        m.remove("modules.json");
    }),
    ("a bare transformer", "bert-e5", |m| m.remove("modules.json")),
    ("an unknown key", "bert-e5", |m| m.edit("config.json", |c| c["no_such_key"] = json!(1))),
    ("an unknown key of a module", "bert-e5", |m| {
        m.edit("1_Pooling/config.json", |c| c["no_such"] = json!(1))
    }),
];

#[test]
fn every_layout_gives_the_same() {
    for (case, name, change) in LAYOUTS {
        let folder = ModelFolder::copy_of(&fixture(name));
        change(&folder);
        same(case, &folder);
    }
}

/// What is refused, and what the message names.
const REFUSED: &[(Change, &[&str])] = &[
    (
        ("an adapter", "bert-e5", |m| m.write("adapter_config.json", r#"{"peft_type": "LORA"}"#)),
        &["adapter_config.json"],
    ),
    (
        ("a foreign class", "bert-e5", |m| {
            m.edit("modules.json", |all| all[1]["type"] = json!("my_code.Pooling"));
        }),
        &["my_code.Pooling"],
    ),
    (("no tokenizer", "bert-e5", |m| m.remove("tokenizer.json")), &["tokenizer.json"]),
    (("no weights", "bert-e5", |m| m.remove("model.safetensors")), &["model.safetensors"]),
    (("no weights of a module", "t5-gtr", |m| m.remove("2_Dense/model.safetensors")), &["2_Dense"]),
    (("no settings", "bert-e5", |m| m.remove("config.json")), &["config.json"]),
    (
        ("no settings of a module", "bert-e5", |m| m.remove("1_Pooling/config.json")),
        &["1_Pooling/config.json"],
    ),
    (
        ("a shard that is not there", "bert-e5", |m| {
            shard(m, ["one.safetensors", "two.safetensors"]);
            m.remove("two.safetensors");
        }),
        &["two.safetensors"],
    ),
    (
        ("a pointer of LFS", "bert-e5", |m| {
            m.write(
                "model.safetensors",
                "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            );
        }),
        &["model.safetensors", "LFS"],
    ),
    (("settings that are no JSON", "bert-e5", |m| m.write("config.json", "{")), &["config.json"]),
    (("no JSON in the list of modules", "bert-e5", |m| m.write("modules.json", "[")), &["modules.json"]),
];

#[test]
fn what_is_refused_is_refused_by_name_both_ways() {
    for ((case, name, change), words) in REFUSED {
        let folder = ModelFolder::copy_of(&fixture(name));
        change(&folder);
        let results = both_ways(&folder);
        for (status, stdout, message) in results.iter().flatten() {
            assert_eq!((*status, stdout.as_str()), (Some(1), ""), "{case}: {message}");
        }
        for (_, _, message) in &results[0] {
            words
                .iter()
                .for_each(|word| assert!(message.contains(word), "{case}: no {word:?} in: {message}"));
        }
    }
}
