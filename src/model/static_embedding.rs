//! Static embeddings: a table of token vectors and no transformer (model2vec, and sentence-transformers'
//! StaticEmbedding).
//!
//! Names and formulas: model2vec's `model.py`; sentence-transformers' `static_embedding.py`. Row t of
//! the table is `embeddings[mapping[t]] · weights[t]`, where the last two may be absent.

use crate::error::ModelResult as Result;
use crate::model::derived::RowMap;
use crate::model::spec::{EmbeddingSpec, EncoderSpec};
use crate::model::weights::Weights;

/// How model2vec made the table: its own config.json records it, and nothing is computed with it.
pub(crate) const RECORDS: [&str; 3] = ["hidden_dim", "seq_length", "tokenizer_name"];

/// The table as an encoder without layers.
pub(crate) fn encoder(weights: &Weights) -> Result<EncoderSpec> {
    let name = if weights.has(MODEL2VEC) { MODEL2VEC } else { "embedding.weight" };
    let (rows, columns) = match weights.shape(name) {
        Some(&[rows, columns]) => (rows, columns),
        shape => (shape.map_or(1, |shape| shape.len()), 1),
    };
    let stored = weights.table(name, &[rows, columns], "a table: one row a token")?;
    let has = |name: &str| weights.shape(name).map(|shape| shape.first().copied().unwrap_or(0));
    let word = match (has("mapping"), has("weights")) {
        (None, None) => stored,
        (mapping, scale) => {
            let count = mapping.or(scale).unwrap_or(rows);
            let map = match mapping {
                Some(_) => mapped_rows(weights, count, rows)?,
                None => (0..rows as u32).collect(),
            };
            let because = "one weight a token";
            let scale = match scale {
                Some(_) => weights.tensor("weights", &[map.len()], because)?.to_vec()?,
                None => Vec::new(),
            };
            stored.mapped(RowMap { rows: map, scale })
        }
    };
    let embedding =
        EmbeddingSpec { word, scale: 1.0, position: None, token_type: None, norm: None, projection: None };
    Ok(EncoderSpec::new("static", columns, None, embedding, Vec::new()))
}

/// The tensor that only model2vec's files have.
pub(crate) const MODEL2VEC: &str = "embeddings";

fn mapped_rows(weights: &Weights, count: usize, rows: usize) -> Result<Vec<u32>> {
    let mapping = weights.integers("mapping", count, "one row number a token")?;
    let row = |row: &i64| u32::try_from(*row).ok().filter(|row| (*row as usize) < rows);
    mapping.iter().map(row).collect::<Option<_>>().ok_or_else(|| crate::ModelError::Config {
        path: weights.path().to_owned(),
        problem: format!("`mapping` has a number that is no row of the table of {rows} rows"),
    })
}
