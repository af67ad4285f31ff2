//! What tests share: fixtures with the reference's vectors, and model folders that are changed.

mod folder;

pub use folder::{ModelFolder, RawTensor, copy};

use serde_json::Value;
use std::path::{Path, PathBuf};
use taskvec::{Builder, Device, EmbedOptions, GpuSelector, Task};

/// The root of the repository.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own)
}

/// The files of the built-in model.
pub fn builtin_folder() -> PathBuf {
    root().join("crates/minilm/model")
}

/// The folder of a tiny model of that family, with the reference's vectors in `expected.json`.
pub fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures").join(name)
}

/// The fixtures' names.
pub const FIXTURES: [&str; 37] = [
    "albert",
    "bert-bge",
    "bert-e5",
    "bert-instructed",
    "deberta",
    "distilbert",
    "electra",
    "embedding-gemma",
    "embedding-gemma2",
    "eurobert",
    "gemma",
    "gemma3-rope",
    "gte-new",
    "jina-v2",
    "jina-v2-code",
    "jina-v3",
    "jina-v3-lora",
    "jina-v5-nano",
    "jina-v5-small",
    "lfm2",
    "lfm2-both-ways",
    "llama",
    "mistral-e5",
    "model2vec",
    "model2vec-folded",
    "modernbert",
    "mpnet",
    "nemotron3",
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
    /// What was embedded.
    pub texts: Vec<String>,
    /// Of each text, without a prompt.
    pub token_ids: Vec<Vec<u32>>,
    /// One a prompt.
    pub cases: Vec<Case>,
}

/// The vectors under one prompt or task.
pub struct Case {
    /// The model's own prompt, by its name.
    pub prompt_name: Option<String>,
    /// The text in front.
    pub prompt: String,
    /// The task, where it chooses something.
    pub task: Option<Task>,
    /// The task adapter.
    pub adapter: Option<String>,
    /// One a text.
    pub vectors: Vec<Vec<f64>>,
}

impl Case {
    /// The options that ask for this prompt.
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
    /// Reads an expected.json.
    ///
    /// # Panics
    /// If it is none.
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

/// Options for every device and instruction set of this machine, by name; GPUs where the build has them.
pub fn devices<M>(with_gpu: bool) -> Vec<(String, Builder<M>)> {
    let mut devices = vec![("reference".to_owned(), Builder::default().device(Device::Reference))];
    for isa in taskvec::instruction_sets() {
        let builder = Builder::default().device(Device::Cpu).threads(2).instruction_set(isa);
        devices.push((format!("cpu {isa}"), builder));
    }
    if with_gpu {
        // The first that there is, software included.
        devices
            .push(("gpu".to_owned(), Builder::default().device(Device::Gpu(GpuSelector::Best)).threads(2)));
    }
    devices
}
