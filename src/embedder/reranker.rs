//! Cross-encoders: a score for a query and a document that are read together.

use super::builder::Builder;
use super::explain::{Explanation, explained};
use super::open_model::{Open, OpenModel};
use super::outputs::Output;
use super::request::{IntoOptions, prompt_request};
use crate::batch::TokenizedText;
use crate::cancel::CancelToken;
use crate::device::DeviceReport;
use crate::engine::Engine;
use crate::error::{Error, ModelError, Result};
use crate::model::{ModelNote, OutputKind, Purpose};
use crate::options::ModelOptions;
use crate::prompt::{Prompt, PromptRequest};
use crate::source::ModelFiles;
use crate::space::{Space, SpaceRecipe};
use crate::vector::Finish;
use crate::wait::block_on;
use rayon::prelude::*;
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;
use std::sync::Arc;

/// A cross-encoder on a device: an encoder or a decoder with one label, a language model that is asked for yes or no
/// (Qwen3-Reranker), or a chain of modules that ends in a score (ettin-reranker).
///
/// ```no_run
/// # fn main() -> taskvec::Result<()> {
/// use taskvec::Reranker;
///
/// let reranker = Reranker::open("path/to/ms-marco-MiniLM-L6-v2")?;
/// let documents = ["Tea is made from leaves.", "A transformer is a neural network."];
/// for (place, score) in reranker.rank("How do transformers work?", &documents)? {
///     println!("{:.3}  {}", score.value, documents[place]);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Reranker {
    engine: Engine,
    recipe: Arc<SpaceRecipe>,
    /// The model's default prompt, which stands before the query.
    prompt: Arc<Prompt>,
}

/// Options before opening a [`Reranker`].
pub type RerankerBuilder = Builder<Reranker>;

impl OpenModel for Reranker {}

impl std::fmt::Debug for Reranker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reranker").field("model", &self.engine.model.root).finish_non_exhaustive()
    }
}

#[allow(private_interfaces)]
impl Open for Reranker {
    #[cfg(not(target_arch = "wasm32"))]
    fn open_now(files: &ModelFiles, options: &ModelOptions) -> Result<Reranker> {
        Reranker::on(files, Engine::open(files, options, Purpose::Rank)?)
    }

    async fn open_async(files: &ModelFiles, options: &ModelOptions) -> Result<Reranker> {
        Reranker::on(files, Engine::open_async(files, options, Purpose::Rank).await?)
    }
}

