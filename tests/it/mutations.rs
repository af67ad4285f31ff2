//! One key of one file of a model is changed at a time: the result is the reference's, or an error that says why not.
//!
//! `tests/mutations/mutations.json` says what is changed and what sentence-transformers makes of it (`generate.py`
//! there writes it); `refused.json` which changes taskvec refuses, and why.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use taskvec::{Device, EmbedOptions, Embedder, ModelFiles, Reranker};
use taskvec_testing::{fixture, root};

/// Results differ by rounding; a wrong one by more.
const TOLERANCE: f64 = 3e-5;

struct Mutation {
    fixture: String,
    file: String,
    path: Vec<Value>,
    value: Option<Value>,
    expected: Option<Vec<(usize, Vec<f64>)>>,
}

impl Mutation {
    fn name(&self) -> String {
        let path: Vec<String> =
            self.path.iter().map(|key| key.as_str().map_or(key.to_string(), str::to_owned)).collect();
        let value = self.value.as_ref().map_or("removed".to_owned(), Value::to_string);
        format!("{} {} {}: {value}", self.fixture, self.file, path.join("."))
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
                let last = last.as_str().unwrap();
                match value {
                    Some(value) => inner[last] = value.clone(),
                    None => drop(inner.as_object_mut().unwrap().remove(last)),
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

/// The size and the first values of each result, as the table has them.
fn results(
    fixture: &str,
    files: &ModelFiles,
    texts: &[String],
    pairs: &[(String, String)],
) -> taskvec::Result<Vec<(usize, Vec<f64>)>> {
    let first = |values: &[f32]| (values.len(), values.iter().take(6).map(|&x| f64::from(x)).collect());
    if fixture.starts_with("reranker") {
        let reranker = Reranker::builder().device(Device::Cpu).threads(1).open_files(files)?;
        let score = |(query, document): &(String, String)| {
            Ok(first(&[reranker.score(query, std::slice::from_ref(document))?[0].value]))
        };
        return pairs.iter().map(score).collect();
    }
    let embedder = Embedder::builder().device(Device::Cpu).threads(1).open_files(files)?;
    if fixture.starts_with("splade") {
        let sparse = embedder.embed_sparse(texts, EmbedOptions::new())?;
        let largest = |mut weights: Vec<f32>| {
            let count = weights.len();
            weights.sort_by(|a, b| b.total_cmp(a));
            (count, weights.into_iter().take(6).map(f64::from).collect())
        };
        return Ok(sparse.into_iter().map(|output| largest(output.value.values)).collect());
    }
    let vectors = embedder.embed_batch(texts, EmbedOptions::new())?;
    Ok(vectors.iter().map(|vector| first(&vector.value)).collect())
}

fn agree(found: &[(usize, Vec<f64>)], expected: &[(usize, Vec<f64>)]) -> bool {
    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= TOLERANCE * (1.0 + b.abs());
    found.len() == expected.len()
        && found.iter().zip(expected).all(|((count, found), (size, expected))| {
            count == size && found.len() == expected.len() && found.iter().zip(expected).all(close)
        })
}

#[test]
fn every_change_of_a_key_has_the_references_result_or_a_reason() {
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(root().join("tests/mutations").join(name)).unwrap()).unwrap()
    };
    let table = read("mutations.json");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let texts: Vec<String> = table["texts"].as_array().unwrap().iter().map(text).collect();
    let pairs: Vec<(String, String)> =
        table["pairs"].as_array().unwrap().iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
    let [refused, otherwise]: [BTreeMap<String, String>; 2] = ["refused", "otherwise"]
        .map(|part| serde_json::from_value(read("refused.json")[part].clone()).unwrap());
    let (mut known, mut met) = (BTreeMap::new(), BTreeSet::new());
    let (mut wrong, mut equal, mut total) = (Vec::new(), 0, 0);
    for entry in table["mutations"].as_array().unwrap() {
        let name = text(&entry["fixture"]);
        let unchanged = rows(&table["unchanged"][&name]);
        let expected = match entry.get("unchanged") {
            Some(_) => Some(unchanged),
            None => entry.get("result").map(rows),
        };
        let mutation = Mutation {
            fixture: name.clone(),
            file: text(&entry["file"]),
            path: entry["path"].as_array().unwrap().clone(),
            value: if entry.get("remove").is_some() { None } else { Some(entry["value"].clone()) },
            expected,
        };
        total += 1;
        let files = known.entry(name).or_insert_with(|| files_of(&fixture(&mutation.fixture)));
        let found = results(&mutation.fixture, &mutation.files(files), &texts, &pairs);
        // A change is known by its own words, or by those that it is refused with.
        let problem = found.as_ref().err().map(|error| format!("{error:#}")).unwrap_or_default();
        let words = format!("{} {problem}", mutation.name());
        let reason = refused.keys().find(|part| words.contains(part.as_str()));
        let meant = otherwise.keys().find(|part| words.contains(part.as_str()));
        match (found, &mutation.expected) {
            (Ok(found), Some(expected)) if agree(&found, expected) => equal += 1,
            (Ok(_), Some(_)) if meant.is_some() => met.extend(meant.cloned()),
            (Ok(found), Some(expected)) => {
                wrong.push(format!("{}\n    has {:?}\n    not {:?}", mutation.name(), found[0], expected[0]));
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
