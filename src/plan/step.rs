//! The steps that a plan is made of: what every backend must be able to do.

use super::tables::{DistanceBias, RelativePositions, RotaryTable};
use crate::model::{Activation, AttentionWindow, LinearSpec, NormSpec, PositionSpec, Tensor};
use crate::vector::PoolingMode;
use std::ops::Range;
use std::sync::Arc;

/// What the rows of a buffer are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rows {
    /// One row a token of the batch.
    Tokens,
    /// One row a text of the batch.
    Texts,
}

/// A matrix of f32 values that steps read and write.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    /// What it holds, for listings.
    pub(crate) name: &'static str,
    /// What its rows are.
    pub(crate) rows: Rows,
    /// Values of a row.
    pub(crate) width: usize,
}

/// The position of a buffer in [`Plan::buffers`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BufferId(pub(crate) usize);

/// One step of a plan.
pub(crate) enum Step {
    /// `output[t] = scale · word[id[t]] + position[row[t]] + token_type[type[t]]`; the rows are
    /// [`RaggedBatch::position_rows`](crate::batch::RaggedBatch::position_rows).
    Embed {
        /// `[vocabulary, width]`
        word: Tensor,
        /// Multiplies the word's row.
        scale: f32,
        /// The table, and how its rows are counted.
        position: Option<PositionSpec>,
        /// `[types, width]`
        token_type: Option<Tensor>,
        /// `[tokens, width]`
        output: BufferId,
    },
    /// `output = scale · (norm(input) + residual)`, over each row.
    Norm {
        /// Which, and its parameters.
        norm: NormSpec,
        /// `[rows, width]`
        input: BufferId,
        /// `[rows, width]`
        residual: Option<BufferId>,
        /// Multiplies the result.
        scale: f32,
        /// `[rows, width]`
        output: BufferId,
    },
    /// `output = activation(x · Wᵀ + b) ⊙ factor + residual`, or with a gate
    /// `activation(x · Gᵀ + c) ⊙ (x · Wᵀ + b) ⊙ factor + residual`.
    Linear {
        /// W and b.
        linear: LinearSpec,
        /// G and c, of the same size.
        gate: Option<LinearSpec>,
        /// Of the gate where there is one.
        activation: Activation,
        /// `[rows, inputs]`
        input: BufferId,
        /// A buffer, and its first of `outputs` columns.
        factor: Option<(BufferId, usize)>,
        /// `[rows, outputs]`
        residual: Option<BufferId>,
        /// Whether it is computed in f32 whatever the precision is.
        exact: bool,
        /// `[rows, outputs]`
        output: BufferId,
    },
    /// The `top` largest of each row's softmax and where they stand, largest first.
    Route {
        /// How many.
        top: usize,
        /// `[tokens, experts]`
        input: BufferId,
        /// Index, as a number, and probability: `[tokens, 2 · top]`
        output: BufferId,
    },
    /// `output[t][s] = activation(x[t] · W(e)ᵀ)` for the s-th expert e that row t chose.
    ExpertUp {
        /// W of all experts below each other: `[experts · intermediate, hidden]`
        weight: Tensor,
        /// Number of experts.
        experts: usize,
        /// See above.
        activation: Activation,
        /// From [`Step::Route`].
        choices: BufferId,
        /// `[tokens, hidden]`
        input: BufferId,
        /// `[tokens, top · intermediate]`
        output: BufferId,
    },
    /// `output[t] = Σₛ p(t, s) · x[t][s] · W(e) + b + residual[t]` over the experts e that row t chose.
    ExpertDown {
        /// W of all experts below each other: `[experts · intermediate, hidden]`
        weight: Tensor,
        /// b, `[hidden]`
        bias: Option<Tensor>,
        /// Number of experts.
        experts: usize,
        /// From [`Step::Route`].
        choices: BufferId,
        /// `[tokens, top · intermediate]`
        input: BufferId,
        /// `[tokens, hidden]`
        residual: BufferId,
        /// `[tokens, hidden]`
        output: BufferId,
    },
    /// A norm over each head of some columns, in place.
    HeadNorm {
        /// Which, and its parameters, `[head_dim]`.
        norm: NormSpec,
        /// `[tokens, width]`
        buffer: BufferId,
        /// The columns of the heads, a multiple of head_dim.
        columns: Range<usize>,
    },
    /// Rotary position embedding of each head of some columns, in place.
    Rotary {
        /// Angles by position.
        table: Arc<RotaryTable>,
        /// `[tokens, width]`
        buffer: BufferId,
        /// The columns of the heads, a multiple of head_dim.
        columns: Range<usize>,
    },
    /// `softmax(scale · Q·Kᵀ + bias, over the window keys) · V` for each head, within each text.
    Attention {
        /// Query heads.
        heads: usize,
        /// Key and value heads.
        kv_heads: usize,
        /// Size of a head.
        head_dim: usize,
        /// Multiplies the scores.
        scale: f32,
        /// Which keys a query sees.
        window: AttentionWindow,
        /// Added to the scores.
        bias: Option<Arc<DistanceBias>>,
        /// What queries and keys are multiplied with by distance.
        positions: Option<RelativePositions>,
        /// Queries, keys and values side by side: `[tokens, (heads + 2 · kv_heads) · head_dim]`
        input: BufferId,
        /// `[tokens, heads · head_dim]`
        output: BufferId,
    },
    /// `output[t] = C[t] ⊙ Σⱼ taps[j] ⊙ B[t'] ⊙ X[t']` with `t' = t - before + j`, over those that are in t's text.
    ShortConv {
        /// `[hidden, 1, taps]`
        taps: Tensor,
        /// See above.
        before: usize,
        /// B, C and X side by side: `[tokens, 3 · hidden]`
        input: BufferId,
        /// `[tokens, hidden]`
        output: BufferId,
    },
    /// The hidden states of each text to one row; the modes' results side by side.
    Pool {
        /// One or more.
        modes: Vec<PoolingMode>,
        /// `[tokens, hidden]`
        input: BufferId,
        /// `[texts, modes · hidden]`
        output: BufferId,
    },
    /// Each row divided by `max(‖row‖, 1e-12)`.
    Normalize {
        /// `[rows, width]`
        input: BufferId,
        /// `[rows, width]`
        output: BufferId,
    },
}

