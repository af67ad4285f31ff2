//! A plan's steps as dispatches: which shader, with which parameters and constant buffers, over
//! which grid. Made once, when a model is opened; nothing here depends on a batch.
//!
//! Neighbouring steps become one dispatch where one workgroup has all it needs: the embedding and its norm,
//! the norms of queries and keys and their rotary embedding, pooling and the unit length that follows it. A
//! post-norm layer is 7 dispatches: query_key_value, attention, its output and the residual, norm, up and
//! activation, down and residual, norm. The norms stay apart: they need whole rows of a product, which lie
//! in several workgroups, and a tile that has whole rows would leave too few workgroups to fill a device.

use super::check::Matrices;
use super::context::GpuContext;
use super::dispatch::{Binding, Dispatch, Grid, Prepared, activation_code, pooling_code, values_of};
use super::pipelines::Pipelines;
use super::shader::{Formats, Shader, ShaderVariant, Weights, attention_matrix_bytes, attention_queries};
use super::turns::POOLED_COLUMNS;
use super::upload::{Shard, constant, shards, upload};
use crate::backend::positions;
use crate::error::Result;
use crate::model::{ElementType, NormKind, NormSpec, Tensor};
use crate::plan::{BufferId, Plan, RelativePositions, RotaryTable, Rows, Step};
use std::collections::HashMap;
use std::sync::Arc;
use taskvec_kernels::Isa;

/// Makes the dispatches of a plan.
pub(super) struct Lowering<'a> {
    pub(super) gpu: &'a GpuContext,
    pub(super) plan: &'a Plan,
    pub(super) formats: Formats,
    /// What may use cooperative matrices.
    pub(super) matrices: Matrices,
    pub(super) pipelines: Pipelines,
    pub(super) dispatches: Vec<Dispatch>,
    /// Bytes of weights on the device.
    pub(super) weight_bytes: usize,
    /// Queries of a tile of attention.
    pub(super) queries: usize,
    /// Bound where a shader has a binding that a step does not use.
    pub(super) unused: Arc<wgpu::Buffer>,
    /// Tables that steps share, by their address in the plan: uploaded once.
    tables: HashMap<usize, Binding>,
    /// Tables whose angles are worked out for each batch.
    pub(super) dynamic_tables: Vec<Arc<RotaryTable>>,
}

impl<'a> Lowering<'a> {
    pub(super) fn new(
        gpu: &'a GpuContext,
        plan: &'a Plan,
        formats: Formats,
        matrices: Matrices,
    ) -> Result<Self> {
        Ok(Lowering {
            gpu,
            plan,
            formats,
            matrices,
            pipelines: Pipelines::default(),
            dispatches: Vec::new(),
            weight_bytes: 0,
            queries: queries(gpu, plan)?,
            unused: Arc::new(constant(gpu, "unused", &[0f32; 4])?),
            tables: HashMap::new(),
            dynamic_tables: Vec::new(),
        })
    }

    /// Lowers the step at `place`, and with it those after it, before `end`, that it can do too. Returns
    /// how many it did.
    pub(super) fn lower(&mut self, place: usize, end: usize) -> Result<usize> {
        let (step, next) = (&self.plan.steps[place], self.plan.steps[place + 1..end].first());
        match step {
            Step::Embed { .. } => self.embed(place, next),
            Step::Norm { .. } => self.norm(step),
            Step::HeadNorm { .. } => self.head_norm(&self.plan.steps[place..end]),
            Step::Linear { .. } => self.linear(step),
            Step::Rotary { table, buffer, columns } => {
                let (heads, half) = (columns.len() / table.head_dim, table.head_dim / 2);
                let stretches = u32::from(table.is_dynamic());
                let params =
                    [self.width(*buffer), columns.start as u32, heads as u32, half as u32, stretches];
                let bindings = vec![Binding::Spans, self.angles(table)?, Binding::Plan(*buffer)];
                let grid = Grid::Threads(Rows::Tokens, heads * half);
                self.push(Shader::Rotary, self.values(Rows::Tokens), &params, bindings, grid)?;
                Ok(1)
            }
            Step::Attention { .. } => self.attention(step),
            Step::ShortConv { taps, before, input, output } => {
                let hidden = self.plan.width(*output);
                let params = [hidden as u32, taps.columns() as u32, *before as u32];
                let taps = self.constant("taps", &taps.to_vec()?)?;
                let bindings = vec![Binding::Spans, taps, Binding::Plan(*input), Binding::Plan(*output)];
                let grid = Grid::Threads(Rows::Tokens, hidden);
                self.push(Shader::ShortConv, self.values(Rows::Tokens), &params, bindings, grid)?;
                Ok(1)
            }
            Step::Pool { .. } => self.pool(place, next),
            Step::Route { .. } | Step::ExpertUp { .. } | Step::ExpertDown { .. } => self.experts(step),
            Step::Normalize { input, output } => {
                let rows = self.rows(*output);
                let params = [self.width(*input), u32::from(rows == Rows::Texts)];
                let bindings = vec![Binding::Plan(*input), Binding::Plan(*output)];
                self.push(Shader::Normalize, self.values(rows), &params, bindings, Grid::PerRow(rows, 1))?;
                Ok(1)
            }
        }
    }

