//! The public face: open a model, embed texts.

mod builder;
mod chunk;
mod explain;
mod inspect;
mod open_model;
mod outputs;
mod request;
mod reranker;
#[cfg(feature = "split")]
mod split;
mod stream;
mod value;

pub use builder::Builder;
pub use explain::{ExplainedToken, Explanation};
pub use inspect::{Inspection, KernelShape};
pub use open_model::OpenModel;
pub use outputs::{
    AllVectors, DenseAndSparse, Embedding, EmbeddingMatrix, Output, Piece, SparseVector, TokenVectors,
};
pub use request::{IntoOptions, Request};
pub use reranker::{Reranker, RerankerBuilder};
pub use stream::{Progress, Stream};
pub use value::Value;

use crate::cancel::CancelToken;
use crate::device::DeviceReport;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::{ModelNote, OutputKind, Purpose};
use crate::options::{ModelOptions, Truncation};
use crate::precision::Precision;
use crate::prompt::{Prompt, TaskPrompt};
use crate::source::ModelFiles;
use crate::space::{Space, SpaceRecipe};
use crate::tokens::CutAt;
use crate::vector::Similarity;
use chunk::{Chunk, Recipient};
use open_model::Open;
use request::{ReadyPrompts, RequestContent, Shape, TokenizedRequest, prompt_request, tokenize};
use std::path::Path;
use std::sync::Arc;

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
/// assert_eq!(query.value.len(), embedder.dimensions());
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

/// Options before opening an [`Embedder`].
pub type EmbedderBuilder = Builder<Embedder>;

impl OpenModel for Embedder {}

impl Builder<Embedder> {
    /// Opens the model inside the program; see [`Embedder::builtin`].
    ///
    /// # Errors
    /// If an option does not fit the model or this machine.
    #[cfg(all(feature = "builtin", not(target_arch = "wasm32")))]
    pub fn builtin(&self) -> Result<Embedder> {
        self.open_files(&crate::builtin::files())
    }
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
    is_send_and_sync::<Reranker>();
};

#[allow(private_interfaces)]
impl Open for Embedder {
    #[cfg(not(target_arch = "wasm32"))]
    fn open_now(files: &ModelFiles, options: &ModelOptions) -> Result<Embedder> {
        Ok(Embedder::on(files, Engine::open(files, options, Purpose::Embed)?))
    }

    async fn open_async(files: &ModelFiles, options: &ModelOptions) -> Result<Embedder> {
        Ok(Embedder::on(files, Engine::open_async(files, options, Purpose::Embed).await?))
    }
}

