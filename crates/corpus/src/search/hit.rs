//! What a search finds.

/// A vector that was found.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Hit {
    /// How alike it and the query are: larger is more alike.
    pub score: f32,
    /// The place of its file in [`Index::files`](crate::Index::files).
    pub file: usize,
    /// Its row in that file.
    pub row: u64,
}
