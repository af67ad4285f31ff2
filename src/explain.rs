//! What a model sees of a text, token by token.

use crate::embedder::Embedder;
use crate::error::Result;
use crate::options::EmbedOptions;
use crate::prompt::Prompt;
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
    /// Whether pooling takes its state. For a model that pools one token it is that one.
    pub pooled: bool,
}

impl Embedder {
    /// What the model sees of a text: the assembled text, its tokens, and which of them pooling takes.
    ///
    /// # Errors
    /// See [`Embedder::embed_batch`].
    pub fn explain(&self, text: &str, how: impl Into<EmbedOptions>) -> Result<Explanation> {
        let (prompt, tokenized) = self.tokenize_one(text, &how.into())?;
        let pooling = self.engine.model.ends.iter().find_map(|end| end.pooling.as_ref());
        let taken = |place: usize| {
            let span = tokenized.pools.first().cloned().unwrap_or_default();
            pooling.is_none_or(|pooling| pooling.modes.iter().any(|mode| mode.takes(place, &span)))
        };
        let token = |(place, &id): (usize, &u32)| ExplainedToken {
            id,
            piece: self.engine.tokenizer.token(id),
            pooled: taken(place),
        };
        Ok(Explanation {
            assembled: prompt.around(text),
            prompt,
            tokens: tokenized.ids.iter().enumerate().map(token).collect(),
            untruncated_tokens: tokenized.untruncated,
        })
    }
}