    pub(super) fn width(&self, buffer: BufferId) -> u32 {
        self.plan.width(buffer) as u32
    }

    pub(super) fn rows(&self, buffer: BufferId) -> Rows {
        self.plan.buffers[buffer.0].rows
    }

    /// The formats of a shader that reads no weights.
    fn values(&self, rows: Rows) -> Formats {
        Formats { values: values_of(self.formats, rows), weights: Weights::F32 }
    }

    /// A dispatch of one variant without constants.
    fn push(
        &mut self,
        shader: Shader,
        formats: Formats,
        params: &[u32],
        bindings: Vec<Binding>,
        grid: Grid,
    ) -> Result<()> {
        let variant = ShaderVariant { shader, formats, sums: self.gpu.sums(shader), constants: Vec::new() };
        self.push_variants(vec![(variant, grid)], params, bindings)
    }

    pub(super) fn push_variants(
        &mut self,
        variants: Vec<(ShaderVariant, Grid)>,
        params: &[u32],
        bindings: Vec<Binding>,
    ) -> Result<()> {
        let mut prepared = Vec::with_capacity(variants.len());
        let mut layout = None;
        for (variant, grid) in variants {
            let (pipeline, of_variant) = self.pipelines.get(self.gpu, &variant, bindings.len() + 2)?;
            layout = Some(of_variant);
            prepared.push(Prepared { shader: variant.shader, pipeline, grid });
        }
        let Some(layout) = layout else { return Ok(()) };
        let mut padded = [0u32; 16];
        padded[..params.len()].copy_from_slice(params);
        let params =
            upload(self.gpu, "parameters", bytemuck::cast_slice(&padded), wgpu::BufferUsages::UNIFORM)?;
        self.dispatches.push(Dispatch { variants: prepared, layout, bindings, params });
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

    /// The tensor's buffer in f32, or one that is bound but not read.
    fn optional(&mut self, tensor: Option<&Tensor>) -> Result<Binding> {
        match tensor {
            Some(tensor) => self.constant(tensor.name(), &tensor.to_vec()?),
            None => Ok(Binding::Constant(self.unused.clone())),
        }
    }

    pub(super) fn values_or_unused(&mut self, name: &str, values: Option<&[f32]>) -> Result<Binding> {
        match values {
            Some(values) => self.constant(name, values),
            None => Ok(Binding::Constant(self.unused.clone())),
        }
    }

    pub(super) fn plan_or_unused(&self, buffer: Option<BufferId>) -> Binding {
        buffer.map_or_else(|| Binding::Constant(self.unused.clone()), Binding::Plan)
    }

    /// The angles of a table: by position, or of each token where they are worked out for each batch.
    fn angles(&mut self, table: &Arc<RotaryTable>) -> Result<Binding> {
        if !table.is_dynamic() {
            return self.shared("rotary table", Arc::as_ptr(table) as usize, || table.interleaved());
        }
        let known = self.dynamic_tables.iter().position(|known| Arc::ptr_eq(known, table));
        Ok(Binding::Angles(known.unwrap_or_else(|| {
            self.dynamic_tables.push(table.clone());
            self.dynamic_tables.len() - 1
        })))
    }

    fn embed(&mut self, place: usize, next: Option<&Step>) -> Result<usize> {
        let Step::Embed { word, scale, position, token_type, output } = &self.plan.steps[place] else {
            unreachable!("called for embedding steps");
        };
        let table = self.optional(position.as_ref().map(|position| &position.table))?;
        let types = self.optional(token_type.as_ref())?;
        // bf16 is coarse for what all else is computed from: only a table that is stored so stays so.
        let formats = match self.formats.weights {
            Weights::Bf16 if word.element_type() != ElementType::Bf16 => {
                Formats { weights: Weights::F32, ..self.formats }
            }
            _ => self.formats,
        };
        let shards = shards(self.gpu, std::slice::from_ref(word), formats.weights)?;
        let norm = match next {
            Some(Step::Norm { norm, input, residual: None, scale: 1.0, output: normed })
                if input == output && !self.plan.is_read_after(place + 1, *output) && shards.len() == 1 =>
            {
                Some((norm, *normed))
            }
            _ => None,
        };
        let output = norm.map_or(*output, |(_, normed)| normed);
        let [weight, bias] = match norm {
            Some((norm, _)) => self.norm_parameters(norm)?,
            None => [self.optional(None)?, self.optional(None)?],
        };
        for Shard { first, rows, buffer } in shards {
            self.weight_bytes += buffer.size() as usize;
            let params = [
                word.columns() as u32,
                first as u32,
                rows as u32,
                u32::from(position.is_some()),
                token_type.as_ref().map_or(0, |table| table.rows() as u32),
                scale.to_bits(),
                norm.map_or(0, |(norm, _)| 1 + u32::from(norm.kind == NormKind::LayerNorm)),
                norm.map_or(0, |(norm, _)| u32::from(norm.bias.is_some())),
                norm.map_or(0, |(norm, _)| norm.eps.to_bits()),
            ];
            let word = Binding::Constant(Arc::new(buffer));
            let (ids, spans) = (Binding::Ids, Binding::Spans);
            let [table, types, weight, bias] = [&table, &types, &weight, &bias].map(Clone::clone);
            let bindings = vec![ids, spans, word, table, types, weight, bias, Binding::Plan(output)];
            let grid = Grid::PerRow(Rows::Tokens, 1);
            self.push(Shader::Embed, formats, &params, bindings, grid)?;
        }
        Ok(if norm.is_some() { 2 } else { 1 })
    }

    /// Weight and bias.
    fn norm_parameters(&mut self, norm: &NormSpec) -> Result<[Binding; 2]> {
        let weight = self.constant("norm weight", &norm.weights()?)?;
        Ok([weight, self.optional(norm.bias.as_ref())?])
    }

    fn norm(&mut self, step: &Step) -> Result<usize> {
        let Step::Norm { norm, input, residual, scale, output } = step else {
            unreachable!("called for norm steps");
        };
        let [weight, bias] = self.norm_parameters(norm)?;
        let rows = self.rows(*output);
        let params = [
            self.width(*input),
            u32::from(rows == Rows::Texts),
            u32::from(norm.kind == NormKind::LayerNorm),
            u32::from(norm.bias.is_some()),
            u32::from(residual.is_some()),
            norm.eps.to_bits(),
            scale.to_bits(),
        ];
        let residual = self.plan_or_unused(*residual);
        let bindings = vec![weight, bias, Binding::Plan(*input), residual, Binding::Plan(*output)];
        self.push(Shader::Norm, self.values(rows), &params, bindings, Grid::PerRow(rows, 1))?;
        Ok(1)
    }

    /// One norm of heads, or two of neighbours, and the rotary embedding of just these heads after them.
    fn head_norm(&mut self, steps: &[Step]) -> Result<usize> {
        let [Step::HeadNorm { norm, buffer, columns }, ..] = steps else {
            unreachable!("called for norms of heads");
        };
        let second = match steps.get(1) {
            Some(Step::HeadNorm { norm: other, buffer: same, columns: after })
                if same == buffer
                    && after.start == columns.end
                    && (other.size, other.kind) == (norm.size, norm.kind)
                    && other.bias.is_some() == norm.bias.is_some() =>
            {
                Some((other, after))
            }
            _ => None,
        };
        let mut taken = if second.is_some() { 2 } else { 1 };
        let all = columns.start..second.map_or(columns.end, |(_, after)| after.end);
        let table = match steps.get(taken) {
            Some(Step::Rotary { table, buffer: same, columns: rotated })
                if same == buffer && *rotated == all && table.head_dim == norm.size =>
            {
                taken += 1;
                Some(table)
            }
            _ => None,
        };
        let other = second.map_or(norm, |(other, _)| other);
        let weights = [norm.weights()?, other.weights()?].concat();
        let biases = match (&norm.bias, &other.bias) {
            (Some(first), Some(second)) => Some([first.to_vec()?, second.to_vec()?].concat()),
            _ => None,
        };
        let heads = all.len() / norm.size;
        let params = [
            self.width(*buffer),
            all.start as u32,
            (columns.len() / norm.size) as u32,
            heads as u32,
            norm.size as u32,
            u32::from(norm.kind == NormKind::LayerNorm),
            u32::from(biases.is_some()),
            norm.eps.to_bits(),
            other.eps.to_bits(),
            table.map_or(0, |table| 1 + u32::from(table.is_dynamic())),
        ];
        let angles = match table {
            Some(table) => self.angles(table)?,
            None => self.optional(None)?,
        };
        let weight = self.constant("head norms", &weights)?;
        let bias = self.values_or_unused("head norms", biases.as_deref())?;
        let bindings = vec![Binding::Spans, weight, bias, angles, Binding::Plan(*buffer)];
        let grid = Grid::PerRow(Rows::Tokens, heads);
        self.push(Shader::HeadNorm, self.values(Rows::Tokens), &params, bindings, grid)?;
        Ok(taken)
    }

    fn attention(&mut self, step: &Step) -> Result<usize> {
        let Step::Attention { heads, kv_heads, head_dim, scale, window, bias, positions, input, output } =
            step
        else {
            unreachable!("called for attention steps");
        };
        let count =
            |count: Option<usize>| count.map_or(u32::MAX, |count| count.min(u32::MAX as usize) as u32);
        let params = [
            *heads as u32,
            *kv_heads as u32,
            scale.to_bits(),
            count(window.before),
            count(window.after),
            match (bias, positions) {
                (Some(bias), _) => bias.reach as u32,
                (None, positions) => positions.as_ref().map_or(0, |positions| positions.reach() as u32),
            },
            positions.as_ref().map_or(0, |positions| positions.spec.rows.rows() as u32),
        ];
        let (has_bias, bias) = match (bias, positions) {
            (Some(bias), _) => {
                let address = Arc::as_ptr(bias) as usize;
                (1, self.shared("distance bias", address, || bias.values.clone())?)
            }
            (None, Some(positions)) => self.vectors_by_distance(positions)?,
            (None, None) => (0, Binding::Constant(self.unused.clone())),
        };
        let bindings = vec![Binding::QueryTiles, bias, Binding::Plan(*input), Binding::Plan(*output)];
        let constants =
            vec![("HEAD_DIM", *head_dim as u32), ("QUERIES", self.queries as u32), ("HAS_BIAS", has_bias)];
        let on_matrices = attention_matrix_bytes(*head_dim, self.queries)
            .is_some_and(|bytes| self.matrices.attention && bytes <= self.gpu.workgroup_bytes());
        let shader = if on_matrices && has_bias < 2 { Shader::AttentionMatrix } else { Shader::Attention };
        let variant = ShaderVariant::new(shader, self.values(Rows::Tokens), constants);
        self.push_variants(vec![(variant, Grid::PerQueryTile(*heads))], &params, bindings)?;
        Ok(1)
    }

    /// HAS_BIAS and `bias` of attention.wgsl for products with vectors of distances.
    fn vectors_by_distance(&mut self, positions: &RelativePositions) -> Result<(u32, Binding)> {
        let vectors = positions::vectors(Isa::best(), &positions.spec)?;
        let which = 2 * u32::from(vectors[0].is_some()) + 4 * u32::from(vectors[1].is_some());
        let mut values: Vec<f32> = positions.rows.iter().map(|row| *row as f32).collect();
        vectors.into_iter().flatten().for_each(|vectors| values.extend(vectors));
        Ok((which, self.constant("vectors by distance", &values)?))
    }

    fn pool(&mut self, place: usize, next: Option<&Step>) -> Result<usize> {
        let Step::Pool { modes, input, output } = &self.plan.steps[place] else {
            unreachable!("called for pooling steps");
        };
        let normalized = match next {
            Some(Step::Normalize { input: pooled, output: unit })
                if pooled == output && modes.len() == 1 && !self.plan.is_read_after(place + 1, *output) =>
            {
                Some(*unit)
            }
            _ => None,
        };
        let output = normalized.unwrap_or(*output);
        for (i, mode) in modes.iter().enumerate() {
            let width = self.width(*input);
            // The length of a row is one workgroup's business; else many share what may be a whole vocabulary.
            let groups = if normalized.is_some() { 1 } else { width.div_ceil(POOLED_COLUMNS) };
            let normalize = u32::from(normalized.is_some());
            let first = i as u32 * width;
            let params = [width, self.width(output), first, pooling_code(*mode), normalize, groups];
            let bindings = vec![Binding::Texts, Binding::Plan(*input), Binding::Plan(output)];
            let grid = Grid::PerRow(Rows::Texts, groups as usize);
            self.push(Shader::Pool, self.values(Rows::Tokens), &params, bindings, grid)?;
        }
        Ok(if normalized.is_some() { 2 } else { 1 })
    }

    fn experts(&mut self, step: &Step) -> Result<usize> {
        match step {
            Step::Route { top, input, output } => {
                let params = [self.width(*input), *top as u32];
                let bindings = vec![Binding::Plan(*input), Binding::Plan(*output)];
                let grid = Grid::Threads(Rows::Tokens, 1);
                self.push(Shader::Route, self.values(Rows::Tokens), &params, bindings, grid)?;
            }
            Step::ExpertUp { weight, experts, activation, choices, input, output } => {
                let inner = weight.rows() / experts;
                let top = self.width(*choices) / 2;
                let params = [self.width(*input), inner as u32, top, activation_code(*activation)];
                let weight = self.matrix(weight)?;
                let bindings =
                    vec![Binding::Plan(*choices), Binding::Plan(*input), weight, Binding::Plan(*output)];
                let grid = Grid::Threads(Rows::Tokens, top as usize * inner);
                self.push(Shader::ExpertUp, self.formats, &params, bindings, grid)?;
            }
            Step::ExpertDown { weight, bias, experts, choices, input, residual, output } => {
                let inner = (weight.rows() / experts) as u32;
                let has_bias = u32::from(bias.is_some());
                let params = [self.width(*output), inner, self.width(*choices) / 2, has_bias];
                let (weight, bias) = (self.matrix(weight)?, self.optional(bias.as_ref())?);
                let [choices, input, residual] = [*choices, *input, *residual].map(Binding::Plan);
                let bindings = vec![choices, input, weight, bias, residual, Binding::Plan(*output)];
                let grid = Grid::Threads(Rows::Tokens, self.plan.width(*output));
                self.push(Shader::ExpertDown, self.formats, &params, bindings, grid)?;
            }
            _ => unreachable!("called for steps of experts"),
        }
        Ok(1)
    }

    /// A matrix that must fit one binding, in the format of weights.
    fn matrix(&mut self, weight: &Tensor) -> Result<Binding> {
        let mut shards = shards(self.gpu, std::slice::from_ref(weight), self.formats.weights)?;
        match (shards.pop(), shards.len()) {
            (Some(Shard { buffer, .. }), 0) => {
                self.weight_bytes += buffer.size() as usize;
                Ok(Binding::Constant(Arc::new(buffer)))
            }
            _ => Err(self.gpu.too_large("the matrices of a layer's experts", weight.stored_bytes() as u64)),
        }
    }
}

/// Queries of a tile, the same for all layers of a plan, so that they share the list of tiles.
fn queries(gpu: &GpuContext, plan: &Plan) -> Result<usize> {
    let dims = plan.steps.iter().filter_map(|step| match step {
        Step::Attention { head_dim, .. } => Some(*head_dim),
        _ => None,
    });
    let max_head_dim = dims.max().unwrap_or(1);
    attention_queries(max_head_dim, gpu.workgroup_bytes())
        .ok_or_else(|| gpu.too_large("an attention head", max_head_dim as u64 * 4))
}
