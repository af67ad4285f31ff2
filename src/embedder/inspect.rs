//! What a model is made of and what each task does with it.

use crate::engine::Engine;
use crate::error::Result;
use crate::model::{Activation, HeadModule, Model, ModelNote, OutputHead};
use crate::plan::{Described, Plan, Step};
use crate::prompt::TaskPrompt;
use crate::wait::block_on;
use std::path::PathBuf;

/// What a model is made of, for people: [`Embedder::inspect`](crate::Embedder::inspect).
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
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
    pub tasks: Vec<TaskPrompt>,
    /// What to know about its files: keys that are not known, what was taken from its name.
    pub notes: Vec<ModelNote>,
    /// The names of its task adapters.
    pub adapters: Vec<String>,
    /// The steps that a device runs, one line each.
    pub plan: Vec<String>,
    /// The sizes of its kernels, each once.
    pub kernels: Vec<KernelShape>,
    /// Multiply-accumulates (MACs) with weight matrices that each token needs: for all tokens of a text they are nearly all
    /// of a model's arithmetic, unless the text is long (attention) or pooled by large projections.
    pub macs_per_token: usize,
    /// Bytes of the weights in the model's files.
    pub stored_bytes: usize,
    /// Bytes that the device holds for weights.
    pub weight_bytes: usize,
    /// Bytes that one batch needs at most.
    pub batch_bytes: usize,
}

impl Inspection {
    pub(crate) fn of(engine: &Engine) -> Result<Inspection> {
        let Engine { model, plan, .. } = engine;
        let first_adapter = model.adapters.as_ref().and_then(|adapters| adapters.names.first());
        let backend = block_on(engine.backend(first_adapter.map(String::as_str)))?;
        let tokens = engine.batch_tokens(&*backend, usize::MAX).max(engine.max_tokens);
        let tensors = model.tensors();
        let mut stored_as: Vec<String> =
            tensors.iter().map(|t| format!("{:?}", t.element_type()).to_uppercase()).collect();
        stored_as.sort_unstable();
        stored_as.dedup();
        Ok(Inspection {
            model: model.root.clone(),
            family: model.encoder.family,
            parameters: tensors.iter().map(|t| t.rows() * t.columns()).sum(),
            layers: model.encoder.layers.len(),
            hidden: model.encoder.hidden,
            vocabulary: model.encoder.embedding.word.rows(),
            dimensions: model.width(0),
            max_tokens: model.max_tokens,
            stored_as,
            modules: modules(model),
            prompts: model.prompts.own().to_vec(),
            registry: model.prompts.registry_family().map(str::to_owned),
            adapters: model.adapters.as_ref().map(|adapters| adapters.names.clone()).unwrap_or_default(),
            tasks: model.prompts.tasks(),
            notes: engine.notes(),
            plan: plan.steps.iter().map(|step| Described(plan, step).to_string()).collect(),
            kernels: kernels(plan),
            macs_per_token: plan.macs_per_token(),
            stored_bytes: tensors.iter().map(|t| t.stored_bytes()).sum(),
            weight_bytes: backend.weight_bytes(),
            batch_bytes: backend.batch_bytes(tokens, tokens),
        })
    }
}

/// A kernel and the sizes that a model runs it with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum KernelShape {
    /// A linear layer, with its epilogue.
    #[non_exhaustive]
    Product {
        /// What it gives, as in [`Inspection::plan`].
        name: &'static str,
        /// Rows of the weights.
        outputs: usize,
        /// Columns of the weights.
        inputs: usize,
        /// Of the gate where there is one.
        #[cfg_attr(feature = "serde", serde(serialize_with = "by_debug"))]
        activation: Activation,
        /// Whether there is a gate: a second matrix of the same size.
        gated: bool,
    },
    /// Softmax attention.
    #[non_exhaustive]
    Attention {
        /// Query heads.
        heads: usize,
        /// Key and value heads.
        kv_heads: usize,
        /// Size of a head.
        head_dim: usize,
    },
}

#[cfg(feature = "serde")]
fn by_debug<S: serde::Serializer>(value: &Activation, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:?}"))
}

fn kernels(plan: &Plan) -> Vec<KernelShape> {
    let mut shapes = Vec::new();
    for step in &plan.steps[..plan.shared] {
        let shape = match step {
            Step::Linear { linear, gate, activation, output, .. } => KernelShape::Product {
                name: plan.buffers[output.0].name,
                outputs: linear.outputs(),
                inputs: linear.inputs(),
                activation: *activation,
                gated: gate.is_some(),
            },
            &Step::Attention { heads, kv_heads, head_dim, .. } => {
                KernelShape::Attention { heads, kv_heads, head_dim }
            }
            _ => continue,
        };
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    shapes
}

fn modules(model: &Model) -> Vec<String> {
    let encoder = &model.encoder;
    let first = match encoder.layers.len() {
        0 => format!("StaticEmbedding {:?}", encoder.embedding.word.shape()),
        layers => format!("Transformer {}, {layers} layers", encoder.family),
    };
    std::iter::once(first)
        .chain(model.outputs.iter().flat_map(|head| modules_of(head, model.prompts.pooled())))
        .collect()
}

/// The modules of one result.
fn modules_of(output: &OutputHead, pools_prompt: bool) -> Vec<String> {
    let head = |level: &str, head: &HeadModule| match head {
        HeadModule::Dense { linear, activation, residual } => {
            let residual = if residual.is_some() { ", residual" } else { "" };
            format!("Dense{level} {} -> {}, {activation:?}{residual}", linear.inputs(), linear.outputs())
        }
        HeadModule::Norm(_) => format!("LayerNorm{level}"),
        HeadModule::Normalize => format!("Normalize{level}"),
    };
    let mut modules: Vec<String> =
        output.token_modules.iter().map(|module| head(" of tokens", module)).collect();
    if let Some(pooling) = &output.pooling {
        let modes: Vec<&str> = pooling.modes.iter().map(|mode| mode.name()).collect();
        let prompt = if pools_prompt { "prompt included" } else { "prompt left out" };
        modules.push(format!("Pooling {}, {prompt}", modes.join(" | ")));
    }
    modules.extend(output.heads.iter().map(|module| head("", module)));
    if output.unit_length {
        modules.push(if output.pooling.is_some() {
            "Normalize".to_owned()
        } else {
            "Normalize of tokens".to_owned()
        });
    }
    modules.push(format!("gives {}", output.kind.describe()));
    modules
}
