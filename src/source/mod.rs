//! Where models come from: folders, memory, the Hugging Face Hub's cache.

#[cfg(feature = "hub")]
mod environment;
mod files;
#[cfg(feature = "hub")]
mod hub;
mod json;
mod mmap;

pub use files::ModelFiles;
#[cfg(feature = "hub")]
pub use hub::{CachedModel, Download, HubModel, cached_models};
pub(crate) use json::Json;
pub use mmap::Bytes;
