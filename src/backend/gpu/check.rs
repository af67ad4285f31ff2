//! Whether cooperative matrices give what they should on this device: products and attention whose results
//! are known, computed when a device is opened for f16.

use super::context::GpuContext;
use super::pipelines::Pipelines;
use super::shader::{Formats, MATRIX_TILES, Shader, ShaderVariant, Tile, Values, Weights};
use super::upload::upload;
use crate::error::Result;
use half::f16;
use wgpu::BufferUsages;

const HALF: Formats = Formats { values: Values::F16, weights: Weights::F16 };

/// What may run on cooperative matrices.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Matrices {
    /// linear_matrix.wgsl
    pub(super) linear: bool,
    /// attention_matrix.wgsl
    pub(super) attention: bool,
}

/// Which shaders work on the adapter's cooperative matrices, if it has any.
///
/// Drivers have been wrong here: a product that came out transposed, shapes that a validator took and the
/// hardware did not. What fails runs linear.wgsl and attention.wgsl.
pub(super) async fn matrices(gpu: &GpuContext) -> Matrices {
    if !gpu.matrices {
        return Matrices::default();
    }
    let room =
        |tile: &Tile, matrices| tile.workgroup_bytes(Shader::LinearMatrix, matrices) <= gpu.workgroup_bytes();
    let kinds = MATRIX_TILES.iter().flat_map(|tile| [(tile, 1), (tile, 2)]);
    let mut linear = true;
    for (tile, matrices) in kinds.filter(|&(tile, matrices)| room(tile, matrices)) {
        let found = Product::run(gpu, tile, matrices).await;
        linear &= found.is_ok_and(|found| is_close(&found, &Product::expected(matrices)));
    }
    Matrices { linear, attention: attention_is_right(gpu).await }
}

/// Results are rounded to f16.
fn is_close(found: &[f32], expected: &[f32]) -> bool {
    found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(found, expected)| (found - expected).abs() <= 4e-3 * expected.abs().max(1.0))
}

/// A product, or two of which one is the other's gate, of small integers, so that f16 has every input and f32
/// every sum; without symmetry, so that a
/// transposed operand shows; of sizes that are no multiples of a block, so that edges are tried too.
struct Product;

impl Product {
    const ROWS: usize = 37;
    const INPUTS: usize = 76;
    const COLUMNS: usize = 43;

    /// x, w and the gate; the gate's numbers are smaller, so that f16 has the results.
    fn inputs() -> [Vec<f16>; 3] {
        let matrix = |rows: usize, salt: usize, most: usize| {
            let value = |i: usize, j: usize| (i * 7 + j * 13 + i * j % 5 + salt) % (2 * most + 1);
            let of = |at: usize| value(at / Self::INPUTS, at % Self::INPUTS) as f32 - most as f32;
            (0..rows * Self::INPUTS).map(|at| f16::from_f32(of(at))).collect()
        };
        [matrix(Self::ROWS, 3, 3), matrix(Self::COLUMNS, 8, 3), matrix(Self::COLUMNS, 5, 1)]
    }

    /// x · wᵀ, and with a gate (x · gateᵀ) ⊙ (x · wᵀ).
    fn expected(matrices: usize) -> Vec<f32> {
        let [x, w, gate] = Self::inputs();
        let row = |matrix: &[f16], i: usize| matrix[i * Self::INPUTS..(i + 1) * Self::INPUTS].to_vec();
        let dot = |matrix: &[f16], at: usize| -> f32 {
            let pairs = row(&x, at / Self::COLUMNS).into_iter().zip(row(matrix, at % Self::COLUMNS));
            pairs.map(|(a, b)| a.to_f32() * b.to_f32()).sum()
        };
        let result = |at| dot(&w, at) * if matrices == 2 { dot(&gate, at) } else { 1.0 };
        (0..Self::ROWS * Self::COLUMNS).map(result).collect()
    }

    /// The same by linear_matrix.wgsl with one of its tiles.
    async fn run(gpu: &GpuContext, tile: &Tile, matrices: usize) -> Result<Vec<f32>> {
        Self::run_as(gpu, Shader::LinearMatrix, tile, matrices).await
    }

