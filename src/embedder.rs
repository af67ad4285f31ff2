//! The public face: open a model, embed texts.

use crate::backend::Backend;
use crate::device::DeviceReport;
use crate::error::{Error, Result};
use crate::inspect::Inspection;
use crate::model::{Model, ModelFiles};
use crate::options::{EmbedOptions, EmbedderBuilder, TooLong};
use crate::output;
use crate::plan::Plan;
use crate::prompt::Prompt;
use crate::tokens::{RaggedBatch, TextTokenizer, TokenizedText, pack};
use rayon::ThreadPool;
use rayon::prelude::*;
use std::path::Path;
use std::sync::Arc;

/// A vector and what is known about how it came to be.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// `[dimensions]`
    pub vector: Vec<f32>,
    /// Tokens that the model saw: special ones, prompt and text.
    pub tokens: usize,
    /// Tokens that the whole text would have had; more than `tokens` if its end was cut off.
    pub untruncated_tokens: usize,
    /// The prompt in front of the text, where it came from, and what to know about it. Shared by
    /// all texts of a call.
    pub prompt: Arc<Prompt>,
}

impl Embedding {
    /// Whether the end of the text was cut off.
    pub fn truncated(&self) -> bool {
        self.untruncated_tokens > self.tokens
    }
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
    model: Model,
    tokenizer: TextTokenizer,
    plan: Arc<Plan>,
    backend: Box<dyn Backend>,
    device: DeviceReport,
    threads: Arc<ThreadPool>,
    max_tokens: usize,
    batch_tokens: Option<usize>,
}

