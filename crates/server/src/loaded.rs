//! A model that is open.

use taskvec::{Embedder, Reranker};

/// A model that is open.
#[derive(Debug)]
pub enum Loaded {
    /// One that gives vectors.
    Embedder(Embedder),
    /// One that gives a score for a query and a document.
    Reranker(Reranker),
}

impl Loaded {
    /// The most tokens of a text.
    pub fn max_tokens(&self) -> usize {
        match self {
            Loaded::Embedder(embedder) => embedder.max_tokens(),
            Loaded::Reranker(reranker) => reranker.max_tokens(),
        }
    }
}
