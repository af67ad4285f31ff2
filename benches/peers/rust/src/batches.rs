//! Padded batches, for peers that take them.

use crate::serve;
use anyhow::Result;
use std::path::Path;
use tokenizers::{PaddingParams, Tokenizer, TruncationParams};

/// A padded batch.
pub struct Batch {
    /// `[rows, columns]`
    pub ids: Vec<u32>,
    /// 1 for a token, 0 for padding: `[rows, columns]`.
    pub mask: Vec<u32>,
    /// Texts.
    pub rows: usize,
    /// Tokens of the longest.
    pub columns: usize,
}

/// For peers that take padded batches: answers with texts sorted by length, 32 at a time.
pub fn serve_batches(folder: &Path, mut run: impl FnMut(Batch) -> Result<Vec<Vec<f32>>>) -> Result<()> {
    let mut tokenizer = Tokenizer::from_file(folder.join("tokenizer.json")).map_err(anyhow::Error::msg)?;
    tokenizer.with_padding(Some(PaddingParams::default()));
    tokenizer
        .with_truncation(Some(TruncationParams { max_length: 256, ..TruncationParams::default() }))
        .map_err(anyhow::Error::msg)?;
    serve(|texts| {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&i| texts[i].len());
        let mut vectors = vec![Vec::new(); texts.len()];
        for chunk in order.chunks(32) {
            let batch: Vec<&str> = chunk.iter().map(|&i| texts[i].as_str()).collect();
            let encodings = tokenizer.encode_batch(batch, true).map_err(anyhow::Error::msg)?;
            let batch = Batch {
                ids: encodings.iter().flat_map(|encoding| encoding.get_ids()).copied().collect(),
                mask: encodings.iter().flat_map(|encoding| encoding.get_attention_mask()).copied().collect(),
                rows: encodings.len(),
                columns: encodings[0].len(),
            };
            for (&i, vector) in chunk.iter().zip(run(batch)?) {
                vectors[i] = vector;
            }
        }
        Ok(vectors)
    })
}
