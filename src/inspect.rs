//! What a model is made of and what each task does with it.

use crate::model::{Head, Model};
use crate::plan::{Described, Plan};
use crate::prompt::{Prompt, PromptRequest};
use crate::task::Task;
use std::path::PathBuf;

/// What a model is made of, for people: [`Embedder::inspect`](crate::Embedder::inspect).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// The model's folder, or a name for the built-in one.
    pub model: PathBuf,
    /// The `model_type` in its config.json.
    pub family: &'static str,
    /// Weights, counted singly.
    pub parameters: usize,
    /// Number of layers.
    pub layers: usize,
    /// Size of a token's vector inside the model.
    pub hidden: usize,
    /// Tokens in its vocabulary.
    pub vocabulary: usize,
    /// Size of a text's vector.
    pub dimensions: usize,
    /// The token limit that its authors set.
    pub max_tokens: usize,
    /// How weights are stored: `F16`, or several.
    pub stored_as: Vec<String>,
    /// The modules, first to last, each with what it does.
    pub modules: Vec<String>,
    /// Its own prompts: name and text.
    pub prompts: Vec<(String, String)>,
    /// The entry of the built-in prompt registry for it.
    pub registry: Option<String>,
    /// What each task resolves to.
    pub tasks: Vec<(Task, Prompt)>,
    /// The steps that a device runs, one line each.
    pub plan: Vec<String>,
    /// Bytes of the weights in the model's files.
    pub stored_bytes: usize,
    /// Bytes that the device holds for weights.
    pub weight_bytes: usize,
    /// Bytes that one batch needs at most.
    pub batch_bytes: usize,
}

impl Inspection {
    pub(crate) fn new(model: &Model, plan: &Plan, weight_bytes: usize, batch_bytes: usize) -> Inspection {
        let tensors = model.tensors();
        let mut stored_as: Vec<String> =
            tensors.iter().map(|t| format!("{:?}", t.element_type()).to_uppercase()).collect();
        stored_as.sort_unstable();
        stored_as.dedup();
        let by_task = |task| {
            let request = PromptRequest { task: Some(task), ..PromptRequest::default() };
            Some((task, model.prompts.resolve(&request).ok()?))
        };
        Inspection {
            model: model.root.clone(),
            family: model.encoder.family,
            parameters: tensors.iter().map(|t| t.rows() * t.columns()).sum(),
            layers: model.encoder.layers.len(),
            hidden: model.encoder.hidden,
            vocabulary: model.encoder.embedding.word.rows(),
            dimensions: model.dimensions(),
            max_tokens: model.max_tokens,
            stored_as,
            modules: modules(model),
            prompts: model.prompts.own().to_vec(),
            registry: model.prompts.registry_family().map(str::to_owned),
            tasks: Task::ALL.into_iter().filter_map(by_task).collect(),
            plan: plan.steps.iter().map(|step| Described(plan, step).to_string()).collect(),
            stored_bytes: tensors.iter().map(|t| t.stored_bytes()).sum(),
            weight_bytes,
            batch_bytes,
        }
    }
}

fn modules(model: &Model) -> Vec<String> {
    let modes: Vec<&str> = model.pooling.modes.iter().map(|mode| mode.name()).collect();
    let prompt = if model.pooling.include_prompt { "prompt included" } else { "prompt left out" };
    let heads = model.heads.iter().map(|head| match head {
        Head::Dense { linear, activation } => {
            format!("Dense {} -> {}, {activation:?}", linear.inputs(), linear.outputs())
        }
        Head::LayerNorm(_) => "LayerNorm".to_owned(),
        Head::Normalize => "Normalize".to_owned(),
    });
    let first = [
        format!("Transformer {}, {} layers", model.encoder.family, model.encoder.layers.len()),
        format!("Pooling {}, {prompt}", modes.join(" | ")),
    ];
    first.into_iter().chain(heads).collect()
}
