//! What several test files use.
#![allow(dead_code)]

use serde_json::Value;
use std::path::{Path, PathBuf};
use taskvec::{Device, EmbedOptions, Embedder, GpuSelector, Task};

/// The folder of a tiny model of that family, with the reference's vectors in `expected.json`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The fixtures' names.
pub const FIXTURES: [&str; 28] = [
    "albert",
    "bert-bge",
    "bert-e5",
    "bert-instructed",
    "distilbert",
    "embedding-gemma",
    "embedding-gemma2",
    "eurobert",
    "gte-new",
    "jina-v2",
    "jina-v2-code",
    "jina-v3",
    "jina-v3-lora",
    "llama",
    "mistral-e5",
    "model2vec",
    "model2vec-folded",
    "modernbert",
    "mpnet",
    "nomic-bert",
    "nomic-moe",
    "qwen2-gte",
    "qwen3-embedding",
    "roberta",
    "static",
    "t5-gtr",
    "t5-instructor",
    "xlm-roberta-e5",
];

/// What the reference implementation makes of a fixture.
pub struct Expected {
    pub texts: Vec<String>,
    pub token_ids: Vec<Vec<u32>>,
    pub cases: Vec<Case>,
}

/// The vectors under one prompt or task.
pub struct Case {
    pub prompt_name: Option<String>,
    pub prompt: String,
    pub task: Option<Task>,
    pub adapter: Option<String>,
    /// One a text.
    pub vectors: Vec<Vec<f64>>,
}

impl Case {
    pub fn options(&self) -> EmbedOptions {
        match (&self.prompt_name, self.task) {
            (Some(name), _) => EmbedOptions::new().prompt_name(name),
            (None, Some(task)) => EmbedOptions::new().task(task),
            // Nothing asked for: the model's default prompt, if it has one.
            (None, None) if self.prompt.is_empty() => EmbedOptions::new(),
            (None, None) => EmbedOptions::new().prompt(&self.prompt),
        }
    }
}

impl Expected {
    pub fn read(path: &Path) -> Expected {
        let json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let strings = |value: &Value| {
            value.as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_owned()).collect()
        };
        let ids =
            |value: &Value| value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        let vector = |value: &Value| value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        let case = |case: &Value| {
            let text = |key: &str| case[key].as_str().map(str::to_owned);
            Case {
                prompt_name: text("prompt_name"),
                prompt: text("prompt").unwrap(),
                task: text("task").map(|task| task.parse().unwrap()),
                adapter: text("adapter"),
                vectors: case["embeddings"].as_array().unwrap().iter().map(vector).collect(),
            }
        };
        Expected {
            texts: strings(&json["texts"]),
            token_ids: json["token_ids_without_prompt"].as_array().unwrap().iter().map(ids).collect(),
            cases: json["cases"].as_array().unwrap().iter().map(case).collect(),
        }
    }
}

/// The largest difference between two vectors; infinite where their lengths differ.
pub fn max_difference(got: &[f32], want: &[f64]) -> f64 {
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    got.iter().zip(want).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
}

/// Every device and instruction set of this machine, by name.
pub fn devices() -> Vec<(String, taskvec::EmbedderBuilder)> {
    let mut devices = vec![("reference".to_owned(), Embedder::builder().device(Device::Reference))];
    for isa in taskvec::instruction_sets() {
        devices.push((
            format!("cpu {isa}"),
            Embedder::builder().device(Device::Cpu).threads(2).instruction_set(isa),
        ));
    }
    if cfg!(feature = "gpu") {
        devices.push(("gpu".to_owned(), gpu()));
    }
    devices
}

/// The GPU that tests run on: the first there is, software included.
pub fn gpu() -> taskvec::EmbedderBuilder {
    Embedder::builder().device(Device::Gpu(GpuSelector::Best)).threads(2)
}
