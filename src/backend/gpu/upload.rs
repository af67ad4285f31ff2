//! Weights from the mapped file into GPU buffers, as f32.

use super::adapter::Opened;
use crate::error::Result;
use crate::model::Tensor;
use wgpu::{BufferDescriptor, BufferUsages};

/// Bytes converted and handed over at once: each hand-over takes as much staging memory until the
/// next submission.
const CHUNK_BYTES: usize = 16 << 20;

/// A buffer with these bytes.
pub(super) fn upload(gpu: &Opened, name: &str, bytes: &[u8], usage: BufferUsages) -> Result<wgpu::Buffer> {
    gpu.check_size(name, bytes.len() as u64)?;
    let usage = usage | BufferUsages::COPY_DST;
    let size = bytes.len() as u64;
    let buffer = gpu.device.create_buffer(&BufferDescriptor {
        label: Some(name),
        size,
        usage,
        mapped_at_creation: false,
    });
    gpu.queue.write_buffer(&buffer, 0, bytes);
    Ok(buffer)
}

/// A constant storage buffer.
pub(super) fn constant(gpu: &Opened, name: &str, values: &[f32]) -> Result<wgpu::Buffer> {
    upload(gpu, name, bytemuck::cast_slice(values), BufferUsages::STORAGE)
}

/// Some rows of a stacked matrix, in a buffer of their own.
pub(super) struct Shard {
    /// The first row.
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) buffer: wgpu::Buffer,
}

/// Uploads tensors stacked by rows, in as many buffers as the adapter's binding limit asks for.
pub(super) fn shards(gpu: &Opened, tensors: &[Tensor]) -> Result<Vec<Shard>> {
    let columns = tensors.first().map_or(1, Tensor::columns);
    let rows: usize = tensors.iter().map(Tensor::rows).sum();
    let row_bytes = columns * size_of::<f32>();
    gpu.check_size("a row of a weight matrix", row_bytes as u64)?;
    let most = (gpu.max_buffer_bytes() as usize / row_bytes).max(1);
    let mut result = Vec::new();
    for first in (0..rows).step_by(most) {
        let count = most.min(rows - first);
        let buffer = gpu.device.create_buffer(&BufferDescriptor {
            label: tensors.first().map(Tensor::name),
            size: (count * row_bytes) as u64,
            usage: BufferUsages::STORAGE | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        fill(gpu, tensors, first, count, &buffer)?;
        result.push(Shard { first, rows: count, buffer });
    }
    gpu.check()?;
    Ok(result)
}

/// Writes rows `first..first + count` of the stack to the start of `buffer`.
fn fill(gpu: &Opened, tensors: &[Tensor], first: usize, count: usize, buffer: &wgpu::Buffer) -> Result<()> {
    let columns = tensors.first().map_or(1, Tensor::columns);
    let row_bytes = columns * size_of::<f32>();
    let chunk = (CHUNK_BYTES / row_bytes).max(1);
    let mut start = 0; // of the tensor in the stack
    for tensor in tensors {
        let (from, to) = (first.max(start), (first + count).min(start + tensor.rows()));
        for row in (from..to).step_by(chunk) {
            let rows = chunk.min(to - row);
            let mut values = vec![0f32; rows * columns];
            tensor.read_finite_rows(row - start..row - start + rows, &mut values)?;
            gpu.queue.write_buffer(buffer, ((row - first) * row_bytes) as u64, bytemuck::cast_slice(&values));
            gpu.queue.submit([]);
        }
        start += tensor.rows();
    }
    Ok(())
}
