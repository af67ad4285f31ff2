//! The buffers that batches run in, and the bind groups that tie dispatches to them: made for a
//! capacity and kept until a larger batch comes.

use super::adapter::Opened;
use super::dispatch::{Binding, Dispatch};
use crate::error::Result;
use crate::plan::{Plan, Rows};
use crate::tokens::RaggedBatch;
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
            spans: make("spans of tokens", 2 * tokens, input)?,
            text_spans: make("spans of texts", 4 * texts, input)?,
            readback: make(
                "results",
                texts * plan.width(plan.output),
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
        batch.tokens() <= self.tokens && batch.texts() <= self.texts
    }

    fn bind(&self, gpu: &Opened, dispatch: &Dispatch) -> wgpu::BindGroup {
        let buffer = |binding: &Binding| -> wgpu::Buffer {
            match binding {
                Binding::Constant(buffer) => wgpu::Buffer::clone(buffer),
                Binding::Plan(id) => self.buffers[id.0].clone(),
                Binding::Ids => self.ids.clone(),
                Binding::Spans => self.spans.clone(),
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
        let sizes = [batch.tokens() as u32, batch.texts() as u32, 0, 0];
        let mut spans = Vec::with_capacity(batch.tokens());
        let mut texts = Vec::with_capacity(batch.texts());
        for (range, pool_from) in batch.ranges().zip(&batch.pool_from) {
            let (start, end) = (range.start as u32, range.end as u32);
            texts.push([start, end, start + *pool_from as u32, 0]);
            spans.extend(range.map(|_| [start, end]));
        }
        gpu.queue.write_buffer(&self.batch, 0, bytemuck::cast_slice(&sizes));
        gpu.queue.write_buffer(&self.ids, 0, bytemuck::cast_slice(&batch.ids));
        gpu.queue.write_buffer(&self.spans, 0, bytemuck::cast_slice(&spans));
        gpu.queue.write_buffer(&self.text_spans, 0, bytemuck::cast_slice(&texts));
    }
}
