//! The GPU backend: each step is a dispatch of a shader in `shaders/`, through wgpu.
//!
//! Weights, parameters, pipelines and bind groups are made once. A batch is a handful of small
//! uploads, one command buffer with one compute pass, one submission, and one read of the vectors. Two
//! batches are under way at a time: while the device runs one, the host makes the next ready.

mod adapter;
mod arena;
mod check;
mod dispatch;
mod linear;
mod measure;
mod pipelines;
mod shader;
mod upload;

pub use adapter::{GpuAdapter, gpu_adapters};
pub(crate) use measure::not_a_gpu;
pub use measure::{GpuKernel, GpuMeasurement, GpuPeaks};

use super::{Backend, Results};
use crate::device::GpuSelector;
use crate::error::{Error, Result};
use crate::options::Precision;
use crate::plan::{Plan, RotaryTable, Rows};
use crate::tokens::RaggedBatch;
use adapter::Opened;
use arena::{Arena, Layout};
use check::Matrices;
use dispatch::{Dispatch, Grid, Prepared, Recorder, values_of};
use shader::{Formats, Values, Weights};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Tokens of a batch: enough to fill a large GPU.
const BATCH_TOKENS: usize = 4096;

/// Batches under way at a time.
const SLOTS: usize = 2;

pub(crate) struct Gpu {
    plan: Arc<Plan>,
    gpu: Opened,
    formats: Formats,
    dispatches: Vec<Dispatch>,
    /// The dispatches of each step.
    of_steps: Vec<Range<usize>>,
    stretched: Vec<Arc<RotaryTable>>,
    queries: usize,
    weight_bytes: usize,
    /// What the device does at best, once that was measured.
    peaks: Mutex<Option<GpuPeaks>>,
    /// One call runs at a time, in these.
    arenas: Mutex<[Option<Arena>; SLOTS]>,
}

/// A batch under way.
struct Pending {
    slot: usize,
    submission: wgpu::SubmissionIndex,
    /// Values of each end's result, and where its bytes are in the arena's readback buffer.
    results: Vec<(Values, Range<usize>)>,
    bytes: usize,
    mapped: std::sync::mpsc::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
}

impl Gpu {
    /// On the adapter that is asked for.
    pub(crate) fn new(plan: Arc<Plan>, selector: &GpuSelector, precision: Precision) -> Result<Gpu> {
        Gpu::on(plan, Opened::open(&adapter::select(selector)?)?, precision)
    }

    /// On a hardware adapter, or an error that says why not.
    pub(crate) fn on_hardware(plan: Arc<Plan>, precision: Precision) -> Result<Gpu> {
        Gpu::on(plan, Opened::open(&adapter::select_hardware()?)?, precision)
    }

    fn on(plan: Arc<Plan>, gpu: Opened, precision: Precision) -> Result<Gpu> {
        let formats = formats(&gpu, &plan, precision)?;
        let matrices = match formats.values {
            Values::F16 => check::matrices(&gpu),
            Values::F32 => Matrices::default(),
        };
        let mut recorder = Recorder::new(&gpu, &plan, formats, matrices)?;
        let mut of_steps = vec![0..0; plan.steps.len()];
        let parts = std::iter::once(0..plan.shared).chain(plan.ends.iter().map(|end| end.steps.clone()));
        for part in parts {
            let mut place = part.start;
            while place < part.end {
                let first = recorder.dispatches.len();
                let taken = recorder.record(place, part.end)?;
                of_steps[place] = first..recorder.dispatches.len();
                place += taken;
            }
        }
        let Recorder { dispatches, stretched, weight_bytes, queries, .. } = recorder;
        gpu.check()?;
        if let Some(cache) = &gpu.cache {
            cache.save();
        }
        let (peaks, arenas) = (Mutex::default(), Mutex::default());
        Ok(Gpu { plan, gpu, formats, dispatches, of_steps, stretched, queries, weight_bytes, peaks, arenas })
    }

