//! Options of a model and of a call.

use crate::device::Device;
use crate::embedder::Embedder;
use crate::error::Result;
use crate::model::ModelFiles;
use crate::prompt::{PromptRequest, UserRegistry};
use crate::reranker::Reranker;
use crate::task::Task;
use std::path::Path;

/// Options for opening a model: [`Embedder::builder`].
#[derive(Clone, Debug, Default)]
pub struct EmbedderBuilder {
    pub(crate) device: Device,
    pub(crate) threads: Option<usize>,
    pub(crate) cores: Option<Vec<usize>>,
    pub(crate) max_tokens: Option<usize>,
    pub(crate) batch_tokens: Option<usize>,
    pub(crate) instruction_set: Option<String>,
    pub(crate) precision: Precision,
    pub(crate) dimensions: Option<usize>,
    pub(crate) registry: Option<UserRegistry>,
}

impl EmbedderBuilder {
    /// Where to compute. Default: [`Device::Auto`].
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// CPU threads, for tokenisation too. Default: as many as the process may use, or as many as there are
    /// [`cores`](Self::cores).
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// The cores that the CPU threads stay on, one each, by the system's numbers from 0. Default: the system
    /// moves them.
    ///
    /// For a process that has these cores to itself, or to keep models apart. After a pause a system may
    /// wake two threads on one core, and takes milliseconds to see that another is free: on a virtual
    /// machine of two cores, a text of 16 tokens after a pause of 2 ms took 2.3 ms without and 1.8 ms
    /// with cores of their own (f32; 1.45 and 1.07 in bf16). Two processes on the same cores wait for each
    /// other.
    pub fn cores(mut self, cores: impl IntoIterator<Item = usize>) -> Self {
        self.cores = Some(cores.into_iter().collect());
        self
    }

    /// The most tokens a text may have, special tokens and prompt included: fewer than the model's
    /// authors set, or more if its positions reach. Default: theirs.
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Tokens that are computed together. More use the device better and take more memory; results
    /// do not depend on it. Default: chosen for the device.
    pub fn batch_tokens(mut self, tokens: usize) -> Self {
        self.batch_tokens = Some(tokens);
        self
    }

    /// The CPU's instruction set: one of [`instruction_sets`](crate::instruction_sets), such as `avx2-vnni`,
    /// `avx512-bf16`, `neon-dotprod` or `portable`. Default: the fastest it has.
    pub fn instruction_set(mut self, name: impl Into<String>) -> Self {
        self.instruction_set = Some(name.into());
        self
    }

    /// The precision of weights and matrix products. Default: [`Precision::F32`], the reference's vector.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Chooses the projection to this size, for models that have several in folders of their own
    /// (stella's `2_Dense_256` to `2_Dense_8192`). For any other model, use
    /// [`EmbedOptions::dimensions`]. Default: the model's own choice.
    pub fn dimensions(mut self, dimensions: usize) -> Self {
        self.dimensions = Some(dimensions);
        self
    }

    /// A registry file of your own, whose prompts come before the model's and the built-in ones. Its
    /// form is that of the built-in registry, `src/prompt/registry.json`.
    ///
    /// # Errors
    /// If the file cannot be read, or has something in it that no registry has.
    pub fn registry(mut self, file: impl AsRef<Path>) -> Result<Self> {
        self.registry = Some(UserRegistry::read(file.as_ref())?);
        Ok(self)
    }

    /// Opens a cross-encoder; see [`Reranker::open`].
    ///
    /// # Errors
    /// As [`Reranker::open`], or if an option does not fit the model or this machine.
    pub fn open_reranker(&self, folder: impl AsRef<Path>) -> Result<Reranker> {
        Reranker::with_options(&ModelFiles::in_folder(folder.as_ref())?, self)
    }

    /// Opens a model folder; see [`Embedder::open`].
    ///
    /// # Errors
    /// As [`Embedder::open`], or if an option does not fit the model or this machine.
    pub fn open(&self, folder: impl AsRef<Path>) -> Result<Embedder> {
        Embedder::with_options(&ModelFiles::in_folder(folder.as_ref())?, self)
    }

    /// Opens the model inside the program; see [`Embedder::builtin`].
    ///
    /// # Errors
    /// If an option does not fit the model or this machine.
    #[cfg(feature = "builtin")]
    pub fn builtin(&self) -> Result<Embedder> {
        Embedder::with_options(&crate::builtin::files(), self)
    }
}

/// The precision of weights and matrix products. Sums, softmax, norms and pooling are f32 in any case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Weights are rounded to bf16, which is half the memory and what many models' files have: a GPU
    /// then gives the vector of f32. On the CPU and the reference what weights are multiplied with is rounded
    /// too: twice the speed where the CPU has AVX-512 BF16.
    Bf16,
    /// Weights and what lies between steps are f16: half the memory, and matrix units where a GPU has them.
    /// On GPUs whose shaders have f16, and for models whose activations f16 has numbers for: not
    /// for T5 and Gemma.
    F16,
    /// Weights are rounded to 8 bits with a scale for each output, and what they are multiplied with to 8
    /// bits with a scale for each token: a quarter of the memory, and up to four times the speed where the
    /// CPU has VNNI, dotprod or I8MM. Layers behind the pooling stay in f32. On the CPU and the reference.
    Int8,
    /// f16 on a GPU for which that is possible, else f32; the device's name says which. Vectors made so have a
    /// fingerprint of their own ([`Embedder::space`]).
    Auto,
}