/// Opening.
impl Embedder {
    /// Opens a model folder on the best device, with the model's own settings.
    ///
    /// The folder is laid out as the Hugging Face Hub and sentence-transformers do: config.json,
    /// tokenizer.json, model.safetensors or its shards, and optionally modules.json and what it
    /// names.
    ///
    /// # Errors
    /// If a file is missing, damaged or contradicts another, or asks for something that taskvec
    /// does not know: [`Error::Model`]. A path that is no folder but looks like a model's name on the Hugging Face
    /// Hub is an [`Error::Hub`] that says how to open that.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(folder: impl AsRef<Path>) -> Result<Embedder> {
        Embedder::builder().open(folder)
    }

    /// Opens a model of the Hugging Face Hub, downloaded once into the Hub's own cache; see
    /// [`Builder::from_hub`].
    ///
    /// ```no_run
    /// # fn main() -> taskvec::Result<()> {
    /// use taskvec::Embedder;
    ///
    /// let embedder = Embedder::from_hub("intfloat/e5-small-v2", &mut |download| {
    ///     eprintln!("{}: {} of {} bytes", download.file, download.done, download.total);
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Embedder::open`]; also if it cannot be downloaded: [`Error::Hub`].
    #[cfg(all(feature = "hub", not(target_arch = "wasm32")))]
    pub fn from_hub(name: &str, report: &mut dyn FnMut(crate::Download<'_>)) -> Result<Embedder> {
        Embedder::builder().from_hub(name, report)
    }

    /// Opens the model inside the program, all-MiniLM-L6-v2: 384 dimensions, English, trained
    /// without task prompts.
    ///
    /// # Errors
    /// If the device cannot be used.
    #[cfg(all(feature = "builtin", not(target_arch = "wasm32")))]
    pub fn builtin() -> Result<Embedder> {
        Embedder::builder().builtin()
    }

    /// Options before opening a model.
    pub fn builder() -> EmbedderBuilder {
        EmbedderBuilder::default()
    }

    fn on(files: &ModelFiles, engine: Engine) -> Embedder {
        let recipe = Arc::new(SpaceRecipe::new(files, &engine));
        Embedder { engine, recipe }
    }

    fn recipient(&self) -> Recipient<'_> {
        Recipient { engine: &self.engine, recipe: &self.recipe }
    }
}

/// Embedding.
impl Embedder {
    /// Embeds one text for a task, or with other [`EmbedOptions`](crate::EmbedOptions).
    ///
    /// # Errors
    /// See [`Embedder::embed_batch`].
    pub fn embed(&self, text: &str, how: impl IntoOptions) -> Result<Embedding> {
        only(self.embed_batch(&[text], how)?)
    }

    /// Embeds texts, each as if it were alone: what else is in the batch changes no bit of a vector.
    ///
    /// # Errors
    /// If the options do not fit the model, a prompt leaves no room for text, a text does not fit it, a text is too
    /// long and the options do not say what to do then, a result is not finite, or the device fails. An error about a
    /// text says which ([`Error::text`]). There is no partial result; for that, see [`Embedder::stream`].
    pub fn embed_batch<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        how: impl IntoOptions,
    ) -> Result<Vec<Embedding>> {
        self.collect(texts, how)
    }

    /// Embeds texts to one flat matrix, `[texts, dimensions]`.
    ///
    /// # Errors
    /// See [`Embedder::embed_batch`].
    pub fn embed_matrix<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        how: impl IntoOptions,
    ) -> Result<EmbeddingMatrix> {
        let options = how.into_options();
        let embeddings = self.embed_batch(texts, options.clone())?;
        let (prompt, space) = match embeddings.first() {
            Some(first) => (first.prompt.clone(), first.space.clone()),
            None => (Arc::new(self.prompt(options.clone())?), self.space(options)?),
        };
        let dimensions = space.dimensions();
        let mut values = Vec::with_capacity(embeddings.len() * dimensions);
        embeddings.iter().for_each(|embedding| values.extend_from_slice(&embedding.value));
        let tokens = embeddings.iter().map(|embedding| embedding.tokens).collect();
        let untruncated_tokens = embeddings.iter().map(|embedding| embedding.untruncated_tokens).collect();
        Ok(EmbeddingMatrix { values, dimensions, tokens, untruncated_tokens, prompt, space })
    }

    /// Sparse vectors of texts: SPLADE's, or bge-m3's lexical weights.
    ///
    /// # Errors
    /// As [`Embedder::embed_batch`]; also if the model gives none.
    pub fn embed_sparse<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        how: impl IntoOptions,
    ) -> Result<Vec<Output<SparseVector>>> {
        self.collect(texts, how)
    }

    /// The vectors of texts' tokens, to be compared with [`TokenVectors::maxsim`]. A task that is a kind
    /// of query makes queries, any other documents; ColBERT models treat the two differently.
    ///
    /// # Errors
    /// As [`Embedder::embed_batch`]; also if the model gives none.
    pub fn embed_tokens<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        how: impl IntoOptions,
    ) -> Result<Vec<Output<TokenVectors>>> {
        self.collect(texts, how)
    }

    /// Everything that the model gives for each text, from one forward pass (bge-m3 gives all three).
    ///
    /// # Errors
    /// As [`Embedder::embed_batch`].
    pub fn embed_all<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        how: impl IntoOptions,
    ) -> Result<Vec<Output<AllVectors>>> {
        self.collect(texts, how)
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
        how: impl IntoOptions,
    ) -> Result<Output<Vec<Piece>>> {
        let options = how.into_options();
        let request = Request::new(text).options(options.clone()).pieces(ends);
        let stream: Stream<'_, _, Vec<Piece>> = self.stream_of(std::iter::once(request));
        only(stream.collect_all(Some(&options))?)
    }

    /// Embeds requests that may each have a task, prompt, title and size of their own. `T` is what to give:
    /// `Vec<f32>`, [`SparseVector`], [`TokenVectors`], `Vec<`[`Piece`]`>` or [`AllVectors`].
    ///
    /// ```
    /// # #[cfg(feature = "builtin")] {
    /// # fn main() -> taskvec::Result<()> {
    /// use taskvec::{EmbedOptions, Embedder, Request, Task};
    ///
    /// let embedder = Embedder::builtin()?;
    /// let vectors: Vec<taskvec::Embedding> = embedder.embed_requests([
    ///     Request::new("How do transformers work?").options(Task::RetrievalQuery),
    ///     Request::new("Attention relates tokens.").options(EmbedOptions::new().dimensions(128)),
    /// ])?;
    /// assert_eq!((vectors[0].value.len(), vectors[1].value.len()), (384, 128));
    /// # Ok(())
    /// # }
    /// # main().unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Embedder::embed_batch`].
    pub fn embed_requests<'a, T: Value>(
        &self,
        requests: impl IntoIterator<Item: Into<Request<'a>>>,
    ) -> Result<Vec<Output<T>>> {
        self.stream_of(requests).collect_all(None)
    }

    /// Dense vectors of any number of requests, in their order and in constant memory: one `Result` for each, so that
    /// a wrong text spoils no other.
    ///
    /// ```
    /// # #[cfg(feature = "builtin")] {
    /// # fn main() -> taskvec::Result<()> {
    /// use taskvec::{Embedder, Request, Task};
    ///
    /// let embedder = Embedder::builtin()?;
    /// let lines = "First line.\nSecond line.".lines(); // of a file, a socket, a database, …
    /// let requests = lines.map(|line| Request::new(line).options(Task::RetrievalDocument));
    /// for result in embedder.stream(requests) {
    ///     println!("{:?}", result?.value);
    /// }
    /// # Ok(())
    /// # }
    /// # main().unwrap();
    /// # }
    /// ```
    pub fn stream<'a, I: IntoIterator<Item: Into<Request<'a>>>>(
        &self,
        requests: I,
    ) -> Stream<'_, I::IntoIter, Vec<f32>> {
        self.stream_of(requests)
    }

    /// As [`Embedder::stream`], of what a model gives beside dense vectors.
    pub fn stream_of<'a, I: IntoIterator<Item: Into<Request<'a>>>, T: Value>(
        &self,
        requests: I,
    ) -> Stream<'_, I::IntoIter, T> {
        Stream::new(self.recipient(), requests.into_iter())
    }

    /// [`Embedder::embed_requests`] without a thread that waits: in a browser, where none may. Elsewhere the work is
    /// done when the future is first polled.
    ///
    /// # Errors
    /// See [`Embedder::embed_batch`].
    pub async fn embed_requests_async<'a, T: Value>(
        &self,
        requests: impl IntoIterator<Item: Into<Request<'a>>>,
    ) -> Result<Vec<Output<T>>> {
        let requests = requests.into_iter().map(Into::into).collect();
        let chunk = Chunk::new::<T>(&self.engine, &mut ReadyPrompts::default(), requests);
        let results = chunk.without_errors()?.run(self.recipient(), &CancelToken::new()).await?;
        results.into_iter().collect()
    }

    fn collect<S: AsRef<str>, T: Value>(&self, texts: &[S], how: impl IntoOptions) -> Result<Vec<Output<T>>> {
        let options = how.into_options();
        let content = texts.iter().map(|text| RequestContent::Text(text.as_ref().into()));
        let requests = content.map(|content| Request::of(content, options.clone()));
        let stream: Stream<'_, _, T> = self.stream_of(requests);
        stream.collect_all(Some(&options))
    }
}

