//! A plan's steps as dispatches: which shader, with which parameters and constant buffers, over
//! which grid. Made once, when a model is opened; nothing here depends on a batch.

use super::adapter::Opened;
use super::pipelines::{Pipelines, Shader};
use super::upload::{Shard, constant, shards, upload};
use crate::error::Result;
use crate::model::{Activation, NormKind, NormSpec, Tensor};
use crate::plan::{BufferId, Plan, RotaryTable, Rows, Step};
use crate::pooling::{PoolingMode, Splade};
use std::collections::HashMap;
use std::sync::Arc;

/// One run of a shader.
pub(super) struct Dispatch {
    pub(super) pipeline: wgpu::ComputePipeline,
    /// What the shader's bindings are, from 2 on (0 is the batch, 1 the parameters).
    pub(super) bindings: Vec<Binding>,
    pub(super) params: wgpu::Buffer,
    pub(super) grid: Grid,
}

/// What a binding of a shader is.
#[derive(Clone)]
pub(super) enum Binding {
    /// Weights or a table.
    Constant(Arc<wgpu::Buffer>),
    /// A buffer of the plan.
    Plan(BufferId),
    /// Token ids: `[tokens]`
    Ids,
    /// Of each token: the start of its text, the end of the keys that are seen, its type: `[tokens]`
    Spans,
    /// Cosine and sine of each token's angles, where they depend on its text's length.
    Angles(usize),
    /// For each row that pooling makes, the start of its text and the tokens: `[rows]`
    Texts,
}

/// How many workgroups a dispatch has.
#[derive(Clone, Copy)]
pub(super) enum Grid {
    /// This many workgroups a row.
    PerRow(Rows, usize),
    /// This many threads a row, 64 a workgroup.
    Threads(Rows, usize),
    /// Tiles of 64 × 64 results, of this many columns.
    Tiles(Rows, usize),
}

