//! Opening a model: a folder as the Hugging Face Hub and sentence-transformers lay it out.
//!
//! All names, shapes and types are checked here, before anything runs; a thing that is not known
//! is an error that names it.

mod adapters;
mod checks;
mod derived;
mod families;
mod late_interaction;
mod modules;
mod output_head;
mod pickle;
mod settings;
mod spec;
mod static_embedding;
mod task_heads;
mod tensor;
mod token_heads;
mod weights;

pub(crate) use adapters::Adapters;
pub(crate) use late_interaction::LateInteraction;
pub(crate) use output_head::{HeadModule, OutputHead, OutputKind, Pooling, ScoreActivation};
#[cfg(test)]
pub(crate) use spec::DynamicNtkSpec;
pub(crate) use spec::{
    Activation, AttentionSpec, AttentionWindow, DenseMlpSpec, EncoderSpec, ExpertsSpec, LayerSpec,
    LinearSpec, MlpSpec, NormKind, NormSpec, PerLayerEmbeddingsSpec, PerLayerInputSpec, RelativeBiasSpec,
    RotarySpec,
};
pub(crate) use tensor::{ElementType, Tensor};

use crate::error::{ModelError, ModelResult, RequestError, RequestResult};
use crate::prompt::{ModelPrompts, UserRegistry};
use crate::source::{Json, ModelFiles};
use crate::tokens::{TextTokenizer, TokenizerRules};
use crate::vector::PoolingMode;
use modules::{Input, Modules};
use serde_json::Value;
use std::collections::HashSet;
use std::path::PathBuf;
use token_heads::M3Heads;
use weights::Weights;

/// What a model is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// Vectors of texts.
    Embed,
    /// Scores of pairs of texts.
    Rank,
}

/// An opened model: everything but its tokenizer and a backend to run it.
pub(crate) struct Model {
    /// The folder, or a name for a built-in model.
    pub(crate) root: PathBuf,
    /// The transformer, with the first adapter if there are some.
    pub(crate) encoder: EncoderSpec,
    /// What it gives for a text.
    pub(crate) outputs: Vec<OutputHead>,
    /// Its own prompts and those of the registry.
    pub(crate) prompts: ModelPrompts,
    /// Its task adapters.
    pub(crate) adapters: Option<Adapters>,
    /// How texts become token vectors, for models that give those.
    pub(crate) late_interaction: Option<LateInteraction>,
    /// The token limit that its authors set.
    pub(crate) max_tokens: usize,
    /// Applied to the scores of a reranker.
    pub(crate) score_activation: ScoreActivation,
    /// The model's similarity function by its own files.
    pub(crate) similarity: Option<String>,
    /// Values that its authors trained it to be cut to, where config.json says.
    pub(crate) trained_dimensions: Vec<usize>,
    /// Sizes for which the model has a projection of its own (`2_Dense_*`).
    pub(crate) dense_folders: Vec<usize>,
    transformer: String,
    rules: TokenizerRules,
    config: Json,
    weights: Weights,
    family_input: Input,
}

