//! A model's description to steps, one function a part.

use super::step::{Buffer, BufferId, Rows, Step};
use super::tables::{DistanceBias, RelativePositions, RotaryTable};
use crate::error::ModelResult as Result;
use crate::model::{
    Activation, AttentionSpec, DenseMlpSpec, EncoderSpec, ExpertsSpec, HeadModule, LayerSpec, LinearSpec,
    MixerSpec, MlpSpec, NormSpec, OutputHead, PerLayerEmbeddingsSpec, PerLayerInputSpec, Pooling,
    RelativeBiasSpec, RelativePositionsSpec, Residual, RotarySpec, ShortConvSpec,
};
use std::sync::Arc;

/// A plan in the making.
pub(super) struct Builder {
    pub(super) steps: Vec<Step>,
    pub(super) buffers: Vec<Buffer>,
    /// Where the hidden states are after the steps so far: `[tokens, hidden]`.
    hidden: BufferId,
    max_tokens: usize,
    /// The per-layer embeddings: `[tokens, layers · size]`.
    embeddings: Option<BufferId>,
    /// Tables that layers share.
    rotary: Vec<(RotarySpec, Arc<RotaryTable>)>,
    bias: Option<(String, Arc<DistanceBias>)>,
    distances: Option<Arc<Vec<u32>>>,
}

impl Builder {
    pub(super) fn new(encoder: &EncoderSpec, max_tokens: usize) -> Builder {
        let mut builder = Builder {
            steps: Vec::new(),
            buffers: Vec::new(),
            hidden: BufferId(0),
            max_tokens,
            embeddings: None,
            rotary: Vec::new(),
            bias: None,
            distances: None,
        };
        builder.hidden = builder.buffer("hidden", Rows::Tokens, encoder.hidden);
        builder
    }

