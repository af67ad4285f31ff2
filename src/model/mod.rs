//! Opening a model: a folder as the Hugging Face Hub and sentence-transformers lay it out.
//!
//! All names, shapes and types are checked here, before anything runs; a thing that is not known
//! is an error that names it.

mod families;
mod files;
mod mmap;
mod modules;
mod spec;
mod weights;

pub(crate) use files::{Json, ModelFiles};
pub(crate) use modules::{Head, Pooling};
pub(crate) use spec::{
    Activation, AttentionSpec, EncoderSpec, LayerSpec, LinearSpec, MlpSpec, NormKind, NormSpec,
    RelativeBiasSpec, RotarySpec, SideSignalSpec, SideSpec, Visible,
};
pub(crate) use weights::Tensor;

use crate::error::Result;
use crate::output::Cut;
use crate::prompt::ModelPrompts;
use crate::tokens::TextTokenizer;
use modules::Modules;
use std::collections::HashSet;
use std::path::PathBuf;
use weights::Weights;

/// An opened model: everything but its tokenizer and a backend to run it.
pub(crate) struct Model {
    /// The folder, or a name for a built-in model.
    pub(crate) root: PathBuf,
    /// The transformer.
    pub(crate) encoder: EncoderSpec,
    /// Hidden states to one vector a text.
    pub(crate) pooling: Pooling,
    /// What follows on that vector.
    pub(crate) heads: Vec<Head>,
    /// Its own prompts and those of the registry.
    pub(crate) prompts: ModelPrompts,
    /// The folder of the transformer inside the model folder.
    transformer: String,
    /// Texts are lower-cased first.
    lowercase: bool,
    /// The token limit that its authors set.
    pub(crate) max_tokens: usize,
}

impl Model {
    /// Reads and checks a model.
    pub(crate) fn open(files: &ModelFiles) -> Result<Model> {
        let modules = Modules::read(files)?;
        let inside = |file: &str| files.join(&modules.transformer, file);
        let config = files.json(&inside("config.json")?)?;
        let weights = Weights::open(files, &modules.transformer)?;
        let encoder = families::encoder(&config, &weights)?;
        check_nothing_left_out(&weights, &encoder)?;
        check_pooling_width(files, &modules, &encoder)?;

        let settings = read_settings(files, &modules.transformer)?;
        let lowercase = settings.as_ref().map_or(Ok(false), |json| json.flag_or("do_lower_case", false))?;
        let max_tokens = max_tokens(files, &modules.transformer, settings.as_ref(), &encoder)?;
        let prompts = ModelPrompts::read(files, &config)?;
        let Modules { transformer, mut pooling, heads, .. } = modules;
        pooling.include_prompt &= prompts.pools_prompt();
        Ok(Model { root: files.root(), transformer, encoder, pooling, heads, prompts, lowercase, max_tokens })
    }

    /// Reads the tokenizer: apart from the rest because it takes long, and weights can be made
    /// ready meanwhile.
    pub(crate) fn read_tokenizer(&self, files: &ModelFiles) -> Result<TextTokenizer> {
        let json = files.tokenizer_json(&files.join(&self.transformer, "tokenizer.json")?)?;
        let settings = files.optional_json(&files.join(&self.transformer, "tokenizer_config.json")?)?;
        let vocabulary = self.encoder.embedding.word.rows();
        TextTokenizer::new(json, settings.as_ref(), self.lowercase, vocabulary)
    }

    /// Values of a vector.
    pub(crate) fn dimensions(&self) -> usize {
        let pooled = self.encoder.width() * self.pooling.modes.len();
        let mut widths = self.heads.iter().rev().filter_map(|head| match head {
            Head::Dense { linear, .. } => Some(linear.outputs()),
            Head::LayerNorm(_) | Head::Normalize => None,
        });
        widths.next().unwrap_or(pooled)
    }

    /// How vectors are cut to fewer dimensions.
    pub(crate) fn cut(&self) -> Cut {
        match self.heads.last() {
            _ if self.prompts.layer_norm_before_cut() => Cut::LayerNorm,
            Some(Head::Normalize) => Cut::UnitLength,
            _ => Cut::Plain,
        }
    }

