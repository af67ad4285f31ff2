//! Task-aware text embeddings: the best vector for a text depends on what it is for.
//!
//! Embedding models are trained with a task prompt in front of the text, such as `query: ` or
//! `passage: `. taskvec puts the right one there, says which, and runs the transformer by itself: on
//! WGSL compute shaders through wgpu, or on SIMD kernels on the CPU. There is no ML framework below.
//!
//! ```no_run
//! use taskvec::{Embedder, Task};
//!
//! # fn main() -> taskvec::Result<()> {
//! let embedder = Embedder::open("path/to/e5-small-v2")?;
//! let query = embedder.embed("How do transformers work?", Task::RetrievalQuery)?;
//! let passages = ["Attention relates tokens.", "Tea is made of leaves."];
//! for passage in embedder.embed_batch(&passages, Task::RetrievalDocument)? {
//!     println!("{}", taskvec::cosine(&query.vector, &passage.vector));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`Embedder`] is the way in; [`EmbedderBuilder`] has the options of a model (device, threads,
//!   limits), [`EmbedOptions`] those of a call (task, prompt, instruction, dimensions).
//! - [`Embedding`] is a vector with its token counts and its [`Prompt`]: the exact text put in
//!   front, where it came from, and a [`Note`] where a task had no effect.
//! - [`Device`] says where to compute. The same text gives the same bits on one device, whatever
//!   shares its batch.
//! - [`Error`] says what was read, what was found and what was expected. Nothing that a model asks
//!   for is ignored.
//!
//! # Features
//!
//! `hub` (with `cli`) downloads models from the Hugging Face Hub, `split` (with `cli`) splits long texts, `gpu` (default) brings the wgpu backend, `builtin` the model inside the program
//! (`Embedder::builtin`), `cli` (default) the `taskvec` command and `builtin`.
#![deny(unsafe_code)]

mod backend;
#[cfg(feature = "builtin")]
mod builtin;
#[cfg(feature = "gpu")]
mod cache;
mod catalogue;
mod device;
mod embedder;
mod engine;
mod error;
mod explain;
#[cfg(feature = "hub")]
mod hub;
mod inspect;
mod late;
mod model;
mod options;
mod output;
mod plan;
mod pooling;
mod prompt;
mod reranker;
mod space;
#[cfg(feature = "split")]
mod split;
mod task;
mod threads;
mod tokens;

#[cfg(feature = "gpu")]
pub use backend::gpu::{GpuAdapter, GpuKernel, GpuMeasurement, GpuPeaks, gpu_adapters};
pub use catalogue::{KnownModel, known_models};
pub use device::{Device, DeviceReport, GpuSelector, instruction_sets};
pub use embedder::{Document, Embedder, Embedding};
pub use error::{Error, Result};
pub use explain::{ExplainedToken, Explanation};
#[cfg(feature = "hub")]
pub use hub::{CachedModel, Download, HubModel, cached_models};
pub use inspect::{Inspection, KernelShape};
pub use late::{Outputs, SparseVector, TokenVectors};
pub use options::{EmbedOptions, EmbedderBuilder, Precision, TooLong};
pub use output::{OutputType, Quantized, Ranges, Similarity, cosine, hamming, maxsim, quantize};
pub use prompt::{Note, Prompt, PromptSource, TaskPrompt};
pub use reranker::Reranker;
pub use space::{Fingerprint, Space};
pub use task::Task;
pub use taskvec_kernels::Activation;

/// The README's code, run as a test.
#[cfg(all(doctest, feature = "builtin"))]
#[doc = include_str!("../README.md")]
struct Readme;