    /// The buffer of this name and size; steps that need it at different times share it.
    pub(super) fn buffer(&mut self, name: &'static str, rows: Rows, width: usize) -> BufferId {
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

    pub(super) fn embed(&mut self, encoder: &EncoderSpec) {
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

    pub(super) fn layer(&mut self, layer: &LayerSpec) -> Result<()> {
        let input = match &layer.attention_pre_norm {
            Some(norm) => self.norm(norm, self.hidden, "normed"),
            None => self.hidden,
        };
        match &layer.mixer {
            MixerSpec::Attention(attention) => {
                self.attention(attention, input, layer.attention_out_norm.as_ref())?
            }
            MixerSpec::ShortConv(conv) => self.short_conv(conv, input, layer.attention_out_norm.as_ref()),
        }
        if let Some(norm) = &layer.attention_post_norm {
            self.hidden = self.post_norm(norm);
        }
        let input = match &layer.mlp_pre_norm {
            Some(norm) => self.norm(norm, self.hidden, "normed"),
            None => self.hidden,
        };
        match &layer.mlp {
            MlpSpec::Dense(mlp) => self.mlp(mlp, input, layer.mlp_out_norm.as_ref()),
            MlpSpec::Experts(experts) => self.experts(experts, input),
        }
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
        let AttentionSpec { heads, kv_heads, head_dim, scale, window, .. } = *spec;
        let qkv = self.buffer("query_key_value", Rows::Tokens, spec.query_key_value.outputs());
        self.linear(&spec.query_key_value, input, qkv, None);
        // Without a scale or norms, scores are large, and softmax makes much of their rounding.
        let is_exact = spec.scale >= 1.0 && spec.query_norm.is_none();
        if let Some(Step::Linear { exact, .. }) = self.steps.last_mut() {
            *exact = is_exact;
        }

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
            // Queries and keys are neighbours and rotate alike, but where queries grow too.
            let alike = RotarySpec { query_growth: None, ..rotary.clone() };
            let table = self.rotary_table(&alike);
            let rotated = if rotary.query_growth.is_some() { keys.start } else { queries.start };
            self.steps.push(Step::Rotary { table, buffer: qkv, columns: rotated..keys.end });
            if rotary.query_growth.is_some() {
                let table = self.rotary_table(rotary);
                self.steps.push(Step::Rotary { table, buffer: qkv, columns: queries.clone() });
            }
        }
        let bias = spec.relative_bias.as_ref().map(|bias| self.distance_bias(bias, heads)).transpose()?;
        let positions = spec.relative_positions.as_ref().map(|spec| self.relative_positions(spec));
        let context = self.buffer("context", Rows::Tokens, heads * head_dim);
        self.steps.push(Step::Attention {
            heads,
            kv_heads,
            head_dim,
            scale,
            window,
            bias,
            positions,
            input: qkv,
            output: context,
        });

        self.add_branch(&spec.output, context, out_norm);
        Ok(())
    }

    fn short_conv(&mut self, spec: &ShortConvSpec, input: BufferId, out_norm: Option<&NormSpec>) {
        let parts = self.buffer("gates and values", Rows::Tokens, spec.input.outputs());
        self.linear(&spec.input, input, parts, None);
        let output = self.buffer("convolved", Rows::Tokens, spec.output.inputs());
        let (taps, before) = (spec.taps.clone(), spec.before);
        self.steps.push(Step::ShortConv { taps, before, input: parts, output });
        self.add_branch(&spec.output, output, out_norm);
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

    fn mlp(&mut self, spec: &DenseMlpSpec, input: BufferId, out_norm: Option<&NormSpec>) {
        let inner = self.buffer("intermediate", Rows::Tokens, spec.up.outputs());
        self.steps.push(Step::Linear {
            linear: spec.up.clone(),
            gate: spec.gate.clone(),
            activation: spec.activation,
            input,
            factor: None,
            residual: None,
            exact: false,
            output: inner,
        });
        self.add_branch(&spec.down, inner, out_norm);
    }

    fn experts(&mut self, spec: &ExpertsSpec, input: BufferId) {
        let experts = spec.router.outputs();
        let intermediate = spec.up.rows() / experts;
        let scores = self.buffer("experts", Rows::Tokens, experts);
        self.linear(&spec.router, input, scores, None);
        let choices = self.buffer("choices", Rows::Tokens, 2 * spec.top);
        self.steps.push(Step::Route { top: spec.top, input: scores, output: choices });
        let inner = self.buffer("intermediate", Rows::Tokens, spec.top * intermediate);
        let (weight, activation) = (spec.up.clone(), spec.activation);
        self.steps.push(Step::ExpertUp { weight, experts, activation, choices, input, output: inner });
        let (weight, bias, residual) = (spec.down.clone(), spec.bias.clone(), self.hidden);
        let output = self.other(residual);
        self.steps.push(Step::ExpertDown { weight, bias, experts, choices, input: inner, residual, output });
        self.hidden = output;
    }

    /// All layers' parts of the per-layer embeddings, side by side.
    pub(super) fn per_layer_embeddings(&mut self, spec: &PerLayerEmbeddingsSpec) {
        let embeddings = self.buffer("per-layer embeddings", Rows::Tokens, spec.projection.outputs());
        self.linear(&spec.projection, self.hidden, embeddings, None);
        let columns = 0..spec.projection.outputs();
        self.steps.push(Step::HeadNorm { norm: spec.norm.clone(), buffer: embeddings, columns });
        self.embeddings = Some(embeddings);
    }

    /// The third block of layer `n`.
    pub(super) fn per_layer_input(&mut self, spec: &PerLayerInputSpec, n: usize) {
        let size = spec.gate.outputs();
        let gated = self.buffer("per-layer input", Rows::Tokens, size);
        self.steps.push(Step::Linear {
            linear: spec.gate.clone(),
            gate: None,
            activation: spec.activation,
            input: self.hidden,
            factor: self.embeddings.map(|embeddings| (embeddings, n * size)),
            residual: None,
            output: gated,
            exact: false,
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
        self.steps.push(Step::Linear {
            linear,
            gate,
            activation,
            input,
            factor: None,
            residual,
            exact: false,
            output,
        });
    }

    fn rotary_table(&mut self, rotary: &RotarySpec) -> Arc<RotaryTable> {
        if let Some((_, table)) = self.rotary.iter().find(|(spec, _)| spec == rotary) {
            return table.clone();
        }
        let table = Arc::new(RotaryTable::new(rotary, self.max_tokens));
        self.rotary.push((rotary.clone(), table.clone()));
        table
    }

    fn relative_positions(&mut self, spec: &RelativePositionsSpec) -> RelativePositions {
        // One model has one kind of distances.
        let rows = self.distances.get_or_insert_with(|| Arc::new(spec.rows_by_distance(self.max_tokens)));
        RelativePositions { spec: spec.clone(), rows: rows.clone() }
    }

    fn distance_bias(&mut self, spec: &RelativeBiasSpec, heads: usize) -> Result<Arc<DistanceBias>> {
        // Layers that have a bias have the same; ALiBi has no table to tell it by.
        let key = match spec {
            RelativeBiasSpec::Buckets { table, .. } => table.name().to_owned(),
            RelativeBiasSpec::Linear => format!("linear, {heads} heads"),
        };
        match &self.bias {
            Some((known, bias)) if *known == key => Ok(bias.clone()),
            _ => {
                let bias = Arc::new(DistanceBias::new(spec, heads, self.max_tokens)?);
                self.bias = Some((key, bias.clone()));
                Ok(bias)
            }
        }
    }

    /// What follows on the last layer for every token.
    pub(super) fn finish_tokens(&mut self, encoder: &EncoderSpec) {
        if let Some(norm) = &encoder.final_norm {
            self.hidden = self.norm(norm, self.hidden, "final");
        }
        if let Some(linear) = &encoder.output {
            let output = self.buffer("output", Rows::Tokens, linear.outputs());
            self.linear(linear, self.hidden, output, None);
            self.hidden = output;
        }
    }

    /// The steps of an output, and where its result is.
    pub(super) fn output(&mut self, head: &OutputHead, width: usize) -> BufferId {
        let tokens = self.heads(&head.token_modules, self.hidden, ["token vector", "token vector'"]);
        match &head.pooling {
            None => tokens,
            Some(pooling) => {
                let width = head.token_modules.iter().rev().find_map(HeadModule::outputs).unwrap_or(width);
                let pooled = self.pool(pooling, tokens, width);
                self.heads(&head.heads, pooled, ["vector", "vector'"])
            }
        }
    }

    fn pool(&mut self, pooling: &Pooling, input: BufferId, width: usize) -> BufferId {
        let output = self.buffer("pooled", Rows::Texts, width * pooling.modes.len());
        self.steps.push(Step::Pool { modes: pooling.modes.clone(), input, output });
        output
    }

    /// Modules on a row's vector, from one of two buffers to the other.
    fn heads(&mut self, heads: &[HeadModule], mut vector: BufferId, names: [&'static str; 2]) -> BufferId {
        for (i, head) in heads.iter().enumerate() {
            let name = names[i % 2];
            let Buffer { rows, width, .. } = self.buffers[vector.0];
            match head {
                HeadModule::Dense { linear, activation, residual } => {
                    let output = self.buffer(name, rows, linear.outputs());
                    let added = matches!(residual, Some(Residual::Input)).then_some(vector);
                    self.steps.push(Step::Linear {
                        linear: linear.clone(),
                        gate: None,
                        activation: *activation,
                        input: vector,
                        factor: None,
                        residual: added,
                        exact: false,
                        output,
                    });
                    vector = match residual {
                        Some(Residual::Linear(weights)) => {
                            let sum = self.buffer("vector and residual", rows, linear.outputs());
                            self.linear(weights, vector, sum, Some(output));
                            sum
                        }
                        _ => output,
                    };
                }
                HeadModule::Norm(norm) => vector = self.norm(norm, vector, name),
                HeadModule::Normalize => {
                    let output = self.buffer(name, rows, width);
                    self.steps.push(Step::Normalize { input: vector, output });
                    vector = output;
                }
            }
        }
        vector
    }
}