impl Model {
    /// Reads and checks a model. `dimensions` chooses among the projections of a model that has
    /// several; `registry` comes before the built-in one.
    pub(crate) fn open(
        files: &ModelFiles,
        purpose: Purpose,
        dimensions: Option<usize>,
        registry: Option<&UserRegistry>,
    ) -> ModelResult<Model> {
        let modules = Modules::read(files, dimensions)?;
        let inside = |file: &str| files.join(&modules.folder, file);
        let config = match files.optional_json(&inside("config.json")?)? {
            Some(config) => config,
            None if modules.input == Input::StaticEmbedding => Json::empty(files.path("config.json")),
            None => files.json(&inside("config.json")?)?,
        };
        let weights = Weights::open(files, &modules.folder)?;
        let adapters = Adapters::read(files, &modules.folder, &config)?;
        let encoder = read_encoder(modules.input, &config, &weights, adapters.as_ref().map(|a| a.at(0)))?;
        checks::module_width(files, &modules, &encoder)?;

        let settings = settings::settings(files, &modules.folder)?;
        let mut prompts = ModelPrompts::read(files, &config, registry)?;
        prompts.set_pooled(modules.pooling.as_ref().is_none_or(|pooling| pooling.include_prompt));
        let folder = modules.folder.clone();
        let max_tokens = settings::max_tokens(files, &folder, settings.as_ref(), &config, &encoder)?;
        let rules = TokenizerRules {
            lowercase: settings.as_ref().map_or(Ok(false), |json| json.flag_or("do_lower_case", false))?,
            special_tokens: modules.input != Input::StaticEmbedding,
            ..TokenizerRules::default()
        };
        let rules = TokenizerRules {
            model2vec: modules.input == Input::StaticEmbedding && weights.has(static_embedding::MODEL2VEC),
            ..rules
        };
        let score_activation = settings::score_activation(files, &config)?;
        let similarity = match files.optional_json("config_sentence_transformers.json")? {
            Some(json) => json.text("similarity_fn_name")?.map(str::to_lowercase),
            None => None,
        };
        let family_input = modules.input;
        let skiplist = modules.skiplist.clone();
        let parts = Parts {
            files,
            name: prompts.model(),
            settings: settings.as_ref(),
            config: &config,
            weights: &weights,
            encoder: &encoder,
        };
        let (outputs, m3) = read_outputs(&parts, purpose, modules)?;
        checks::nothing_left_out(&weights, &encoder, &outputs)?;
        let gives_tokens = outputs.iter().any(|head| head.kind == OutputKind::TokenVectors);
        let late_interaction = match (gives_tokens, m3) {
            (false, _) => None,
            (true, Some(of_m3)) => Some(of_m3),
            (true, None) => Some(LateInteraction::read(files, settings.as_ref(), skiplist)?),
        };
        Ok(Model {
            root: files.root(),
            encoder,
            outputs,
            prompts,
            adapters,
            late_interaction,
            max_tokens,
            score_activation,
            similarity,
            trained_dimensions: settings::trained_dimensions(&config)?,
            dense_folders: settings::dense_folders(files),
            transformer: folder,
            rules,
            config,
            weights,
            family_input,
        })
    }

    /// The transformer with an adapter, or with none.
    pub(crate) fn encoder_with(&self, adapter: Option<usize>) -> ModelResult<EncoderSpec> {
        let adapter = self.adapters.as_ref().zip(adapter).map(|(adapters, index)| adapters.at(index));
        read_encoder(self.family_input, &self.config, &self.weights, adapter)
    }

    /// Reads the tokenizer: apart from the rest because it takes long, and weights can be made
    /// ready meanwhile.
    pub(crate) fn read_tokenizer(&self, files: &ModelFiles) -> ModelResult<TextTokenizer> {
        let name = files.join(&self.transformer, "tokenizer.json")?;
        let settings = files.optional_json(&files.join(&self.transformer, "tokenizer_config.json")?)?;
        let vocabulary = self.encoder.embedding.word.rows();
        let mut rules = self.rules.clone();
        if let Some(late) = &self.late_interaction {
            rules.markers =
                late.markers.iter().flat_map(|(query, document)| [query.clone(), document.clone()]).collect();
            rules.skiplist = late.skiplist.clone();
            rules.expansion = late.expansion.clone();
        }
        TextTokenizer::new(
            files.path(&name),
            &files.tokenizer_json(&name)?,
            settings.as_ref(),
            rules,
            vocabulary,
        )
    }

    /// The position of the output of this kind.
    pub(crate) fn output(&self, kind: OutputKind) -> Option<usize> {
        self.outputs.iter().position(|head| head.kind == kind)
    }

