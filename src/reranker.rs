//! Cross-encoders: a score for a query and a document that are read together.

use crate::device::DeviceReport;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::{EndKind, ModelFiles, Purpose};
use crate::options::EmbedderBuilder;
use crate::tokens::TokenizedText;
use rayon::prelude::*;
use std::path::Path;

/// A cross-encoder on a device: BERT's, RoBERTa's, XLM-RoBERTa's, DistilBERT's, ModernBERT's or gte's
/// architecture for sequence classification with one label.
///
/// ```no_run
/// # fn main() -> taskvec::Result<()> {
/// use taskvec::Reranker;
///
/// let reranker = Reranker::open("path/to/ms-marco-MiniLM-L6-v2")?;
/// let documents = ["Tea is made from leaves.", "A transformer is a neural network."];
/// for (place, score) in reranker.rank("How do transformers work?", &documents)? {
///     println!("{score:.3}  {}", documents[place]);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Reranker {
    engine: Engine,
}

impl std::fmt::Debug for Reranker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reranker").field("model", &self.engine.model.root).finish_non_exhaustive()
    }
}

impl Reranker {
    /// Opens a model folder on the best device; see [`Embedder::open`](crate::Embedder::open).
    ///
    /// # Errors
    /// As [`Embedder::open`](crate::Embedder::open); also if the model is no cross-encoder, or gives
    /// more than one score.
    pub fn open(folder: impl AsRef<Path>) -> Result<Reranker> {
        EmbedderBuilder::default().open_reranker(folder)
    }

    pub(crate) fn with_options(files: &ModelFiles, options: &EmbedderBuilder) -> Result<Reranker> {
        let engine = Engine::open(files, options, Purpose::Rank)?;
        let labels = engine.model.width(engine.model.require_end(EndKind::Labels)?);
        if labels != 1 {
            return Err(Error::Unsupported {
                path: files.path("config.json"),
                what: "number of labels",
                found: labels.to_string(),
                supported: "1, a score of relevance".to_owned(),
            });
        }
        Ok(Reranker { engine })
    }

    /// How relevant each document is to the query, in their order. What the number means is the
    /// model's affair: mostly 0 to 1, or a number without bounds; larger is more relevant.
    ///
    /// A pair that is longer than the model takes is cut, the longer of the two first.
    ///
    /// # Errors
    /// If a text cannot be tokenised, a score is not finite, or the device fails. There is no partial
    /// result.
    pub fn score<T: AsRef<str> + Sync>(&self, query: &str, documents: &[T]) -> Result<Vec<f32>> {
        let Engine { tokenizer, model, max_tokens, threads, .. } = &self.engine;
        let pair =
            |(index, document): (usize, &T)| tokenizer.pair(query, document.as_ref(), *max_tokens, index);
        let pairs: Vec<TokenizedText> = threads
            .install(|| documents.par_iter().enumerate().with_min_len(8).map(pair).collect::<Result<_>>())?;
        let results = self.engine.run(&pairs, None, &[model.require_end(EndKind::Labels)?])?;
        Ok(results.iter().flatten().flatten().map(|score| model.score_activation.apply(*score)).collect())
    }

    /// The documents' places and scores, most relevant first.
    ///
    /// # Errors
    /// See [`Reranker::score`].
    pub fn rank<T: AsRef<str> + Sync>(&self, query: &str, documents: &[T]) -> Result<Vec<(usize, f32)>> {
        let mut ranked: Vec<(usize, f32)> = self.score(query, documents)?.into_iter().enumerate().collect();
        ranked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        Ok(ranked)
    }

    /// The token ids that the model sees for a pair.
    ///
    /// # Errors
    /// If a text cannot be tokenised.
    pub fn token_ids(&self, query: &str, document: &str) -> Result<Vec<u32>> {
        Ok(self.engine.tokenizer.pair(query, document, self.engine.max_tokens, 0)?.ids)
    }

    /// The device in use, and how it was chosen.
    pub fn device(&self) -> DeviceReport {
        self.engine.device()
    }

    /// The most tokens that a pair may have, special tokens included.
    pub fn max_tokens(&self) -> usize {
        self.engine.max_tokens
    }
}
