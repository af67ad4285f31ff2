//! The buffers that batches run in, and the bind groups that tie dispatches to them: made for a
//! capacity and kept until a larger batch comes.

use super::adapter::Opened;
use super::dispatch::{Binding, Dispatch};
use crate::error::Result;
use crate::plan::{Plan, RotaryTable, Rows};
use crate::tokens::{Pool, RaggedBatch};
use std::sync::Arc;
use wgpu::{BufferDescriptor, BufferUsages};

pub(super) struct Arena {
    tokens: usize,
    texts: usize,
    /// As in [`Plan::buffers`].
    pub(super) buffers: Vec<wgpu::Buffer>,
    batch: wgpu::Buffer,
    ids: wgpu::Buffer,
    spans: wgpu::Buffer,
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
    pub(super) fn new(
        gpu: &Opened,
        plan: &Plan,
        dispatches: &[Dispatch],
        stretched: &[Arc<RotaryTable>],
        tokens: usize,
        texts: usize,
    ) -> Result<Arena> {
        let make = |name: &str, values: usize, usage: BufferUsages| {
            let size = (values.max(4) * size_of::<f32>()) as u64;
            gpu.check_size(name, size)?;
            Ok(gpu.device.create_buffer(&BufferDescriptor {
                label: Some(name),
                size,
                usage,
                mapped_at_creation: false,
            }))
        };
        let input = BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let rows = |rows| if rows == Rows::Tokens { tokens } else { texts };
        let buffers = plan.buffers.iter().map(|buffer| {
            make(
                buffer.name,
                rows(buffer.rows) * buffer.width,
                BufferUsages::STORAGE | BufferUsages::COPY_SRC,
            )
        });
        let mut arena = Arena {
            tokens,
            texts,
            buffers: buffers.collect::<Result<_>>()?,
            batch: make("batch", 4, BufferUsages::UNIFORM | BufferUsages::COPY_DST)?,
            ids: make("token ids", tokens, input)?,
            spans: make("spans of tokens", 4 * tokens, input)?,
            angles: stretched
                .iter()
                .map(|table| Ok((table.clone(), make("rotary angles", table.head_dim * tokens, input)?)))
                .collect::<Result<_>>()?,
            text_spans: make("spans of texts", 4 * texts, input)?,
            readback: make(
                "results",
                (0..plan.ends.len()).map(|end| plan.result_len(end, tokens, texts)).sum(),
                BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            )?,
            bind_groups: Vec::new(),
        };
        arena.bind_groups = dispatches.iter().map(|dispatch| arena.bind(gpu, dispatch)).collect();
        gpu.check()?;
        Ok(arena)
    }

    /// Whether a batch fits.
    pub(super) fn fits(&self, batch: &RaggedBatch) -> bool {
        batch.tokens() <= self.tokens && batch.pools() <= self.texts
    }

    fn bind(&self, gpu: &Opened, dispatch: &Dispatch) -> wgpu::BindGroup {
        let buffer = |binding: &Binding| -> wgpu::Buffer {
            match binding {
                Binding::Constant(buffer) => wgpu::Buffer::clone(buffer),
                Binding::Plan(id) => self.buffers[id.0].clone(),
                Binding::Ids => self.ids.clone(),
                Binding::Spans => self.spans.clone(),
                Binding::Angles(table) => self.angles[*table].1.clone(),
                Binding::Texts => self.text_spans.clone(),
            }
        };
        let mut bound = vec![self.batch.clone(), dispatch.params.clone()];
        bound.extend(dispatch.bindings.iter().map(buffer));
        let entries: Vec<wgpu::BindGroupEntry<'_>> = bound
            .iter()
            .enumerate()
            .map(|(i, buffer)| wgpu::BindGroupEntry {
                binding: i as u32,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &dispatch.pipeline.get_bind_group_layout(0),
            entries: &entries,
        })
    }

    /// Writes what the shaders need to know of a batch.
    pub(super) fn write_batch(&self, gpu: &Opened, batch: &RaggedBatch) {
        let sizes = [batch.tokens() as u32, batch.pools() as u32, 0, 0];
        let mut spans = Vec::with_capacity(batch.tokens());
        let mut places = batch.places();
        for (range, keys) in batch.ranges().zip(&batch.keys) {
            let (start, keys) = (range.start as u32, (range.start + keys) as u32);
            spans.extend(places.by_ref().take(range.len()).map(|(_, kind)| [start, keys, kind as u32, 0]));
        }
        let pool =
            |pool: &Pool| [pool.start, pool.tokens.end, pool.tokens.start, 0].map(|place| place as u32);
        let texts: Vec<[u32; 4]> = batch.pools.iter().map(pool).collect();
        for (table, buffer) in &self.angles {
            let angles = table.of_tokens(batch).interleaved();
            gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&angles));
        }
        gpu.queue.write_buffer(&self.batch, 0, bytemuck::cast_slice(&sizes));
        gpu.queue.write_buffer(&self.ids, 0, bytemuck::cast_slice(&batch.ids));
        gpu.queue.write_buffer(&self.spans, 0, bytemuck::cast_slice(&spans));
        gpu.queue.write_buffer(&self.text_spans, 0, bytemuck::cast_slice(&texts));
    }
}
