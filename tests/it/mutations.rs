//! One key of one file of a model is changed at a time: the result is the reference's, or an error that says why not.
//!
//! `tests/mutations/mutations.json` says what is changed and what sentence-transformers makes of it (`generate.py`
//! there writes it); `refused.json` which changes taskvec refuses, and why.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use taskvec::{Device, EmbedOptions, Embedder, GpuSelector, ModelFiles, ModelNote, Reranker};
use taskvec_testing::{fixture, root};

/// Results differ by rounding; a wrong one by more.
const TOLERANCE: f64 = 3e-5;

struct Mutation {
    fixture: String,
    file: String,
    path: Vec<Value>,
    value: Option<Value>,
    /// Whether the reference's result is another than without it.
    changes: bool,
    expected: Option<Vec<(usize, Vec<f64>)>>,
}

impl Mutation {
    fn new(fixture: &str, file: &str, path: &[Value], value: Option<Value>) -> Mutation {
        let (fixture, file, path) = (fixture.to_owned(), file.to_owned(), path.to_vec());
        Mutation { fixture, file, path, value, changes: true, expected: None }
    }

    fn name(&self) -> String {
        let path: Vec<String> =
            self.path.iter().map(|key| key.as_str().map_or(key.to_string(), str::to_owned)).collect();
        let value = self.value.as_ref().map_or("removed".to_owned(), Value::to_string);
        format!("{} {} {}: {value}", self.fixture, self.file, path.join("."))
    }

    /// Whether the key is of those that are changed.
    fn sets(&self, key: &str) -> bool {
        let top = key.split('.').next();
        match (self.path.first(), &self.value) {
            (Some(changed), _) => changed.as_str() == top,
            (None, Some(Value::Object(keys))) => top.is_some_and(|top| keys.contains_key(top)),
            _ => false,
        }
    }

    /// The fixture's files with the change.
    fn files(&self, of_fixture: &BTreeMap<String, Vec<u8>>) -> ModelFiles {
        let mut files = of_fixture.clone();
        let old: Value = files
            .get(&self.file)
            .map_or(Value::Object(Default::default()), |old| serde_json::from_slice(old).unwrap());
        let mut new = old;
        match (self.path.split_last(), &self.value) {
            (None, Some(Value::Object(keys))) if self.file == "tokenizer_config.json" => {
                new.as_object_mut().unwrap().extend(keys.clone());
            }
            (None, Some(value)) => new = value.clone(),
            (Some((last, path)), value) => {
                let mut inner = &mut new;
                for key in path {
                    inner = match key {
                        Value::String(key) => &mut inner[key.as_str()],
                        place => &mut inner[place.as_u64().unwrap() as usize],
                    };
                }
                match (last, value) {
                    (Value::String(last), Some(value)) => inner[last.as_str()] = value.clone(),
                    (Value::String(last), None) => drop(inner.as_object_mut().unwrap().remove(last)),
                    (place, Some(value)) => inner[place.as_u64().unwrap() as usize] = value.clone(),
                    (place, None) => {
                        drop(inner.as_array_mut().unwrap().remove(place.as_u64().unwrap() as usize))
                    }
                }
            }
            (None, None) => unreachable!("a file is not removed"),
        }
        files.insert(self.file.clone(), new.to_string().into_bytes());
        ModelFiles::in_memory(self.fixture.clone(), files)
    }
}

