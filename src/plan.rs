//! The whole transformer as a flat list of steps over a few buffers.
//!
//! [`Plan::new`] turns a model's description into steps; each backend (`backend/reference.rs`,
//! `backend/cpu/`, `backend/gpu/`) is an interpreter of them. Reading this file from top to bottom
//! is reading the network:
//!
//! ```text
//! embed ─► layer 0: attention, mlp (, side) ─► layer 1 … ─► final norm ─► pool ─► heads
//! ```
//!
//! No step reads a buffer that it writes, except [`Step::HeadNorm`] and [`Step::Rotary`], which
//! work in place on a part of the columns.

mod describe;

pub(crate) use describe::Described;

use crate::error::Result;
use crate::model::{
    Activation, AttentionSpec, EncoderSpec, Head, LayerSpec, LinearSpec, MlpSpec, Model, NormSpec, Pooling,
    RelativeBiasSpec, RotarySpec, SideSignalSpec, SideSpec, Tensor, Visible,
};
use crate::pooling::PoolingMode;
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
    /// `output[t] = scale · word[id[t]] + position[i + first_position] + token_type[0]`, where i is
    /// t's position in its text.
    Embed {
        /// `[vocabulary, width]`
        word: Tensor,
        /// Multiplies the word's row.
        scale: f32,
        /// `[positions, width]`, and the row of a text's first token.
        position: Option<(Tensor, usize)>,
        /// `[types, width]`; its first row is used.
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
        /// `[rows, outputs]`
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

/// Cosine and sine of each position's angles.
pub(crate) struct RotaryTable {
    /// Twice the number of angles.
    pub(crate) head_dim: usize,
    /// `[positions, head_dim / 2]`
    pub(crate) cos: Vec<f32>,
    /// `[positions, head_dim / 2]`
    pub(crate) sin: Vec<f32>,
}

impl RotaryTable {
    /// The table for positions below `positions`. Angles are products rounded to f32, as PyTorch
    /// computes them; their cosines are exact to rounding.
    fn new(rotary: &RotarySpec, positions: usize) -> RotaryTable {
        let angles = (0..positions).flat_map(|position| {
            rotary.inverse_frequencies.iter().map(move |frequency| f64::from(position as f32 * frequency))
        });
        let (sin, cos) = angles.map(|angle| (angle.sin() as f32, angle.cos() as f32)).unzip();
        RotaryTable { head_dim: 2 * rotary.inverse_frequencies.len(), cos, sin }
    }
}

/// A bias by distance: `values[head][reach + clamp(key - query, -reach, reach)]`.
pub(crate) struct DistanceBias {
    /// From this distance on, it does not change.
    pub(crate) reach: usize,
    /// `[heads, 2 · reach + 1]`
    pub(crate) values: Vec<f32>,
}

impl DistanceBias {
    /// Looks up the bucket of every distance once.
    fn new(spec: &RelativeBiasSpec, heads: usize) -> Result<DistanceBias> {
        let table = spec.table.to_vec()?; // [buckets, heads]
        let reach = spec.max_distance;
        let mut values = Vec::with_capacity(heads * (2 * reach + 1));
        for head in 0..heads {
            for distance in -(reach as i64)..=reach as i64 {
                values.push(table[bucket(distance, spec.table.rows(), reach) * heads + head]);
            }
        }
        Ok(DistanceBias { reach, values })
    }

    /// The values of one head, `[2 · reach + 1]`.
    pub(crate) fn head(&self, head: usize) -> &[f32] {
        let width = 2 * self.reach + 1;
        &self.values[head * width..][..width]
    }
}

/// The bucket of a distance `key - query`, bidirectional: half of the buckets for each side; of
/// those, half for one distance each and half for ranges that grow as powers up to `max_distance`.
///
/// T5's `_relative_position_bucket` in transformers, in its f32 arithmetic.
fn bucket(distance: i64, buckets: usize, max_distance: usize) -> usize {
    let side = buckets / 2;
    let exact = side / 2;
    let offset = if distance > 0 { side } else { 0 };
    let distance = distance.unsigned_abs() as usize;
    if distance < exact {
        return offset + distance;
    }
    let ratio = (distance as f32 / exact as f32).ln() / (max_distance as f32 / exact as f32).ln();
    let large = exact + (ratio * (side - exact) as f32) as usize;
    offset + large.min(side - 1)
}

/// The steps of a model, and the buffers they use.
pub(crate) struct Plan {
    /// Runs first to last.
    pub(crate) steps: Vec<Step>,
    /// All buffers of the steps.
    pub(crate) buffers: Vec<Buffer>,
    /// Where the result is: `[texts, dimensions]`.
    pub(crate) output: BufferId,
}

impl Plan {
    /// The plan of a model for texts of up to `max_tokens` tokens.
    pub(crate) fn new(model: &Model, max_tokens: usize) -> Result<Plan> {
        let mut builder = Builder::new(&model.encoder, max_tokens);
        builder.embed(&model.encoder);
        if let Some(signal) = &model.encoder.side_signal {
            builder.side_signal(signal);
        }
        for (n, layer) in model.encoder.layers.iter().enumerate() {
            builder.layer(layer)?;
            if let Some(side) = &layer.side {
                builder.side(side, n);
            }
        }
        if let Some(norm) = &model.encoder.final_norm {
            builder.hidden = builder.norm(norm, builder.hidden, "final");
        }
        if let Some(linear) = &model.encoder.output {
            let output = builder.buffer("output", Rows::Tokens, linear.outputs());
            builder.linear(linear, builder.hidden, output, None);
            builder.hidden = output;
        }
        let pooled = builder.pool(&model.pooling, model.encoder.width());
        let output = builder.heads(&model.heads, pooled);
        let Builder { steps, buffers, .. } = builder;
        Ok(Plan { steps, buffers, output })
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

/// A plan in the making.
struct Builder {
    steps: Vec<Step>,
    buffers: Vec<Buffer>,
    /// Where the hidden states are after the steps so far: `[tokens, hidden]`.
    hidden: BufferId,
    max_tokens: usize,
    /// The side signal: `[tokens, layers · size]`.
    signal: Option<BufferId>,
    /// Tables that layers share.
    rotary: Vec<(RotarySpec, Arc<RotaryTable>)>,
    bias: Option<(String, Arc<DistanceBias>)>,
}

impl Builder {
    fn new(encoder: &EncoderSpec, max_tokens: usize) -> Builder {
        let mut builder = Builder {
            steps: Vec::new(),
            buffers: Vec::new(),
            hidden: BufferId(0),
            max_tokens,
            signal: None,
            rotary: Vec::new(),
            bias: None,
        };
        builder.hidden = builder.buffer("hidden", Rows::Tokens, encoder.hidden);
        builder
    }

    /// The buffer of this name and size; steps that need it at different times share it.
    fn buffer(&mut self, name: &'static str, rows: Rows, width: usize) -> BufferId {
        let same = |buffer: &Buffer| buffer.name == name && buffer.rows == rows && buffer.width == width;
        let found = self.buffers.iter().position(same);
        BufferId(found.unwrap_or_else(|| {
            self.buffers.push(Buffer { name, rows, width });
            self.buffers.len() - 1
        }))
    }

    /// A buffer like `other` that is not `other`: hidden states move between two of them.
    fn other(&mut self, other: BufferId) -> BufferId {
        let Buffer { name, rows, width } = self.buffers[other.0].clone();
        let name = if name == "hidden" { "hidden'" } else { "hidden" };
        self.buffer(name, rows, width)
    }

    fn embed(&mut self, encoder: &EncoderSpec) {
        let embedding = &encoder.embedding;
        let mut output = match embedding.projection {
            Some(_) => self.buffer("embedded", Rows::Tokens, embedding.word.columns()),
            None => self.hidden,
        };
        self.steps.push(Step::Embed {
            word: embedding.word.clone(),
            scale: embedding.scale,
            position: embedding.position.clone(),
            token_type: embedding.token_type.clone(),
            output,
        });
        if let Some(norm) = &embedding.norm {
            let normed = if embedding.projection.is_some() { "embedded'" } else { "hidden'" };
            output = self.norm(norm, output, normed);
        }
        match &embedding.projection {
            Some(projection) => self.linear(projection, output, self.hidden, None),
            None => self.hidden = output,
        }
    }

    /// Normalises the hidden states themselves.
    fn post_norm(&mut self, norm: &NormSpec) -> BufferId {
        let output = self.other(self.hidden);
        self.steps.push(Step::Norm {
            norm: norm.clone(),
            input: self.hidden,
            residual: None,
            scale: 1.0,
            output,
        });
        output
    }

    /// A normalised copy of `input`.
    fn norm(&mut self, norm: &NormSpec, input: BufferId, name: &'static str) -> BufferId {
        let Buffer { rows, width, .. } = self.buffers[input.0];
        let output = self.buffer(name, rows, width);
        self.steps.push(Step::Norm { norm: norm.clone(), input, residual: None, scale: 1.0, output });
        output
    }

    fn layer(&mut self, layer: &LayerSpec) -> Result<()> {
        let input = match &layer.attention_pre_norm {
            Some(norm) => self.norm(norm, self.hidden, "normed"),
            None => self.hidden,
        };
        self.attention(&layer.attention, input, layer.attention_out_norm.as_ref())?;
        if let Some(norm) = &layer.attention_post_norm {
            self.hidden = self.post_norm(norm);
        }
        let input = match &layer.mlp_pre_norm {
            Some(norm) => self.norm(norm, self.hidden, "normed"),
            None => self.hidden,
        };
        self.mlp(&layer.mlp, input, layer.mlp_out_norm.as_ref());
        if let Some(norm) = &layer.mlp_post_norm {
            self.hidden = self.post_norm(norm);
        }
        Ok(())
    }

    fn attention(
        &mut self,
        spec: &AttentionSpec,
        input: BufferId,
        out_norm: Option<&NormSpec>,
    ) -> Result<()> {
        let AttentionSpec { heads, kv_heads, head_dim, scale, visible, .. } = *spec;
        let qkv = self.buffer("query_key_value", Rows::Tokens, spec.query_key_value.outputs());
        self.linear(&spec.query_key_value, input, qkv, None);

        let queries = 0..heads * head_dim;
        let keys = queries.end..queries.end + kv_heads * head_dim;
        let values = keys.end..keys.end + kv_heads * head_dim;
        let norms = [(&spec.query_norm, &queries), (&spec.key_norm, &keys), (&spec.value_norm, &values)];
        for (norm, columns) in norms {
            if let Some(norm) = norm {
                self.steps.push(Step::HeadNorm { norm: norm.clone(), buffer: qkv, columns: columns.clone() });
            }
        }
        if let Some(rotary) = &spec.rotary {
            // Queries and keys are neighbours and rotate alike.
            let table = self.rotary_table(rotary);
            self.steps.push(Step::Rotary { table, buffer: qkv, columns: queries.start..keys.end });
        }
        let bias = spec.relative_bias.as_ref().map(|bias| self.distance_bias(bias, heads)).transpose()?;
        let context = self.buffer("context", Rows::Tokens, heads * head_dim);
        self.steps.push(Step::Attention {
            heads,
            kv_heads,
            head_dim,
            scale,
            visible,
            bias,
            input: qkv,
            output: context,
        });

        self.add_branch(&spec.output, context, out_norm);
        Ok(())
    }

    /// Adds a block's result to the hidden states: `hidden + linear(input)`, or
    /// `hidden + norm(linear(input))`.
    fn add_branch(&mut self, linear: &LinearSpec, input: BufferId, out_norm: Option<&NormSpec>) {
        let output = self.other(self.hidden);
        match out_norm {
            None => self.linear(linear, input, output, Some(self.hidden)),
            Some(norm) => {
                let branch = self.buffer("branch", Rows::Tokens, linear.outputs());
                self.linear(linear, input, branch, None);
                let (norm, residual) = (norm.clone(), Some(self.hidden));
                self.steps.push(Step::Norm { norm, input: branch, residual, scale: 1.0, output });
            }
        }
        self.hidden = output;
    }

    fn mlp(&mut self, spec: &MlpSpec, input: BufferId, out_norm: Option<&NormSpec>) {
        let inner = self.buffer("intermediate", Rows::Tokens, spec.up.outputs());
        self.steps.push(Step::Linear {
            linear: spec.up.clone(),
            gate: spec.gate.clone(),
            activation: spec.activation,
            input,
            factor: None,
            residual: None,
            output: inner,
        });
        self.add_branch(&spec.down, inner, out_norm);
    }

    /// All layers' parts of the side signal, side by side.
    fn side_signal(&mut self, spec: &SideSignalSpec) {
        let signal = self.buffer("side signal", Rows::Tokens, spec.projection.outputs());
        self.linear(&spec.projection, self.hidden, signal, None);
        let columns = 0..spec.projection.outputs();
        self.steps.push(Step::HeadNorm { norm: spec.norm.clone(), buffer: signal, columns });
        self.signal = Some(signal);
    }

    /// The third block of layer `n`.
    fn side(&mut self, spec: &SideSpec, n: usize) {
        let size = spec.gate.outputs();
        let gated = self.buffer("side", Rows::Tokens, size);
        self.steps.push(Step::Linear {
            linear: spec.gate.clone(),
            gate: None,
            activation: spec.activation,
            input: self.hidden,
            factor: self.signal.map(|signal| (signal, n * size)),
            residual: None,
            output: gated,
        });
        let branch = self.buffer("branch", Rows::Tokens, spec.project.outputs());
        self.linear(&spec.project, gated, branch, None);
        let output = self.other(self.hidden);
        let (norm, residual, scale) = (spec.norm.clone(), Some(self.hidden), spec.scale);
        self.steps.push(Step::Norm { norm, input: branch, residual, scale, output });
        self.hidden = output;
    }

    /// A linear layer with no activation.
    fn linear(&mut self, linear: &LinearSpec, input: BufferId, output: BufferId, residual: Option<BufferId>) {
        let (linear, gate, activation) = (linear.clone(), None, Activation::Identity);
        self.steps.push(Step::Linear { linear, gate, activation, input, factor: None, residual, output });
    }

    fn rotary_table(&mut self, rotary: &RotarySpec) -> Arc<RotaryTable> {
        if let Some((_, table)) = self.rotary.iter().find(|(spec, _)| spec == rotary) {
            return table.clone();
        }
        let table = Arc::new(RotaryTable::new(rotary, self.max_tokens));
        self.rotary.push((rotary.clone(), table.clone()));
        table
    }

    fn distance_bias(&mut self, spec: &RelativeBiasSpec, heads: usize) -> Result<Arc<DistanceBias>> {
        match &self.bias {
            Some((name, bias)) if name == spec.table.name() => Ok(bias.clone()),
            _ => {
                let bias = Arc::new(DistanceBias::new(spec, heads)?);
                self.bias = Some((spec.table.name().to_owned(), bias.clone()));
                Ok(bias)
            }
        }
    }

    fn pool(&mut self, pooling: &Pooling, hidden: usize) -> BufferId {
        let output = self.buffer("pooled", Rows::Texts, hidden * pooling.modes.len());
        self.steps.push(Step::Pool { modes: pooling.modes.clone(), input: self.hidden, output });
        output
    }

    fn heads(&mut self, heads: &[Head], mut vector: BufferId) -> BufferId {
        const NAMES: [&str; 2] = ["vector", "vector'"];
        for (i, head) in heads.iter().enumerate() {
            let name = NAMES[i % 2];
            match head {
                Head::Dense { linear, activation } => {
                    let output = self.buffer(name, Rows::Texts, linear.outputs());
                    let (linear, activation) = (linear.clone(), *activation);
                    self.steps.push(Step::Linear {
                        linear,
                        gate: None,
                        activation,
                        input: vector,
                        factor: None,
                        residual: None,
                        output,
                    });
                    vector = output;
                }
                Head::LayerNorm(norm) => vector = self.norm(norm, vector, name),
                Head::Normalize => {
                    let output = self.buffer(name, Rows::Texts, self.buffers[vector.0].width);
                    self.steps.push(Step::Normalize { input: vector, output });
                    vector = output;
                }
            }
        }
        vector
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both sides of MPNet's and T5's buckets, as their functions in transformers give them.
    #[test]
    fn buckets_have_the_published_borders() {
        let borders = [(8, 8), (12, 9), (16, 10), (23, 11), (32, 12), (46, 13), (64, 14), (91, 15)];
        for distance in 0..400i64 {
            let expected = match borders.iter().rfind(|(from, _)| distance >= *from) {
                Some((_, bucket)) => *bucket,
                None => distance as usize,
            };
            assert_eq!(bucket(-distance, 32, 128), expected, "key {distance} before the query");
            let after = if distance == 0 { 0 } else { 16 + expected };
            assert_eq!(bucket(distance, 32, 128), after, "key {distance} after the query");
        }
    }

    #[test]
    fn rotary_frequencies_are_the_published_ones() {
        let rotary = RotarySpec::from_theta(1000.0, 64);
        let expected = [1.0, 0.805842, 0.649382, 0.523299];
        for (got, want) in rotary.inverse_frequencies.iter().zip(expected) {
            assert!((got - want).abs() < 1e-6, "{got} not {want}");
        }
        let table = RotaryTable::new(&rotary, 3);
        assert_eq!((table.cos[0], table.sin[0]), (1.0, 0.0));
        assert!((table.cos[2 * 32] - 2f32.cos()).abs() < 1e-7);
    }
}
