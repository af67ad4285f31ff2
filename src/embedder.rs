//! The public face: open a model, embed texts.

use crate::device::DeviceReport;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::inspect::Inspection;
use crate::model::{EndKind, ModelFiles, Purpose};
use crate::options::{EmbedOptions, EmbedderBuilder, TooLong};
use crate::output::{self, Finish, Similarity};
use crate::prompt::{Prompt, PromptRequest, TaskPrompt};
use crate::space::{Space, SpaceRecipe};
use crate::tokens::{CutAt, TokenizedText};
use rayon::prelude::*;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

/// A vector and what is known about how it came to be.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// `[dimensions]`
    pub vector: Vec<f32>,
    /// Tokens that the model saw: special ones, prompt and text; for a text in windows, of all of
    /// them.
    pub tokens: usize,
    /// Tokens that the whole text would have had; more than `tokens` if a part of it was cut off.
    pub untruncated_tokens: usize,
    /// The prompt around the text, where it came from, and what to know about it. Shared by all
    /// texts of a call that have the same.
    pub prompt: Arc<Prompt>,
    /// The space that the vector lies in: only vectors of one space can be compared.
    pub space: Space,
}

impl Embedding {
    /// Whether a part of the text was cut off.
    pub fn truncated(&self) -> bool {
        self.untruncated_tokens > self.tokens
    }

    /// How alike two embeddings are.
    ///
    /// # Errors
    /// If they do not lie in one space: made by other models, cut to other sizes, or for tasks whose
    /// vectors are not made to be compared.
    pub fn similarity(&self, other: &Embedding, by: Similarity) -> Result<f32> {
        self.space.check_comparable(&other.space)?;
        Ok(by.of(&self.vector, &other.vector))
    }
}

/// A text with a title of its own, for models whose document prompt has a place for one:
/// [`Embedder::embed_documents`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Document<'a> {
    /// The text.
    pub text: &'a str,
    /// Its title.
    pub title: Option<&'a str>,
}

/// An opened model on a device.
///
/// It can be shared between threads: every method takes `&self`.
///
/// ```
/// # fn main() -> taskvec::Result<()> {
/// use taskvec::{Device, Embedder, Task};
///
/// # #[cfg(feature = "builtin")] {
/// let embedder = Embedder::builder().device(Device::Cpu).builtin()?;
/// let query = embedder.embed("How do transformers work?", Task::RetrievalQuery)?;
/// assert_eq!(query.vector.len(), embedder.dimensions());
/// // The built-in model was trained without prompts, and says so.
/// assert!(query.prompt.note.is_some());
/// # }
/// # Ok(())
/// # }
/// ```
pub struct Embedder {
    pub(crate) engine: Engine,
    /// What all its spaces share.
    recipe: Arc<SpaceRecipe>,
}

impl std::fmt::Debug for Embedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedder")
            .field("model", &self.engine.model.root)
            .field("device", &self.engine.device())
            .finish_non_exhaustive()
    }
}

// Shared between threads by promise.
const _: fn() = || {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Embedder>();
};

impl Embedder {
    /// Opens a model folder on the best device, with the model's own settings.
    ///
    /// The folder is laid out as the Hugging Face Hub and sentence-transformers do: config.json,
    /// tokenizer.json, model.safetensors or its shards, and optionally modules.json and what it
    /// names.
    ///
    /// # Errors
    /// If a file is missing, damaged or contradicts another, or asks for something that taskvec
    /// does not know.
    pub fn open(folder: impl AsRef<Path>) -> Result<Embedder> {
        Embedder::builder().open(folder)
    }

    /// Opens the model inside the program, all-MiniLM-L6-v2: 384 dimensions, English, trained
    /// without task prompts.
    ///
    /// # Errors
    /// If the device cannot be used.
    #[cfg(feature = "builtin")]
    pub fn builtin() -> Result<Embedder> {
        Embedder::builder().builtin()
    }

    /// Options before opening a model.
    pub fn builder() -> EmbedderBuilder {
        EmbedderBuilder::default()
    }

    pub(crate) fn with_options(files: &ModelFiles, options: &EmbedderBuilder) -> Result<Embedder> {
        let engine = Engine::open(files, options, Purpose::Embed)?;
        let recipe = Arc::new(SpaceRecipe::new(files, &engine.model, options.precision));
        Ok(Embedder { engine, recipe })
    }

    /// Embeds one text for a task, or with other [`EmbedOptions`].
    ///
    /// # Errors
    /// See [`Embedder::embed_batch`].
    pub fn embed(&self, text: &str, how: impl Into<EmbedOptions>) -> Result<Embedding> {
        only(self.embed_batch(&[text], how)?)
    }

