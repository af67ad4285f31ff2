//! How vectors are stored.

use std::path::PathBuf;
use taskvec::OutputType;

/// How a file's vectors are stored.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// The file, for messages.
    pub(super) path: PathBuf,
    pub(super) output_type: OutputType,
    /// Values of a vector as it is stored.
    pub(super) width: usize,
}

impl Layout {
    /// Bytes of a vector.
    pub(super) fn row_bytes(&self) -> usize {
        self.width * self.output_type.value_bytes()
    }
}