    /// All weight tensors, each once.
    pub(crate) fn tensors(&self) -> Vec<&Tensor> {
        let heads = self.heads.iter().flat_map(|head| match head {
            Head::Dense { linear, .. } => linear.tensors().collect(),
            Head::LayerNorm(norm) => norm.tensors().collect(),
            Head::Normalize => Vec::new(),
        });
        let mut tensors = self.encoder.tensors();
        tensors.extend(heads);
        // Layers may share one.
        let mut seen = HashSet::new();
        tensors.retain(|tensor| seen.insert(tensor.place()));
        tensors
    }
}

/// Tensors that models carry for other ends than embeddings, by a part of their names.
const FOR_OTHER_ENDS: [&str; 19] = [
    "pooler",
    "cls",
    "lm_head",
    "classifier",
    "decoder",
    "head",
    "score",
    "qa_outputs",
    "predictions",
    "vocab_transform",
    "vocab_layer_norm",
    "vocab_projector",
    "position_ids",
    "inv_freq",
    // The other towers of EmbeddingGemma 2.
    "vision_tower",
    "audio_tower",
    "embed_vision",
    "embed_audio",
    // Read as one number a layer.
    "layer_scalar",
];

/// Checks that the file has no tensor that the family does not use: a model that has one computes
/// something more, and would get a wrong vector without it.
fn check_nothing_left_out(weights: &Weights, encoder: &EncoderSpec) -> Result<()> {
    // A part of a tensor is named `whole[first..end]`.
    let whole = |tensor: &Tensor| tensor.name().split('[').next().unwrap_or_default().to_owned();
    let used: HashSet<String> = encoder.tensors().into_iter().map(whole).collect();
    // A tied copy of the table, under the name that older T5 files have.
    let known =
        |name: &str| used.contains(name) || name == "encoder.embed_tokens.weight" || name == "shared.weight";
    let elsewhere = |name: &str| name.split('.').any(|part| FOR_OTHER_ENDS.contains(&part));
    let mut left: Vec<&str> = weights.names().filter(|name| !known(name) && !elsewhere(name)).collect();
    left.sort_unstable();
    match left.first() {
        None => Ok(()),
        Some(name) => Err(crate::Error::UnknownTensor {
            path: weights.path().to_owned(),
            name: (*name).to_owned(),
            count: left.len(),
            family: encoder.family,
        }),
    }
}

/// The pooling's configuration repeats the width of the hidden states.
fn check_pooling_width(files: &ModelFiles, modules: &Modules, encoder: &EncoderSpec) -> Result<()> {
    match modules.pooling_input {
        Some(width) if width != encoder.width() => {
            let problem = format!(
                "the Pooling module expects {width} values a token, the transformer gives {}",
                encoder.width()
            );
            Err(crate::Error::Config { path: files.path("modules.json"), problem })
        }
        _ => Ok(()),
    }
}

/// sentence_bert_config.json, which older models name after their architecture.
fn read_settings(files: &ModelFiles, folder: &str) -> Result<Option<Json>> {
    const NAMES: [&str; 7] = [
        "sentence_bert_config.json",
        "sentence_roberta_config.json",
        "sentence_distilbert_config.json",
        "sentence_camembert_config.json",
        "sentence_albert_config.json",
        "sentence_xlm-roberta_config.json",
        "sentence_xlnet_config.json",
    ];
    for name in NAMES {
        if let Some(json) = files.optional_json(&files.join(folder, name)?)? {
            return Ok(Some(json));
        }
    }
    Ok(None)
}

/// `max_seq_length`, else the tokenizer's `model_max_length`, and never more than the architecture
/// can take.
fn max_tokens(
    files: &ModelFiles,
    folder: &str,
    settings: Option<&Json>,
    encoder: &EncoderSpec,
) -> Result<usize> {
    const UNLIMITED: f64 = 1e9; // tokenizers without a limit say 1e30
    const WITHOUT_ANY_LIMIT: usize = 512; // what models without positions were trained with
    let architecture = encoder.max_tokens.unwrap_or(usize::MAX);
    if let Some(settings) = settings.filter(|settings| settings.get("max_seq_length").is_some()) {
        return Ok(settings.size("max_seq_length")?.min(architecture));
    }
    let tokenizer = files.optional_json(&files.join(folder, "tokenizer_config.json")?)?;
    let limit = tokenizer.map_or(Ok(UNLIMITED), |json| json.number_or("model_max_length", UNLIMITED))?;
    let limit = if (1.0..UNLIMITED).contains(&limit) {
        limit as usize
    } else {
        encoder.max_tokens.unwrap_or(WITHOUT_ANY_LIMIT)
    };
    Ok(limit.min(architecture))
}
