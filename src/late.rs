//! Results beyond one vector a text, from the same forward pass: sparse vectors and token vectors.

use crate::embedder::{Document, Embedder};
use crate::error::{Error, Result};
use crate::model::EndKind;
use crate::options::{EmbedOptions, TooLong};
use crate::output::maxsim;
use crate::prompt::Prompt;
use crate::task::Task;
use crate::tokens::{CutAt, TokenizedText};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Weights for some entries of the model's vocabulary; all others weigh nothing.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SparseVector {
    /// Token ids, ascending.
    pub indices: Vec<u32>,
    /// The weight of each, above 0.
    pub values: Vec<f32>,
}

impl SparseVector {
    /// The sum of products over the entries that both have.
    pub fn dot(&self, other: &SparseVector) -> f32 {
        let mut others = other.indices.iter().zip(&other.values).peekable();
        let mut sum = 0.0;
        for (index, value) in self.indices.iter().zip(&self.values) {
            while others.peek().is_some_and(|(other, _)| *other < index) {
                others.next();
            }
            if let Some((_, other)) = others.next_if(|(other, _)| *other == index) {
                sum += f64::from(*value) * f64::from(*other);
            }
        }
        sum as f32
    }
}

/// The vectors of a text's tokens (ColBERT).
#[derive(Clone, PartialEq, Debug)]
pub struct TokenVectors {
    /// The token of each vector.
    pub ids: Vec<u32>,
    /// Values of each vector.
    pub dimensions: usize,
    /// `[tokens, dimensions]`, row after row.
    pub values: Vec<f32>,
    /// The prompt around the text, and where it came from.
    pub prompt: Arc<Prompt>,
}

impl TokenVectors {
    /// How well a document's vectors match this query's: [`maxsim`].
    ///
    /// # Panics
    /// If the two have vectors of different sizes.
    pub fn maxsim(&self, document: &TokenVectors) -> f32 {
        assert_eq!(self.dimensions, document.dimensions, "vectors of different sizes cannot be compared");
        maxsim(&self.values, &document.values, self.dimensions)
    }
}

/// Everything that a model gives for a text: [`Embedder::embed_all`].
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Outputs {
    /// One vector, if the model gives one.
    pub dense: Option<Vec<f32>>,
    /// A sparse vector, if the model gives one.
    pub sparse: Option<SparseVector>,
    /// A vector a token, if the model gives them.
    pub tokens: Option<TokenVectors>,
}

