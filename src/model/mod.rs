//! Opening a model: a folder as the Hugging Face Hub and sentence-transformers lay it out.
//!
//! All names, shapes and types are checked here, before anything runs; a thing that is not known
//! is an error that names it.

mod adapters;
mod checks;
mod derived;
mod ends;
mod families;
mod files;
mod late_interaction;
mod mmap;
mod modules;
mod pickle;
mod spec;
mod weights;

pub(crate) use adapters::Adapters;
pub(crate) use ends::{EndKind, EndSpec, Head, Pooling, ScoreActivation};
pub(crate) use files::{Json, ModelFiles};
pub(crate) use late_interaction::{Expansion, LateInteraction};
#[cfg(test)]
pub(crate) use spec::StretchSpec;
pub(crate) use spec::{
    Activation, AttentionSpec, DenseMlpSpec, EncoderSpec, ExpertsSpec, LayerSpec, LinearSpec, MlpSpec,
    NormKind, NormSpec, RelativeBiasSpec, RotarySpec, SideSignalSpec, SideSpec, Visible,
};
pub(crate) use weights::{ElementType, Tensor};

use crate::error::{Error, Result};
use crate::prompt::{ModelPrompts, UserRegistry};
use crate::tokens::{TextTokenizer, TokenizerRules};
use families::static_embedding;
use modules::{Input, Modules};
use serde_json::Value;
use std::collections::HashSet;
use std::path::PathBuf;
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
    pub(crate) ends: Vec<EndSpec>,
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
    ) -> Result<Model> {
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

        let settings = checks::settings(files, &modules.folder)?;
        let mut prompts = ModelPrompts::read(files, &config, registry)?;
        prompts.set_pooled(modules.pooling.as_ref().is_none_or(|pooling| pooling.include_prompt));
        let folder = modules.folder.clone();
        let max_tokens = checks::max_tokens(files, &folder, settings.as_ref(), &config, &encoder)?;
        let rules = TokenizerRules {
            lowercase: settings.as_ref().map_or(Ok(false), |json| json.flag_or("do_lower_case", false))?,
            special_tokens: modules.input != Input::StaticEmbedding,
            ..TokenizerRules::default()
        };
        let rules = TokenizerRules {
            model2vec: modules.input == Input::StaticEmbedding && weights.has(static_embedding::MODEL2VEC),
            ..rules
        };
        let score_activation = checks::score_activation(files, &config)?;
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
        let ends = read_ends(&parts, purpose, modules)?;
        checks::nothing_left_out(&weights, &encoder, &ends)?;
        let late_interaction = match ends.iter().any(|end| end.kind == EndKind::TokenVectors) {
            false => None,
            // bge-m3's vectors leave the first token out and know no other rules.
            true if ends.len() > 1 => {
                Some(LateInteraction { skip_first: true, ..LateInteraction::default() })
            }
            true => Some(LateInteraction::read(files, settings.as_ref(), skiplist)?),
        };
        Ok(Model {
            root: files.root(),
            encoder,
            ends,
            prompts,
            adapters,
            late_interaction,
            max_tokens,
            score_activation,
            similarity,
            trained_dimensions: checks::trained_dimensions(&config)?,
            dense_folders: checks::dense_folders(files),
            transformer: folder,
            rules,
            config,
            weights,
            family_input,
        })
    }

    /// The transformer with an adapter, or with none.
    pub(crate) fn encoder_with(&self, adapter: Option<usize>) -> Result<EncoderSpec> {
        let adapter = self.adapters.as_ref().zip(adapter).map(|(adapters, index)| adapters.at(index));
        read_encoder(self.family_input, &self.config, &self.weights, adapter)
    }

    /// Reads the tokenizer: apart from the rest because it takes long, and weights can be made
    /// ready meanwhile.
    pub(crate) fn read_tokenizer(&self, files: &ModelFiles) -> Result<TextTokenizer> {
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

    /// The place of the end of this kind.
    pub(crate) fn end(&self, kind: EndKind) -> Option<usize> {
        self.ends.iter().position(|end| end.kind == kind)
    }

    /// The end of this kind, or an error that says what the model has instead.
    pub(crate) fn require_end(&self, kind: EndKind) -> Result<usize> {
        self.end(kind).ok_or_else(|| Error::NoSuchResult {
            model: self.prompts.model().to_owned(),
            asked: kind.describe(),
            offered: self.ends.iter().map(|end| end.kind.describe()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Values of a row of an end.
    pub(crate) fn width(&self, end: usize) -> usize {
        self.ends[end].width(self.encoder.width())
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
        tensors.extend(self.ends.iter().flat_map(EndSpec::tensors));
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
) -> Result<EncoderSpec> {
    if input == Input::StaticEmbedding {
        return static_embedding::encoder(weights);
    }
    match adapter {
        Some(adapter) => families::encoder(config, &weights.with_adapter(adapter)),
        None => families::encoder(config, weights),
    }
}

/// What was read of a model before its ends.
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

/// What the model gives for a text.
fn read_ends(parts: &Parts<'_>, purpose: Purpose, modules: Modules) -> Result<Vec<EndSpec>> {
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
        (Purpose::Rank, true) => return Ok(vec![families::classification_head(config, weights, encoder)?]),
        (Purpose::Rank, false) => return Err(Error::NotAReranker { model: name.to_owned() }),
        (Purpose::Embed, true) => return Err(Error::Reranker { model: name.to_owned() }),
        (Purpose::Embed, false) => {}
    }
    let Modules { folder, input, mut token_heads, pooling, heads, declared, .. } = modules;
    if input == Input::MaskedLanguageModel || task == Some("fill-mask") {
        let mut head = families::language_model_head(config, weights, encoder)?;
        head.append(&mut token_heads);
        token_heads = head;
    }
    let stanford = !declared && architecture(config)? == Some("HF_ColBERT");
    if stanford {
        return Ok(vec![EndSpec::of_tokens(
            EndKind::TokenVectors,
            checks::stanford_projection(weights, encoder)?,
        )]);
    }
    let Some(pooling) = pooling else {
        if !matches!(token_heads.last(), Some(Head::Normalize)) {
            token_heads.push(Head::Normalize); // PyLate does so without a module
        }
        return Ok(vec![EndSpec::of_tokens(EndKind::TokenVectors, token_heads)]);
    };
    let splade = pooling.modes.iter().any(|mode| matches!(mode, crate::pooling::PoolingMode::Splade(_)));
    let kind = if splade { EndKind::Vocabulary } else { EndKind::Dense };
    let mut ends = vec![EndSpec::new(kind, token_heads, Some(pooling), heads)];
    ends.extend(checks::extra_ends(files, &folder, encoder)?);
    Ok(ends)
}

/// The first of `architectures` in config.json.
fn architecture(config: &Json) -> Result<Option<&str>> {
    Ok(config.list("architectures")?.and_then(|names| names.first()).and_then(Value::as_str))
}
