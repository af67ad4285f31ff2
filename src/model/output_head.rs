//! What a model gives for a text: one vector, most often; or a weight for each word of its vocabulary,
//! a vector or a weight for each token, or a score.

use super::spec::{Activation, LinearSpec, NormSpec};
use super::tensor::Tensor;
use crate::vector::PoolingMode;

/// Kinds of results.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OutputKind {
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

impl OutputKind {
    /// For messages.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            OutputKind::Dense => "one vector a text (embed)",
            OutputKind::Vocabulary | OutputKind::TokenWeights => "sparse vectors (embed_sparse)",
            OutputKind::TokenVectors => "a vector a token (embed_tokens)",
            OutputKind::Labels => "scores of pairs (Reranker)",
        }
    }
}

/// One result, as data: modules on each token, then pooling, then modules on each text.
#[derive(Debug)]
pub(crate) struct OutputHead {
    /// What it is.
    pub(crate) kind: OutputKind,
    /// On the hidden states of each token.
    pub(crate) token_modules: Vec<HeadModule>,
    /// To one row a text; without it the result has one row a token.
    pub(crate) pooling: Option<Pooling>,
    /// On each text's vector.
    pub(crate) heads: Vec<HeadModule>,
    /// Whether the rows are brought to unit length at the very end. The plan leaves that to whoever
    /// takes its results: they may be cut first, or wanted as they are.
    pub(crate) unit_length: bool,
    /// Whether a vector's values are rounded to whole numbers at the very end: `round(127 · tanh x)`.
    pub(crate) whole: bool,
}

/// The pooling module.
#[derive(Clone, Debug)]
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

/// What a [`HeadModule::Dense`] adds to its result.
#[derive(Debug)]
pub(crate) enum Residual {
    /// x
    Input,
    /// `x · Rᵀ`
    Linear(LinearSpec),
}

/// A module on a vector.
#[derive(Debug)]
pub(crate) enum HeadModule {
    /// `activation(x · Wᵀ + b)`, with a residual `+ x` or `+ x · Rᵀ`
    Dense {
        /// W and b.
        linear: LinearSpec,
        /// See above.
        activation: Activation,
        /// See above.
        residual: Option<Residual>,
    },
    /// LayerNorm.
    Norm(NormSpec),
    /// `x / max(‖x‖, 1e-12)`
    Normalize,
}

impl HeadModule {
    /// Values of its result, where they are not as many as of its input.
    pub(crate) fn outputs(&self) -> Option<usize> {
        match self {
            HeadModule::Dense { linear, .. } => Some(linear.outputs()),
            HeadModule::Norm(_) | HeadModule::Normalize => None,
        }
    }

    fn tensors(&self) -> Vec<&Tensor> {
        match self {
            HeadModule::Dense { linear, residual: Some(Residual::Linear(residual)), .. } => {
                linear.tensors().chain(residual.tensors()).collect()
            }
            HeadModule::Dense { linear, .. } => linear.tensors().collect(),
            HeadModule::Norm(norm) => norm.tensors().collect(),
            HeadModule::Normalize => Vec::new(),
        }
    }
}

impl OutputHead {
    /// A result with one row a text.
    pub(crate) fn pooled(kind: OutputKind, pooling: Pooling, heads: Vec<HeadModule>) -> OutputHead {
        OutputHead::new(kind, Vec::new(), Some(pooling), heads)
    }

    /// A result; a Normalize at its end is taken out of the modules.
    pub(crate) fn new(
        kind: OutputKind,
        mut token_modules: Vec<HeadModule>,
        pooling: Option<Pooling>,
        mut heads: Vec<HeadModule>,
    ) -> OutputHead {
        let last = if pooling.is_some() { &mut heads } else { &mut token_modules };
        let unit_length = last.pop_if(|head| matches!(head, HeadModule::Normalize)).is_some();
        OutputHead { kind, token_modules, pooling, heads, unit_length, whole: false }
    }

    /// A result with one row a token.
    pub(crate) fn of_tokens(kind: OutputKind, token_modules: Vec<HeadModule>) -> OutputHead {
        OutputHead::new(kind, token_modules, None, Vec::new())
    }

    /// Values of a row, after an encoder whose tokens have `width`.
    pub(crate) fn width(&self, width: usize) -> usize {
        let of_token = self.token_modules.iter().rev().find_map(HeadModule::outputs).unwrap_or(width);
        match &self.pooling {
            None => of_token,
            Some(pooling) => self
                .heads
                .iter()
                .rev()
                .find_map(HeadModule::outputs)
                .unwrap_or(of_token * pooling.modes.len()),
        }
    }

    /// All weights.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.token_modules.iter().chain(&self.heads).flat_map(HeadModule::tensors)
    }
}
