//! modules.json: what sentence-transformers does with the hidden states after the transformer.

use super::notes::{ModelNote, unknown_keys};
use super::output_head::{HeadModule, Pooling, Residual};
use super::router::Routes;
use super::spec::{Activation, LinearSpec, NormKind, NormSpec, RareActivation};
use super::task_heads::pooling_of_config;
use super::weights::Weights;
use crate::error::ModelResult as Result;
use crate::source::{Json, ModelFiles};
use crate::vector::{PoolingMode, Splade};
use serde_json::Value;

/// The first module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Input {
    /// A transformer; its hidden states go on.
    Transformer,
    /// A transformer with a language-model head, whose logits go on.
    MaskedLanguageModel,
    /// A table of token vectors; their mean goes on.
    StaticEmbedding,
}

/// How modules give a score of relevance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Score {
    /// The last Dense's output.
    Dense,
    /// How much likelier one token is as the next than another, or a token's logit.
    Logits { yes: usize, no: Option<usize> },
}

/// The modules of a model, in order.
pub(crate) struct Modules {
    /// The folder of the first module inside the model folder; empty: the model folder itself.
    pub(crate) folder: String,
    /// What the first module is.
    pub(crate) input: Input,
    /// The width of the hidden states that the next module expects.
    pub(crate) expects: Option<usize>,
    /// On each token's vector, before pooling.
    pub(crate) token_modules: Vec<HeadModule>,
    /// To one vector a text; without it, the vectors of tokens are the result.
    pub(crate) pooling: Option<Pooling>,
    /// On each text's vector.
    pub(crate) heads: Vec<HeadModule>,
    /// Whether vectors are rounded to whole numbers (pplx-embed's FlexibleQuantizer).
    pub(crate) whole: bool,
    /// The folder of a table for queries, and whether texts of no task are queries.
    pub(crate) queries: Option<(String, bool)>,
    /// How the modules give a score, if they do.
    pub(crate) score: Option<Score>,
    /// Words whose vectors are left out (MultiVectorMask).
    pub(crate) skiplist: Option<Vec<String>>,
    /// Whether modules.json says all this, or it is assumed.
    pub(crate) declared: bool,
    /// What to know about the modules' files.
    pub(crate) notes: Vec<ModelNote>,
}

/// Every module that can be in the list.
const KNOWN: &str = "Router, Transformer, MLMTransformer, StaticEmbedding, Pooling, SpladePooling, Dense, LayerNorm, \
                     Normalize, MultiVectorMask, LogitScore, Dropout";

impl Modules {
    /// Reads modules.json and the folders it names. Without the file: the mean of the hidden
    /// states, or the last one of a causal language model. `dimensions` chooses the folder
    /// `2_Dense_{dimensions}` instead of `2_Dense`, where there is one.
    pub(crate) fn read(files: &ModelFiles, dimensions: Option<usize>) -> Result<Modules> {
        let Some(json) = files.optional_json("modules.json")? else {
            return Modules::assumed(files);
        };
        let mut entries = module_list(&json)?;
        let mut queries = None;
        if let [(kind, folder)] = &entries[..]
            && kind == "Router"
        {
            let routes = Routes::read(files, folder)?;
            queries = Some((routes.queries, routes.queries_by_default));
            entries = routes
                .documents
                .iter()
                .map(|(class, path)| Ok((known_class(&json, class)?, path.clone())))
                .collect::<Result<_>>()?;
        }
        let Some(((kind, folder), rest)) = entries.split_first() else {
            return Err(json.error("the list of modules is empty"));
        };
        let input = match kind.as_str() {
            "Transformer" => Input::Transformer,
            "MLMTransformer" => Input::MaskedLanguageModel,
            "StaticEmbedding" => Input::StaticEmbedding,
            _ => {
                let supported = "Router, Transformer, MLMTransformer, StaticEmbedding";
                return Err(json.unsupported("first module", kind, supported));
            }
        };
        files.join(folder, "config.json")?;
        let pools = rest.iter().any(|(kind, _)| kind.ends_with("Pooling"));
        let mut modules = Modules { folder: folder.clone(), input, queries, ..Modules::none(true) };
        let mut width = None;
        for (kind, path) in rest {
            let path = &other_dense(files, path, dimensions)?;
            modules.add(files, &json, kind, path, &mut width, pools)?;
        }
        if input == Input::StaticEmbedding && modules.pooling.is_none() {
            modules.pooling = Some(mean()); // it pools by itself
        }
        Ok(modules)
    }

