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
    /// Memory that the model takes, about: its weights, and what a batch needs.
    pub fn bytes(&self) -> u64 {
        let inspection = match self {
            Loaded::Embedder(embedder) => embedder.inspect(),
            Loaded::Reranker(reranker) => reranker.inspect(),
        };
        // A model that cannot be looked at cannot be used either, which its first text says.
        inspection.map_or(0, |inspection| (inspection.weight_bytes + inspection.batch_bytes) as u64)
    }

    /// The most tokens of a text.
    pub fn max_tokens(&self) -> usize {
        match self {
            Loaded::Embedder(embedder) => embedder.max_tokens(),
            Loaded::Reranker(reranker) => reranker.max_tokens(),
        }
    }
}