    async fn run_as(gpu: &GpuContext, shader: Shader, tile: &Tile, matrices: usize) -> Result<Vec<f32>> {
        let variant = ShaderVariant::new(shader, HALF, tile.constants(matrices as u32));
        let [x, w, gate] = Self::inputs();
        let (inputs, columns) = (Self::INPUTS as u32, Self::COLUMNS as u32);
        let unused = [0u8; 16];
        run(
            gpu,
            &variant,
            [Self::ROWS as u32, 0, 0],
            &[inputs, columns, 0, columns],
            &[
                bytemuck::cast_slice(&x),
                bytemuck::cast_slice(&w),
                &unused,
                bytemuck::cast_slice(&gate),
                &unused,
                &unused,
                &unused,
            ],
            Self::ROWS * Self::COLUMNS,
            [Self::COLUMNS.div_ceil(tile.columns), Self::ROWS.div_ceil(tile.rows)],
        )
        .await
    }
}

/// Attention over two texts, grouped heads and a window, on matrices and without.
struct Heads;

impl Heads {
    const LENGTHS: [usize; 2] = [75, 18];
    const HEADS: usize = 4;
    const KV_HEADS: usize = 2;
    const HEAD_DIM: usize = 32;
    const QUERIES: usize = 32;
    const BEFORE: u32 = 50;

    fn tokens() -> usize {
        Self::LENGTHS.iter().sum()
    }

    /// Queries, keys and values: of a spread that makes weights uneven.
    fn inputs() -> Vec<f16> {
        let width = (Self::HEADS + 2 * Self::KV_HEADS) * Self::HEAD_DIM;
        let value = |at: usize| ((at * 7919 + at / width * 104_729) % 2003) as f32 / 1001.5 - 1.0;
        (0..Self::tokens() * width).map(|at| f16::from_f32(1.5 * value(at))).collect()
    }

    async fn run(gpu: &GpuContext, shader: Shader) -> Result<Vec<f32>> {
        let mut tiles: Vec<[u32; 4]> = Vec::new();
        let mut start = 0;
        for length in Self::LENGTHS {
            let firsts = (start..start + length).step_by(Self::QUERIES);
            let end = (start + length) as u32;
            tiles.extend(firsts.map(|first| [first as u32, end, start as u32, end]));
            start += length;
        }
        let constants = [("HEAD_DIM", Self::HEAD_DIM), ("QUERIES", Self::QUERIES), ("HAS_BIAS", 0)];
        let constants = constants.map(|(name, value)| (name, value as u32)).to_vec();
        let scale = 0.5f32;
        run(
            gpu,
            &ShaderVariant::new(shader, HALF, constants),
            [Self::tokens() as u32, 2, tiles.len() as u32],
            &[Self::HEADS as u32, Self::KV_HEADS as u32, scale.to_bits(), Self::BEFORE, u32::MAX, 0, 0],
            &[bytemuck::cast_slice(&tiles), &[0; 16], bytemuck::cast_slice(&Self::inputs())],
            Self::tokens() * Self::HEADS * Self::HEAD_DIM,
            [tiles.len() * Self::HEADS, 1],
        )
        .await
    }
}

async fn attention_is_right(gpu: &GpuContext) -> bool {
    match (Heads::run(gpu, Shader::Attention).await, Heads::run(gpu, Shader::AttentionMatrix).await) {
        (Ok(expected), Ok(found)) => is_close(&found, &expected),
        _ => false,
    }
}

