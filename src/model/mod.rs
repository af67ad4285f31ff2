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
mod notes;
mod output_head;
mod parts;
mod pickle;
mod relative;
mod router;
mod settings;
mod spec;
mod static_embedding;
mod task_heads;
mod tensor;
mod token_heads;
mod transformer_settings;
mod weights;

pub(crate) use adapters::Adapters;
pub(crate) use late_interaction::LateInteraction;
pub use notes::ModelNote;
pub(crate) use output_head::{HeadModule, OutputHead, OutputKind, Pooling, Residual, ScoreActivation};
pub(crate) use relative::{RelativeBiasSpec, RelativePositionsSpec};
pub(crate) use router::StaticQueries;
#[cfg(test)]
pub(crate) use spec::LongerSpec;
pub(crate) use spec::{
    Activation, AttentionSpec, AttentionWindow, DenseMlpSpec, EncoderSpec, ExpertsSpec, LayerSpec,
    LinearSpec, MixerSpec, MlpSpec, NormKind, NormSpec, PerLayerEmbeddingsSpec, PerLayerInputSpec,
    PositionSpec, RareActivation, RotarySpec, ShortConvSpec,
};
pub(crate) use tensor::{ElementType, Tensor};

use crate::error::{ModelError, ModelResult, RequestError, RequestResult};
use crate::prompt::{ModelPrompts, UserRegistry};
use crate::source::{Json, ModelFiles};
use crate::tokens::{Beside, TextTokenizer, TokenizerRules};
use crate::vector::PoolingMode;
use modules::{Input, Modules, Score};
use serde_json::Value;
use std::collections::HashSet;
use std::path::PathBuf;
use token_heads::M3Heads;
use transformer_settings::{TransformerSettings, TransformerTask};
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
    /// The first values of a vector that are kept where a call does not say, without a change of length.
    pub(crate) truncate_dimensions: Option<usize>,
    /// The most weights of a sparse vector.
    pub(crate) max_active: Option<usize>,
    /// Queries are looked up here, and do not go through the network.
    pub(crate) static_queries: Option<StaticQueries>,
    /// What to know about the files of its modules.
    notes: Vec<ModelNote>,
    sentence: Json,
    settings: Option<Json>,
    /// Values that its authors trained it to be cut to, where config.json says.
    pub(crate) trained_dimensions: Vec<usize>,
    /// Sizes for which the model has a projection of its own (`2_Dense_*`).
    pub(crate) dense_folders: Vec<usize>,
    transformer: String,
    rules: TokenizerRules,
    tokenizer: TokenizerFiles,
    config: Json,
    weights: Weights,
    family_input: Input,
    /// See [`TransformerSettings::hidden_layer`].
    hidden_layer: Option<i64>,
}

/// The files beside tokenizer.json.
struct TokenizerFiles {
    settings: Json,
    special_tokens_map: Json,
    added_tokens: Json,
    arguments: Json,
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
        let mut modules = Modules::read(files, dimensions)?;
        let inside = |file: &str| files.join(&modules.folder, file);
        let config = match files.optional_json(&inside("config.json")?)? {
            Some(config) => config,
            None if modules.input == Input::StaticEmbedding => Json::empty(files.path("config.json")),
            None => files.json(&inside("config.json")?)?,
        };
        let settings = TransformerSettings::read(files, &modules.folder)?;
        let config = settings.config_with_arguments(&config)?;
        let weights = Weights::open(files, &modules.folder)?;
        let adapters = Adapters::read(files, &modules.folder, &config, &weights)?;
        if modules.input == Input::StaticEmbedding {
            config.heed(static_embedding::RECORDS);
        }
        let encoder = read_encoder(modules.input, &config, &weights, adapters.as_ref().map(|a| a.at(0)))?;
        checks::module_width(files, &modules, &encoder)?;

