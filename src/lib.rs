//! taskvec: task-aware text embeddings without an ML framework.
#![deny(unsafe_code)]

mod backend;
#[cfg(feature = "builtin")]
mod builtin;
mod device;
mod embedder;
mod error;
mod inspect;
mod model;
mod options;
mod output;
mod plan;
mod pooling;
mod prompt;
mod task;
mod tokens;

#[cfg(feature = "gpu")]
pub use backend::gpu::{GpuAdapter, gpu_adapters};
pub use device::{Device, DeviceReport, GpuSelector, instruction_sets};
pub use embedder::{Embedder, Embedding};
pub use error::{Error, Result};
pub use inspect::Inspection;
pub use options::{EmbedOptions, EmbedderBuilder, TooLong};
pub use output::cosine;
pub use pooling::PoolingMode;
pub use prompt::{Note, Prompt, PromptSource};
pub use task::Task;