fn files_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inside) = folders.pop() {
        for entry in std::fs::read_dir(inside).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_string_lossy().replace('\\', "/");
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn rows(value: &Value) -> Vec<(usize, Vec<f64>)> {
    let row = |row: &Value| {
        let values = row["values"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        (row["size"].as_u64().unwrap() as usize, values)
    };
    value.as_array().unwrap().iter().map(row).collect()
}

/// What a model makes of the texts, or of the pairs.
struct Results {
    /// The size and the first values of each result, as the table has them.
    first: Vec<(usize, Vec<f64>)>,
    /// All values, and the fingerprint that says which vectors may be compared; of embedders.
    compared: Option<(Vec<Vec<u32>>, String)>,
    unknown_keys: Vec<String>,
}

fn unknown_keys(notes: &[ModelNote]) -> Vec<String> {
    let key = |note: &ModelNote| match note {
        ModelNote::UnknownKey { key, .. } => Some(key.clone()),
        _ => None,
    };
    notes.iter().filter_map(key).collect()
}

fn results(inputs: &Inputs, fixture: &str, files: &ModelFiles, device: &Device) -> taskvec::Result<Results> {
    let first = |values: &[f32]| (values.len(), values.iter().take(6).map(|&x| f64::from(x)).collect());
    if fixture.starts_with("reranker") {
        let reranker = Reranker::builder().device(device.clone()).threads(1).open_files(files)?;
        let score = |(query, document): &(String, String)| {
            Ok(first(&[reranker.score(query, std::slice::from_ref(document))?[0].value]))
        };
        let scores = inputs.pairs.iter().map(score).collect::<taskvec::Result<_>>()?;
        let unknown_keys = unknown_keys(&reranker.notes());
        return Ok(Results { first: scores, compared: None, unknown_keys });
    }
    let embedder = Embedder::builder().device(device.clone()).threads(1).open_files(files)?;
    let fingerprint = embedder.space(EmbedOptions::new())?.fingerprint().to_string();
    let unknown_keys = unknown_keys(&embedder.notes());
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    if fixture.starts_with("splade") {
        let sparse = embedder.embed_sparse(&inputs.texts, EmbedOptions::new())?;
        let all =
            sparse.iter().map(|output| [output.value.indices.clone(), bits(&output.value.values)].concat());
        let compared = Some((all.collect(), fingerprint));
        let largest = |mut weights: Vec<f32>| {
            let count = weights.len();
            weights.sort_by(|a, b| b.total_cmp(a));
            (count, weights.into_iter().take(6).map(f64::from).collect())
        };
        let first = sparse.into_iter().map(|output| largest(output.value.values)).collect();
        return Ok(Results { first, compared, unknown_keys });
    }
    let vectors = embedder.embed_batch(&inputs.texts, EmbedOptions::new())?;
    let compared = Some((vectors.iter().map(|vector| bits(&vector.value)).collect(), fingerprint));
    Ok(Results { first: vectors.iter().map(|vector| first(&vector.value)).collect(), compared, unknown_keys })
}

/// Whether a fingerprint says that two models' vectors may be compared, though they differ.
fn misleads(before: &Results, after: &Results) -> bool {
    let Some((before, after)) = before.compared.as_ref().zip(after.compared.as_ref()) else { return false };
    before.1 == after.1 && before.0 != after.0
}

fn agree(found: &[(usize, Vec<f64>)], expected: &[(usize, Vec<f64>)]) -> bool {
    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= TOLERANCE * (1.0 + b.abs());
    found.len() == expected.len()
        && found.iter().zip(expected).all(|((count, found), (size, expected))| {
            count == size && found.len() == expected.len() && found.iter().zip(expected).all(close)
        })
}

/// What stands in the folder of tables.
fn read(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(root().join("tests/mutations").join(name)).unwrap()).unwrap()
}

/// What is embedded, and what is scored.
struct Inputs {
    texts: Vec<String>,
    pairs: Vec<(String, String)>,
}

impl Inputs {
    fn of(table: &Value) -> Inputs {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let pair = |pair: &Value| (text(&pair[0]), text(&pair[1]));
        let list = |key: &str| table[key].as_array().unwrap().iter();
        Inputs { texts: list("texts").map(text).collect(), pairs: list("pairs").map(pair).collect() }
    }
}

fn mutations(table: &Value) -> impl Iterator<Item = Mutation> {
    table["mutations"].as_array().unwrap().iter().map(|entry| {
        let fixture = entry["fixture"].as_str().unwrap().to_owned();
        let unchanged = rows(&table["unchanged"][&fixture]);
        Mutation {
            file: entry["file"].as_str().unwrap().to_owned(),
            path: entry["path"].as_array().unwrap().clone(),
            value: if entry.get("remove").is_some() { None } else { Some(entry["value"].clone()) },
            changes: entry.get("unchanged").is_none(),
            expected: match entry.get("unchanged") {
                Some(_) => Some(unchanged),
                None => entry.get("result").map(rows),
            },
            fixture,
        }
    })
}

#[test]
fn every_change_of_a_key_has_the_references_result_or_a_reason() {
    let table = read("mutations.json");
    let inputs = Inputs::of(&table);
    let [refused, otherwise]: [BTreeMap<String, String>; 2] = ["refused", "otherwise"]
        .map(|part| serde_json::from_value(read("refused.json")[part].clone()).unwrap());
    let (mut known, mut met) = (BTreeMap::new(), BTreeSet::new());
    let (mut wrong, mut equal, mut total) = (Vec::new(), 0, 0);
    for mutation in mutations(&table) {
        total += 1;
        let (files, before) = known.entry(mutation.fixture.clone()).or_insert_with(|| {
            let files = files_of(&fixture(&mutation.fixture));
            let model = ModelFiles::in_memory(mutation.fixture.clone(), files.clone());
            let before = results(&inputs, &mutation.fixture, &model, &Device::Cpu).unwrap();
            (files, before)
        });
        let found = results(&inputs, &mutation.fixture, &mutation.files(files), &Device::Cpu);
        // A change is known by its own words, or by those that it is refused with.
        let problem = found.as_ref().err().map(|error| format!("{error:#}")).unwrap_or_default();
        let words = format!("{} {problem}", mutation.name());
        let reason = refused.keys().find(|part| words.contains(part.as_str()));
        let meant = otherwise.keys().find(|part| words.contains(part.as_str()));
        if let Ok(found) = &found {
            if misleads(before, found) {
                wrong.push(format!("{}\n    has another vector and the same fingerprint", mutation.name()));
            }
            // A key is heeded whatever the others say.
            let others: Vec<&String> = found.unknown_keys.iter().filter(|key| !mutation.sets(key)).collect();
            if !others.is_empty() {
                wrong.push(format!("{}\n    does not know {others:?}", mutation.name()));
            }
        }
        match (found, &mutation.expected) {
            (Ok(found), Some(expected)) if agree(&found.first, expected) => equal += 1,
            (Ok(_), Some(_)) if meant.is_some() => met.extend(meant.cloned()),
            (Ok(found), Some(expected)) => {
                let (found, expected) = (&found.first[0], &expected[0]);
                wrong.push(format!("{}\n    has {found:?}\n    not {expected:?}", mutation.name()));
            }
            (Err(error), Some(_)) => match reason {
                Some(part) => drop(met.insert(part.clone())),
                None => wrong.push(format!("{}\n    is refused: {error:#}", mutation.name())),
            },
            // The reference refuses it: so may taskvec, or it makes sense of it.
            (_, None) => {}
        }
    }
    let idle: Vec<&String> =
        refused.keys().chain(otherwise.keys()).filter(|part| !met.contains(*part)).collect();
    assert!(wrong.is_empty(), "{} of {total} are wrong, {equal} equal:\n{}", wrong.len(), wrong.join("\n"));
    assert!(idle.is_empty(), "these are said to be refused, and are not: {idle:?}");
    assert!(equal > 1000, "only {equal} of {total} have the reference's result");
}

/// What a backend computes, it computes as the others: the changes that change a result, but those of the tokenizer,
/// which is the same for all.
#[test]
fn a_change_of_a_key_is_heeded_by_every_backend() {
    let table = read("mutations.json");
    let inputs = Inputs::of(&table);
    let of_backends = |mutation: &Mutation| {
        let is_tokenizers = ["tokenizer", "special_tokens", "added_tokens", "config_sentence"];
        mutation.changes && !is_tokenizers.iter().any(|name| mutation.file.contains(name))
    };
    let mut known = BTreeMap::new();
    let (mut wrong, mut total) = (Vec::new(), 0);
    let mut devices = vec![Device::Reference];
    if cfg!(feature = "gpu") {
        devices.push(Device::Gpu(GpuSelector::Best));
    }
    for mutation in mutations(&table).filter(of_backends) {
        let files =
            known.entry(mutation.fixture.clone()).or_insert_with(|| files_of(&fixture(&mutation.fixture)));
        let files = mutation.files(files);
        let Ok(on_cpu) = results(&inputs, &mutation.fixture, &files, &Device::Cpu) else { continue };
        total += 1;
        for device in &devices {
            match results(&inputs, &mutation.fixture, &files, device) {
                Ok(found) if agree(&found.first, &on_cpu.first) => {}
                Ok(found) => {
                    let (found, on_cpu) = (&found.first[0], &on_cpu.first[0]);
                    wrong.push(format!(
                        "{} {device:?}\n    has {found:?}\n    not {on_cpu:?}",
                        mutation.name()
                    ));
                }
                Err(error) => {
                    wrong.push(format!("{} {device:?}\n    is refused: {error:#}", mutation.name()))
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {total} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(total > 100, "only {total} changes");
}

/// Every key of every file, changed in ways of its type, or removed.
#[test]
fn vectors_that_a_change_of_a_file_changes_have_another_fingerprint() {
    let inputs = Inputs::of(&read("mutations.json"));
    let fixtures = [
        "bert-e5",
        "t5-instructor",
        "qwen3-embedding",
        "embedding-gemma",
        "jina-v3",
        "nomic-bert",
        "splade-bert",
        "model2vec",
    ];
    let (mut wrong, mut opened, mut changed) = (Vec::new(), 0, 0);
    for fixture_name in fixtures {
        let files = files_of(&fixture(fixture_name));
        let open = |files: &ModelFiles| results(&inputs, fixture_name, files, &Device::Cpu);
        let before = open(&ModelFiles::in_memory(fixture_name.to_owned(), files.clone())).unwrap();
        for (file, contents) in
            files.iter().filter(|(name, _)| name.ends_with(".json") && *name != "expected.json")
        {
            let json: Value = serde_json::from_slice(contents).unwrap();
            let mut paths = Vec::new();
            collect_paths(&json, &mut Vec::new(), &mut paths);
            for path in paths {
                for value in other_values(at(&json, &path)) {
                    let mutation = Mutation::new(fixture_name, file, &path, value);
                    let Ok(after) = open(&mutation.files(&files)) else { continue };
                    opened += 1;
                    changed += usize::from(
                        after.compared.as_ref().unwrap().0 != before.compared.as_ref().unwrap().0,
                    );
                    if misleads(&before, &after) {
                        wrong.push(mutation.name());
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {changed}, {opened} opened:\n{}", wrong.len(), wrong.join("\n"));
    assert!(changed > 200, "only {changed} of {opened} change a vector");
}

/// Where each value of a file stands. Of a vocabulary's entries some will do.
fn collect_paths(value: &Value, place: &mut Vec<Value>, paths: &mut Vec<Vec<Value>>) {
    const MOST: usize = 24;
    let inner: Vec<(Value, &Value)> = match value {
        Value::Object(keys) => keys.iter().map(|(key, value)| (key.clone().into(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(i, value)| (i.into(), value)).collect(),
        _ => Vec::new(),
    };
    let step = inner.len().div_ceil(MOST).max(1);
    for (key, value) in inner.into_iter().step_by(step) {
        place.push(key);
        paths.push(place.clone());
        collect_paths(value, place, paths);
        place.pop();
    }
}

fn at<'a>(value: &'a Value, path: &[Value]) -> &'a Value {
    path.iter().fold(value, |value, key| match key {
        Value::String(key) => &value[key.as_str()],
        place => &value[place.as_u64().unwrap() as usize],
    })
}

/// Values of the same type, and none.
fn other_values(value: &Value) -> Vec<Option<Value>> {
    let others = match value {
        Value::Bool(flag) => vec![json!(!flag)],
        Value::Number(number) => match number.as_u64() {
            Some(whole) => vec![json!(whole + 1), json!(whole / 2), json!(whole * 2)],
            None => vec![json!(number.as_f64().unwrap() * 2.0)],
        },
        Value::String(text) => vec![json!(format!("{text}x")), json!("")],
        Value::Array(items) if !items.is_empty() => vec![json!(items[..items.len() - 1])],
        Value::Null => vec![json!(true), json!(3), json!("a")],
        _ => Vec::new(),
    };
    others.into_iter().map(Some).chain([None]).collect()
}