    fn layout(&self) -> Layout<'_> {
        Layout {
            gpu: &self.gpu,
            plan: &self.plan,
            dispatches: &self.dispatches,
            stretched: &self.stretched,
            formats: self.formats,
            queries: self.queries,
        }
    }

    /// Runs batches one after the other, the next made ready while one runs.
    fn run_all(
        &self,
        arenas: &mut [Option<Arena>; SLOTS],
        batches: &[RaggedBatch],
        ends: &[usize],
    ) -> Result<Vec<Results>> {
        let mut under_way: VecDeque<Pending> = VecDeque::new();
        let mut results = Vec::with_capacity(batches.len());
        for (i, batch) in batches.iter().enumerate() {
            if under_way.len() == SLOTS
                && let Some(oldest) = under_way.pop_front()
            {
                results.push(self.finish(arenas, oldest)?);
            }
            match self.make_room(&mut arenas[i % SLOTS], batch) {
                Ok(()) => {}
                // What is under way takes memory too.
                Err(Error::GpuOutOfMemory { .. }) => {
                    for pending in under_way.drain(..) {
                        results.push(self.finish(arenas, pending)?);
                    }
                    *arenas = Default::default();
                    if let Err(problem) = self.make_room(&mut arenas[i % SLOTS], batch) {
                        results.push(self.run_halves(arenas, batch, ends, problem)?);
                        continue;
                    }
                }
                Err(problem) => return Err(problem),
            }
            if let Some(arena) = &arenas[i % SLOTS] {
                under_way.push_back(self.submit(arena, i % SLOTS, batch, ends)?);
            }
        }
        for pending in under_way {
            results.push(self.finish(arenas, pending)?);
        }
        Ok(results)
    }

    /// A batch that does not fit, in two.
    fn run_halves(
        &self,
        arenas: &mut [Option<Arena>; SLOTS],
        batch: &RaggedBatch,
        ends: &[usize],
        problem: Error,
    ) -> Result<Results> {
        let Some(halves) = batch.halves() else { return Err(problem) };
        let mut whole: Results = vec![Vec::new(); ends.len()];
        for half in halves {
            let results = self.run_all(arenas, std::slice::from_ref(&half), ends)?;
            for (whole, half) in whole.iter_mut().zip(results.into_iter().flatten()) {
                whole.extend(half);
            }
        }
        Ok(whole)
    }

    /// An arena that has room for a batch.
    fn make_room(&self, arena: &mut Option<Arena>, batch: &RaggedBatch) -> Result<()> {
        if arena.as_ref().is_some_and(|arena| arena.fits(batch)) {
            return Ok(());
        }
        // Powers of two, and no less than there was, so that it soon is large enough for good.
        let most = self.batch_tokens(usize::MAX).max(batch.tokens());
        let (had_tokens, had_texts) = arena.as_ref().map_or((0, 0), Arena::room);
        let tokens = batch.tokens().next_power_of_two().max(64).min(most).max(had_tokens);
        let texts = batch.pools().next_power_of_two().max(had_texts);
        *arena = None; // its memory is free before the larger one is made
        *arena = Some(Arena::new(&self.layout(), tokens, texts)?);
        Ok(())
    }

    /// Hands a batch to the device.
    fn submit(&self, arena: &Arena, slot: usize, batch: &RaggedBatch, ends: &[usize]) -> Result<Pending> {
        let layout = self.layout();
        let tiles = arena.write_batch(&layout, batch);
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.encode(&mut encoder, arena, batch, tiles, ends);
        let (mut results, mut bytes) = (Vec::with_capacity(ends.len()), 0);
        for &end in ends {
            let id = self.plan.ends[end].output.0;
            let size = layout.result_bytes(end, batch.tokens(), batch.pools());
            let copied = size.next_multiple_of(4);
            encoder.copy_buffer_to_buffer(
                &arena.buffers[id],
                0,
                &arena.readback,
                bytes as u64,
                copied as u64,
            );
            results.push((values_of(self.formats, self.plan.buffers[id].rows), bytes..bytes + size));
            bytes += copied;
        }
        let submission = self.gpu.queue.submit([encoder.finish()]);
        self.gpu.check()?;
        let (sender, mapped) = std::sync::mpsc::channel();
        arena.readback.map_async(wgpu::MapMode::Read, 0..bytes as u64, move |result| {
            // Who receives waits for it; if it is gone, so is who wanted the result.
            let _ = sender.send(result);
        });
        Ok(Pending { slot, submission, results, bytes, mapped })
    }

    fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        arena: &Arena,
        batch: &RaggedBatch,
        tiles: usize,
        ends: &[usize],
    ) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let dispatches = self.plan.steps_for(ends).flat_map(|(place, _)| self.of_steps[place].clone());
        for (dispatch, bind_group) in dispatches.map(|i| (&self.dispatches[i], &arena.bind_groups[i])) {
            let rows = self.tiled_rows(&dispatch.forms, batch);
            let Some(form) = linear::form_for(&dispatch.forms, rows) else { continue };
            let (x, y) = self.groups(form, batch, tiles);
            pass.set_pipeline(&form.pipeline);
            pass.set_bind_group(0, bind_group, &[]);
            pass.dispatch_workgroups(x as u32, y as u32, 1);
        }
    }

    /// Workgroups of a dispatch for a batch with this many tiles of queries.
    fn groups(&self, form: &Prepared, batch: &RaggedBatch, tiles: usize) -> (usize, usize) {
        let most = self.gpu.most_groups();
        let rows = |rows| if rows == Rows::Tokens { batch.tokens() } else { batch.pools() };
        match form.grid {
            Grid::PerRow(kind, groups) => fold(rows(kind) * groups, most),
            Grid::Threads(kind, threads) => fold((rows(kind) * threads).div_ceil(64), most),
            Grid::PerQueryTile(groups) => fold(tiles * groups, most),
            Grid::Tiles { rows: kind, columns, tile } => {
                (columns.div_ceil(tile[1]), rows(kind).div_ceil(tile[0]))
            }
        }
    }

    /// Waits for a batch and copies its results.
    fn finish(&self, arenas: &[Option<Arena>; SLOTS], pending: Pending) -> Result<Results> {
        let failed = |problem: String| self.gpu.explain(problem);
        let Some(arena) = &arenas[pending.slot] else {
            return Err(failed("the buffers of a batch are gone".to_owned()));
        };
        self.gpu.wait(pending.submission)?;
        match pending.mapped.try_recv() {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(failed(format!("results cannot be read: {e}"))),
            Err(_) => return Err(failed("results were not ready when the batch had finished".to_owned())),
        }
        let results = {
            let view = arena
                .readback
                .get_mapped_range(0..pending.bytes as u64)
                .map_err(|e| failed(format!("results cannot be read: {e}")))?;
            let value = |(values, range): &(Values, Range<usize>)| match values {
                Values::F32 => bytemuck::pod_collect_to_vec(&view[range.clone()]),
                Values::F16 => {
                    let halves: Vec<half::f16> = bytemuck::pod_collect_to_vec(&view[range.clone()]);
                    halves.into_iter().map(half::f16::to_f32).collect()
                }
            };
            pending.results.iter().map(value).collect()
        };
        arena.readback.unmap();
        Ok(results)
    }
}

