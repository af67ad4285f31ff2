//! The GPU backend: each step is a dispatch of a shader in `shaders/`, through wgpu.
//!
//! Weights, parameters, pipelines and bind groups are made once. A batch is a handful of small
//! uploads, one command buffer with one compute pass, one submission, and one read of the vectors.

mod adapter;
mod arena;
mod dispatch;
mod pipelines;
mod upload;

pub use adapter::{GpuAdapter, gpu_adapters};

use super::{Backend, Results};
use crate::device::GpuSelector;
use crate::error::Result;
use crate::plan::{Plan, RotaryTable, Rows};
use crate::tokens::RaggedBatch;
use adapter::Opened;
use arena::Arena;
use dispatch::{Dispatch, Grid, Recorder};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Tokens of a batch: enough to fill a large GPU.
const BATCH_TOKENS: usize = 4096;

/// A batch that takes longer has hung. Software adapters need minutes for large models.
const HANG: Duration = Duration::from_secs(600);

pub(crate) struct Gpu {
    plan: Arc<Plan>,
    gpu: Opened,
    dispatches: Vec<Dispatch>,
    /// The dispatches of each step.
    of_steps: Vec<Range<usize>>,
    stretched: Vec<Arc<RotaryTable>>,
    weight_bytes: usize,
    /// One batch runs at a time.
    arena: Mutex<Option<Arena>>,
}

impl Gpu {
    /// On the adapter that is asked for.
    pub(crate) fn new(plan: Arc<Plan>, selector: &GpuSelector) -> Result<Gpu> {
        Gpu::on(plan, &adapter::select(selector)?)
    }

    /// On a hardware adapter, or an error that says why not.
    pub(crate) fn on_hardware(plan: Arc<Plan>) -> Result<Gpu> {
        Gpu::on(plan, &adapter::select_hardware()?)
    }

    fn on(plan: Arc<Plan>, adapter: &wgpu::Adapter) -> Result<Gpu> {
        let gpu = Opened::open(adapter)?;
        let mut recorder = Recorder::new(&gpu, &plan)?;
        let mut of_steps = Vec::with_capacity(plan.steps.len());
        for step in &plan.steps {
            let first = recorder.dispatches.len();
            recorder.record(step)?;
            of_steps.push(first..recorder.dispatches.len());
        }
        let Recorder { dispatches, stretched, weight_bytes, .. } = recorder;
        gpu.check()?;
        Ok(Gpu { plan, gpu, dispatches, of_steps, stretched, weight_bytes, arena: Mutex::new(None) })
    }

    fn run_batch(&self, arena: &mut Option<Arena>, batch: &RaggedBatch, ends: &[usize]) -> Result<Results> {
        if !arena.as_ref().is_some_and(|arena| arena.fits(batch)) {
            *arena = None; // its memory is free before the larger one is made
        }
        let arena = match arena {
            Some(arena) => arena,
            None => {
                // Powers of two, so that growing batches seldom need a new one.
                let most = self.batch_tokens(usize::MAX).max(batch.tokens());
                let tokens = batch.tokens().next_power_of_two().clamp(64, most.max(64));
                let texts = batch.pools().next_power_of_two();
                let dispatches = (&self.dispatches, &self.stretched);
                arena.insert(Arena::new(&self.gpu, &self.plan, dispatches.0, dispatches.1, tokens, texts)?)
            }
        };
        arena.write_batch(&self.gpu, batch);
        let lengths: Vec<usize> =
            ends.iter().map(|&end| self.plan.result_len(end, batch.tokens(), batch.pools())).collect();
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.encode(&mut encoder, arena, batch, ends);
        let mut bytes = 0;
        for (&end, length) in ends.iter().zip(&lengths) {
            let output = &arena.buffers[self.plan.ends[end].output.0];
            let size = (length * size_of::<f32>()) as u64;
            encoder.copy_buffer_to_buffer(output, 0, &arena.readback, bytes, size);
            bytes += size;
        }
        let submission = self.gpu.queue.submit([encoder.finish()]);
        self.gpu.check()?;
        let mut values = self.read(&arena.readback, bytes, submission)?;
        let mut results = Vec::with_capacity(ends.len());
        for length in lengths {
            let rest = values.split_off(length);
            results.push(std::mem::replace(&mut values, rest));
        }
        Ok(results)
    }

    fn encode(&self, encoder: &mut wgpu::CommandEncoder, arena: &Arena, batch: &RaggedBatch, ends: &[usize]) {
        let most = self.gpu.device.limits().max_compute_workgroups_per_dimension as usize;
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let dispatches = self.plan.steps_for(ends).flat_map(|(place, _)| self.of_steps[place].clone());
        for (dispatch, bind_group) in dispatches.map(|i| (&self.dispatches[i], &arena.bind_groups[i])) {
            let rows = |rows| if rows == Rows::Tokens { batch.tokens() } else { batch.pools() };
            let (x, y) = match dispatch.grid {
                Grid::PerRow(kind, groups) => fold(rows(kind) * groups, most),
                Grid::Threads(kind, threads) => fold((rows(kind) * threads).div_ceil(64), most),
                Grid::Tiles(kind, columns) => (columns.div_ceil(64), rows(kind).div_ceil(64)),
            };
            pass.set_pipeline(&dispatch.pipeline);
            pass.set_bind_group(0, bind_group, &[]);
            pass.dispatch_workgroups(x as u32, y as u32, 1);
        }
    }

    /// Waits for a submission and copies its results.
    fn read(
        &self,
        readback: &wgpu::Buffer,
        bytes: u64,
        submission: wgpu::SubmissionIndex,
    ) -> Result<Vec<f32>> {
        let failed = |problem: String| self.gpu.explain(problem);
        let (sender, receiver) = std::sync::mpsc::channel();
        readback.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
            // The receiver waits below; if it is gone, so is who wanted the result.
            let _ = sender.send(result);
        });
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(HANG) };
        let waited = self.gpu.device.poll(wait);
        self.gpu.check()?;
        waited.map_err(|e| failed(format!("a batch did not finish: {e}")))?;
        match receiver.try_recv() {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(failed(format!("results cannot be read: {e}"))),
            Err(_) => return Err(failed("results were not ready when the batch had finished".to_owned())),
        }
        let values = {
            let view = readback
                .get_mapped_range(0..bytes)
                .map_err(|e| failed(format!("results cannot be read: {e}")))?;
            bytemuck::pod_collect_to_vec(&view)
        };
        readback.unmap();
        Ok(values)
    }
}

/// `count` workgroups as two dimensions, neither above `most`.
fn fold(count: usize, most: usize) -> (usize, usize) {
    let y = count.div_ceil(most).max(1);
    (count.div_ceil(y), y)
}

impl Backend for Gpu {
    fn name(&self) -> String {
        format!("gpu ({})", self.gpu.name)
    }

    fn batch_tokens(&self, _: usize) -> usize {
        let widest = self.plan.buffers.iter().map(|buffer| buffer.width).max().unwrap_or(1);
        let most = self.gpu.max_buffer_bytes() as usize / (widest * size_of::<f32>());
        BATCH_TOKENS.min(most).max(1)
    }

    fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    fn run(&self, batches: &[RaggedBatch], ends: &[usize]) -> Result<Vec<Results>> {
        let mut arena = self.arena.lock().unwrap_or_else(PoisonError::into_inner);
        batches.iter().map(|batch| self.run_batch(&mut arena, batch, ends)).collect()
    }
}

#[cfg(test)]
mod tests;
