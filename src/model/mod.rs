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
        check_pooling_width(files, &modules, &encoder)?;

        let settings = read_settings(files, &modules.transformer)?;
        let lowercase = settings.as_ref().map_or(Ok(false), |json| json.flag_or("do_lower_case", false))?;
        let max_tokens = max_tokens(files, &modules.transformer, settings.as_ref(), &encoder)?;
        let prompts = ModelPrompts::read(files, &config)?;
        let Modules { transformer, pooling, heads, .. } = modules;
        Ok(Model { root: files.root(), transformer, encoder, pooling, heads, prompts, lowercase, max_tokens })
    }

    /// Reads the tokenizer: apart from the rest because it takes long, and weights can be made
    /// ready meanwhile.
    pub(crate) fn read_tokenizer(&self, files: &ModelFiles) -> Result<TextTokenizer> {
        let json = files.tokenizer_json(&files.join(&self.transformer, "tokenizer.json")?)?;
        TextTokenizer::new(json, self.lowercase, self.encoder.embedding.word.rows())
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

    /// Whether vectors have unit length.
    pub(crate) fn normalizes(&self) -> bool {
        matches!(self.heads.last(), Some(Head::Normalize))
    }

    /// All weight tensors, each once.
    pub(crate) fn tensors(&self) -> Vec<&Tensor> {
        let EncoderSpec { embedding, layers, final_norm, output, side_signal, .. } = &self.encoder;
        let mut tensors = vec![&embedding.word];
        tensors.extend(embedding.position.as_ref().map(|(table, _)| table));
        tensors.extend(&embedding.token_type);
        let mut norms: Vec<&NormSpec> = embedding.norm.iter().chain(final_norm).collect();
        let mut linears: Vec<&LinearSpec> = embedding.projection.iter().chain(output).collect();
        if let Some(signal) = side_signal {
            linears.push(&signal.projection);
            norms.push(&signal.norm);
        }
        for layer in layers {
            let attention = &layer.attention;
            norms.extend(
                [
                    &layer.attention_pre_norm,
                    &layer.attention_out_norm,
                    &layer.mlp_out_norm,
                    &layer.attention_post_norm,
                    &layer.mlp_pre_norm,
                    &layer.mlp_post_norm,
                ]
                .into_iter()
                .flatten(),
            );
            norms.extend(attention.query_norm.iter().chain(&attention.key_norm).chain(&attention.value_norm));
            if let Some(side) = &layer.side {
                linears.extend([&side.gate, &side.project]);
                norms.push(&side.norm);
            }
            linears.extend([&attention.query_key_value, &attention.output, &layer.mlp.up, &layer.mlp.down]);
            linears.extend(&layer.mlp.gate);
            tensors.extend(attention.relative_bias.as_ref().map(|bias| &bias.table));
        }
        for head in &self.heads {
            match head {
                Head::Dense { linear, .. } => linears.push(linear),
                Head::LayerNorm(norm) => norms.push(norm),
                Head::Normalize => {}
            }
        }
        tensors.extend(norms.iter().flat_map(|norm| norm.weight.iter().chain(&norm.bias)));
        let parts = linears.iter().flat_map(|linear| &linear.parts);
        tensors.extend(parts.flat_map(|(weight, bias)| std::iter::once(weight).chain(bias)));
        // Layers may share one.
        let mut seen = HashSet::new();
        tensors.retain(|tensor| seen.insert(tensor.name()));
        tensors
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