    /// The output of this kind, or an error that says what the model has instead.
    pub(crate) fn require_output(&self, kind: OutputKind) -> RequestResult<usize> {
        self.output(kind).ok_or_else(|| RequestError::NoSuchOutput {
            model: self.prompts.model().to_owned(),
            asked: kind.describe(),
            offered: self.outputs.iter().map(|head| head.kind.describe()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Values of a row of an output.
    pub(crate) fn width(&self, output: usize) -> usize {
        self.outputs[output].width(self.encoder.width())
    }

    /// The files that decide, beside the weights, what a text becomes.
    pub(crate) fn deciding_files(&self) -> Vec<String> {
        let folder = self.transformer.trim_end_matches('/');
        let inside =
            |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        let of_transformer = ["config.json", "tokenizer.json", "sentence_bert_config.json"];
        let of_model = ["modules.json", "1_Pooling/config.json"].map(str::to_owned);
        of_transformer.map(inside).into_iter().chain(of_model).collect()
    }

    /// All weight tensors, each once.
    pub(crate) fn tensors(&self) -> Vec<&Tensor> {
        let mut tensors = self.encoder.tensors();
        tensors.extend(self.outputs.iter().flat_map(OutputHead::tensors));
        // Layers may share one.
        let mut seen = HashSet::new();
        tensors.retain(|tensor| seen.insert(tensor.place()));
        tensors
    }
}

fn read_encoder(
    input: Input,
    config: &Json,
    weights: &Weights,
    adapter: Option<weights::Adapter>,
) -> ModelResult<EncoderSpec> {
    if input == Input::StaticEmbedding {
        return static_embedding::encoder(weights);
    }
    match adapter {
        Some(adapter) => families::encoder(config, &weights.with_adapter(adapter)),
        None => families::encoder(config, weights),
    }
}

/// What was read of a model before its outputs.
struct Parts<'a> {
    files: &'a ModelFiles,
    /// For messages.
    name: &'a str,
    /// sentence_bert_config.json
    settings: Option<&'a Json>,
    config: &'a Json,
    weights: &'a Weights,
    encoder: &'a EncoderSpec,
}

/// What the model gives for a text, and how bge-m3 makes token vectors.
fn read_outputs(
    parts: &Parts<'_>,
    purpose: Purpose,
    modules: Modules,
) -> ModelResult<(Vec<OutputHead>, Option<LateInteraction>)> {
    let Parts { files, name, settings, config, weights, encoder } = *parts;
    let task = settings.map_or(Ok(None), |settings| settings.text("transformer_task"))?;
    let classifies = match task {
        Some(task) => task == "sequence-classification",
        None => {
            !modules.declared
                && architecture(config)?.is_some_and(|name| name.ends_with("ForSequenceClassification"))
        }
    };
    match (purpose, classifies) {
        (Purpose::Rank, true) => {
            return Ok((vec![task_heads::classification_head(config, weights, encoder)?], None));
        }
        (Purpose::Rank, false) => return Err(ModelError::NotAReranker { model: name.to_owned() }),
        (Purpose::Embed, true) => return Err(ModelError::Reranker { model: name.to_owned() }),
        (Purpose::Embed, false) => {}
    }
    let Modules { folder, input, mut token_modules, pooling, heads, declared, .. } = modules;
    if input == Input::MaskedLanguageModel || task == Some("fill-mask") {
        let mut head = task_heads::language_model_head(config, weights, encoder)?;
        head.append(&mut token_modules);
        token_modules = head;
    }
    let stanford = !declared && architecture(config)? == Some("HF_ColBERT");
    if stanford {
        let projection = token_heads::stanford_projection(weights, encoder)?;
        return Ok((vec![OutputHead::of_tokens(OutputKind::TokenVectors, projection)], None));
    }
    let Some(pooling) = pooling else {
        if !matches!(token_modules.last(), Some(HeadModule::Normalize)) {
            token_modules.push(HeadModule::Normalize); // PyLate does so without a module
        }
        return Ok((vec![OutputHead::of_tokens(OutputKind::TokenVectors, token_modules)], None));
    };
    let splade = pooling.modes.iter().any(|mode| matches!(mode, PoolingMode::Splade(_)));
    let kind = if splade { OutputKind::Vocabulary } else { OutputKind::Dense };
    let mut outputs = vec![OutputHead::new(kind, token_modules, Some(pooling), heads)];
    let M3Heads { outputs: more, late_interaction } = token_heads::m3_heads(files, &folder, encoder)?;
    outputs.extend(more);
    Ok((outputs, late_interaction))
}

/// The first of `architectures` in config.json.
fn architecture(config: &Json) -> ModelResult<Option<&str>> {
    Ok(config.list("architectures")?.and_then(|names| names.first()).and_then(Value::as_str))
}
