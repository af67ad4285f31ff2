//! Task adapters: low-rank changes of a model's matrices, one set a task. jina-embeddings-v3 has them inside its own file,
//! jina-embeddings-v5 in a folder each, as PEFT saves them.

use super::derived::{Derived, LowRank};
use super::tensor::Tensor;
use super::weights::{Adapter, MatrixChange, StoredAdapter, Weights};
use crate::error::{ModelError, ModelResult as Result};
use crate::source::{Json, ModelFiles};
use std::fmt;
use std::sync::Arc;

/// The adapters that a model's matrices come with.
#[derive(Debug)]
pub(crate) struct Adapters {
    /// Their names, in the order in which they are stored.
    pub(crate) names: Vec<String>,
    /// The one of calls that say nothing, of a model that is not meant to be used without.
    pub(crate) default: Option<String>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// Side by side in the model's own file.
    Stored { rank: usize, scale: f32 },
    /// In a folder each.
    Folders(Vec<Arc<PeftAdapter>>),
}

impl Adapters {
    /// `lora_adaptations`, `lora_rank` and `lora_alpha` in config.json, or `task_names` and the folders `adapters/TASK`;
    /// `None` without either.
    ///
    /// # Errors
    /// If the model has adapters of another kind, which would be left out.
    pub(crate) fn read(
        files: &ModelFiles,
        folder: &str,
        config: &Json,
        weights: &Weights,
    ) -> Result<Option<Adapters>> {
        for name in ["adapter_config.json", "adapters/adapter_config.json"] {
            let name = files.join(folder, name)?;
            if files.has(&name) {
                let json = files.json(&name)?;
                let kind = json.text("peft_type")?.unwrap_or("an adapter_config.json").to_owned();
                let supported = "task adapters inside the model's own file, as jina-embeddings-v3 has, or in adapters/TASK, as jina-embeddings-v5; merge others into the weights";
                return Err(json.unsupported("adapter format", kind, supported));
            }
        }
        let names = |key: &str| -> Result<Option<Vec<String>>> {
            let Some(list) = config.list(key)? else { return Ok(None) };
            let names: Option<Vec<String>> =
                list.iter().map(|name| name.as_str().map(str::to_owned)).collect();
            let names = names.filter(|names| !names.is_empty());
            names.map(Some).ok_or_else(|| config.error(format!("`{key}` is not a list of names")))
        };
        if let Some(names) = names("lora_adaptations")? {
            let rank = config.size("lora_rank")?;
            let alpha = config.number_or("lora_alpha", 1.0)?;
            let form = Form::Stored { rank, scale: (alpha / rank as f64) as f32 };
            return Ok(Some(Adapters { names, default: None, form }));
        }
        let of_folders = config.text("model_type")? == Some("jina_embeddings_v5");
        if !of_folders && !files.folders().iter().any(|name| folder.is_empty() && name == "adapters") {
            return Ok(None);
        }
        let names = names("task_names")?.ok_or_else(|| {
            config.error(
                "there are adapters, but no `task_names` that say which; a vector without one is not meant",
            )
        })?;
        let read = |name: &String| {
            let folder = files.join(folder, &format!("adapters/{name}"))?;
            PeftAdapter::read(files, &folder, weights).map(Arc::new)
        };
        let adapters = names.iter().map(read).collect::<Result<_>>()?;
        let default = names.iter().find(|name| *name == "retrieval").or(names.first()).cloned();
        Ok(Some(Adapters { names, default, form: Form::Folders(adapters) }))
    }

    /// The adapter at a place of [`Adapters::names`].
    pub(crate) fn at(&self, index: usize) -> Adapter {
        match &self.form {
            Form::Stored { rank, scale } => {
                let (count, rank, scale) = (self.names.len(), *rank, *scale);
                Adapter::Stored(StoredAdapter { index, count, rank, scale })
            }
            Form::Folders(adapters) => Adapter::Other(adapters[index].clone()),
        }
    }
}