/// Makes the dispatches of a plan.
pub(super) struct Recorder<'a> {
    pub(super) gpu: &'a Opened,
    pub(super) plan: &'a Plan,
    pub(super) pipelines: Pipelines,
    pub(super) dispatches: Vec<Dispatch>,
    /// Bytes of weights on the device.
    pub(super) weight_bytes: usize,
    /// Bound where a shader has a binding that a step does not use.
    unused: Arc<wgpu::Buffer>,
    /// Tables that steps share, by their address in the plan: uploaded once.
    tables: HashMap<usize, Binding>,
    /// Tables whose angles are worked out for each batch.
    pub(super) stretched: Vec<Arc<RotaryTable>>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(gpu: &'a Opened, plan: &'a Plan) -> Result<Recorder<'a>> {
        let unused = Arc::new(constant(gpu, "unused", &[0f32; 4])?);
        Ok(Recorder {
            gpu,
            plan,
            pipelines: Pipelines::default(),
            dispatches: Vec::new(),
            weight_bytes: 0,
            unused,
            tables: HashMap::new(),
            stretched: Vec::new(),
        })
    }

    pub(super) fn record(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Embed { .. } => self.embed(step),
            Step::Norm { .. } => self.norm(step),
            Step::HeadNorm { norm, buffer, columns } => {
                let (weight, bias, layer_norm) = self.norm_parameters(norm)?;
                let heads = columns.len() / norm.size;
                let params = [
                    self.width(*buffer),
                    columns.start as u32,
                    heads as u32,
                    norm.size as u32,
                    layer_norm,
                    u32::from(norm.bias.is_some()),
                    norm.eps.to_bits(),
                ];
                let bindings = vec![weight, bias, Binding::Plan(*buffer)];
                self.push(Shader::HeadNorm, &params, bindings, Grid::Threads(Rows::Tokens, heads))
            }
            Step::Linear { .. } => self.linear(step),
            Step::Rotary { table, buffer, columns } => {
                let (heads, half) = (columns.len() / table.head_dim, table.head_dim / 2);
                let stretches = u32::from(table.stretches());
                let params =
                    [self.width(*buffer), columns.start as u32, heads as u32, half as u32, stretches];
                let angles = if table.stretches() {
                    self.angles(table)
                } else {
                    self.shared("rotary table", Arc::as_ptr(table) as usize, || table.interleaved())?
                };
                let bindings = vec![Binding::Spans, angles, Binding::Plan(*buffer)];
                self.push(Shader::Rotary, &params, bindings, Grid::Threads(Rows::Tokens, heads * half))
            }
            Step::Attention { .. } => self.attention(step),
            Step::Pool { modes, input, output } => self.pool(modes, *input, *output),
            Step::Route { top, input, output } => {
                let params = [self.width(*input), *top as u32];
                let bindings = vec![Binding::Plan(*input), Binding::Plan(*output)];
                self.push(Shader::Route, &params, bindings, Grid::Threads(Rows::Tokens, 1))
            }
            Step::ExpertUp { weight, experts, activation, choices, input, output } => {
                let inner = weight.rows() / experts;
                let params = [
                    self.width(*input),
                    inner as u32,
                    self.width(*choices) / 2,
                    activation_code(*activation),
                ];
                let weight = self.tensor(weight)?;
                let bindings =
                    vec![Binding::Plan(*choices), Binding::Plan(*input), weight, Binding::Plan(*output)];
                let columns = (self.width(*choices) / 2) as usize * inner;
                self.push(Shader::ExpertUp, &params, bindings, Grid::Threads(Rows::Tokens, columns))
            }
            Step::ExpertDown { weight, bias, experts, choices, input, residual, output } => {
                let inner = (weight.rows() / experts) as u32;
                let has_bias = u32::from(bias.is_some());
                let params = [self.width(*output), inner, self.width(*choices) / 2, has_bias];
                let (weight, bias) = (self.tensor(weight)?, self.optional(bias.as_ref())?);
                let [choices, input, residual] = [*choices, *input, *residual].map(Binding::Plan);
                let bindings = vec![choices, input, weight, bias, residual, Binding::Plan(*output)];
                let columns = self.plan.width(*output);
                self.push(Shader::ExpertDown, &params, bindings, Grid::Threads(Rows::Tokens, columns))
            }
            Step::Normalize { input, output } => {
                let rows = self.rows(*output);
                let params = [self.width(*input), u32::from(rows == Rows::Texts)];
                let bindings = vec![Binding::Plan(*input), Binding::Plan(*output)];
                self.push(Shader::Normalize, &params, bindings, Grid::PerRow(rows, 1))
            }
        }
    }

    fn width(&self, buffer: BufferId) -> u32 {
        self.plan.width(buffer) as u32
    }

    fn rows(&self, buffer: BufferId) -> Rows {
        self.plan.buffers[buffer.0].rows
    }

    /// The binding of a table whose angles are worked out for each batch.
    fn angles(&mut self, table: &Arc<RotaryTable>) -> Binding {
        let known = self.stretched.iter().position(|known| Arc::ptr_eq(known, table));
        Binding::Angles(known.unwrap_or_else(|| {
            self.stretched.push(table.clone());
            self.stretched.len() - 1
        }))
    }

    fn push(&mut self, shader: Shader, params: &[u32], bindings: Vec<Binding>, grid: Grid) -> Result<()> {
        let pipeline = self.pipelines.get(&self.gpu.device, shader);
        let mut padded = [0u32; 16];
        padded[..params.len()].copy_from_slice(params);
        let params =
            upload(self.gpu, "parameters", bytemuck::cast_slice(&padded), wgpu::BufferUsages::UNIFORM)?;
        self.dispatches.push(Dispatch { pipeline, bindings, params, grid });
        self.gpu.check()
    }

    fn constant(&mut self, name: &str, values: &[f32]) -> Result<Binding> {
        self.weight_bytes += size_of_val(values);
        Ok(Binding::Constant(Arc::new(constant(self.gpu, name, values)?)))
    }

    /// The table at this address in the plan, uploaded when a step first needs it.
    fn shared(&mut self, name: &str, address: usize, values: impl Fn() -> Vec<f32>) -> Result<Binding> {
        if let Some(binding) = self.tables.get(&address) {
            return Ok(binding.clone());
        }
        let binding = self.constant(name, &values())?;
        self.tables.insert(address, binding.clone());
        Ok(binding)
    }

    fn tensor(&mut self, tensor: &Tensor) -> Result<Binding> {
        self.constant(tensor.name(), &tensor.to_vec()?)
    }

    /// The tensor's buffer, or one that is bound but not read.
    fn optional(&mut self, tensor: Option<&Tensor>) -> Result<Binding> {
        match tensor {
            Some(tensor) => self.tensor(tensor),
            None => Ok(Binding::Constant(self.unused.clone())),
        }
    }

    fn embed(&mut self, step: &Step) -> Result<()> {
        let Step::Embed { word, scale, position, token_type, output } = step else {
            unreachable!("called for embedding steps");
        };
        let table = self.optional(position.as_ref().map(|(table, _)| table))?;
        let types = self.optional(token_type.as_ref())?;
        for Shard { first, rows, buffer } in shards(self.gpu, std::slice::from_ref(word))? {
            self.weight_bytes += buffer.size() as usize;
            let params = [
                word.columns() as u32,
                first as u32,
                rows as u32,
                position.as_ref().map_or(0, |(_, first)| *first as u32),
                u32::from(position.is_some()),
                token_type.as_ref().map_or(0, |table| table.rows() as u32),
                scale.to_bits(),
            ];
            let (word, output) = (Binding::Constant(Arc::new(buffer)), Binding::Plan(*output));
            let bindings = vec![Binding::Ids, Binding::Spans, word, table.clone(), types.clone(), output];
            self.push(Shader::Embed, &params, bindings, Grid::PerRow(Rows::Tokens, 1))?;
        }
        Ok(())
    }

    /// Weight, bias and the flag for LayerNorm.
    fn norm_parameters(&mut self, norm: &NormSpec) -> Result<(Binding, Binding, u32)> {
        let weight = self.constant("norm weight", &norm.weights()?)?;
        let bias = self.optional(norm.bias.as_ref())?;
        Ok((weight, bias, u32::from(norm.kind == NormKind::LayerNorm)))
    }

    fn norm(&mut self, step: &Step) -> Result<()> {
        let Step::Norm { norm, input, residual, scale, output } = step else {
            unreachable!("called for norm steps");
        };
        let (weight, bias, layer_norm) = self.norm_parameters(norm)?;
        let rows = self.rows(*output);
        let params = [
            self.width(*input),
            u32::from(rows == Rows::Texts),
            layer_norm,
            u32::from(norm.bias.is_some()),
            u32::from(residual.is_some()),
            norm.eps.to_bits(),
            scale.to_bits(),
        ];
        let residual = self.plan_or_unused(*residual);
        let bindings = vec![weight, bias, Binding::Plan(*input), residual, Binding::Plan(*output)];
        self.push(Shader::Norm, &params, bindings, Grid::PerRow(rows, 1))
    }

    fn plan_or_unused(&self, buffer: Option<BufferId>) -> Binding {
        buffer.map_or_else(|| Binding::Constant(self.unused.clone()), Binding::Plan)
    }

    fn linear(&mut self, step: &Step) -> Result<()> {
        let Step::Linear { linear, gate, activation, input, factor, residual, output, .. } = step else {
            unreachable!("called for linear steps");
        };
        let bias = linear.bias()?;
        let bias_binding = self.values_or_unused("bias", bias.as_deref())?;
        let gate_bias = match gate {
            Some(gate) => gate.bias()?,
            None => None,
        };
        let gate_bias_binding = self.values_or_unused("gate bias", gate_bias.as_deref())?;
        let tensors = |linear: &crate::model::LinearSpec| {
            linear.parts.iter().map(|(weight, _)| weight.clone()).collect::<Vec<_>>()
        };
        let mut gates = match gate {
            Some(gate) => shards(self.gpu, &tensors(gate))?,
            None => Vec::new(),
        }
        .into_iter();
        let rows = self.rows(*output);
        for Shard { first, rows: columns, buffer } in shards(self.gpu, &tensors(linear))? {
            // A gate has the same shape, so the same shards.
            let gate_shard = gates.next().map(|shard| Arc::new(shard.buffer));
            self.weight_bytes +=
                buffer.size() as usize + gate_shard.as_ref().map_or(0, |gate| gate.size() as usize);
            let params = [
                linear.inputs() as u32,
                linear.outputs() as u32,
                first as u32,
                columns as u32,
                u32::from(rows == Rows::Texts),
                activation_code(*activation),
                u32::from(bias.is_some()),
                u32::from(gate.is_some()),
                u32::from(gate_bias.is_some()),
                u32::from(residual.is_some()),
                u32::from(factor.is_some()),
                factor.map_or(0, |(buffer, _)| self.width(buffer)),
                factor.map_or(0, |(_, column)| column as u32),
            ];
            let bindings = vec![
                Binding::Plan(*input),
                Binding::Constant(Arc::new(buffer)),
                bias_binding.clone(),
                Binding::Constant(gate_shard.unwrap_or_else(|| self.unused.clone())),
                gate_bias_binding.clone(),
                self.plan_or_unused(factor.map(|(buffer, _)| buffer)),
                self.plan_or_unused(*residual),
                Binding::Plan(*output),
            ];
            self.push(Shader::Linear, &params, bindings, Grid::Tiles(rows, columns))?;
        }
        Ok(())
    }

    fn values_or_unused(&mut self, name: &str, values: Option<&[f32]>) -> Result<Binding> {
        match values {
            Some(values) => self.constant(name, values),
            None => Ok(Binding::Constant(self.unused.clone())),
        }
    }

    fn attention(&mut self, step: &Step) -> Result<()> {
        let Step::Attention { heads, kv_heads, head_dim, scale, visible, bias, input, output } = step else {
            unreachable!("called for attention steps");
        };
        /// What the shader's workgroup memory has room for.
        const MAX_HEAD_DIM: u64 = 512;
        if *head_dim as u64 > MAX_HEAD_DIM {
            return Err(crate::Error::GpuLimit {
                adapter: self.gpu.name.clone(),
                what: "an attention head".to_owned(),
                needed: *head_dim as u64 * 4,
                limit: MAX_HEAD_DIM * 4,
            });
        }
        let count =
            |count: Option<usize>| count.map_or(u32::MAX, |count| count.min(u32::MAX as usize) as u32);
        let params = [
            *heads as u32,
            *kv_heads as u32,
            *head_dim as u32,
            scale.to_bits(),
            count(visible.before),
            count(visible.after),
            bias.as_ref().map_or(0, |bias| bias.reach as u32),
            u32::from(bias.is_some()),
        ];
        let bias = match bias {
            Some(bias) => self.shared("distance bias", Arc::as_ptr(bias) as usize, || bias.values.clone())?,
            None => Binding::Constant(self.unused.clone()),
        };
        let bindings = vec![Binding::Spans, bias, Binding::Plan(*input), Binding::Plan(*output)];
        self.push(Shader::Attention, &params, bindings, Grid::PerRow(Rows::Tokens, *heads))
    }

    fn pool(&mut self, modes: &[PoolingMode], input: BufferId, output: BufferId) -> Result<()> {
        for (i, mode) in modes.iter().enumerate() {
            let width = self.width(input);
            let params = [width, self.width(output), i as u32 * width, pooling_code(*mode)];
            let bindings = vec![Binding::Texts, Binding::Plan(input), Binding::Plan(output)];
            self.push(Shader::Pool, &params, bindings, Grid::PerRow(Rows::Texts, 1))?;
        }
        Ok(())
    }
}

/// The numbers in shaders/linear.wgsl.
fn activation_code(activation: Activation) -> u32 {
    match activation {
        Activation::Identity => 0,
        Activation::GeluErf => 1,
        Activation::GeluTanh => 2,
        Activation::Silu => 3,
        Activation::Relu => 4,
        Activation::Tanh => 5,
    }
}

/// The numbers in shaders/pool.wgsl.
fn pooling_code(mode: PoolingMode) -> u32 {
    match mode {
        PoolingMode::Cls => 0,
        PoolingMode::Max => 1,
        PoolingMode::Mean => 2,
        PoolingMode::MeanSqrtLen => 3,
        PoolingMode::WeightedMean => 4,
        PoolingMode::LastToken => 5,
        PoolingMode::Splade(Splade { sum, twice }) => 6 + 2 * u32::from(sum) + u32::from(twice),
    }
}