        let sentence = files.json_or_empty("config_sentence_transformers.json")?;
        let mut prompts = ModelPrompts::read(files, &config, &sentence, registry)?;
        if let Some(adapters) = adapters.as_ref().filter(|adapters| adapters.default.is_some()) {
            prompts.set_adapters(&adapters.names, adapters.default.clone());
        }
        prompts.set_pooled(modules.pooling.as_ref().is_none_or(|pooling| pooling.include_prompt));
        let folder = modules.folder.clone();
        let tokenizer = files.json_or_empty(&inside("tokenizer_config.json")?)?;
        let is_static = modules.input == Input::StaticEmbedding;
        let chat = if is_static {
            None
        } else {
            settings.chat(files, &folder, &tokenizer, modules.declared, purpose == Purpose::Rank)?
        };
        let max_tokens = match settings.cuts || is_static {
            true => settings::max_tokens(&settings, &tokenizer, &config, &encoder)?,
            false => encoder.max_tokens.unwrap_or(settings::MOST_TOKENS),
        };
        let rules = TokenizerRules {
            lowercase: settings.lowercase,
            special_tokens: !is_static && settings.special_tokens,
            cuts: is_static || settings.cuts,
            model2vec: is_static && weights.has(static_embedding::MODEL2VEC),
            chat,
            padding: if weights.has("score.weight") { config.token_id("pad_token_id")? } else { None },
            ..TokenizerRules::default()
        };
        let tokenizer = TokenizerFiles {
            settings: tokenizer,
            special_tokens_map: files.json_or_empty(&inside("special_tokens_map.json")?)?,
            added_tokens: files.json_or_empty(&inside("added_tokens.json")?)?,
            arguments: settings.tokenizer_arguments.with(&settings.tokenizer_arguments),
        };
        // sentence-transformers reads this file beside modules.json only, and a reranker's only where it says
        // that it is one's.
        let of_this_class = purpose == Purpose::Embed || sentence.text("model_type")? == Some("CrossEncoder");
        let is_heeded = modules.declared && of_this_class;
        let no_sentence = Json::empty(sentence.path.clone());
        let heeded = if is_heeded { &sentence } else { &no_sentence };
        let score_activation = settings::score_activation(heeded, &config)?;
        let similarity = sentence.text("similarity_fn_name")?.map(str::to_lowercase);
        let family_input = modules.input;
        let truncate_dimensions = heeded.optional_size("truncate_dim")?;
        let max_active = heeded.optional_size("max_active_dims")?;
        if !is_heeded {
            prompts.forget_default();
        }
        let skiplist = modules.skiplist.clone();
        let static_queries = match &modules.queries {
            Some((folder, by_default)) => {
                Some(StaticQueries::read(files, folder, *by_default, encoder.embedding.word.rows())?)
            }
            None => None,
        };
        let notes = std::mem::take(&mut modules.notes);
        let parts = Parts {
            files,
            name: prompts.model(),
            settings: &settings,
            config: &config,
            weights: &weights,
            encoder: &encoder,
        };
        let (outputs, m3) = read_outputs(&parts, purpose, modules)?;
        checks::nothing_left_out(&weights, &encoder, &outputs)?;
        let gives_tokens = outputs.iter().any(|head| head.kind == OutputKind::TokenVectors);
        if let Some(file) = settings.json.as_ref() {
            let lengths = ["query_length", "document_length"].into_iter().filter(|_| !gives_tokens);
            if let Some(key) = lengths.chain(["tokenizer_name_or_path"]).find(|&key| file.get(key).is_some())
            {
                let supported = "max_seq_length, and the tokenizer in the model's own folder";
                return Err(file.unsupported("setting of the transformer", key, supported));
            }
        }
        let late_interaction = match (gives_tokens, m3) {
            (false, _) => None,
            (true, Some(of_m3)) => Some(of_m3),
            (true, None) => Some(LateInteraction::read(files, settings.json.as_ref(), &sentence, skiplist)?),
        };
        let encoder = encoder.up_to_layer(settings.hidden_layer).map_err(|problem| config.error(problem))?;
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
            truncate_dimensions,
            max_active,
            static_queries,
            notes,
            sentence,
            settings: settings.json,
            trained_dimensions: settings::trained_dimensions(&config)?,
            dense_folders: settings::dense_folders(files),
            transformer: folder,
            rules,
            tokenizer,
            config,
            weights,
            family_input,
            hidden_layer: settings.hidden_layer,
        })
    }

    /// The transformer with an adapter, or with none.
    pub(crate) fn encoder_with(&self, adapter: Option<usize>) -> ModelResult<EncoderSpec> {
        let adapter = self.adapters.as_ref().zip(adapter).map(|(adapters, index)| adapters.at(index));
        let encoder = read_encoder(self.family_input, &self.config, &self.weights, adapter)?;
        encoder.up_to_layer(self.hidden_layer).map_err(|problem| self.config.error(problem))
    }

    /// Reads the tokenizer: apart from the rest because it takes long, and weights can be made
    /// ready meanwhile.
    pub(crate) fn read_tokenizer(&self, files: &ModelFiles) -> ModelResult<TextTokenizer> {
        let name = self.tokenizer_file(files)?;
        let vocabulary = self.encoder.embedding.word.rows();
        let mut rules = self.rules.clone();
        if let Some(late) = &self.late_interaction {
            rules.markers =
                late.markers.iter().flat_map(|(query, document)| [query.clone(), document.clone()]).collect();
            rules.skiplist = late.skiplist.clone();
            rules.expansion = late.expansion.clone();
        }
        let beside = (self.family_input != Input::StaticEmbedding).then_some(Beside {
            config: &self.config,
            settings: &self.tokenizer.settings,
            special_tokens_map: &self.tokenizer.special_tokens_map,
            added_tokens: &self.tokenizer.added_tokens,
            arguments: &self.tokenizer.arguments,
        });
        TextTokenizer::new(
            files.path(&name),
            &files.tokenizer_json(&name)?,
            beside.as_ref(),
            rules,
            vocabulary,
        )
    }

    /// The tokenizer of queries that are looked up.
    pub(crate) fn read_query_tokenizer(&self, files: &ModelFiles) -> ModelResult<Option<TextTokenizer>> {
        self.static_queries.as_ref().map(|queries| queries.tokenizer(files, &self.config)).transpose()
    }

    /// What to know about its files, once all of them were read.
    pub(crate) fn notes(&self) -> Vec<ModelNote> {
        let mut notes = self.notes.clone();
        let files = [
            ("config.json", &self.config),
            ("config_sentence_transformers.json", &self.sentence),
            ("tokenizer_config.json", &self.tokenizer.settings),
            ("special_tokens_map.json", &self.tokenizer.special_tokens_map),
        ];
        let settings = self.settings.iter().map(|settings| ("sentence_bert_config.json", settings));
        notes.extend(
            files.into_iter().chain(settings).flat_map(|(kind, file)| notes::unknown_keys(kind, file)),
        );
        match self.prompts.by_name() {
            Some((family, says)) => notes.push(ModelNote::ByName { family: family.to_owned(), says }),
            None if self.prompts.registry_family().is_none() => {
                notes.push(ModelNote::UnknownName { names: self.prompts.names().to_vec() });
            }
            None => {}
        }
        notes
    }

    /// All of the model but its weights and its tokenizer that decides what a text becomes.
    pub(crate) fn description(&self) -> String {
        let Model { encoder, outputs, adapters, late_interaction, score_activation, max_active, .. } = self;
        let adapted = (0..adapters.as_ref().map_or(0, |adapters| adapters.names.len())).map(|place| {
            self.encoder_with(Some(place)).map(|encoder| format!("{encoder:?}")).unwrap_or_default()
        });
        let adapted: Vec<String> = adapted.collect();
        let queries = self.static_queries.as_ref().map(StaticQueries::description).unwrap_or_default();
        queries
            + &format!(
                "{encoder:?} {outputs:?} {adapters:?} {adapted:?} {late_interaction:?} {score_activation:?} {max_active:?}"
            )
    }

    /// The name of tokenizer.json.
    pub(crate) fn tokenizer_file(&self, files: &ModelFiles) -> ModelResult<String> {
        files.join(&self.transformer, "tokenizer.json")
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
    settings: &'a TransformerSettings,
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
    let task = settings.task;
    match (purpose, score_head(parts, purpose, &modules)?) {
        (Purpose::Rank, Some(HeadOfScore::Read(head))) => return Ok((vec![head], None)),
        (Purpose::Rank, Some(HeadOfScore::OfModules)) => {
            let Modules { token_modules, pooling, heads, .. } = modules;
            return Ok((vec![OutputHead::new(OutputKind::Labels, token_modules, pooling, heads)], None));
        }
        (Purpose::Rank, None) => return Err(ModelError::NotAReranker { model: name.to_owned() }),
        (Purpose::Embed, Some(_)) => return Err(ModelError::Reranker { model: name.to_owned() }),
        (Purpose::Embed, None) => {}
    }
    let Modules { folder, input, mut token_modules, pooling, heads, declared, whole, .. } = modules;
    if input == Input::MaskedLanguageModel || task == Some(TransformerTask::FillMask) {
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
    let mut outputs =
        vec![OutputHead { whole, ..OutputHead::new(kind, token_modules, Some(pooling), heads) }];
    let M3Heads { outputs: more, late_interaction } = token_heads::m3_heads(files, &folder, encoder)?;
    outputs.extend(more);
    Ok((outputs, late_interaction))
}

/// What gives a reranker's score.
enum HeadOfScore {
    Read(OutputHead),
    /// The modules themselves end in it.
    OfModules,
}

/// What gives the score, if the model is a reranker.
fn score_head(parts: &Parts<'_>, purpose: Purpose, modules: &Modules) -> ModelResult<Option<HeadOfScore>> {
    let Parts { files, settings, config, weights, encoder, .. } = *parts;
    let undeclared = if modules.declared { None } else { architecture(config)? };
    let classifies = match settings.task {
        Some(task) => task == TransformerTask::Classification,
        None => undeclared.is_some_and(|name| name.ends_with("ForSequenceClassification")),
    };
    let head = match modules.score {
        Some(Score::Dense) => return Ok(Some(HeadOfScore::OfModules)),
        Some(Score::Logits { yes, no }) => task_heads::logit_head(config, weights, encoder, yes, no)?,
        None if classifies => task_heads::classification_head(config, weights, encoder)?,
        // A language model by itself is asked for yes or no.
        None if purpose == Purpose::Rank && undeclared.is_some_and(|name| name.ends_with("ForCausalLM")) => {
            let (yes, no) = (id_of(files, modules, "yes")?, id_of(files, modules, "no")?);
            match yes.zip(no) {
                Some((yes, no)) => task_heads::logit_head(config, weights, encoder, yes, Some(no))?,
                None => return Ok(None),
            }
        }
        None => return Ok(None),
    };
    Ok(Some(HeadOfScore::Read(head)))
}

/// The id of a word in tokenizer.json's vocabulary.
fn id_of(files: &ModelFiles, modules: &Modules, word: &str) -> ModelResult<Option<usize>> {
    let name = files.join(&modules.folder, "tokenizer.json")?;
    let tokenizer = Json::parse(files.path(&name), &files.tokenizer_json(&name)?)?;
    let vocabulary = tokenizer.value.get("model").and_then(|model| model.get("vocab"));
    let id = vocabulary.and_then(|vocabulary| vocabulary.get(word)?.as_u64());
    Ok(id.and_then(|id| usize::try_from(id).ok()))
}

/// The first of `architectures` in config.json.
fn architecture(config: &Json) -> ModelResult<Option<&str>> {
    Ok(config.list("architectures")?.and_then(|names| names.first()).and_then(Value::as_str))
}
