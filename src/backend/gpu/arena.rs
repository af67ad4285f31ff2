//! The buffers that batches run in, and the bind groups that tie dispatches to them: made for a
//! capacity and kept until a larger batch comes.

use super::context::GpuContext;
use super::dispatch::{Binding, Dispatch, values_of};
use super::shader::Formats;
use crate::batch::{Pool, RaggedBatch};
use crate::error::Result;
use crate::plan::{Plan, RotaryTable, Rows};
use std::sync::Arc;
use wgpu::BufferUsages;

/// What arenas are made for: a model on a device.
pub(super) struct Lowered<'a> {
    pub(super) gpu: &'a GpuContext,
    pub(super) plan: &'a Plan,
    pub(super) dispatches: &'a [Dispatch],
    /// Tables whose angles are worked out for each batch.
    pub(super) dynamic_tables: &'a [Arc<RotaryTable>],
    pub(super) formats: Formats,
    /// Queries of a tile of attention.
    pub(super) queries: usize,
}

impl Lowered<'_> {
    /// Bytes of a row of the plan's buffer `id`.
    pub(super) fn row_bytes(&self, id: usize) -> usize {
        let buffer = &self.plan.buffers[id];
        buffer.width * values_of(self.formats, buffer.rows).bytes()
    }

    /// Bytes of an arena for this many tokens and texts.
    pub(super) fn arena_bytes(&self, tokens: usize, texts: usize) -> usize {
        let rows = |rows| if rows == Rows::Tokens { tokens } else { texts };
        let buffers = &self.plan.buffers;
        let plan: usize = (0..buffers.len()).map(|id| rows(buffers[id].rows) * self.row_bytes(id)).sum();
        let results: usize =
            (0..self.plan.outputs.len()).map(|output| self.result_bytes(output, tokens, texts)).sum();
        // Ids, spans, tiles; texts; angles.
        let angles: usize = self.dynamic_tables.iter().map(|table| table.head_dim * tokens * 4).sum();
        plan + results + (4 + 16 + 16) * tokens + 16 * texts + angles
    }

    /// Bytes of an output.
    pub(super) fn result_bytes(&self, output: usize, tokens: usize, texts: usize) -> usize {
        let id = self.plan.outputs[output].output.0;
        let rows = if self.plan.buffers[id].rows == Rows::Tokens { tokens } else { texts };
        rows * self.row_bytes(id)
    }
}

pub(super) struct Arena {
    tokens: usize,
    texts: usize,
    /// As in [`Plan::buffers`].
    pub(super) buffers: Vec<wgpu::Buffer>,
    batch: wgpu::Buffer,
    ids: wgpu::Buffer,
    spans: wgpu::Buffer,
    query_tiles: wgpu::Buffer,
    text_spans: wgpu::Buffer,
    /// One for each table whose angles are worked out for each batch.
    angles: Vec<(Arc<RotaryTable>, wgpu::Buffer)>,
    /// Results on their way to the host.
    pub(super) readback: wgpu::Buffer,
    /// One a dispatch.
    pub(super) bind_groups: Vec<wgpu::BindGroup>,
}

impl Arena {
    /// An arena for batches of up to this many tokens and texts.
    pub(super) fn new(lowered: &Lowered<'_>, tokens: usize, texts: usize) -> Result<Arena> {
        let Lowered { gpu, plan, dispatches, dynamic_tables, .. } = lowered;
        // Copies are of whole runs of four bytes.
        let make = |name: &str, bytes: usize, usage: BufferUsages| {
            gpu.buffer(name, bytes.max(16).next_multiple_of(16) as u64, usage)
        };
        let input = BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let rows = |rows| if rows == Rows::Tokens { tokens } else { texts };
        let buffers = plan.buffers.iter().enumerate().map(|(id, buffer)| {
            let bytes = rows(buffer.rows) * lowered.row_bytes(id);
            make(buffer.name, bytes, BufferUsages::STORAGE | BufferUsages::COPY_SRC)
        });
        let results = (0..plan.outputs.len())
            .map(|output| lowered.result_bytes(output, tokens, texts).next_multiple_of(4));
        let mut arena = Arena {
            tokens,
            texts,
            buffers: buffers.collect::<Result<_>>()?,
            batch: make("batch", 16, BufferUsages::UNIFORM | BufferUsages::COPY_DST)?,
            ids: make("token ids", 4 * tokens, input)?,
            spans: make("spans of tokens", 16 * tokens, input)?,
            // A text of one token is a tile of its own.
            query_tiles: make("tiles of queries", 16 * tokens, input)?,
            angles: dynamic_tables
                .iter()
                .map(|table| Ok((table.clone(), make("rotary angles", 4 * table.head_dim * tokens, input)?)))
                .collect::<Result<_>>()?,
            text_spans: make("spans of texts", 16 * texts, input)?,
            readback: make("results", results.sum(), BufferUsages::MAP_READ | BufferUsages::COPY_DST)?,
            bind_groups: Vec::new(),
        };
        arena.bind_groups = dispatches.iter().map(|dispatch| arena.bind(gpu, dispatch)).collect();
        gpu.check()?;
        Ok(arena)
    }

