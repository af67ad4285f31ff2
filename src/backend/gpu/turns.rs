//! The turns that a shader's loops take, for drivers that end loops early.
//!
//! Mesa's software driver ends all loops of an invocation once they took 65,535 turns together, without a word
//! (`LP_MAX_TGSI_LOOP_ITERATIONS`, `src/gallium/auxiliary/gallivm/lp_limits.h`). What a loop had left to add is then
//! missing from the result. Two shaders have loops that grow with a text, so that they can come that far: attention and
//! pooling. The loops of all others grow with a layer's sizes, which would have to be beyond any model's.

use super::context::GpuContext;
use super::pipelines::{compile, layout};
use super::shader::{Formats, Shader, ShaderVariant};
use super::upload::upload;
use crate::error::{DeviceError, Result};
use crate::plan::{Plan, Step};
use crate::vector::PoolingMode;
use wgpu::{BufferUsages, DeviceType};

/// Turns that are tried. A driver that lets a loop take so many is taken to end none.
const ENOUGH: u32 = 1 << 20;

/// Columns of a workgroup of pool.wgsl at once.
pub(super) const POOLED_COLUMNS: u32 = 256;

/// The most turns that the driver lets an invocation's loops take; `None`: as many as they like.
///
/// Only software is asked: a GPU's loops end when they are done.
pub(super) async fn most_turns(gpu: &GpuContext) -> Result<Option<usize>> {
    if gpu.kind != DeviceType::Cpu {
        return Ok(None);
    }
    let variant = ShaderVariant::new(Shader::Turns, Formats::EXACT, Vec::new());
    let params = upload(gpu, "turns", bytemuck::cast_slice(&[ENOUGH; 4]), BufferUsages::UNIFORM)?;
    let out = gpu.buffer("turns", 16, BufferUsages::STORAGE | BufferUsages::COPY_SRC)?;
    let readback = gpu.buffer("turns", 16, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
    let layout = layout(gpu, 3);
    let pipeline = compile(gpu, &variant.name(), variant.source(), &layout)?;
    let group = gpu.bind(&layout, &[&params, &params, &out]);
    let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }
    encoder.copy_buffer_to_buffer(&out, 0, &readback, 0, 16);
    gpu.queue.submit([encoder.finish()]);
    let taken: Vec<u32> = bytemuck::pod_collect_to_vec(&gpu.read(&readback).await?);
    Ok((taken[0] < ENOUGH).then_some(taken[0] as usize))
}

/// An error if a text of `tokens` may need more turns than `most`.
pub(super) fn check(gpu: &GpuContext, plan: &Plan, queries: usize, tokens: usize, most: usize) -> Result<()> {
    let steps = plan.steps.iter().enumerate();
    let turns = steps.map(|(place, step)| turns(plan, place, step, queries, tokens)).max().unwrap_or(0);
    if turns <= most {
        return Ok(());
    }
    Err(DeviceError::LoopLimit { adapter: gpu.name.clone(), tokens, turns, limit: most }.into())
}

/// The most turns of one invocation, if no loop is unrolled.
fn turns(plan: &Plan, place: usize, step: &Step, queries: usize, tokens: usize) -> usize {
    match step {
        Step::Attention { head_dim, .. } => {
            // One block more than there are: the first may begin before the window.
            let blocks = tokens.div_ceil(32) + 1;
            blocks * block_turns(*head_dim, queries).max(matrix_block_turns(*head_dim, queries))
        }
        Step::Pool { modes, input, .. } => {
            let adds = |mode: &PoolingMode| !matches!(mode, PoolingMode::Cls | PoolingMode::LastToken);
            if !modes.iter().any(adds) {
                return 0;
            }
            // One workgroup takes all columns only where it also makes the row's length 1.
            let normalized = matches!(plan.steps.get(place + 1), Some(Step::Normalize { .. }));
            let columns = if normalized { plan.width(*input).div_ceil(POOLED_COLUMNS as usize) } else { 1 };
            columns * (tokens + 5) + plan.width(*input).div_ceil(64)
        }
        _ => 0,
    }
}

/// Of a block of keys in attention.wgsl, in the order in which its loops stand there.
fn block_turns(head_dim: usize, queries: usize) -> usize {
    let (chunks, stage) = (head_dim.div_ceil(32), 256usize.div_ceil(2 * queries));
    let scores = chunks * (1 + stage + 32) + 4 * 5 + 4;
    let weights = 4 * 9 + 4 + 4 + 4 * chunks;
    let sums = chunks * (1 + stage + 8 * 5);
    1 + scores + weights + sums
}

/// Of a block of keys in attention_matrix.wgsl, which goes through them twice.
fn matrix_block_turns(head_dim: usize, queries: usize) -> usize {
    let threads = 2 * queries.max(16);
    let stage = (32 * head_dim.div_ceil(4)).div_ceil(threads);
    let blocks = head_dim.div_ceil(16);
    let scores = 1 + stage + 2 * (1 + blocks);
    let weights = 16 + 16 + 4 * 5;
    2 * (scores + weights + stage + 3 * blocks)
}