/// What a model does, without embedding anything.
impl Embedder {
    /// The prompt that these options give.
    ///
    /// # Errors
    /// If the options do not fit the model.
    pub fn prompt(&self, how: impl IntoOptions) -> Result<Prompt> {
        Ok(self.engine.model.prompts.resolve(&prompt_request(&how.into_options(), None))?)
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
    pub fn token_ids(&self, text: &str, how: impl IntoOptions) -> Result<Vec<u32>> {
        let tokenized = self.tokenize(text, how)?;
        Ok(tokenized.tokens().next().map(|part| part.ids.clone()).unwrap_or_default())
    }

    /// The text of tokens, as near as the vocabulary keeps it: one that folds case gives it in lower case. With
    /// `skip_special` without special tokens, such as those around a text.
    ///
    /// # Errors
    /// If an id is outside of the vocabulary.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        Ok(self.engine.tokenizer.decode(ids, skip_special)?)
    }

    /// Tokens that a text has with its prompt and the special tokens, whatever the limit is.
    ///
    /// # Errors
    /// See [`Embedder::embed_batch`].
    pub fn count_tokens(&self, text: &str, how: impl IntoOptions) -> Result<usize> {
        let tokenized = self.tokenize(text, how)?;
        Ok(tokenized.tokens().next().map_or(0, |part| part.untruncated))
    }

