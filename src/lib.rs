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
//!     println!("{}", taskvec::cosine(&query.value, &passage.value));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`Embedder`] is the way in: from a folder ([`Embedder::open`]), from the Hugging Face Hub
//!   (`Embedder::from_hub`), from memory ([`Builder::open_files`]), or the model inside the program
//!   (`Embedder::builtin`). [`Builder`] has the options of a model (device, threads, limits), [`EmbedOptions`] those
//!   of a call (task, prompt, instruction, dimensions).
//! - [`Output`] is a result with its token counts, its [`Prompt`] and its [`Space`]. A [`Prompt`] is the exact text put
//!   in front, where it came from, and a [`Note`] where a task had no effect.
//! - [`Request`] is a text with options of its own, for calls that mix them; [`Embedder::stream`] takes any
//!   number of requests and gives results in their order.
//! - [`Reranker`] scores pairs of texts.
//! - [`Device`] says where to compute. The same text gives the same bits on one device, whatever
//!   shares its batch.
//! - [`Error`] says what was read, what was found and what was expected. Nothing that a model asks
//!   for is ignored.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `gpu` (default) | the wgpu backend |
//! | `hub` | models of the Hugging Face Hub: `Embedder::from_hub`, `HubModel` |
//! | `builtin` | a model inside the program: `Embedder::builtin` (45 MB) |
//! | `split` | splitting long texts at sentences and paragraphs: `Embedder::split` |
//! | `serde` | serde's traits for results and options |
//! | `ndarray` | `EmbeddingMatrix::into_ndarray` |
#![deny(unsafe_code)]
// Bad input must reach an error, never a panic.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// A browser has no use for what inspects and measures devices.
#![cfg_attr(target_arch = "wasm32", allow(dead_code))]

mod backend;
mod batch;
#[cfg(feature = "builtin")]
mod builtin;
mod cancel;
mod catalogue;
mod device;
mod embedder;
mod engine;
mod error;
mod model;
mod names;
mod options;
mod plan;
mod precision;
mod prompt;
mod source;
mod space;
mod task;
mod tokens;
mod vector;
mod wait;

pub use backend::cpu::instruction_sets;
#[cfg(feature = "gpu")]
pub use backend::gpu::{GpuAdapter, GpuKernel, GpuMeasurement, GpuPeaks, gpu_adapters};
pub use cancel::CancelToken;
pub use catalogue::{KnownModel, known_models};
pub use device::{Device, DeviceKind, DeviceReport, GpuSelector};
pub use embedder::{
    AllVectors, Builder, DenseAndSparse, Embedder, EmbedderBuilder, Embedding, EmbeddingMatrix,
    ExplainedToken, Explanation, Inspection, IntoOptions, KernelShape, OpenModel, Output, Piece, Progress,
    Request, Reranker, RerankerBuilder, SparseVector, Stream, TokenVectors, Value,
};
pub use error::{DeviceError, Error, ErrorKind, HubError, ModelError, RequestError, Result};
pub use model::ModelNote;
pub use options::{EmbedOptions, Truncation};
pub use precision::Precision;
pub use prompt::{Note, Prompt, PromptSource, TaskPrompt};
pub use source::{Bytes, ModelFiles};
#[cfg(feature = "hub")]
pub use source::{CachedModel, Download, HubModel, cached_models};
pub use space::{Fingerprint, Space};
pub use task::Task;
pub use taskvec_kernels::{Activation, RareActivation};
pub use vector::{OutputType, Quantized, Ranges, Similarity, cosine, hamming, maxsim, quantize};

/// The README's code, run as a test.
#[cfg(all(doctest, feature = "builtin"))]
#[doc = include_str!("../README.md")]
struct Readme;