impl Embedder {
    /// Sparse vectors of texts: SPLADE's, or bge-m3's lexical weights.
    ///
    /// # Errors
    /// As [`Embedder::embed_batch`]; also if the model gives none.
    pub fn embed_sparse<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        how: impl Into<EmbedOptions>,
    ) -> Result<Vec<SparseVector>> {
        let model = &self.engine.model;
        let end =
            model.end(EndKind::Vocabulary).map_or_else(|| model.require_end(EndKind::TokenWeights), Ok)?;
        let outputs = self.outputs(texts, &how.into(), &[end])?;
        Ok(outputs.into_iter().filter_map(|outputs| outputs.sparse).collect())
    }

    /// The vectors of texts' tokens, to be compared with [`TokenVectors::maxsim`]. A task that is a kind
    /// of query makes queries, any other documents; ColBERT models treat the two differently.
    ///
    /// # Errors
    /// As [`Embedder::embed_batch`]; also if the model gives none.
    pub fn embed_tokens<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        how: impl Into<EmbedOptions>,
    ) -> Result<Vec<TokenVectors>> {
        let end = self.engine.model.require_end(EndKind::TokenVectors)?;
        let outputs = self.outputs(texts, &how.into(), &[end])?;
        Ok(outputs.into_iter().filter_map(|outputs| outputs.tokens).collect())
    }

    /// Everything that the model gives for each text, from one forward pass (bge-m3 gives all three).
    ///
    /// # Errors
    /// As [`Embedder::embed_batch`].
    pub fn embed_all<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        how: impl Into<EmbedOptions>,
    ) -> Result<Vec<Outputs>> {
        let ends: Vec<usize> = (0..self.engine.model.ends.len()).collect();
        self.outputs(texts, &how.into(), &ends)
    }

    fn outputs<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        options: &EmbedOptions,
        ends: &[usize],
    ) -> Result<Vec<Outputs>> {
        let model = &self.engine.model;
        let documents: Vec<Document<'_>> =
            texts.iter().map(|text| Document { text: text.as_ref(), title: None }).collect();
        let prompts = self.prompts(&documents, options)?;
        let is_query =
            options.task.is_some_and(Task::is_query) || options.prompt_name.as_deref() == Some("query");
        let tokenized = documents.iter().zip(&prompts).enumerate();
        let tokenized: Vec<TokenizedText> = tokenized
            .map(|(index, (document, prompt))| {
                self.tokenize_for_tokens(document.text, prompt, is_query, options, index)
            })
            .collect::<Result<_>>()?;
        let adapter = prompts.first().and_then(|prompt| prompt.adapter.clone());
        let results = self.engine.run(&tokenized, adapter.as_deref(), ends)?;
        let mut outputs = Vec::with_capacity(texts.len());
        for ((text, prompt), results) in tokenized.iter().zip(prompts).zip(results) {
            let mut all = Outputs { dense: None, sparse: None, tokens: None };
            for (&end, mut values) in ends.iter().zip(results) {
                match model.ends[end].kind {
                    EndKind::Dense | EndKind::Labels => {
                        self.finish(options, end)?.apply(&mut values);
                        all.dense = Some(values);
                    }
                    EndKind::Vocabulary => all.sparse = Some(of_vocabulary(&values)),
                    EndKind::TokenWeights => all.sparse = Some(self.of_tokens(text, &values)),
                    EndKind::TokenVectors => {
                        all.tokens = Some(self.token_vectors(
                            text,
                            end,
                            &values,
                            is_query,
                            options,
                            prompt.clone(),
                        )?);
                    }
                }
            }
            outputs.push(all);
        }
        Ok(outputs)
    }

    /// Tokens of a query or a document, each within its own limit.
    fn tokenize_for_tokens(
        &self,
        text: &str,
        prompt: &Prompt,
        is_query: bool,
        options: &EmbedOptions,
        index: usize,
    ) -> Result<TokenizedText> {
        let tokenizer = &self.engine.tokenizer;
        let late = self.engine.model.late_interaction.as_ref();
        let own_limit = late.and_then(|late| match (is_query, &late.expansion) {
            (true, Some(expansion)) => Some(expansion.length),
            (true, None) => late.query_length,
            (false, _) => late.document_length,
        });
        let limit = own_limit.map_or(self.engine.max_tokens, |own| own.min(self.engine.plan_tokens()));
        let around = tokenizer.prompt(&prompt.text, &prompt.suffix, prompt.pooled, limit)?;
        let cut = match options.too_long {
            TooLong::TruncateStart => CutAt::Start,
            TooLong::Truncate | TooLong::Error => CutAt::End,
            TooLong::Windows { .. } => {
                return Err(Error::InvalidOption {
                    option: "too_long",
                    found: "windows".to_owned(),
                    expected: "truncation or an error: only dense vectors have a mean over windows"
                        .to_owned(),
                });
            }
        };
        let mut tokenized = tokenizer.tokenize(&around, text, limit, cut, index)?;
        if options.too_long == TooLong::Error && tokenized.untruncated > tokenized.ids.len() {
            return Err(Error::TooLong { index, tokens: tokenized.untruncated, limit });
        }
        if is_query {
            tokenizer.expand(&mut tokenized);
        }
        Ok(tokenized)
    }

    /// bge-m3: the largest weight of each token id, special ones left out.
    fn of_tokens(&self, text: &TokenizedText, weights: &[f32]) -> SparseVector {
        let mut largest: BTreeMap<u32, f32> = BTreeMap::new();
        for (&id, &weight) in text.ids.iter().zip(weights) {
            if weight > 0.0 && !self.engine.tokenizer.has_no_weight(id) {
                let entry = largest.entry(id).or_insert(weight);
                *entry = entry.max(weight);
            }
        }
        let (indices, values) = largest.into_iter().unzip();
        SparseVector { indices, values }
    }

    fn token_vectors(
        &self,
        text: &TokenizedText,
        end: usize,
        values: &[f32],
        is_query: bool,
        options: &EmbedOptions,
        prompt: Arc<Prompt>,
    ) -> Result<TokenVectors> {
        let finish = self.finish(options, end)?;
        let width = self.engine.model.width(end);
        let skip_first = self.engine.model.late_interaction.as_ref().is_some_and(|late| late.skip_first);
        let mut vectors =
            TokenVectors { ids: Vec::new(), dimensions: finish.dimensions, values: Vec::new(), prompt };
        for (i, (&id, row)) in text.ids.iter().zip(values.chunks_exact(width)).enumerate() {
            if (i == 0 && skip_first) || (!is_query && self.engine.tokenizer.skipped(id)) {
                continue;
            }
            let mut row = row.to_vec();
            finish.apply(&mut row);
            vectors.ids.push(id);
            vectors.values.extend(row);
        }
        Ok(vectors)
    }
}

fn of_vocabulary(weights: &[f32]) -> SparseVector {
    let entries = weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0);
    let (indices, values) = entries.map(|(index, weight)| (index as u32, *weight)).unzip();
    SparseVector { indices, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_vectors_meet_in_common_entries() {
        let vector =
            |indices: &[u32], values: &[f32]| SparseVector { indices: indices.into(), values: values.into() };
        let (a, b) = (vector(&[1, 5, 9], &[1.0, 2.0, 3.0]), vector(&[0, 5, 9, 12], &[7.0, 0.5, 2.0, 1.0]));
        assert_eq!((a.dot(&b), b.dot(&a)), (7.0, 7.0));
        assert_eq!(a.dot(&SparseVector::default()), 0.0);
    }

    #[test]
    fn entries_without_weight_are_left_out() {
        assert_eq!(of_vocabulary(&[0.0, 0.5, 0.0]), SparseVector { indices: vec![1], values: vec![0.5] });
    }
}
