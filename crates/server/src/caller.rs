//! Who asks.

use std::time::Instant;

/// Who asks, and how long they wait.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Caller {
    /// Whose key it is.
    pub(crate) key: usize,
    pub(crate) deadline: Option<Instant>,
}