    fn none(declared: bool) -> Modules {
        Modules {
            folder: String::new(),
            input: Input::Transformer,
            expects: None,
            token_modules: Vec::new(),
            pooling: None,
            heads: Vec::new(),
            whole: false,
            queries: None,
            score: None,
            skiplist: None,
            declared,
            notes: Vec::new(),
        }
    }

    fn assumed(files: &ModelFiles) -> Result<Modules> {
        let config = files.json("config.json")?;
        if config.get("model_type").is_none_or(|kind| kind == "model2vec")
            && config.get("normalize").is_some()
        {
            let heads =
                if config.flag_or("normalize", false)? { vec![HeadModule::Normalize] } else { Vec::new() };
            let (input, pooling) = (Input::StaticEmbedding, Some(mean()));
            return Ok(Modules { input, pooling, heads, ..Modules::none(false) });
        }
        if config.text("model_type")? == Some("llama_bidirec") {
            let (modes, include_prompt) = (vec![pooling_of_config(&config)?], true);
            let pooling = Some(Pooling { modes, include_prompt });
            return Ok(Modules { pooling, heads: vec![HeadModule::Normalize], ..Modules::none(false) });
        }
        Ok(Modules { pooling: Some(default_pooling(&config)?), ..Modules::none(false) })
    }

    /// Adds a module after the first. `width`: values of a row so far, where that is known.
    fn add(
        &mut self,
        files: &ModelFiles,
        json: &Json,
        kind: &str,
        path: &str,
        width: &mut Option<usize>,
        pools: bool,
    ) -> Result<()> {
        if self.score.is_some() && kind != "Dropout" {
            return Err(json.error(format!("the module {kind} stands behind the one that gives the score")));
        }
        // Before pooling, modules work on each token. PyLate's list has no pooling and does not say so.
        let on_tokens = self.pooling.is_none() && self.input != Input::StaticEmbedding;
        let level = match (on_tokens, pools) {
            (true, true) => Level::Tokens,
            (true, false) => Level::TokensOrUnsaid,
            (false, _) => Level::Text,
        };
        let head = match kind {
            "Pooling" | "SpladePooling" if self.pooling.is_some() => {
                return Err(json.error("there are two Pooling modules"));
            }
            "Pooling" => {
                let (pooling, input) = read_pooling(files, path, &mut self.notes)?;
                check_width(json, "Pooling", input, *width)?;
                self.expects.get_or_insert(input);
                *width = Some(input.saturating_mul(pooling.modes.len()));
                self.pooling = Some(pooling);
                return Ok(());
            }
            "SpladePooling" => {
                self.pooling = Some(read_splade_pooling(files, path, &mut self.notes)?);
                return Ok(());
            }
            "MultiVectorMask" => {
                self.skiplist = Some(read_mask(files, path, &mut self.notes)?);
                return Ok(());
            }
            "LogitScore" => {
                self.score = Some(read_logit_score(files, path, &mut self.notes)?);
                return Ok(());
            }
            // It has no files. Source: text-embeddings-inference's `pplx1.rs`; int8 is what it does by default.
            "FlexibleQuantizer" => {
                self.whole = true;
                return Ok(());
            }
            "Dropout" => return Ok(()), // does nothing outside training
            "Dense" => {
                let (inputs, head, scores) = read_dense(files, path, level, &mut self.notes)?;
                self.score = self.score.or(scores.then_some(Score::Dense));
                check_width(json, "Dense", inputs, *width)?;
                self.expects.get_or_insert(inputs);
                *width = head.outputs();
                head
            }
            "LayerNorm" => {
                let (size, head) = read_layer_norm(files, path, level, &mut self.notes)?;
                check_width(json, "LayerNorm", size, *width)?;
                self.expects.get_or_insert(size);
                *width = Some(size);
                head
            }
            "Normalize" => read_normalize(files, path, level, &mut self.notes)?,
            _ => return Err(json.unsupported("module", kind, KNOWN)),
        };
        if on_tokens {
            self.token_modules.push(head)
        } else {
            self.heads.push(head)
        }
        Ok(())
    }
}

