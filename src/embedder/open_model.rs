//! What a [`Builder`](super::Builder) opens.

use crate::error::Result;
use crate::options::ModelOptions;
use crate::source::ModelFiles;

/// What a [`Builder`](crate::Builder) opens: an [`Embedder`](crate::Embedder) or a [`Reranker`](crate::Reranker).
pub trait OpenModel: Sized + Open {}

/// How it is opened. Only for this crate: what a builder opens is closed.
#[allow(private_interfaces)]
pub trait Open: Sized {
    #[cfg(not(target_arch = "wasm32"))]
    fn open_now(files: &ModelFiles, options: &ModelOptions) -> Result<Self>;

    fn open_async(files: &ModelFiles, options: &ModelOptions) -> impl Future<Output = Result<Self>>;
}