    /// The tokens and texts that there is room for.
    pub(super) fn room(&self) -> (usize, usize) {
        (self.tokens, self.texts)
    }

    /// Whether a batch fits.
    pub(super) fn fits(&self, batch: &RaggedBatch) -> bool {
        batch.tokens() <= self.tokens && batch.pools() <= self.texts
    }

    fn bind(&self, gpu: &GpuContext, dispatch: &Dispatch) -> wgpu::BindGroup {
        let buffer = |binding: &Binding| -> wgpu::Buffer {
            match binding {
                Binding::Constant(buffer) => wgpu::Buffer::clone(buffer),
                Binding::Plan(id) => self.buffers[id.0].clone(),
                Binding::Ids => self.ids.clone(),
                Binding::Spans => self.spans.clone(),
                Binding::QueryTiles => self.query_tiles.clone(),
                Binding::Angles(table) => self.angles[*table].1.clone(),
                Binding::Texts => self.text_spans.clone(),
            }
        };
        let bound: Vec<wgpu::Buffer> = dispatch.bindings.iter().map(buffer).collect();
        let mut all = vec![&self.batch, &dispatch.params];
        all.extend(&bound);
        gpu.bind(&dispatch.layout, &all)
    }

    /// Writes what the shaders need to know of a batch. Returns how many tiles of queries it has.
    pub(super) fn write_batch(&self, lowered: &Lowered<'_>, batch: &RaggedBatch) -> usize {
        let mut spans = Vec::with_capacity(batch.tokens());
        let mut tiles = Vec::new();
        let (first, uncounted) = lowered.plan.position_rows();
        let mut places = batch.places().zip(batch.position_rows(first, uncounted));
        for (range, keys) in batch.ranges().zip(&batch.keys) {
            let [start, end, keys] = [range.start, range.end, range.start + keys].map(|place| place as u32);
            let tokens = places.by_ref().take(range.len());
            spans.extend(tokens.map(|((_, kind), row)| [start, keys, kind as u32, row as u32]));
            tiles.extend(range.step_by(lowered.queries).map(|first| [first as u32, end, start, keys]));
        }
        let pool =
            |pool: &Pool| [pool.start, pool.tokens.end, pool.tokens.start, 0].map(|place| place as u32);
        let texts: Vec<[u32; 4]> = batch.pools.iter().map(pool).collect();
        let sizes = [batch.tokens() as u32, batch.pools() as u32, tiles.len() as u32, 0];
        let queue = &lowered.gpu.queue;
        for (table, buffer) in &self.angles {
            let angles = table.of_tokens(batch).interleaved();
            queue.write_buffer(buffer, 0, bytemuck::cast_slice(&angles));
        }
        queue.write_buffer(&self.batch, 0, bytemuck::cast_slice(&sizes));
        queue.write_buffer(&self.ids, 0, bytemuck::cast_slice(&batch.ids));
        queue.write_buffer(&self.spans, 0, bytemuck::cast_slice(&spans));
        queue.write_buffer(&self.query_tiles, 0, bytemuck::cast_slice(&tiles));
        queue.write_buffer(&self.text_spans, 0, bytemuck::cast_slice(&texts));
        tiles.len()
    }
}
