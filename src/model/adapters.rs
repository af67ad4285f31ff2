//! Task adapters: low-rank changes of a model's matrices, one set a task (jina-embeddings-v3).

use super::weights::Adapter;
use crate::error::ModelResult as Result;
use crate::source::{Json, ModelFiles};

/// The adapters that a model's matrices come with.
#[derive(Debug)]
pub(crate) struct Adapters {
    /// Their names, in the order in which they are stored.
    pub(crate) names: Vec<String>,
    rank: usize,
    scale: f32,
}

impl Adapters {
    /// `lora_adaptations`, `lora_rank` and `lora_alpha` in config.json; `None` without the first.
    ///
    /// # Errors
    /// If the model has adapters of another kind, which would be left out.
    pub(crate) fn read(files: &ModelFiles, folder: &str, config: &Json) -> Result<Option<Adapters>> {
        for name in ["adapter_config.json", "adapters/adapter_config.json"] {
            let name = files.join(folder, name)?;
            if files.has(&name) {
                let json = files.json(&name)?;
                let kind = json.text("peft_type")?.unwrap_or("an adapter_config.json").to_owned();
                let supported = "task adapters inside the model's own file, as jina-embeddings-v3 has; merge others into the weights";
                return Err(json.unsupported("adapter format", kind, supported));
            }
        }
        let Some(list) = config.list("lora_adaptations")? else {
            return Ok(None);
        };
        let names: Option<Vec<String>> = list.iter().map(|name| name.as_str().map(str::to_owned)).collect();
        let names = names.filter(|names| !names.is_empty());
        let names = names.ok_or_else(|| config.error("`lora_adaptations` is not a list of names"))?;
        let rank = config.size("lora_rank")?;
        let alpha = config.number_or("lora_alpha", 1.0)?;
        Ok(Some(Adapters { names, rank, scale: (alpha / rank as f64) as f32 }))
    }

    /// The adapter at a place of [`Adapters::names`].
    pub(crate) fn at(&self, index: usize) -> Adapter {
        Adapter { index, count: self.names.len(), rank: self.rank, scale: self.scale }
    }
}