/// The mean of all tokens.
pub(crate) fn mean() -> Pooling {
    Pooling { modes: vec![PoolingMode::Mean], include_prompt: true }
}

/// What a module must say that it works on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Text,
    Tokens,
    TokensOrUnsaid,
}

fn check_width(json: &Json, kind: &str, inputs: usize, width: Option<usize>) -> Result<()> {
    match width {
        Some(width) if width != inputs => Err(json.error(format!(
            "the module {kind} expects {inputs} values, but the module before gives {width}"
        ))),
        _ => Ok(()),
    }
}

/// `2_Dense_{dimensions}` beside a module folder `2_Dense`, or `2_Dense_{n}`: the projections to
/// other sizes that stella's models come with.
fn other_dense(files: &ModelFiles, path: &str, dimensions: Option<usize>) -> Result<String> {
    let Some(dimensions) = dimensions.filter(|_| path.starts_with("2_Dense")) else {
        return Ok(path.to_owned());
    };
    let other = format!("2_Dense_{dimensions}");
    let there = files.has(&files.join(&other, "config.json")?);
    Ok(if there { other } else { path.to_owned() })
}

/// The class of a module by its full path: those of sentence-transformers and PyLate, wherever their versions keep
/// them, and jina-embeddings-v3's own, which its family stands for.
fn module_class(path: &str) -> Option<&str> {
    const PACKAGES: [&str; 8] = [
        "sentence_transformers.models",
        "sentence_transformers.base.modules",
        "sentence_transformers.sentence_transformer.modules",
        "sentence_transformers.sparse_encoder.models",
        "sentence_transformers.sparse_encoder.modules",
        "sentence_transformers.multi_vector_encoder.modules",
        "sentence_transformers.cross_encoder.modules",
        "pylate.models",
    ];
    match path {
        "custom_st.Transformer" => return Some("Transformer"),
        "st_quantize.FlexibleQuantizer" => return Some("FlexibleQuantizer"),
        _ => {}
    }
    let (module, class) = path.rsplit_once('.')?;
    // The class, or the file of its name: `Pooling`, `multi_vector_mask`.
    let letters = |name: &str| name.replace('_', "").to_lowercase();
    let in_package = |package: &&str| match module.strip_prefix(*package) {
        Some("") => true,
        Some(file) => file.strip_prefix('.').is_some_and(|file| letters(file) == letters(class)),
        None => false,
    };
    PACKAGES.iter().any(in_package).then_some(class)
}

/// The class of a module, or the error that it is not known.
fn known_class(json: &Json, path: &str) -> Result<String> {
    let known = module_class(path).ok_or_else(|| {
        json.unsupported("module", path, format!("sentence_transformers' and pylate's classes {KNOWN}"))
    });
    known.map(str::to_owned)
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
        // Modules of models that have no kind of their own here may be anything.
        let known = known_class(json, kind)?;
        // "./1_Pooling/" is "1_Pooling"; what begins with a slash is not inside the model.
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let path = if path.starts_with('/') { path.to_owned() } else { parts.join("/") };
        modules.push((known, path));
    }
    Ok(modules)
}