#[cfg(feature = "gpu")]
impl Step {
    /// The buffers that it reads.
    pub(crate) fn reads(&self) -> Vec<BufferId> {
        match self {
            Step::Embed { .. } => Vec::new(),
            Step::Norm { input, residual, .. } => [*input].into_iter().chain(*residual).collect(),
            Step::Linear { input, factor, residual, .. } => {
                [*input].into_iter().chain(factor.map(|(buffer, _)| buffer)).chain(*residual).collect()
            }
            Step::Route { input, .. }
            | Step::Attention { input, .. }
            | Step::ShortConv { input, .. }
            | Step::Pool { input, .. }
            | Step::Normalize { input, .. } => vec![*input],
            Step::ExpertUp { choices, input, .. } => vec![*choices, *input],
            Step::ExpertDown { choices, input, residual, .. } => vec![*choices, *input, *residual],
            Step::HeadNorm { buffer, .. } | Step::Rotary { buffer, .. } => vec![*buffer],
        }
    }

    /// The buffer that it writes.
    pub(crate) fn writes(&self) -> BufferId {
        match self {
            Step::Embed { output, .. }
            | Step::Norm { output, .. }
            | Step::Linear { output, .. }
            | Step::Route { output, .. }
            | Step::ExpertUp { output, .. }
            | Step::ExpertDown { output, .. }
            | Step::Attention { output, .. }
            | Step::ShortConv { output, .. }
            | Step::Pool { output, .. }
            | Step::Normalize { output, .. } => *output,
            Step::HeadNorm { buffer, .. } | Step::Rotary { buffer, .. } => *buffer,
        }
    }
}