impl std::fmt::Debug for Embedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedder")
            .field("model", &self.model.root)
            .field("device", &self.device)
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
        let model = Model::open(files)?;
        let max_tokens = token_limit(&model, options.max_tokens)?;
        let threads = start_threads(options.threads)?;
        let plan = Arc::new(Plan::new(&model, max_tokens)?);
        let (tokenizer, started) = threads.install(|| {
            rayon::join(|| model.read_tokenizer(files), || crate::device::start(options, &plan, &threads))
        });
        let (tokenizer, (backend, device)) = (tokenizer?, started?);
        let batch_tokens = options.batch_tokens;
        Ok(Embedder { model, tokenizer, plan, backend, device, threads, max_tokens, batch_tokens })
    }

    /// Embeds one text for a task, or with other [`EmbedOptions`].
    ///
    /// # Errors
    /// See [`Embedder::embed_batch`].
    pub fn embed(&self, text: &str, how: impl Into<EmbedOptions>) -> Result<Embedding> {
        let mut embeddings = self.embed_batch(&[text], how)?;
        embeddings
            .pop()
            .ok_or(Error::NonFiniteResult { index: 0, cause: "the backend returned no vector".to_owned() })
    }

    /// Embeds texts for a task, or with other [`EmbedOptions`]; results in the order of the texts.
    ///
    /// Each text's vector has the same bits whatever other texts are in the call.
    ///
    /// # Errors
    /// If the options do not fit the model, a text is too long and truncation is not allowed, a
    /// result is not finite, or the device fails. There is no partial result.
    pub fn embed_batch<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        how: impl Into<EmbedOptions>,
    ) -> Result<Vec<Embedding>> {
        let options = how.into();
        let dimensions = self.checked_dimensions(&options)?;
        let prompt = Arc::new(self.model.prompts.resolve(&options.prompt_request())?);
        let tokenized = self.tokenize(texts, &prompt, options.too_long)?;
        let mut vectors = self.run(&tokenized)?;
        if dimensions < self.dimensions() {
            let how = self.model.cut();
            vectors.iter_mut().for_each(|vector| output::cut(vector, dimensions, how));
        }
        let embedding = |(vector, text): (Vec<f32>, &TokenizedText)| Embedding {
            vector,
            tokens: text.ids.len(),
            untruncated_tokens: text.untruncated,
            prompt: prompt.clone(),
        };
        Ok(vectors.into_iter().zip(&tokenized).map(embedding).collect())
    }

    /// The prompt that these options give, without embedding anything.
    ///
    /// # Errors
    /// If the options do not fit the model.
    pub fn prompt(&self, how: impl Into<EmbedOptions>) -> Result<Prompt> {
        self.model.prompts.resolve(&how.into().prompt_request())
    }

    /// The token ids that the model sees for a text: special tokens, prompt and text.
    ///
    /// # Errors
    /// See [`Embedder::embed_batch`].
    pub fn token_ids(&self, text: &str, how: impl Into<EmbedOptions>) -> Result<Vec<u32>> {
        let options = how.into();
        let prompt = self.model.prompts.resolve(&options.prompt_request())?;
        let tokenized = self.tokenize(&[text], &prompt, options.too_long)?;
        Ok(tokenized.into_iter().flat_map(|text| text.ids).collect())
    }

    /// Values of a vector, unless [`EmbedOptions::dimensions`] asks for fewer.
    pub fn dimensions(&self) -> usize {
        self.model.dimensions()
    }

    /// The most tokens a text may have, special tokens and prompt included.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The device in use, and how it was chosen.
    pub fn device(&self) -> &DeviceReport {
        &self.device
    }

    /// What the model is made of and what each task does: what `taskvec inspect` prints.
    pub fn inspect(&self) -> Inspection {
        let tokens =
            self.batch_tokens.unwrap_or_else(|| self.backend.batch_tokens(usize::MAX)).max(self.max_tokens);
        Inspection::new(
            &self.model,
            &self.plan,
            self.backend.weight_bytes(),
            self.plan.buffer_bytes(tokens, tokens),
        )
    }

    fn checked_dimensions(&self, options: &EmbedOptions) -> Result<usize> {
        let all = self.dimensions();
        match options.dimensions {
            None => Ok(all),
            Some(wanted) if (1..=all).contains(&wanted) => Ok(wanted),
            Some(wanted) => Err(Error::InvalidOption {
                option: "dimensions",
                found: wanted.to_string(),
                expected: format!("1 to {all}, the size of the model's vectors"),
            }),
        }
    }

    fn tokenize<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        prompt: &Prompt,
        too_long: TooLong,
    ) -> Result<Vec<TokenizedText>> {
        let tokenizer = &self.tokenizer;
        let prompt = tokenizer.prompt(&prompt.text, self.model.pooling.include_prompt, self.max_tokens)?;
        let tokenize = |(index, text): (usize, &T)| {
            let text = tokenizer.tokenize(&prompt, text.as_ref(), self.max_tokens, index)?;
            match too_long {
                TooLong::Error if text.untruncated > text.ids.len() => {
                    Err(Error::TooLong { index, tokens: text.untruncated, limit: self.max_tokens })
                }
                _ => Ok(text),
            }
        };
        if texts.len() == 1 {
            return texts.iter().enumerate().map(tokenize).collect();
        }
        self.threads.install(|| texts.par_iter().enumerate().with_min_len(8).map(tokenize).collect())
    }

    /// One vector a text, in their order.
    fn run(&self, texts: &[TokenizedText]) -> Result<Vec<Vec<f32>>> {
        let lengths: Vec<usize> = texts.iter().map(|text| text.ids.len()).collect();
        let total = lengths.iter().sum();
        let packed = pack(&lengths, self.batch_tokens.unwrap_or_else(|| self.backend.batch_tokens(total)));
        let batches: Vec<RaggedBatch> =
            packed.iter().map(|batch| RaggedBatch::new(batch.iter().map(|&i| &texts[i]))).collect();
        let results = self.backend.run(&batches)?;
        let mut vectors = vec![Vec::new(); texts.len()];
        for (indices, result) in packed.iter().zip(results) {
            for (&index, vector) in indices.iter().zip(result.chunks_exact(self.dimensions())) {
                if !vector.iter().all(|value| value.is_finite()) {
                    return Err(self.explain_non_finite(index));
                }
                vectors[index] = vector.to_vec();
            }
        }
        Ok(vectors)
    }

    /// The weight that is to blame for a vector that is not finite, if one is.
    fn explain_non_finite(&self, index: usize) -> Error {
        let blame = self.model.tensors().into_iter().find_map(crate::model::Tensor::first_non_finite);
        blame.unwrap_or(Error::NonFiniteResult {
            index,
            cause: "the model's weights are finite, so its arithmetic overflowed".to_owned(),
        })
    }
}

fn token_limit(model: &Model, wanted: Option<usize>) -> Result<usize> {
    /// For architectures that take any length.
    const MOST: usize = 1 << 20;
    let architecture = model.encoder.max_tokens.unwrap_or(MOST);
    match wanted {
        None => Ok(model.max_tokens),
        Some(wanted) if (1..=architecture).contains(&wanted) => Ok(wanted),
        Some(wanted) => Err(Error::InvalidOption {
            option: "max_tokens",
            found: wanted.to_string(),
            expected: format!("1 to {architecture}, the positions of the model"),
        }),
    }
}

fn start_threads(wanted: Option<usize>) -> Result<Arc<ThreadPool>> {
    const MOST: usize = 4096;
    let threads = match wanted {
        None => std::thread::available_parallelism().map_or(1, usize::from),
        Some(threads) if (1..=MOST).contains(&threads) => threads,
        Some(threads) => {
            let expected = format!("1 to {MOST}");
            return Err(Error::InvalidOption { option: "threads", found: threads.to_string(), expected });
        }
    };
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("taskvec-{i}")).build();
    pool.map(Arc::new).map_err(|e| Error::Threads { threads, problem: e.to_string() })
}