    /// Embeds texts for a task, or with other [`EmbedOptions`]; results in the order of the texts.
    ///
    /// Each text's vector has the same bits whatever other texts are in the call.
    ///
    /// # Errors
    /// If the model gives no vector for a whole text, the options do not fit it, a text is too long
    /// and the options do not say what to do then, a result is not finite, or the device fails. There
    /// is no partial result.
    pub fn embed_batch<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        how: impl Into<EmbedOptions>,
    ) -> Result<Vec<Embedding>> {
        let documents: Vec<Document<'_>> =
            texts.iter().map(|text| Document { text: text.as_ref(), title: None }).collect();
        self.embed_documents(&documents, how)
    }

    /// Embeds documents that have titles of their own. The title is put where the model's prompt for
    /// the task has a place for one; `how` may hold one for those without.
    ///
    /// # Errors
    /// See [`Embedder::embed_batch`]; also if a title has no place in the prompt.
    pub fn embed_documents(
        &self,
        documents: &[Document<'_>],
        how: impl Into<EmbedOptions>,
    ) -> Result<Vec<Embedding>> {
        let options = how.into();
        let end = self.engine.model.require_end(EndKind::Dense)?;
        let finish = self.finish(&options, end)?;
        let prompts = self.prompts(documents, &options)?;
        // One or more parts a document, all in one list for the device.
        let parts = self.tokenize(documents, &prompts, options.too_long)?;
        let counts: Vec<usize> = parts.iter().map(Vec::len).collect();
        let texts: Vec<TokenizedText> = parts.into_iter().flatten().collect();
        let adapter = prompts.first().and_then(|prompt| prompt.adapter.clone());
        let mut results = self.engine.run(&texts, adapter.as_deref(), &[end])?.into_iter().flatten();
        let mut embeddings = Vec::with_capacity(documents.len());
        let mut rest = texts.as_slice();
        for (count, prompt) in counts.into_iter().zip(prompts) {
            let parts;
            (parts, rest) = rest.split_at(count);
            let mut vector = weighted_mean(parts, results.by_ref().take(parts.len()), finish);
            finish.apply(&mut vector);
            let space = Space::new(self.recipe.clone(), prompt.clone(), options.task, finish);
            let tokens = parts.iter().map(|part| part.ids.len()).sum();
            let untruncated_tokens = match parts {
                [whole] => whole.untruncated,
                _ => tokens,
            };
            embeddings.push(Embedding { vector, tokens, untruncated_tokens, prompt, space });
        }
        Ok(embeddings)
    }

    /// Embeds the pieces of one text with late chunking: the model sees the whole text once, and the
    /// tokens of each piece are pooled by themselves, so that each vector knows what surrounds its
    /// piece. `ends` are the byte positions at which pieces end, ascending; what is left after the last
    /// one is a piece of its own.
    ///
    /// Günther et al.: Late Chunking (2024). Special tokens and the prompt belong to no piece.
    ///
    /// # Errors
    /// See [`Embedder::embed_batch`]; also if the text does not fit the token limit whole, a position is
    /// none between two characters, a piece has no token, or the model does not pool with a mean or
    /// maximum.
    pub fn embed_pieces(
        &self,
        text: &str,
        ends: &[usize],
        how: impl Into<EmbedOptions>,
    ) -> Result<Vec<Embedding>> {
        let options = how.into();
        let model = &self.engine.model;
        let end = model.require_end(EndKind::Dense)?;
        let finish = self.finish(&options, end)?;
        let ends = checked_ends(text, ends)?;
        if !model.ends[end]
            .pooling
            .as_ref()
            .is_some_and(|pooling| pooling.modes.iter().all(|m| m.takes_all()))
        {
            return Err(Error::InvalidOption {
                option: "late chunking",
                found: "a model that pools one token".to_owned(),
                expected: "a model that pools all tokens; embed the pieces as texts of their own".to_owned(),
            });
        }
        let prompt = Arc::new(model.prompts.resolve(&options.prompt_request())?);
        let limit = self.engine.max_tokens;
        let tokenizer = &self.engine.tokenizer;
        let around = tokenizer.prompt(&prompt.text, &prompt.suffix, true, limit)?;
        let whole = tokenizer.pieces(&around, text, &ends, limit, 0)?;
        if let Some(index) = whole.pools.iter().position(|piece| piece.is_empty()) {
            let problem = "the piece has no token of its own".to_owned();
            return Err(Error::Tokenize { index, problem });
        }
        let tokens: Vec<usize> = whole.pools.iter().map(|piece| piece.len()).collect();
        let results = self.engine.run(&[whole], prompt.adapter.as_deref(), &[end])?;
        let width = model.width(end);
        let rows = results.iter().flatten().flat_map(|values| values.chunks_exact(width));
        let embedding = |(row, &tokens): (&[f32], &usize)| {
            let mut vector = row.to_vec();
            finish.apply(&mut vector);
            let space = Space::new(self.recipe.clone(), prompt.clone(), options.task, finish);
            Embedding { vector, tokens, untruncated_tokens: tokens, prompt: prompt.clone(), space }
        };
        Ok(rows.zip(&tokens).map(embedding).collect())
    }

    /// The prompt that these options give, without embedding anything.
    ///
    /// # Errors
    /// If the options do not fit the model.
    pub fn prompt(&self, how: impl Into<EmbedOptions>) -> Result<Prompt> {
        self.engine.model.prompts.resolve(&how.into().prompt_request())
    }

    /// What each task does with this model: the exact text put around a text, where it came from, and
    /// whether the model was trained with it.
    pub fn tasks(&self) -> Vec<TaskPrompt> {
        self.engine.model.prompts.tasks()
    }

    /// The token ids that the model sees for a text: special tokens, prompt and text.
    ///
    /// # Errors
    /// See [`Embedder::embed_batch`].
    pub fn token_ids(&self, text: &str, how: impl Into<EmbedOptions>) -> Result<Vec<u32>> {
        Ok(self.tokenize_one(text, &how.into())?.1.ids)
    }

    /// Prompt and tokens of one text.
    pub(crate) fn tokenize_one(
        &self,
        text: &str,
        options: &EmbedOptions,
    ) -> Result<(Arc<Prompt>, TokenizedText)> {
        let document = [Document { text, title: None }];
        let prompts = self.prompts(&document, options)?;
        let texts = self.tokenize(&document, &prompts, options.too_long)?;
        Ok((only(prompts)?, only(texts.into_iter().flatten().take(1).collect())?))
    }

    /// Values of a vector, unless [`EmbedOptions::dimensions`] asks for fewer. For a model that gives
    /// only token vectors or a weight for each entry of its vocabulary, the size of those.
    pub fn dimensions(&self) -> usize {
        self.engine.model.width(self.engine.model.end(EndKind::Dense).unwrap_or(0))
    }

    /// The most tokens a text may have, special tokens and prompt included.
    pub fn max_tokens(&self) -> usize {
        self.engine.max_tokens
    }

    /// The device in use, and how it was chosen.
    pub fn device(&self) -> DeviceReport {
        self.engine.device()
    }

    /// What the GPU does at best, and how the model's kernels do beside it for these texts as one batch: what
    /// `taskvec bench kernels --device gpu` prints. Takes some seconds on a GPU, and far longer on software.
    ///
    /// # Errors
    /// Those of [`Embedder::embed_batch`]; and where the device is not a GPU that was asked for as such.
    #[cfg(feature = "gpu")]
    pub fn measure_gpu<T: AsRef<str>>(
        &self,
        texts: &[T],
        how: impl Into<EmbedOptions>,
    ) -> Result<crate::GpuMeasurement> {
        let options = how.into();
        let texts: Result<Vec<TokenizedText>> =
            texts.iter().map(|text| Ok(self.tokenize_one(text.as_ref(), &options)?.1)).collect();
        self.engine.backend(None)?.measure(&crate::tokens::RaggedBatch::new(&texts?))
    }

    /// The model's folder, or a name for the built-in one.
    pub fn model(&self) -> &Path {
        &self.engine.model.root
    }

    /// The similarity function that the model's own files name; cosine where they name none.
    pub fn similarity(&self) -> Similarity {
        let named = self.engine.model.similarity.as_deref().and_then(|name| name.parse().ok());
        named.unwrap_or_default()
    }

    /// The sizes that the model's own files say its vectors may be cut to; empty where they say
    /// nothing. Any other size is allowed, and loses more.
    pub fn trained_dimensions(&self) -> &[usize] {
        &self.engine.model.trained_dimensions
    }

    /// The space in which vectors with these options lie.
    ///
    /// # Errors
    /// If the options do not fit the model.
    pub fn space(&self, how: impl Into<EmbedOptions>) -> Result<Space> {
        let options = how.into();
        let prompt = Arc::new(self.prompt(&options)?);
        let finish = self.finish(&options, self.engine.model.end(EndKind::Dense).unwrap_or(0))?;
        Ok(Space::new(self.recipe.clone(), prompt, options.task, finish))
    }

    /// What the model is made of and what each task does: what `taskvec inspect` prints.
    ///
    /// # Errors
    /// If the device fails.
    pub fn inspect(&self) -> Result<Inspection> {
        Inspection::of(&self.engine)
    }

    /// What is done to the model's vectors at the end.
    pub(crate) fn finish(&self, options: &EmbedOptions, end: usize) -> Result<Finish> {
        let model = &self.engine.model;
        let all = model.width(end);
        let dimensions = match options.dimensions {
            None => all,
            Some(wanted) if wanted != all && model.dense_folders.contains(&wanted) => {
                return Err(Error::InvalidOption {
                    option: "dimensions",
                    found: wanted.to_string(),
                    expected: format!(
                        "{all}: the model has a projection of its own for {wanted}, so open it with EmbedderBuilder::dimensions({wanted})"
                    ),
                });
            }
            Some(wanted) if (1..=all).contains(&wanted) => wanted,
            Some(wanted) => {
                return Err(Error::InvalidOption {
                    option: "dimensions",
                    found: wanted.to_string(),
                    expected: format!("1 to {all}, the size of the model's vectors"),
                });
            }
        };
        let unit_length = options.normalize.unwrap_or(model.ends[end].unit_length);
        Ok(Finish { dimensions, layer_norm: model.prompts.layer_norm_before_cut(), unit_length })
    }

    /// The prompt of each document; documents without a title of their own share one.
    pub(crate) fn prompts(
        &self,
        documents: &[Document<'_>],
        options: &EmbedOptions,
    ) -> Result<Vec<Arc<Prompt>>> {
        let mut known: HashMap<Option<&str>, Arc<Prompt>> = HashMap::new();
        let mut prompts = Vec::with_capacity(documents.len());
        let request = options.prompt_request();
        if documents.is_empty() {
            self.engine.model.prompts.resolve(&request)?; // wrong options are an error without texts too
        }
        for document in documents {
            let title = document.title.or(request.title);
            prompts.push(match known.entry(title) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(place) => {
                    let request = PromptRequest { title, ..request };
                    place.insert(Arc::new(self.engine.model.prompts.resolve(&request)?)).clone()
                }
            });
        }
        Ok(prompts)
    }

    /// The tokens of each document, in as many parts as the options make of it.
    fn tokenize(
        &self,
        documents: &[Document<'_>],
        prompts: &[Arc<Prompt>],
        too_long: TooLong,
    ) -> Result<Vec<Vec<TokenizedText>>> {
        let Engine { tokenizer, max_tokens: limit, threads, .. } = &self.engine;
        let limit = *limit;
        let tokenize = |(index, document): (usize, &Document<'_>)| {
            let Prompt { text, suffix, pooled, .. } = &*prompts[index];
            let prompt = tokenizer.prompt(text, suffix, *pooled, limit)?;
            let cut = if too_long == TooLong::TruncateStart { CutAt::Start } else { CutAt::End };
            if let TooLong::Windows { overlap } = too_long {
                return tokenizer.windows(&prompt, document.text, limit, overlap, index);
            }
            let text = tokenizer.tokenize(&prompt, document.text, limit, cut, index)?;
            match too_long {
                TooLong::Error if text.untruncated > text.ids.len() => {
                    Err(Error::TooLong { index, tokens: text.untruncated, limit })
                }
                _ => Ok(vec![text]),
            }
        };
        if documents.len() == 1 {
            return documents.iter().enumerate().map(tokenize).collect();
        }
        threads.install(|| documents.par_iter().enumerate().with_min_len(8).map(tokenize).collect())
    }
}

/// The one item of a list.
fn only<T>(mut items: Vec<T>) -> Result<T> {
    items.pop().ok_or(Error::NonFiniteResult { index: 0, cause: "the backend returned no vector".to_owned() })
}

/// The mean of the parts' vectors, weighted by what each has of the text; one part's is its own. Where
/// vectors are brought to unit length, only directions count, so each part goes in at unit length.
fn weighted_mean(
    parts: &[TokenizedText],
    vectors: impl Iterator<Item = Vec<f32>>,
    finish: Finish,
) -> Vec<f32> {
    let mut vectors: Vec<Vec<f32>> = vectors.collect();
    if vectors.len() == 1 {
        return vectors.swap_remove(0);
    }
    let total: usize = parts.iter().map(|part| part.ids.len()).sum();
    let mut mean = vec![0.0; vectors.first().map_or(0, Vec::len)];
    for (part, vector) in parts.iter().zip(&mut vectors) {
        if finish.unit_length {
            output::normalize(vector);
        }
        let weight = part.ids.len() as f32 / total as f32;
        mean.iter_mut().zip(vector).for_each(|(m, v)| *m += weight * *v);
    }
    mean
}

/// Ascending positions between characters, with the end of the text.
fn checked_ends(text: &str, ends: &[usize]) -> Result<Vec<usize>> {
    let wrong = |found: String| Error::InvalidOption {
        option: "the ends of pieces",
        found,
        expected: "ascending byte positions inside the text, between characters".to_owned(),
    };
    let mut checked: Vec<usize> = Vec::with_capacity(ends.len() + 1);
    for &end in ends {
        if !text.is_char_boundary(end) || checked.last().is_some_and(|&before| end <= before) || end == 0 {
            return Err(wrong(end.to_string()));
        }
        checked.push(end);
    }
    if checked.last() != Some(&text.len()) {
        checked.push(text.len());
    }
    Ok(checked)
}