impl Reranker {
    /// Opens a model folder on the best device; see [`Embedder::open`](crate::Embedder::open).
    ///
    /// # Errors
    /// As [`Embedder::open`](crate::Embedder::open); also if the model is no cross-encoder, or gives
    /// more than one score.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(folder: impl AsRef<Path>) -> Result<Reranker> {
        Reranker::builder().open(folder)
    }

    /// Opens a model of the Hugging Face Hub; see [`Builder::from_hub`](crate::Builder::from_hub).
    ///
    /// # Errors
    /// As [`Reranker::open`]; also if it cannot be downloaded.
    #[cfg(all(feature = "hub", not(target_arch = "wasm32")))]
    pub fn from_hub(name: &str, report: &mut dyn FnMut(crate::Download<'_>)) -> Result<Reranker> {
        Reranker::builder().from_hub(name, report)
    }

    /// Options before opening a model.
    pub fn builder() -> RerankerBuilder {
        RerankerBuilder::default()
    }

    fn on(files: &ModelFiles, engine: Engine) -> Result<Reranker> {
        let labels = engine.model.width(engine.model.require_output(OutputKind::Labels)?);
        if labels != 1 {
            return Err(ModelError::Unsupported {
                path: files.path("config.json"),
                what: "number of labels",
                found: labels.to_string(),
                supported: "1, a score of relevance".to_owned(),
            }
            .into());
        }
        let recipe = Arc::new(SpaceRecipe::new(files, &engine));
        let prompt = Arc::new(engine.model.prompts.resolve(&PromptRequest::default())?);
        Ok(Reranker { engine, recipe, prompt })
    }

    /// How relevant each document is to the query, in their order. What the number means is the
    /// model's affair: mostly 0 to 1, or a number without bounds; larger is more relevant.
    ///
    /// A pair that is longer than the model takes is cut, the longer of the two first; the score says so.
    ///
    /// # Errors
    /// If a text cannot be tokenised, a score is not finite, or the device fails. There is no partial
    /// result.
    pub fn score<T: AsRef<str> + Sync>(&self, query: &str, documents: &[T]) -> Result<Vec<Output<f32>>> {
        self.score_cancellable(query, documents, &CancelToken::new())
    }

    /// [`Reranker::score`] until the token is cancelled.
    ///
    /// # Errors
    /// As [`Reranker::score`], or [`RequestError::Cancelled`](crate::RequestError::Cancelled).
    pub fn score_cancellable<T: AsRef<str> + Sync>(
        &self,
        query: &str,
        documents: &[T],
        cancel: &CancelToken,
    ) -> Result<Vec<Output<f32>>> {
        let pairs = self.tokenize(&self.prompt, query, documents)?;
        block_on(self.score_pairs(&self.prompt, &pairs, cancel))
    }

    /// [`Reranker::score_cancellable`] with a prompt or an instruction, for models that take one: Qwen3-Reranker and its
    /// kind have it in their system message, others in front of the query.
    ///
    /// ```no_run
    /// # fn main() -> taskvec::Result<()> {
    /// # let reranker = taskvec::Reranker::open("path/to/Qwen3-Reranker-0.6B")?;
    /// use taskvec::{CancelToken, EmbedOptions};
    ///
    /// let how = EmbedOptions::new().instruction("Find recipes that need no oven");
    /// let scores = reranker.score_with("bread", &["Flatbread from a pan."], how, &CancelToken::new())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Reranker::score_cancellable`], and if the options ask for a prompt that the model does not have.
    pub fn score_with<T: AsRef<str> + Sync>(
        &self,
        query: &str,
        documents: &[T],
        how: impl IntoOptions,
        cancel: &CancelToken,
    ) -> Result<Vec<Output<f32>>> {
        let prompt = self.prompt_of(how)?;
        let pairs = self.tokenize(&prompt, query, documents)?;
        block_on(self.score_pairs(&prompt, &pairs, cancel))
    }

    /// An instruction is all of a reranker's prompt.
    fn prompt_of(&self, how: impl IntoOptions) -> Result<Arc<Prompt>> {
        let options = how.into_options();
        let mut request = prompt_request(&options, None);
        if let (None, Some(instruction)) = (request.explicit, request.instruction.take()) {
            request.explicit = Some(instruction);
        }
        Ok(Arc::new(self.engine.model.prompts.resolve(&request)?))
    }

    /// What the model sees of a pair: prompt and tokens, and which of them the score is read from.
    ///
    /// # Errors
    /// As [`Reranker::score_with`].
    pub fn explain(&self, query: &str, document: &str, how: impl IntoOptions) -> Result<Explanation> {
        let prompt = self.prompt_of(how)?;
        let Engine { tokenizer, max_tokens, .. } = &self.engine;
        let pair = tokenizer.pair([&prompt.text, &prompt.suffix], query, document, *max_tokens)?;
        let span = pair.pools.first().cloned().unwrap_or_default();
        Ok(Explanation {
            assembled: tokenizer.decode(&pair.ids, false)?,
            prompt,
            tokens: explained(&self.engine, &pair.ids, &span),
            untruncated_tokens: pair.untruncated,
        })
    }

    /// What [`Reranker::score`] is made of: the model's numbers before its activation, without bounds. Of models whose
    /// activation is the identity they are the scores.
    ///
    /// # Errors
    /// As [`Reranker::score_cancellable`].
    pub fn logits<T: AsRef<str> + Sync>(
        &self,
        query: &str,
        documents: &[T],
        cancel: &CancelToken,
    ) -> Result<Vec<Output<f32>>> {
        let pairs = self.tokenize(&self.prompt, query, documents)?;
        block_on(self.pair_logits(&self.prompt, &pairs, cancel))
    }

    /// [`Reranker::logits`] with a prompt or an instruction, as [`Reranker::score_with`] takes them.
    ///
    /// # Errors
    /// As [`Reranker::score_with`].
    pub fn logits_with<T: AsRef<str> + Sync>(
        &self,
        query: &str,
        documents: &[T],
        how: impl IntoOptions,
        cancel: &CancelToken,
    ) -> Result<Vec<Output<f32>>> {
        let prompt = self.prompt_of(how)?;
        let pairs = self.tokenize(&prompt, query, documents)?;
        block_on(self.pair_logits(&prompt, &pairs, cancel))
    }

    /// [`Reranker::score`] without a thread that waits: in a browser, where none may.
    ///
    /// # Errors
    /// As [`Reranker::score`].
    pub async fn score_async<T: AsRef<str> + Sync>(
        &self,
        query: &str,
        documents: &[T],
    ) -> Result<Vec<Output<f32>>> {
        let pairs = self.tokenize(&self.prompt, query, documents)?;
        self.score_pairs(&self.prompt, &pairs, &CancelToken::new()).await
    }

    fn tokenize<T: AsRef<str> + Sync>(
        &self,
        prompt: &Prompt,
        query: &str,
        documents: &[T],
    ) -> Result<Vec<TokenizedText>> {
        let Engine { tokenizer, max_tokens, threads, .. } = &self.engine;
        let pair = |(index, document): (usize, &T)| {
            let prompt = [&*prompt.text, &*prompt.suffix];
            let pair = tokenizer.pair(prompt, query, document.as_ref(), *max_tokens);
            pair.map_err(|problem| Error::from(problem).of_text(index))
        };
        threads.install(|| documents.par_iter().enumerate().with_min_len(8).map(pair).collect())
    }

    async fn score_pairs(
        &self,
        prompt: &Arc<Prompt>,
        pairs: &[TokenizedText],
        cancel: &CancelToken,
    ) -> Result<Vec<Output<f32>>> {
        let activation = self.engine.model.score_activation;
        let logits = self.pair_logits(prompt, pairs, cancel).await?;
        Ok(logits.into_iter().map(|logit| logit.map(|logit| activation.apply(logit))).collect())
    }

    async fn pair_logits(
        &self,
        prompt: &Arc<Prompt>,
        pairs: &[TokenizedText],
        cancel: &CancelToken,
    ) -> Result<Vec<Output<f32>>> {
        let model = &self.engine.model;
        let texts: Vec<&TokenizedText> = pairs.iter().collect();
        let output = model.require_output(OutputKind::Labels)?;
        let scores = self.engine.run(&texts, None, &[output], cancel).await?;
        let finish =
            Finish { dimensions: 1, whole: false, layer_norm: false, unit_length: false, cut_last: None };
        let score = |(pair, score): (&TokenizedText, f32)| Output {
            value: score,
            tokens: pair.ids.len(),
            untruncated_tokens: pair.untruncated,
            prompt: prompt.clone(),
            space: Space::new(self.recipe.clone(), prompt.clone(), None, finish),
        };
        Ok(pairs.iter().zip(scores.into_iter().flatten().flatten()).map(score).collect())
    }

    /// The documents' places and scores, most relevant first.
    ///
    /// # Errors
    /// See [`Reranker::score`].
    pub fn rank<T: AsRef<str> + Sync>(
        &self,
        query: &str,
        documents: &[T],
    ) -> Result<Vec<(usize, Output<f32>)>> {
        let mut ranked: Vec<(usize, Output<f32>)> =
            self.score(query, documents)?.into_iter().enumerate().collect();
        ranked.sort_by(|(_, a), (_, b)| b.value.total_cmp(&a.value));
        Ok(ranked)
    }

    /// The token ids that the model sees for a pair.
    ///
    /// # Errors
    /// If a text cannot be tokenised.
    pub fn token_ids(&self, query: &str, document: &str) -> Result<Vec<u32>> {
        let prompt = [&*self.prompt.text, &*self.prompt.suffix];
        Ok(self.engine.tokenizer.pair(prompt, query, document, self.engine.max_tokens)?.ids)
    }

    /// What the model is and does, from its files; see [`Embedder::inspect`](crate::Embedder::inspect).
    ///
    /// # Errors
    /// If the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn inspect(&self) -> Result<crate::Inspection> {
        crate::Inspection::of(&self.engine)
    }

    /// What to know about the model's files: keys that taskvec does not know, and what was taken from the model's name.
    pub fn notes(&self) -> Vec<ModelNote> {
        self.engine.notes()
    }

    /// The device in use, and how it was chosen.
    pub fn device(&self) -> DeviceReport {
        self.engine.device()
    }

    /// The most tokens that a pair may have, special tokens included.
    pub fn max_tokens(&self) -> usize {
        self.engine.max_tokens
    }
}
