//! What a model sees of a text, token by token.

use super::{Embedder, IntoOptions};
use crate::engine::Engine;
use crate::error::Result;
use crate::prompt::Prompt;
use std::ops::Range;
use std::sync::Arc;

/// What a model sees of a text: [`Embedder::explain`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// The prompt, where it came from, and the adapter.
    pub prompt: Arc<Prompt>,
    /// Prompt and text, as the tokenizer gets them.
    pub assembled: String,
    /// What the model sees, in order.
    pub tokens: Vec<ExplainedToken>,
    /// Tokens that the whole text would have had.
    pub untruncated_tokens: usize,
}

/// One token of an [`Explanation`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ExplainedToken {
    /// Its id.
    pub id: u32,
    /// Its piece of the vocabulary.
    pub piece: String,
    /// Whether it is a special token, such as those around a text.
    pub special: bool,
    /// Whether pooling takes its state. For a model that pools one token it is that one.
    pub pooled: bool,
}

impl Embedder {
    /// What the model sees of a text: the assembled text, its tokens, and which of them pooling takes.
    ///
    /// # Errors
    /// See [`Embedder::embed_batch`].
    pub fn explain(&self, text: &str, how: impl IntoOptions) -> Result<Explanation> {
        let tokenized = self.tokenize(text, how)?;
        let prompt = tokenized.prompt.prompt.clone();
        let first = tokenized.tokens().next();
        let (ids, untruncated) = first.map_or((&[][..], 0), |part| (&part.ids[..], part.untruncated));
        let span = first.and_then(|part| part.pools.first().cloned()).unwrap_or_default();
        Ok(Explanation {
            assembled: prompt.around(text),
            prompt,
            tokens: explained(&self.engine, ids, &span),
            untruncated_tokens: untruncated,
        })
    }
}

/// Each token of a text, and whether pooling takes it of those in `span`.
pub(super) fn explained(engine: &Engine, ids: &[u32], span: &Range<usize>) -> Vec<ExplainedToken> {
    let pooling = engine.model.outputs.iter().find_map(|head| head.pooling.as_ref());
    let taken =
        |place| pooling.is_none_or(|pooling| pooling.modes.iter().any(|mode| mode.takes(place, span)));
    let token = |(place, &id): (usize, &u32)| ExplainedToken {
        id,
        piece: engine.tokenizer.token(id),
        special: engine.tokenizer.is_special(id),
        pooled: taken(place),
    };
    ids.iter().enumerate().map(token).collect()
}
