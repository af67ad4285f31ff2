//! Weights from the mapped file into GPU buffers, in the format that the shaders read.

use super::context::GpuContext;
use super::shader::Weights;
use crate::error::{RequestError, Result};
use crate::model::Tensor;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use wgpu::BufferUsages;

/// Bytes converted and handed over at once: each hand-over takes as much staging memory until the
/// next submission.
const CHUNK_BYTES: usize = 16 << 20;

/// A buffer with these bytes.
pub(super) fn upload(
    gpu: &GpuContext,
    name: &str,
    bytes: &[u8],
    usage: BufferUsages,
) -> Result<wgpu::Buffer> {
    let buffer = gpu.buffer(name, bytes.len() as u64, usage | BufferUsages::COPY_DST)?;
    gpu.queue.write_buffer(&buffer, 0, bytes);
    Ok(buffer)
}

/// A constant storage buffer.
pub(super) fn constant(gpu: &GpuContext, name: &str, values: &[f32]) -> Result<wgpu::Buffer> {
    upload(gpu, name, bytemuck::cast_slice(values), BufferUsages::STORAGE)
}

/// Some rows of a stacked matrix, in a buffer of their own.
pub(super) struct Shard {
    /// The first row.
    pub(super) first: usize,
    pub(super) rows: usize,
    /// `[rows, columns]`, columns padded with zeros to a multiple of four.
    pub(super) buffer: wgpu::Buffer,
}

impl Weights {
    /// Bytes of a row of `columns` weights, padded to a multiple of four.
    fn row_bytes(self, columns: usize) -> usize {
        let value = if self == Weights::F32 { 4 } else { 2 };
        columns.next_multiple_of(4) * value
    }

    /// Rows of `columns` weights as the shaders read them.
    fn encode(self, values: &[f32], columns: usize) -> Vec<u8> {
        let padded = columns.next_multiple_of(4);
        let spread;
        let values = if padded == columns {
            values
        } else {
            let mut rows = vec![0f32; values.len() / columns * padded];
            for (row, own) in rows.chunks_exact_mut(padded).zip(values.chunks_exact(columns)) {
                row[..columns].copy_from_slice(own);
            }
            spread = rows;
            &spread
        };
        match self {
            Weights::F32 => bytemuck::cast_slice(values).to_vec(),
            Weights::F16 => {
                let mut halves = vec![f16::ZERO; values.len()];
                halves.convert_from_f32_slice(values);
                bytemuck::cast_slice(&halves).to_vec()
            }
            Weights::Bf16 => {
                let mut halves = vec![bf16::ZERO; values.len()];
                halves.convert_from_f32_slice(values);
                bytemuck::cast_slice(&halves).to_vec()
            }
        }
    }
}

/// Uploads tensors stacked by rows, in as many buffers as the adapter's binding limit asks for.
pub(super) fn shards(gpu: &GpuContext, tensors: &[Tensor], format: Weights) -> Result<Vec<Shard>> {
    let columns = tensors.first().map_or(1, Tensor::columns);
    let rows: usize = tensors.iter().map(Tensor::rows).sum();
    let row_bytes = format.row_bytes(columns);
    gpu.check_size("a row of a weight matrix", row_bytes as u64)?;
    let most = (gpu.max_buffer_bytes() as usize / row_bytes).max(1);
    let mut result = Vec::new();
    for first in (0..rows).step_by(most) {
        let count = most.min(rows - first);
        let name = tensors.first().map_or("weights", Tensor::name);
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let buffer = gpu.buffer(name, (count * row_bytes) as u64, usage)?;
        fill(gpu, tensors, format, first, count, &buffer)?;
        result.push(Shard { first, rows: count, buffer });
    }
    gpu.check()?;
    Ok(result)
}

/// Writes rows `first..first + count` of the stack to the start of `buffer`.
fn fill(
    gpu: &GpuContext,
    tensors: &[Tensor],
    format: Weights,
    first: usize,
    count: usize,
    buffer: &wgpu::Buffer,
) -> Result<()> {
    let columns = tensors.first().map_or(1, Tensor::columns);
    let row_bytes = format.row_bytes(columns);
    let chunk = (CHUNK_BYTES / row_bytes).max(1);
    let mut start = 0; // of the tensor in the stack
    for tensor in tensors {
        let (from, to) = (first.max(start), (first + count).min(start + tensor.rows()));
        for row in (from..to).step_by(chunk) {
            let rows = chunk.min(to - row);
            let mut values = vec![0f32; rows * columns];
            tensor.read_finite_rows(row - start..row - start + rows, &mut values)?;
            if format == Weights::F16 {
                check_range(tensor, &values)?;
            }
            let bytes = format.encode(&values, columns);
            gpu.queue.write_buffer(buffer, ((row - first) * row_bytes) as u64, &bytes);
            gpu.queue.submit([]);
        }
        start += tensor.rows();
    }
    Ok(())
}

/// Weights that f16 has no number for would become infinite.
fn check_range(tensor: &Tensor, values: &[f32]) -> Result<()> {
    let max = values.iter().fold(0f32, |max, value| max.max(value.abs()));
    if max < 65520.0 {
        return Ok(());
    }
    Err(RequestError::InvalidOption {
        option: "precision",
        found: "f16".to_owned(),
        expected: format!(
            "bf16 or f32: {} has a weight of magnitude {max}, beyond f16's 65504",
            tensor.name()
        ),
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_padded_and_rounded_to_the_format() {
        let values = [1.0f32, -2.5, 3.0, 4.0, 5.0, 0.1];
        let single: Vec<f32> = bytemuck::pod_collect_to_vec(&Weights::F32.encode(&values, 3));
        assert_eq!(single, [1.0, -2.5, 3.0, 0.0, 4.0, 5.0, 0.1, 0.0]);
        let half: Vec<f16> = bytemuck::pod_collect_to_vec(&Weights::F16.encode(&values, 6));
        assert_eq!(half.len(), 8);
        assert_eq!(half[5], f16::from_f32(0.1));
        let brain: Vec<bf16> = bytemuck::pod_collect_to_vec(&Weights::Bf16.encode(&values, 2));
        assert_eq!(brain.len(), 12);
        assert_eq!((brain[1], brain[2], brain[9]), (bf16::from_f32(-2.5), bf16::ZERO, bf16::from_f32(0.1)));
    }
}
