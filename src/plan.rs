//! The whole transformer as a flat list of steps over a few buffers.
//!
//! [`Plan::new`] turns a model's description into steps; each backend (`backend/reference.rs`,
//! `backend/cpu/`, `backend/gpu/`) is an interpreter of them. Reading this file from top to bottom
//! is reading the network:
//!
//! ```text
//! embed ─► layer 0: attention, mlp (, side) ─► layer 1 … ─► final norm ─┬─► pool ─► heads
//!                                                                      └─► other ends
//! ```
//!
//! What a model gives for a text are its ends: most have one, the vector. They share the steps up to
//! the hidden states, and each has steps of its own.
//!
//! No step reads a buffer that it writes, except [`Step::HeadNorm`] and [`Step::Rotary`], which
//! work in place on a part of the columns.

mod builder;
mod describe;
mod tables;

pub(crate) use describe::Described;
pub(crate) use tables::{DistanceBias, RotaryTable};

use crate::error::Result;
use crate::model::{Activation, EncoderSpec, EndSpec, LinearSpec, NormSpec, Tensor, Visible};
use crate::pooling::PoolingMode;
use builder::Builder;
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
    /// `output[t] = scale · word[id[t]] + position[i + first_position] + token_type[type[t]]`, where i
    /// is t's position in its text.
    Embed {
        /// `[vocabulary, width]`
        word: Tensor,
        /// Multiplies the word's row.
        scale: f32,
        /// `[positions, width]`, and the row of a text's first token.
        position: Option<(Tensor, usize)>,
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
    /// `softmax(scale · Q·Kᵀ + bias, over the visible keys) · V` for each head, within each text.
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
        visible: Visible,
        /// Added to the scores.
        bias: Option<Arc<DistanceBias>>,
        /// Queries, keys and values side by side: `[tokens, (heads + 2 · kv_heads) · head_dim]`
        input: BufferId,
        /// `[tokens, heads · head_dim]`
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
            | Step::Pool { output, .. }
            | Step::Normalize { output, .. } => *output,
            Step::HeadNorm { buffer, .. } | Step::Rotary { buffer, .. } => *buffer,
        }
    }
}

/// The steps of a model, and the buffers they use.
pub(crate) struct Plan {
    /// Runs first to last: first those that all ends need, then those of each end.
    pub(crate) steps: Vec<Step>,
    /// How many steps all ends share.
    pub(crate) shared: usize,
    /// What the model gives for a text.
    pub(crate) ends: Vec<PlanEnd>,
    /// All buffers of the steps.
    pub(crate) buffers: Vec<Buffer>,
    /// The most tokens of a text: what tables of positions were made for.
    #[cfg_attr(not(feature = "gpu"), allow(dead_code))]
    pub(crate) max_tokens: usize,
    /// Whether values of these buffers exceed what f16 has numbers for.
    #[cfg_attr(not(feature = "gpu"), allow(dead_code))]
    pub(crate) overflows_f16: bool,
}

/// One result of a plan.
pub(crate) struct PlanEnd {
    /// Its own steps.
    pub(crate) steps: Range<usize>,
    /// Where its result is: `[texts, width]` or `[tokens, width]`.
    pub(crate) output: BufferId,
}

impl Plan {
    /// The plan of a model for texts of up to `max_tokens` tokens.
    pub(crate) fn new(encoder: &EncoderSpec, ends: &[EndSpec], max_tokens: usize) -> Result<Plan> {
        let mut builder = Builder::new(encoder, max_tokens);
        builder.embed(encoder);
        if let Some(signal) = &encoder.side_signal {
            builder.side_signal(signal);
        }
        for (n, layer) in encoder.layers.iter().enumerate() {
            builder.layer(layer)?;
            if let Some(side) = &layer.side {
                builder.side(side, n);
            }
        }
        builder.finish_tokens(encoder);
        let shared = builder.steps.len();
        let ends = ends.iter().map(|end| {
            let first = builder.steps.len();
            let output = builder.end(end, encoder.width());
            PlanEnd { steps: first..builder.steps.len(), output }
        });
        let ends = ends.collect();
        let Builder { steps, buffers, .. } = builder;
        Ok(Plan { steps, shared, ends, buffers, max_tokens, overflows_f16: encoder.overflows_f16() })
    }

    /// The steps that some of the ends need, with their places in [`Plan::steps`].
    pub(crate) fn steps_for<'a>(&'a self, ends: &'a [usize]) -> impl Iterator<Item = (usize, &'a Step)> {
        let own = ends.iter().flat_map(|&end| self.ends[end].steps.clone());
        (0..self.shared).chain(own).map(|place| (place, &self.steps[place]))
    }

    /// Whether a step after the one at `place` reads what `buffer` has then.
    #[cfg(feature = "gpu")]
    pub(crate) fn is_read_after(&self, place: usize, buffer: BufferId) -> bool {
        for step in &self.steps[place + 1..] {
            if step.reads().contains(&buffer) {
                return true;
            }
            if step.writes() == buffer {
                return false;
            }
        }
        self.ends.iter().any(|end| end.output == buffer)
    }

    /// Multiply-adds with weight matrices that each token needs, those of the ends apart.
    pub(crate) fn products_of_token(&self) -> usize {
        let products = |step: &Step| match step {
            Step::Linear { linear, gate, .. } => {
                linear.outputs() * linear.inputs() * if gate.is_some() { 2 } else { 1 }
            }
            // Of the experts' matrices, a row uses those of its choice.
            Step::ExpertUp { input, output, .. } | Step::ExpertDown { input, output, .. } => {
                self.width(*input) * self.width(*output)
            }
            _ => 0,
        };
        self.steps[..self.shared].iter().map(products).sum()
    }

    /// Values of a row of `buffer`.
    pub(crate) fn width(&self, buffer: BufferId) -> usize {
        self.buffers[buffer.0].width
    }

    /// Bytes of all buffers for a batch of this many tokens and texts.
    pub(crate) fn buffer_bytes(&self, tokens: usize, texts: usize) -> usize {
        let rows = |buffer: &Buffer| if buffer.rows == Rows::Tokens { tokens } else { texts };
        self.buffers.iter().map(|buffer| rows(buffer) * buffer.width * size_of::<f32>()).sum()
    }
}