    /// Prompt and tokens of one text.
    fn tokenize(&self, text: &str, how: impl IntoOptions) -> Result<TokenizedRequest> {
        let request = Request::new(text).options(how.into_options());
        let ready = ReadyPrompts::default().get(&self.engine, &request.options, None)?;
        tokenize(&self.engine, &request, ready, Shape::Pooled)
    }

    /// Values of a vector, unless [`EmbedOptions::dimensions`](crate::EmbedOptions::dimensions) asks for fewer. For a model that gives
    /// only token vectors or a weight for each entry of its vocabulary, the size of those.
    pub fn dimensions(&self) -> usize {
        let width = self.engine.model.width(self.main_output());
        self.engine.model.truncate_dimensions.map_or(width, |cut| width.min(cut))
    }

    /// The dense output, or else the first.
    fn main_output(&self) -> usize {
        self.engine.model.output(OutputKind::Dense).unwrap_or(0)
    }

    /// The most tokens a text may have, special tokens and prompt included.
    pub fn max_tokens(&self) -> usize {
        self.engine.max_tokens
    }

    /// The device in use, and how it was chosen.
    pub fn device(&self) -> DeviceReport {
        self.engine.device()
    }

    /// The precision that it was opened with.
    pub fn precision(&self) -> Precision {
        self.engine.options.precision
    }

    /// The model's folder, or a name for one in memory.
    pub fn model(&self) -> &Path {
        &self.engine.model.root
    }

    /// What to know about the model's files: keys that taskvec does not know, and what was taken from the model's name.
    pub fn notes(&self) -> Vec<ModelNote> {
        self.engine.notes()
    }

    /// The end at which [`Truncation::Model`](crate::Truncation::Model) cuts a text that is too long:
    /// [`Truncation::End`](crate::Truncation::End), or `Start` or `Error` where the model's files say so.
    pub fn truncation(&self) -> Truncation {
        match self.engine.tokenizer.cut() {
            CutAt::End => Truncation::End,
            CutAt::Never => Truncation::Error,
            CutAt::Start | CutAt::PromptToo => Truncation::Start,
        }
    }

    /// The similarity function that the model's own files name; cosine where they name none.
    pub fn similarity_function(&self) -> Similarity {
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
    pub fn space(&self, how: impl IntoOptions) -> Result<Space> {
        self.space_at(self.main_output(), how)
    }

    /// The space in which values of one kind lie, for a model that gives several: of [`DenseAndSparse`] the dense one's.
    ///
    /// # Errors
    /// If the model does not give such values, or the options do not fit it.
    pub fn space_of<T: Value>(&self, how: impl IntoOptions) -> Result<Space> {
        self.space_at(T::outputs(&self.engine)?[0], how)
    }

    fn space_at(&self, output: usize, how: impl IntoOptions) -> Result<Space> {
        let options = how.into_options();
        let prompt = Arc::new(self.prompt(options.clone())?);
        let finish = value::finish(&self.engine, &options, output)?;
        Ok(Space::new(self.recipe.clone(), prompt, options.task, finish))
    }

    /// What the model is made of and what each task does: what `taskvec inspect` prints.
    ///
    /// # Errors
    /// If the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn inspect(&self) -> Result<Inspection> {
        Inspection::of(&self.engine)
    }

    /// Takes the GPU away, as a driver does that resets: for tests of programs that must go on then.
    ///
    /// # Errors
    /// If the device fails otherwise.
    #[doc(hidden)]
    #[cfg(not(target_arch = "wasm32"))]
    pub fn lose_device(&self) -> Result<()> {
        crate::wait::block_on(self.engine.backend(None))?.lose();
        Ok(())
    }

    /// What the GPU does at best, and how the model's kernels do beside it for these texts as one batch: what
    /// `taskvec bench kernels --device gpu` prints. Takes some seconds on a GPU, and far longer on software.
    ///
    /// # Errors
    /// Those of [`Embedder::embed_batch`]; and where the device is not a GPU that was asked for as such.
    #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
    pub fn measure_gpu<T: AsRef<str>>(
        &self,
        texts: &[T],
        how: impl IntoOptions,
    ) -> Result<crate::GpuMeasurement> {
        let options = how.into_options();
        let mut parts = Vec::new();
        for text in texts {
            parts.extend(self.tokenize(text.as_ref(), options.clone())?.parts);
        }
        let backend = crate::wait::block_on(self.engine.backend(None))?;
        backend.measure(&crate::batch::RaggedBatch::new(&parts))
    }
}

/// The one item of a list.
fn only<T>(mut items: Vec<T>) -> Result<T> {
    items.pop().ok_or(Error::Internal { what: "a call for one text gave no result" })
}
