//! The model inside the program: sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0).

use crate::source::{Bytes, ModelFiles};

/// The files of the built-in model.
pub(crate) fn files() -> ModelFiles {
    let files = taskvec_minilm::FILES.iter().map(|&(name, bytes)| (name, Bytes::from(bytes)));
    ModelFiles::in_memory(taskvec_minilm::NAME, files)
}
