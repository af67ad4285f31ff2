//! Splitting long texts where sentences and paragraphs end.

use super::Embedder;
use crate::error::{RequestError, Result};
use text_splitter::{ChunkConfig, ChunkSizer, TextSplitter};

/// Counts tokens as the model does.
struct Tokens<'a>(&'a Embedder);

impl ChunkSizer for Tokens<'_> {
    fn size(&self, piece: &str) -> usize {
        self.0.engine.tokenizer.count(piece)
    }
}

impl Embedder {
    /// Where to split a text into pieces of at most `tokens` tokens each: byte positions of their ends,
    /// for [`Embedder::embed_pieces`]. Pieces end with paragraphs, sentences or words, whichever fits.
    ///
    /// # Errors
    /// If `tokens` is 0.
    pub fn split(&self, text: &str, tokens: usize) -> Result<Vec<usize>> {
        if tokens == 0 {
            return Err(RequestError::InvalidOption {
                option: "tokens of a piece",
                found: "0".to_owned(),
                expected: "1 or more".to_owned(),
            }
            .into());
        }
        let splitter = TextSplitter::new(ChunkConfig::new(tokens).with_sizer(Tokens(self)));
        // White space between two pieces belongs to the earlier one.
        let starts = splitter.chunk_indices(text).map(|(start, _)| start).skip(1);
        Ok(starts.filter(|&start| start > 0).chain((!text.is_empty()).then_some(text.len())).collect())
    }
}