/// A change of matrices as PEFT saves it: `W + scale · B · A`.
pub(crate) struct PeftAdapter {
    weights: Weights,
    rank: usize,
    scale: f32,
}

/// Its tensors are told apart where they are read.
impl fmt::Debug for PeftAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} times {}", self.rank, self.scale)
    }
}

/// What stands before the names of the base model's tensors.
const BASE: &str = "base_model.model.";

impl PeftAdapter {
    /// Source: PEFT's `LoraConfig` and `tuners/lora/layer.py`.
    fn read(files: &ModelFiles, folder: &str, base: &Weights) -> Result<PeftAdapter> {
        let config = files.json(&files.join(folder, "adapter_config.json")?)?;
        let text = |key: &str| config.text(key).map(|value| value.unwrap_or("none").to_owned());
        for (key, found, supported) in
            [("peft_type", text("peft_type")?, "LORA"), ("bias", text("bias")?, "none")]
        {
            if found != supported {
                return Err(config.unsupported(key, found, supported));
            }
        }
        for key in [
            "use_dora",
            "modules_to_save",
            "rank_pattern",
            "alpha_pattern",
            "fan_in_fan_out",
            "layer_replication",
        ] {
            let says_something = |value: &&serde_json::Value| {
                let is_empty = value.as_object().is_some_and(serde_json::Map::is_empty)
                    || value.as_array().is_some_and(Vec::is_empty);
                !is_empty && value.as_bool() != Some(false)
            };
            if let Some(value) = config.get(key).filter(says_something) {
                return Err(config.unsupported(
                    key,
                    value.to_string(),
                    "a plain low-rank change of all target modules",
                ));
            }
        }
        let rank = config.size("r")?;
        let alpha = config.number_or("lora_alpha", rank as f64)?;
        let divisor = if config.flag_or("use_rslora", false)? { (rank as f64).sqrt() } else { rank as f64 };
        let weights = Weights::open_file(files, &files.join(folder, "adapter_model.safetensors")?)?;
        let has_matrix = |name: &&str| {
            let stem = name.strip_suffix(".lora_A.weight").or_else(|| name.strip_suffix(".lora_B.weight"));
            let stem = stem.and_then(|stem| stem.strip_prefix(BASE));
            stem.is_some_and(|stem| {
                let own = stem.strip_prefix("model.").unwrap_or(stem);
                base.has(&format!("{own}.weight"))
            })
        };
        let mut unknown: Vec<&str> = weights.names().filter(|name| !has_matrix(name)).collect();
        unknown.sort_unstable();
        if let Some(name) = unknown.first() {
            return Err(ModelError::UnknownTensor {
                path: weights.path().to_owned(),
                name: (*name).to_owned(),
                count: unknown.len(),
                family: "the base model of the adapter",
            });
        }
        Ok(PeftAdapter { weights, rank, scale: (alpha / divisor) as f32 })
    }
}

impl MatrixChange for PeftAdapter {
    fn apply(&self, stored: Tensor) -> Result<Tensor> {
        let Some(stem) = stored.name().strip_suffix(".weight") else { return Ok(stored) };
        let own = stem.strip_prefix("model.").unwrap_or(stem);
        let names = [format!("{BASE}{own}"), format!("{BASE}model.{own}")];
        let Some(name) = names.iter().find(|name| self.weights.has(&format!("{name}.lora_A.weight"))) else {
            return Ok(stored);
        };
        let because = "r in adapter_config.json and the size of the adapted matrix";
        let factor = |which: &str, shape: [usize; 2]| {
            self.weights.tensor(&format!("{name}.lora_{which}.weight"), &shape, because)
        };
        let right = factor("A", [self.rank, stored.columns()])?.to_vec()?;
        let left = factor("B", [stored.rows(), self.rank])?.to_vec()?;
        let low_rank = LowRank { rank: self.rank, left, right, scale: self.scale };
        Ok(Tensor { derived: Some(Derived::LowRank(Arc::new(low_rank))), ..stored })
    }
}