/// What a precision means on this device for this model.
fn formats(gpu: &Opened, plan: &Plan, precision: Precision) -> Result<Formats> {
    let half = Formats { values: Values::F16, weights: Weights::F16 };
    let refused = |expected: String| {
        Err(Error::InvalidOption { option: "precision", found: precision.name().to_owned(), expected })
    };
    match (precision, plan.overflows_f16, gpu.f16) {
        (Precision::F32, ..) => Ok(Formats::EXACT),
        (Precision::Bf16, ..) => Ok(Formats { values: Values::F32, weights: Weights::Bf16 }),
        (Precision::Int8, ..) => refused("f32, bf16 or f16 on a GPU; int8 is for the cpu device".to_owned()),
        (Precision::Auto, false, true) => Ok(half),
        (Precision::Auto, ..) => Ok(Formats::EXACT),
        (Precision::F16, false, true) => Ok(half),
        (Precision::F16, true, _) => {
            refused("bf16 or f32 for this family, whose activations exceed f16's largest number".to_owned())
        }
        (Precision::F16, _, false) => {
            refused(format!("bf16 or f32 on {}, whose shaders have no f16", gpu.name))
        }
    }
}

/// `count` workgroups as two dimensions, neither above `most`.
fn fold(count: usize, most: usize) -> (usize, usize) {
    let y = count.div_ceil(most).max(1);
    (count.div_ceil(y), y)
}

impl Backend for Gpu {
    fn name(&self) -> String {
        let precision = match self.formats {
            Formats { values: Values::F16, .. } => ", f16",
            Formats { weights: Weights::Bf16, .. } => ", bf16 weights",
            _ => "",
        };
        format!("gpu ({}{precision})", self.gpu.name)
    }

    fn batch_tokens(&self, _: usize) -> usize {
        let layout = self.layout();
        let widest = (0..self.plan.buffers.len()).map(|id| layout.row_bytes(id)).max().unwrap_or(4);
        let most = self.gpu.max_buffer_bytes() as usize / widest.max(16);
        BATCH_TOKENS.min(most).max(1)
    }

    fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    fn batch_bytes(&self, tokens: usize, texts: usize) -> usize {
        SLOTS * self.layout().arena_bytes(tokens, texts)
    }

    fn measure(&self, batch: &RaggedBatch) -> Result<GpuMeasurement> {
        self.measured(batch)
    }

    fn run(&self, batches: &[RaggedBatch], ends: &[usize]) -> Result<Vec<Results>> {
        let mut arenas = self.arenas.lock().unwrap_or_else(PoisonError::into_inner);
        let results = self.run_all(&mut arenas, batches, ends);
        if results.is_err() {
            *arenas = Default::default(); // some of it may be under way still
        }
        results
    }
}

#[cfg(test)]
mod tests;
