//! What a model gives for a text: one vector, most often; or a weight for each word of its vocabulary,
//! a vector or a weight for each token, or a score.

use super::spec::{Activation, LinearSpec, NormSpec};
use super::weights::Tensor;
use crate::pooling::PoolingMode;

/// Kinds of results.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EndKind {
    /// One vector a text.
    Dense,
    /// A weight for each entry of the vocabulary (SPLADE).
    Vocabulary,
    /// A weight for each token (bge-m3's lexical weights).
    TokenWeights,
    /// A vector for each token (ColBERT).
    TokenVectors,
    /// One score for each label (cross-encoders).
    Labels,
}

impl EndKind {
    /// For messages.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            EndKind::Dense => "one vector a text (embed)",
            EndKind::Vocabulary | EndKind::TokenWeights => "sparse vectors (embed_sparse)",
            EndKind::TokenVectors => "a vector a token (embed_tokens)",
            EndKind::Labels => "scores of pairs (Reranker)",
        }
    }
}

/// One result, as data: modules on each token, then pooling, then modules on each text.
pub(crate) struct EndSpec {
    /// What it is.
    pub(crate) kind: EndKind,
    /// On the hidden states of each token.
    pub(crate) token_heads: Vec<Head>,
    /// To one row a text; without it the result has one row a token.
    pub(crate) pooling: Option<Pooling>,
    /// On each text's vector.
    pub(crate) heads: Vec<Head>,
    /// Whether the rows are brought to unit length at the very end. The plan leaves that to whoever
    /// takes its results: they may be cut first, or wanted as they are.
    pub(crate) unit_length: bool,
}

/// The pooling module.
#[derive(Clone)]
pub(crate) struct Pooling {
    /// Their results stand side by side, in this order.
    pub(crate) modes: Vec<PoolingMode>,
    /// Whether the tokens of the prompt are pooled too.
    pub(crate) include_prompt: bool,
}

/// What a reranker applies to its score.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ScoreActivation {
    /// The score as it is.
    Identity,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// tanh x
    Tanh,
}

impl ScoreActivation {
    /// The function of one score.
    pub(crate) fn apply(self, score: f32) -> f32 {
        match self {
            ScoreActivation::Identity => score,
            ScoreActivation::Sigmoid => (1.0 / (1.0 + (-f64::from(score)).exp())) as f32,
            ScoreActivation::Tanh => f64::from(score).tanh() as f32,
        }
    }
}

/// A module on a vector.
pub(crate) enum Head {
    /// `activation(x · Wᵀ + b)`
    Dense {
        /// W and b.
        linear: LinearSpec,
        /// See above.
        activation: Activation,
    },
    /// LayerNorm.
    Norm(NormSpec),
    /// `x / max(‖x‖, 1e-12)`
    Normalize,
}

impl Head {
    /// Values of its result, where they are not as many as of its input.
    pub(crate) fn outputs(&self) -> Option<usize> {
        match self {
            Head::Dense { linear, .. } => Some(linear.outputs()),
            Head::Norm(_) | Head::Normalize => None,
        }
    }

    fn tensors(&self) -> Vec<&Tensor> {
        match self {
            Head::Dense { linear, .. } => linear.tensors().collect(),
            Head::Norm(norm) => norm.tensors().collect(),
            Head::Normalize => Vec::new(),
        }
    }
}

impl EndSpec {
    /// A result with one row a text.
    pub(crate) fn pooled(kind: EndKind, pooling: Pooling, heads: Vec<Head>) -> EndSpec {
        EndSpec::new(kind, Vec::new(), Some(pooling), heads)
    }

    /// A result; a Normalize at its end is taken out of the modules.
    pub(crate) fn new(
        kind: EndKind,
        mut token_heads: Vec<Head>,
        pooling: Option<Pooling>,
        mut heads: Vec<Head>,
    ) -> EndSpec {
        let last = if pooling.is_some() { &mut heads } else { &mut token_heads };
        let unit_length = last.pop_if(|head| matches!(head, Head::Normalize)).is_some();
        EndSpec { kind, token_heads, pooling, heads, unit_length }
    }

    /// A result with one row a token.
    pub(crate) fn of_tokens(kind: EndKind, token_heads: Vec<Head>) -> EndSpec {
        EndSpec::new(kind, token_heads, None, Vec::new())
    }

    /// Values of a row, after an encoder whose tokens have `width`.
    pub(crate) fn width(&self, width: usize) -> usize {
        let of_token = self.token_heads.iter().rev().find_map(Head::outputs).unwrap_or(width);
        match &self.pooling {
            None => of_token,
            Some(pooling) => {
                self.heads.iter().rev().find_map(Head::outputs).unwrap_or(of_token * pooling.modes.len())
            }
        }
    }

    /// All weights.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.token_heads.iter().chain(&self.heads).flat_map(Head::tensors)
    }
}