impl Precision {
    /// Its name: `f32`, `bf16`, `f16`, `int8`, `auto`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::F16 => "f16",
            Precision::Int8 => "int8",
            Precision::Auto => "auto",
        }
    }
}

/// What to do with a text that has more tokens than the model takes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum TooLong {
    /// Cut off its end, and say so in the result.
    #[default]
    Truncate,
    /// Cut off its start, and say so in the result. The prompt stays.
    TruncateStart,
    /// Return an error.
    Error,
    /// Embed it in windows of as many tokens as the model takes, each with the prompt, and take the
    /// mean of their vectors (of their directions, where vectors have unit length), weighted by their
    /// tokens. Nothing is lost, but no window knows the others.
    Windows {
        /// Tokens that each window shares with the one before it.
        overlap: usize,
    },
}

/// How to embed the texts of a call. A [`Task`] is enough: `embed(text, Task::Clustering)`.
///
/// ```
/// # use taskvec::{EmbedOptions, Task};
/// let how = EmbedOptions::new().task(Task::RetrievalDocument).title("Tea").dimensions(128);
/// ```
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct EmbedOptions {
    pub(crate) task: Option<Task>,
    pub(crate) prompt: Option<String>,
    pub(crate) template: Option<String>,
    pub(crate) prompt_name: Option<String>,
    pub(crate) instruction: Option<String>,
    pub(crate) adapter: Option<String>,
    pub(crate) pool_prompt: Option<bool>,
    pub(crate) title: Option<String>,
    pub(crate) dimensions: Option<usize>,
    pub(crate) normalize: Option<bool>,
    pub(crate) too_long: TooLong,
}

impl EmbedOptions {
    /// No task: the model's default prompt if it has one, else none.
    pub fn new() -> Self {
        EmbedOptions::default()
    }

    /// What the vectors are for; chooses the prompt.
    pub fn task(mut self, task: Task) -> Self {
        self.task = Some(task);
        self
    }

    /// Puts this text in front, whatever the model's prompts are; empty: nothing.
    pub fn prompt(mut self, prompt: impl Into<String>) -> Self {
        self.prompt = Some(prompt.into());
        self
    }

    /// Puts the text where `{text}` stands in this template, and a title, or `none`, where `{title}`
    /// does: `Summarize sentence "{text}" in one word:`.
    pub fn template(mut self, template: impl Into<String>) -> Self {
        self.template = Some(template.into());
        self
    }

    /// Uses the model's own prompt of this name.
    pub fn prompt_name(mut self, name: impl Into<String>) -> Self {
        self.prompt_name = Some(name.into());
        self
    }

    /// Uses the model's task adapter of this name, whatever the task is (jina-embeddings-v3's
    /// `retrieval.query`, `text-matching`, …).
    pub fn adapter(mut self, name: impl Into<String>) -> Self {
        self.adapter = Some(name.into());
        self
    }

    /// Lets pooling take the prompt's tokens, or keeps them out. Default: as the model's files or the
    /// registries say; Instructor's are kept out.
    pub fn pool_prompt(mut self, pool: bool) -> Self {
        self.pool_prompt = Some(pool);
        self
    }

    /// Tells an instruction model (such as Qwen3-Embedding) the task in your own words:
    /// `Given a customer's question, find the paragraph of the manual that answers it`.
    pub fn instruction(mut self, instruction: impl Into<String>) -> Self {
        self.instruction = Some(instruction.into());
        self
    }

    /// The document's title, for models whose document prompt has a place for one.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Keeps the first values of each vector only (Matryoshka), at unit length if the model's
    /// vectors have that. Models not trained for it lose more accuracy by it.
    pub fn dimensions(mut self, dimensions: usize) -> Self {
        self.dimensions = Some(dimensions);
        self
    }

    /// Brings vectors to unit length, or leaves them as they are, whatever the model's own modules
    /// say. Default: as they say.
    pub fn normalize(mut self, normalize: bool) -> Self {
        self.normalize = Some(normalize);
        self
    }

    /// What to do with texts that are too long.
    pub fn too_long(mut self, policy: TooLong) -> Self {
        self.too_long = policy;
        self
    }

    pub(crate) fn prompt_request(&self) -> PromptRequest<'_> {
        PromptRequest {
            explicit: self.prompt.as_deref(),
            template: self.template.as_deref(),
            name: self.prompt_name.as_deref(),
            task: self.task,
            instruction: self.instruction.as_deref(),
            adapter: self.adapter.as_deref(),
            pooled: self.pool_prompt,
            title: self.title.as_deref(),
        }
    }
}

impl From<Task> for EmbedOptions {
    fn from(task: Task) -> Self {
        EmbedOptions::new().task(task)
    }
}

impl From<&EmbedOptions> for EmbedOptions {
    fn from(options: &EmbedOptions) -> Self {
        options.clone()
    }
}
