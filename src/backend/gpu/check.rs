//! Whether cooperative matrices give what they should on this device: a product whose result is known,
//! computed when the device is opened.

use super::adapter::Opened;
use super::pipelines::Pipelines;
use super::shader::{Form, Formats, MATRIX_TILES, Shader, Values, Weights};
use super::upload::upload;
use crate::error::Result;
use half::f16;
use wgpu::BufferUsages;

/// Sizes that are no multiples of a block, so that edges are tried too.
const ROWS: usize = 37;
const INPUTS: usize = 76;
const COLUMNS: usize = 43;

/// Whether the adapter has cooperative matrices, and they multiply right with every tile.
///
/// Drivers have been wrong here: a product that came out transposed, shapes that a validator took and the
/// hardware did not. A device on which this fails runs linear.wgsl.
pub(super) fn matrices_work(gpu: &Opened) -> bool {
    let right = |tile| multiply(gpu, tile).is_ok_and(|found| is_close(&found, &expected()));
    gpu.matrices && (0..MATRIX_TILES.len()).all(right)
}

/// Small integers, so that f16 has every input and f32 every sum; no symmetry, so that a transposed operand
/// shows.
fn inputs() -> [Vec<f16>; 2] {
    let value = |i: usize, j: usize, salt: usize| f16::from_f32(((i * 7 + j * 13 + salt) % 11) as f32 - 5.0);
    let matrix = |rows: usize, salt| {
        (0..rows * INPUTS).map(|at| value(at / INPUTS, at % INPUTS, salt)).collect::<Vec<_>>()
    };
    [matrix(ROWS, 3), matrix(COLUMNS, 8)]
}

fn expected() -> Vec<f32> {
    let [x, w] = inputs();
    let row = |matrix: &[f16], i: usize| matrix[i * INPUTS..(i + 1) * INPUTS].to_vec();
    let result = |at: usize| -> f32 {
        let pairs = row(&x, at / COLUMNS).into_iter().zip(row(&w, at % COLUMNS));
        pairs.map(|(a, b)| a.to_f32() * b.to_f32()).sum()
    };
    (0..ROWS * COLUMNS).map(result).collect()
}

/// Results are rounded to f16.
fn is_close(found: &[f32], expected: &[f32]) -> bool {
    found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(found, expected)| (found - expected).abs() <= 1e-3 * expected.abs().max(1.0))
}

/// x · wᵀ by linear_matrix.wgsl with one of its tiles.
fn multiply(gpu: &Opened, tile: usize) -> Result<Vec<f32>> {
    let tile = MATRIX_TILES[tile];
    let formats = Formats { values: Values::F16, weights: Weights::F16 };
    let form = Form { shader: Shader::LinearMatrix, formats, constants: tile.constants(1) };
    let storage = |name: &str, bytes: &[u8]| upload(gpu, name, bytes, BufferUsages::STORAGE);
    let uniform =
        |name: &str, values: &[u32]| upload(gpu, name, bytemuck::cast_slice(values), BufferUsages::UNIFORM);
    let [x, w] = inputs();
    let mut params = [0u32; 16];
    params[..4].copy_from_slice(&[INPUTS as u32, COLUMNS as u32, 0, COLUMNS as u32]);
    let unused = storage("unused", &[0; 16])?;
    let bytes = (ROWS * COLUMNS * 2).next_multiple_of(4) as u64;
    let out = gpu.buffer("check", bytes, BufferUsages::STORAGE | BufferUsages::COPY_SRC)?;
    let readback = gpu.buffer("check", bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
    let bound = [
        uniform("batch", &[ROWS as u32, 0, 0, 0])?,
        uniform("parameters", &params)?,
        storage("x", bytemuck::cast_slice(&x))?,
        storage("w", bytemuck::cast_slice(&w))?,
        unused.clone(),
        unused.clone(),
        unused.clone(),
        unused.clone(),
        unused,
        out.clone(),
    ];
    let (pipeline, layout) = Pipelines::default().get(gpu, &form, bound.len())?;
    let group = gpu.bind(&layout, &bound.each_ref());
    let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(COLUMNS.div_ceil(tile.columns) as u32, ROWS.div_ceil(tile.rows) as u32, 1);
    }
    encoder.copy_buffer_to_buffer(&out, 0, &readback, 0, bytes);
    gpu.queue.submit([encoder.finish()]);
    let halves: Vec<f16> = bytemuck::pod_collect_to_vec(&gpu.read(&readback)?[..ROWS * COLUMNS * 2]);
    Ok(halves.into_iter().map(f16::to_f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the check would not see is of no use: a transposed product, or one row left out.
    #[test]
    fn a_wrong_product_is_seen() {
        let right = expected();
        assert!(is_close(&right, &right));
        let transposed: Vec<f32> =
            (0..right.len()).map(|at| right[(at % ROWS) * COLUMNS + at / ROWS]).collect();
        assert!(!is_close(&transposed, &right));
        let mut short = right.clone();
        short[(ROWS - 1) * COLUMNS..].fill(0.0);
        assert!(!is_close(&short, &right));
    }
}
