//! modules.json: what sentence-transformers does with the hidden states after the transformer.

use super::files::{Json, ModelFiles};
use super::spec::{Activation, LinearSpec, NormKind, NormSpec};
use super::weights::Weights;
use crate::error::Result;
use crate::pooling::PoolingMode;
use serde_json::Value;

/// The modules of a model, in order.
pub(crate) struct Modules {
    /// The folder of the transformer inside the model folder; empty: the model folder itself.
    pub(crate) transformer: String,
    /// The width of the hidden states that the pooling's configuration expects.
    pub(crate) pooling_input: Option<usize>,
    /// Hidden states to one vector a text.
    pub(crate) pooling: Pooling,
    /// What follows on that vector.
    pub(crate) heads: Vec<Head>,
}

/// The pooling module.
pub(crate) struct Pooling {
    /// Their results stand side by side, in this order.
    pub(crate) modes: Vec<PoolingMode>,
    /// Whether the tokens of the prompt are pooled too.
    pub(crate) include_prompt: bool,
}

/// A module after pooling.
pub(crate) enum Head {
    /// `activation(x · Wᵀ + b)`
    Dense {
        /// W and b.
        linear: LinearSpec,
        /// See above.
        activation: Activation,
    },
    /// LayerNorm with weight and bias.
    LayerNorm(NormSpec),
    /// `x / max(‖x‖, 1e-12)`
    Normalize,
}

impl Modules {
    /// Reads modules.json and the folders it names. Without the file: the mean of the hidden
    /// states, or the last one of a causal language model.
    pub(crate) fn read(files: &ModelFiles) -> Result<Modules> {
        let Some(json) = files.optional_json("modules.json")? else {
            let pooling = default_pooling(files)?;
            return Ok(Modules {
                transformer: String::new(),
                pooling_input: None,
                pooling,
                heads: Vec::new(),
            });
        };
        let entries = module_list(&json)?;
        let Some(((kind, transformer), rest)) = entries.split_first() else {
            return Err(json.error("the list of modules is empty"));
        };
        if kind != "Transformer" {
            return Err(json.unsupported("first module", kind, "Transformer"));
        }
        files.join(transformer, "config.json")?;
        let Some(((kind, path), rest)) = rest.split_first() else {
            return Err(json.error("there is no Pooling module, so no vector for a whole text"));
        };
        if kind != "Pooling" {
            return Err(json.unsupported("module after the transformer", kind, "Pooling"));
        }
        let (pooling, input) = read_pooling(files, path)?;
        let mut width = input.saturating_mul(pooling.modes.len());
        let mut heads = Vec::new();
        for (kind, path) in rest {
            match kind.as_str() {
                "Dense" => heads.push(read_dense(files, path, &mut width)?),
                "LayerNorm" => heads.push(read_layer_norm(files, path, width)?),
                "Normalize" => heads.push(read_normalize(files, path)?),
                "Dropout" => {} // does nothing outside training
                _ => {
                    return Err(json.unsupported(
                        "module",
                        kind,
                        "Transformer, Pooling, Dense, LayerNorm, Normalize, Dropout",
                    ));
                }
            }
        }
        Ok(Modules { transformer: transformer.clone(), pooling_input: Some(input), pooling, heads })
    }
}

/// The kind (the last part of the type's dotted path) and the folder of each module.
fn module_list(json: &Json) -> Result<Vec<(String, String)>> {
    let list = json.value.as_array().ok_or_else(|| json.error("expected a list of modules"))?;
    let mut modules = Vec::new();
    for entry in list {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        let (Some(kind), Some(path)) = (text("type"), text("path")) else {
            return Err(json.error(format!("the module {entry} has no `type` and `path`")));
        };
        let kind = kind.rsplit('.').next().unwrap_or(kind);
        modules.push((kind.to_owned(), path.to_owned()));
    }
    Ok(modules)
}

fn default_pooling(files: &ModelFiles) -> Result<Pooling> {
    let config = files.json("config.json")?;
    let architecture = config.list("architectures")?.and_then(|names| names.first()).and_then(Value::as_str);
    let causal_lm = architecture.is_some_and(|name| name.ends_with("ForCausalLM"));
    let last = causal_lm && config.flag_or("is_causal", true)?;
    let mode = if last { PoolingMode::LastToken } else { PoolingMode::Mean };
    Ok(Pooling { modes: vec![mode], include_prompt: true })
}

/// The older form's flags, in the order in which sentence-transformers joins their results.
const POOLING_FLAGS: [(&str, PoolingMode); 6] = [
    ("pooling_mode_cls_token", PoolingMode::Cls),
    ("pooling_mode_max_tokens", PoolingMode::Max),
    ("pooling_mode_mean_tokens", PoolingMode::Mean),
    ("pooling_mode_mean_sqrt_len_tokens", PoolingMode::MeanSqrtLen),
    ("pooling_mode_weightedmean_tokens", PoolingMode::WeightedMean),
    ("pooling_mode_lasttoken", PoolingMode::LastToken),
];

