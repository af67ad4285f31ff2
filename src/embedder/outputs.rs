//! What a call gives: values, each with what is known about how it came to be.

use crate::error::Result;
use crate::prompt::Prompt;
use crate::space::Space;
use crate::vector::{Similarity, maxsim};
use std::ops::Range;
use std::sync::Arc;

/// A result and what is known about how it came to be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Output<T> {
    /// What the model gives: a vector, a [`SparseVector`], both, [`TokenVectors`], [`Piece`]s, [`AllVectors`] or a score.
    pub value: T,
    /// Tokens that the model saw: special ones, prompt and text; for a text in windows, of all of
    /// them.
    pub tokens: usize,
    /// Tokens that the whole text would have had; more than `tokens` if a part of it was cut off.
    pub untruncated_tokens: usize,
    /// The prompt around the text, where it came from, and what to know about it. Shared by all
    /// texts of a call that have the same.
    pub prompt: Arc<Prompt>,
    /// The space that the value lies in: only values of one space can be compared.
    pub space: Space,
}

/// A text's vector, `[dimensions]`.
pub type Embedding = Output<Vec<f32>>;

impl<T> Output<T> {
    /// Whether a part of the text was cut off.
    pub fn truncated(&self) -> bool {
        self.untruncated_tokens > self.tokens
    }

    /// The same facts with another value, such as the vector in fewer bytes.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Output<U> {
        let Output { value, tokens, untruncated_tokens, prompt, space } = self;
        Output { value: change(value), tokens, untruncated_tokens, prompt, space }
    }
}

impl Output<Vec<f32>> {
    /// How alike two texts are by their vectors.
    ///
    /// # Errors
    /// If they do not lie in one space: made by other models, cut to other sizes, or for tasks whose
    /// vectors are not made to be compared.
    pub fn similarity(&self, other: &Embedding, by: Similarity) -> Result<f32> {
        self.space.check_comparable(&other.space)?;
        Ok(by.of(&self.value, &other.value))
    }
}

#[cfg(feature = "serde")]
impl<T: serde::Serialize> serde::Serialize for Output<T> {
    /// `value`, `tokens`, `untruncated_tokens`, `prompt`, and the space as its `fingerprint`. The first of a model
    /// reads all weights for that.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut output = serializer.serialize_struct("Output", 5)?;
        output.serialize_field("value", &self.value)?;
        output.serialize_field("tokens", &self.tokens)?;
        output.serialize_field("untruncated_tokens", &self.untruncated_tokens)?;
        output.serialize_field("prompt", &*self.prompt)?;
        output.serialize_field("fingerprint", &self.space.fingerprint())?;
        output.end()
    }
}

/// Weights for some entries of the model's vocabulary; all others weigh nothing.
#[derive(Clone, PartialEq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
#[derive(Clone, PartialEq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TokenVectors {
    /// The token of each vector.
    pub ids: Vec<u32>,
    /// Values of each vector.
    pub dimensions: usize,
    /// `[tokens, dimensions]`, row after row.
    pub values: Vec<f32>,
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

/// A piece of a text with its vector, which knows the whole text (late chunking).
#[derive(Clone, PartialEq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Piece {
    /// Where it stands in the text.
    pub bytes: Range<usize>,
    /// Its own tokens, which were pooled.
    pub tokens: usize,
    /// `[dimensions]`
    pub vector: Vec<f32>,
}

/// Everything that a model gives for a text, from one forward pass (bge-m3 gives all three).
#[derive(Clone, PartialEq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct AllVectors {
    /// One vector, if the model gives one.
    pub dense: Option<Vec<f32>>,
    /// A sparse vector, if the model gives one.
    pub sparse: Option<SparseVector>,
    /// A vector a token, if the model gives them.
    pub tokens: Option<TokenVectors>,
}

/// A dense and a sparse vector of a text, from one forward pass (bge-m3), for hybrid search.
#[derive(Clone, PartialEq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DenseAndSparse {
    /// `[dimensions]`
    pub dense: Vec<f32>,
    /// Weights for entries of the vocabulary.
    pub sparse: SparseVector,
}

/// The vectors of a call as one flat matrix: [`Embedder::embed_matrix`](crate::Embedder::embed_matrix).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EmbeddingMatrix {
    /// `[texts, dimensions]`, row after row.
    pub values: Vec<f32>,
    /// Values of a row.
    pub dimensions: usize,
    /// Tokens that the model saw of each text: `[texts]`
    pub tokens: Vec<usize>,
    /// Tokens that each whole text would have had: `[texts]`
    pub untruncated_tokens: Vec<usize>,
    /// The prompt around the texts.
    pub prompt: Arc<Prompt>,
    /// The space that the rows lie in.
    pub space: Space,
}

impl EmbeddingMatrix {
    /// Number of texts.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// The vector of the text at this position.
    ///
    /// # Panics
    /// If there is no such text.
    pub fn row(&self, text: usize) -> &[f32] {
        &self.values[text * self.dimensions..][..self.dimensions]
    }

    /// The matrix for ndarray, without a copy.
    #[cfg(feature = "ndarray")]
    pub fn into_ndarray(self) -> ndarray::Array2<f32> {
        let shape = (self.tokens.len(), self.dimensions);
        // The shape is that of the values, so the conversion cannot fail.
        ndarray::Array2::from_shape_vec(shape, self.values).unwrap_or_default()
    }
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
}
