//! A model to serve, before it is opened.

use crate::loaded::Loaded;
use std::sync::Arc;

/// Opens a model, or says why it cannot be.
pub type Opener = Arc<dyn Fn() -> Result<Loaded, String> + Send + Sync>;

/// A model to serve: its name, and how it is opened.
#[derive(Clone)]
pub struct ServedModel {
    /// The name that answers and lists show.
    pub name: String,
    /// Other names that clients may use for it, such as `text-embedding-3-small`.
    pub aliases: Vec<String>,
    /// Opens it, once.
    pub open: Opener,
}

impl std::fmt::Debug for ServedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServedModel")
            .field("name", &self.name)
            .field("aliases", &self.aliases)
            .finish_non_exhaustive()
    }
}

/// What a request needs a model for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    Embed,
    Rank,
}