fn default_pooling(config: &Json) -> Result<Pooling> {
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
fn read_pooling(files: &ModelFiles, path: &str, notes: &mut Vec<ModelNote>) -> Result<(Pooling, usize)> {
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
    // The older form's flags are dropped where the newer key is there.
    let older = POOLING_FLAGS.map(|(flag, _)| flag);
    config.heed(older.into_iter().chain(["embedding_dimension", "word_embedding_dimension"]));
    notes.extend(unknown_keys("module config.json", &config));
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
        let known = || PoolingMode::NAMED.map(PoolingMode::name).join(", ");
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

/// sentence-transformers' SpladePooling.
fn read_splade_pooling(files: &ModelFiles, path: &str, notes: &mut Vec<ModelNote>) -> Result<Pooling> {
    let config = files.json(&files.join(path, "config.json")?)?;
    let sum = match config.text("pooling_strategy")?.unwrap_or("max") {
        "max" => false,
        "sum" => true,
        other => return Err(config.unsupported("pooling_strategy", other, "max, sum")),
    };
    let twice = match config.text("activation_function")?.unwrap_or("relu") {
        "relu" => false,
        "log1p_relu" => true,
        other => return Err(config.unsupported("activation", other, "relu, log1p_relu")),
    };
    notes.extend(unknown_keys("module config.json", &config));
    Ok(Pooling { modes: vec![PoolingMode::Splade(Splade { sum, twice })], include_prompt: true })
}

/// sentence-transformers' MultiVectorMask: the words whose vectors are left out of documents.
fn read_mask(files: &ModelFiles, path: &str, notes: &mut Vec<ModelNote>) -> Result<Vec<String>> {
    let Some(config) = files.optional_json(&files.join(path, "config.json")?)? else {
        return Ok(Vec::new());
    };
    if config.get("keep_only_token_ids").is_some() {
        return Err(config.unsupported("keep_only_token_ids", "a list", "null"));
    }
    let tasks = config.list("skiplist_tasks")?;
    if tasks.is_some_and(|tasks| tasks != [Value::from("document")]) {
        return Err(config.unsupported("skiplist_tasks", "other tasks", "[\"document\"]"));
    }
    let words = words(&config, "skiplist_words")?;
    notes.extend(unknown_keys("module config.json", &config));
    Ok(words)
}

/// The list of strings under `key`; empty where the key is absent.
pub(crate) fn words(config: &Json, key: &str) -> Result<Vec<String>> {
    let words = config.list(key)?.unwrap_or_default().iter().map(|word| word.as_str().map(str::to_owned));
    words
        .collect::<Option<_>>()
        .ok_or_else(|| config.error(format!("`{key}` has an entry that is no string")))
}

/// Modules that read or write anything else belong to other kinds of models.
fn check_in_and_output(config: &Json, level: Level) -> Result<()> {
    let expected = if level == Level::Text { "sentence_embedding" } else { "token_embeddings" };
    for key in ["module_input_name", "module_output_name"] {
        let unsaid = if level == Level::TokensOrUnsaid { expected } else { "sentence_embedding" };
        let name = config.text(key)?.unwrap_or(unsaid);
        if name != expected {
            return Err(config.unsupported(key, name, expected));
        }
    }
    Ok(())
}

/// sentence-transformers' LogitScore: two tokens of the vocabulary.
fn read_logit_score(files: &ModelFiles, path: &str, notes: &mut Vec<ModelNote>) -> Result<Score> {
    let config = files.json(&files.join(path, "config.json")?)?;
    let input = config.text("module_input_name")?.unwrap_or("causal_logits");
    if input != "causal_logits" {
        return Err(config.unsupported("module_input_name", input, "causal_logits"));
    }
    let token = |key: &str| -> Result<Option<usize>> {
        let id = |value: &Value| value.as_u64().and_then(|id| usize::try_from(id).ok());
        let wrong = |value: &Value| config.error(format!("`{key}` is {value}, expected a token id"));
        config
            .get(key)
            .filter(|value| !value.is_null())
            .map(|value| id(value).ok_or_else(|| wrong(value)))
            .transpose()
    };
    let yes = token("true_token_id")?.ok_or_else(|| config.error("`true_token_id` is missing"))?;
    let no = token("false_token_id")?;
    notes.extend(unknown_keys("module config.json", &config));
    Ok(Score::Logits { yes, no })
}

/// How many values it expects, the module, and whether its output is the score.
fn read_dense(
    files: &ModelFiles,
    path: &str,
    level: Level,
    notes: &mut Vec<ModelNote>,
) -> Result<(usize, HeadModule, bool)> {
    let config = files.json(&files.join(path, "config.json")?)?;
    let scores = level == Level::Text && config.text("module_output_name")? == Some("scores");
    if !scores {
        check_in_and_output(&config, level)?;
    } else if let Some(input) = config.text("module_input_name")?.filter(|name| *name != "sentence_embedding")
    {
        return Err(config.unsupported("module_input_name", input, "sentence_embedding"));
    }
    let (inputs, outputs) = (config.size("in_features")?, config.size("out_features")?);
    let activation = match config.text("activation_function")? {
        // sentence-transformers takes its default for a path that it does not trust.
        Some(name) if name.starts_with("torch.") => module_activation(&config, name)?,
        _ => Activation::Tanh,
    };
    let weights = Weights::open(files, path)?;
    let because = "out_features and in_features in its config.json";
    let weight = weights.tensor("linear.weight", &[outputs, inputs], because)?;
    let bias = match config.flag_or("bias", true)? {
        true => Some(weights.tensor("linear.bias", &[outputs], because)?),
        false => None,
    };
    let residual = match config.flag_or("use_residual", false)? {
        false => None,
        true if inputs == outputs => match activation {
            Activation::Rare(rare) => {
                let supported = "Tanh, Identity, GELU, ReLU, SiLU";
                return Err(config.unsupported(
                    "activation with use_residual",
                    format!("{rare:?}"),
                    supported,
                ));
            }
            _ => Some(Residual::Input),
        },
        true => {
            let weight = weights.tensor("residual.weight", &[outputs, inputs], because)?;
            Some(Residual::Linear(LinearSpec { parts: vec![(weight, None)] }))
        }
    };
    let linear = LinearSpec { parts: vec![(weight, bias)] };
    notes.extend(unknown_keys("module config.json", &config));
    Ok((inputs, HeadModule::Dense { linear, activation, residual }, scores))
}

/// PyTorch's classes, with their default constants.
const RARE: [(&str, RareActivation); 15] = [
    ("CELU", RareActivation::Elu),
    ("ELU", RareActivation::Elu),
    ("Hardsigmoid", RareActivation::HardSigmoid),
    ("Hardswish", RareActivation::HardSwish),
    ("Hardtanh", RareActivation::HardTanh),
    ("LeakyReLU", RareActivation::LeakyRelu),
    ("LogSigmoid", RareActivation::LogSigmoid),
    ("Mish", RareActivation::Mish),
    ("ReLU6", RareActivation::Relu6),
    ("SELU", RareActivation::Selu),
    ("Sigmoid", RareActivation::Sigmoid),
    ("Softplus", RareActivation::Softplus),
    ("Softsign", RareActivation::Softsign),
    ("Tanhshrink", RareActivation::TanhShrink),
    ("QuickGELUActivation", RareActivation::QuickGelu),
];

/// The activation of a PyTorch module by its dotted name.
fn module_activation(config: &Json, name: &str) -> Result<Activation> {
    match name.rsplit('.').next().unwrap_or(name) {
        "Tanh" => Ok(Activation::Tanh),
        "Identity" => Ok(Activation::Identity),
        "GELU" => Ok(Activation::GeluErf),
        "ReLU" => Ok(Activation::Relu),
        "SiLU" => Ok(Activation::Silu),
        short => match RARE.iter().find(|(known, _)| *known == short) {
            Some((_, rare)) => Ok(Activation::Rare(*rare)),
            None => {
                let rare = RARE.map(|(name, _)| name).join(", ");
                Err(config.unsupported(
                    "activation",
                    name,
                    format!("Tanh, Identity, GELU, ReLU, SiLU, {rare}"),
                ))
            }
        },
    }
}

/// How many values it expects, and the module.
fn read_layer_norm(
    files: &ModelFiles,
    path: &str,
    level: Level,
    notes: &mut Vec<ModelNote>,
) -> Result<(usize, HeadModule)> {
    let config = files.json(&files.join(path, "config.json")?)?;
    check_in_and_output(&config, level)?;
    let size = config.size("dimension")?;
    let weights = Weights::open(files, path)?;
    let tensor = |name: &str| weights.tensor(name, &[size], "dimension in its config.json");
    let (weight, bias) = (tensor("norm.weight")?, Some(tensor("norm.bias")?));
    let norm = NormSpec {
        kind: NormKind::LayerNorm,
        size,
        weight: Some(weight),
        weight_offset: 0.0,
        bias,
        eps: 1e-5,
    };
    notes.extend(unknown_keys("module config.json", &config));
    Ok((size, HeadModule::Norm(norm)))
}

fn read_normalize(
    files: &ModelFiles,
    path: &str,
    level: Level,
    notes: &mut Vec<ModelNote>,
) -> Result<HeadModule> {
    if let Some(config) = files.optional_json(&files.join(path, "config.json")?)? {
        check_in_and_output(&config, level)?;
        notes.extend(unknown_keys("module config.json", &config));
    }
    Ok(HeadModule::Normalize)
}