/// The pooling and the width of the hidden states it expects.
fn read_pooling(files: &ModelFiles, path: &str) -> Result<(Pooling, usize)> {
    let config = files.json(&files.join(path, "config.json")?)?;
    let modes = match config.get("pooling_mode") {
        Some(modes) => named_modes(&config, modes)?,
        None => flagged_modes(&config)?,
    };
    let width = match config.get("embedding_dimension") {
        Some(_) => config.size("embedding_dimension")?,
        None => config.size("word_embedding_dimension")?,
    };
    let include_prompt = config.flag_or("include_prompt", true)?;
    Ok((Pooling { modes, include_prompt }, width))
}

fn named_modes(config: &Json, modes: &Value) -> Result<Vec<PoolingMode>> {
    let names = match modes {
        Value::Array(names) => names.as_slice(),
        name => std::slice::from_ref(name),
    };
    let mut modes = Vec::new();
    for name in names {
        let mode = name.as_str().and_then(PoolingMode::from_name);
        let known = || PoolingMode::ALL.map(PoolingMode::name).join(", ");
        let found = || name.as_str().map_or_else(|| name.to_string(), str::to_owned);
        modes.push(mode.ok_or_else(|| config.unsupported("pooling mode", found(), known()))?);
    }
    if modes.is_empty() {
        return Err(config.error("`pooling_mode` is an empty list"));
    }
    Ok(modes)
}

fn flagged_modes(config: &Json) -> Result<Vec<PoolingMode>> {
    let set =
        config.value.as_object().into_iter().flatten().filter(|(_, value)| value.as_bool() == Some(true));
    for (key, _) in set {
        let known = POOLING_FLAGS.iter().any(|(flag, _)| flag == key);
        if key.starts_with("pooling_mode_") && !known {
            let known = POOLING_FLAGS.map(|(flag, _)| flag).join(", ");
            return Err(config.unsupported("pooling mode", key.as_str(), known));
        }
    }
    let mut modes = Vec::new();
    for (flag, mode) in POOLING_FLAGS {
        if config.flag_or(flag, false)? {
            modes.push(mode);
        }
    }
    Ok(if modes.is_empty() { vec![PoolingMode::Mean] } else { modes })
}

/// Modules that read or write anything but the text's vector belong to other kinds of models.
fn check_in_and_output(config: &Json) -> Result<()> {
    for key in ["module_input_name", "module_output_name"] {
        let name = config.text(key)?.unwrap_or("sentence_embedding");
        if name != "sentence_embedding" {
            return Err(config.unsupported(key, name, "sentence_embedding"));
        }
    }
    Ok(())
}

fn read_dense(files: &ModelFiles, path: &str, width: &mut usize) -> Result<Head> {
    let config = files.json(&files.join(path, "config.json")?)?;
    check_in_and_output(&config)?;
    if config.flag_or("use_residual", false)? {
        return Err(config.unsupported("use_residual", "true", "false"));
    }
    let (inputs, outputs) = (config.size("in_features")?, config.size("out_features")?);
    if inputs != *width {
        return Err(
            config.error(format!("`in_features` is {inputs}, but the module before gives {width} values"))
        );
    }
    *width = outputs;
    let name = config.text("activation_function")?.unwrap_or("torch.nn.modules.activation.Tanh");
    let activation = match name.rsplit('.').next().unwrap_or(name) {
        "Tanh" => Activation::Tanh,
        "Identity" => Activation::Identity,
        "GELU" => Activation::GeluErf,
        "ReLU" => Activation::Relu,
        "SiLU" => Activation::Silu,
        _ => return Err(config.unsupported("activation", name, "Tanh, Identity, GELU, ReLU, SiLU")),
    };
    let weights = Weights::open(files, path)?;
    let because = "out_features and in_features in its config.json";
    let weight = weights.tensor("linear.weight", &[outputs, inputs], because)?;
    let bias = match config.flag_or("bias", true)? {
        true => Some(weights.tensor("linear.bias", &[outputs], because)?),
        false => None,
    };
    Ok(Head::Dense { linear: LinearSpec { parts: vec![(weight, bias)] }, activation })
}

fn read_layer_norm(files: &ModelFiles, path: &str, width: usize) -> Result<Head> {
    let config = files.json(&files.join(path, "config.json")?)?;
    check_in_and_output(&config)?;
    let size = config.size("dimension")?;
    if size != width {
        return Err(
            config.error(format!("`dimension` is {size}, but the module before gives {width} values"))
        );
    }
    let weights = Weights::open(files, path)?;
    let tensor = |name: &str| weights.tensor(name, &[size], "dimension in its config.json");
    let (weight, bias) = (tensor("norm.weight")?, Some(tensor("norm.bias")?));
    Ok(Head::LayerNorm(NormSpec {
        kind: NormKind::LayerNorm,
        size,
        weight: Some(weight),
        weight_offset: 0.0,
        bias,
        eps: 1e-5,
    }))
}

fn read_normalize(files: &ModelFiles, path: &str) -> Result<Head> {
    if let Some(config) = files.optional_json(&files.join(path, "config.json")?)? {
        check_in_and_output(&config)?;
    }
    Ok(Head::Normalize)
}