/// Runs one variant over `grid` workgroups. Gives `results` values in f16, from its last binding.
async fn run(
    gpu: &GpuContext,
    variant: &ShaderVariant,
    batch: [u32; 3],
    params: &[u32],
    inputs: &[&[u8]],
    results: usize,
    grid: [usize; 2],
) -> Result<Vec<f32>> {
    let mut padded = [0u32; 16];
    padded[..params.len()].copy_from_slice(params);
    let [tokens, texts, tiles] = batch;
    let uniform = |values: &[u32]| upload(gpu, "check", bytemuck::cast_slice(values), BufferUsages::UNIFORM);
    let mut buffers = vec![uniform(&[tokens, texts, tiles, 0])?, uniform(&padded)?];
    for input in inputs {
        // Uploads are of whole runs of four bytes.
        let mut bytes = input.to_vec();
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        buffers.push(upload(gpu, "check", &bytes, BufferUsages::STORAGE)?);
    }
    let bytes = (results * 2).next_multiple_of(16) as u64;
    let out = gpu.buffer("check", bytes, BufferUsages::STORAGE | BufferUsages::COPY_SRC)?;
    let readback = gpu.buffer("check", bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
    buffers.push(out.clone());
    let (pipeline, layout) = Pipelines::default().get(gpu, variant, buffers.len())?;
    let group = gpu.bind(&layout, &buffers.iter().collect::<Vec<_>>());
    let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(grid[0] as u32, grid[1] as u32, 1);
    }
    encoder.copy_buffer_to_buffer(&out, 0, &readback, 0, bytes);
    gpu.queue.submit([encoder.finish()]);
    let halves: Vec<f16> = bytemuck::pod_collect_to_vec(&gpu.read(&readback).await?[..results * 2]);
    Ok(halves.into_iter().map(f16::to_f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::gpu::select::select;
    use crate::backend::gpu::shader::TILES;
    use crate::wait::block_on;

    fn open() -> GpuContext {
        let adapter = block_on(select(&crate::GpuSelector::Best)).expect("a Vulkan driver");
        block_on(GpuContext::open(&adapter)).expect("opens")
    }

    /// What the check would not see is of no use: a transposed product, or one row left out.
    #[test]
    fn a_wrong_product_is_seen() {
        let right = Product::expected(1);
        let (rows, columns) = (Product::ROWS, Product::COLUMNS);
        assert!(is_close(&right, &right));
        let transposed: Vec<f32> =
            (0..right.len()).map(|at| right[(at % rows) * columns + at / rows]).collect();
        assert!(!is_close(&transposed, &right));
        let mut short = right.clone();
        short[(rows - 1) * columns..].fill(0.0);
        assert!(!is_close(&short, &right));
    }

    /// The inputs of the check, by the shader that needs no matrices: with all its tiles, with a gate too.
    #[test]
    fn products_of_the_check_are_right() {
        let gpu = open();
        for (tile, matrices) in TILES.iter().flat_map(|tile| [(tile, 1), (tile, 2)]) {
            let found = block_on(Product::run_as(&gpu, Shader::Linear { by_four: true }, tile, matrices));
            let expected = Product::expected(matrices);
            assert!(expected.iter().all(|value| value.abs() < 60_000.0), "f16 has no such numbers");
            assert!(is_close(&found.expect("it runs"), &expected), "{tile:?}, {matrices}");
        }
    }

    /// What attention on matrices is held against is right: the same in f64 on the host.
    #[test]
    fn attention_of_the_check_is_right() {
        let gpu = open();
        let found = block_on(Heads::run(&gpu, Shader::Attention)).expect("it runs");
        let (heads, kv_heads, dim) = (Heads::HEADS, Heads::KV_HEADS, Heads::HEAD_DIM);
        let width = (heads + 2 * kv_heads) * dim;
        let inputs: Vec<f64> = Heads::inputs().iter().map(|value| value.to_f64()).collect();
        let of = |token: usize, head: usize| &inputs[token * width + head * dim..][..dim];
        let mut expected = Vec::new();
        let mut start = 0;
        for length in Heads::LENGTHS {
            for (t, head) in (start..start + length).flat_map(|t| (0..heads).map(move |head| (t, head))) {
                let kv = heads + head * kv_heads / heads;
                let keys = start.max(t.saturating_sub(Heads::BEFORE as usize))..start + length;
                let dot = |key: usize| of(t, head).iter().zip(of(key, kv)).map(|(a, b)| a * b).sum::<f64>();
                let weights: Vec<f64> = keys.clone().map(|key| (0.5 * dot(key)).exp()).collect();
                let total: f64 = weights.iter().sum();
                expected.extend((0..dim).map(|d| {
                    let values = keys.clone().map(|key| of(key, kv + kv_heads)[d]);
                    (values.zip(&weights).map(|(value, weight)| value * weight).sum::<f64>() / total) as f32
                }));
            }
            start += length;
        }
        assert!(is_close(&found, &expected));
        let mut wrong = expected.clone();
        wrong.rotate_left(dim);
        assert!(!is_close(&wrong, &expected), "heads that are swapped are seen");
    }
}
