//! A plan on a GPU: batches in, vectors out.

use super::arena::{Arena, Lowered};
use super::callback::Callback;
use super::check::{self, Matrices};
use super::context::GpuContext;
use super::dispatch::{Dispatch, Grid, Prepared, fold, values_of};
use super::linear;
use super::lowering::Lowering;
#[cfg(not(target_arch = "wasm32"))]
use super::measurement::GpuMeasurement;
use super::peaks::GpuPeaks;
use super::select::{select, select_hardware};
use super::shader::{Formats, Values, Weights};
use super::turns;
use crate::backend::{Backend, Job, Results, Running};
use crate::batch::RaggedBatch;
use crate::device::{DeviceKind, GpuSelector};
use crate::error::{DeviceError, Error, RequestError, Result};
use crate::plan::{Plan, RotaryTable, Rows};
use crate::precision::Precision;
use crate::wait::block_on;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Tokens of a batch: enough to fill a large GPU.
const BATCH_TOKENS: usize = 4096;

/// Batches under way at a time.
const SLOTS: usize = 2;

pub(crate) struct Gpu {
    pub(super) plan: Arc<Plan>,
    pub(super) gpu: GpuContext,
    pub(super) formats: Formats,
    pub(super) dispatches: Vec<Dispatch>,
    /// The dispatches of each step.
    pub(super) of_steps: Vec<Range<usize>>,
    dynamic_tables: Vec<Arc<RotaryTable>>,
    queries: usize,
    /// The most turns that the driver lets a shader's loops take, if it ends them early.
    most_turns: Option<usize>,
    weight_bytes: usize,
    /// What the device does at best, once that was measured.
    pub(super) peaks: OnceLock<GpuPeaks>,
    /// Where batches run: of calls that are done, kept for the next.
    pub(super) arenas: Mutex<Vec<Slots>>,
    /// Held by the call that runs. Calls run one at a time and share one set of arenas.
    turn: Mutex<()>,
}

/// The arenas of the batches that are under way.
pub(super) type Slots = [Option<Arena>; SLOTS];

/// A batch under way.
pub(super) struct Pending {
    slot: usize,
    submission: wgpu::SubmissionIndex,
    /// Values of each end's result, and where its bytes are in the arena's readback buffer.
    results: Vec<(Values, Range<usize>)>,
    pub(super) bytes: usize,
    mapped: Callback<std::result::Result<(), wgpu::BufferAsyncError>>,
}

impl Gpu {
    /// On the adapter that is asked for.
    pub(crate) async fn new(plan: Arc<Plan>, selector: &GpuSelector, precision: Precision) -> Result<Gpu> {
        Gpu::on(plan, GpuContext::open(&select(selector).await?).await?, precision).await
    }

    /// On a hardware adapter, or an error that says why not.
    pub(crate) async fn on_hardware(plan: Arc<Plan>, precision: Precision) -> Result<Gpu> {
        Gpu::on(plan, GpuContext::open(&select_hardware().await?).await?, precision).await
    }

    async fn on(plan: Arc<Plan>, gpu: GpuContext, precision: Precision) -> Result<Gpu> {
        let formats = formats(&gpu, &plan, precision)?;
        let matrices = match formats.values {
            Values::F16 => check::matrices(&gpu).await,
            Values::F32 => Matrices::default(),
        };
        let mut lowering = Lowering::new(&gpu, &plan, formats, matrices)?;
        let mut of_steps = vec![0..0; plan.steps.len()];
        let parts = std::iter::once(0..plan.shared).chain(plan.outputs.iter().map(|head| head.steps.clone()));
        for part in parts {
            let mut place = part.start;
            while place < part.end {
                let first = lowering.dispatches.len();
                let taken = lowering.lower(place, part.end)?;
                of_steps[place] = first..lowering.dispatches.len();
                place += taken;
            }
        }
        let most_turns = turns::most_turns(&gpu).await?;
        let Lowering { dispatches, dynamic_tables, weight_bytes, queries, .. } = lowering;
        gpu.settle().await?;
        gpu.check()?;
        if let Some(cache) = &gpu.cache {
            cache.save();
        }
        Ok(Gpu {
            plan,
            gpu,
            formats,
            dispatches,
            of_steps,
            dynamic_tables,
            queries,
            most_turns,
            weight_bytes,
            peaks: OnceLock::new(),
            arenas: Mutex::default(),
            turn: Mutex::default(),
        })
    }

    pub(super) fn lowered(&self) -> Lowered<'_> {
        Lowered {
            gpu: &self.gpu,
            plan: &self.plan,
            dispatches: &self.dispatches,
            dynamic_tables: &self.dynamic_tables,
            formats: self.formats,
            queries: self.queries,
        }
    }

    /// Runs a job when no other does.
    fn run_in_turn(&self, job: &Job<'_>) -> Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        block_on(self.run_in_slots(job))
    }

    async fn run_in_slots(&self, job: &Job<'_>) -> Result<()> {
        let kept = self.arenas.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut slots = kept.unwrap_or_default();
        self.run_all(&mut slots, job).await?;
        // After an error some of it may be under way still: then these arenas are not used again.
        self.arenas.lock().unwrap_or_else(PoisonError::into_inner).push(slots);
        Ok(())
    }

    /// Runs batches one after the other, the next made ready while one runs. Results come in order.
    async fn run_all(&self, slots: &mut Slots, job: &Job<'_>) -> Result<()> {
        let mut under_way: VecDeque<(usize, Pending)> = VecDeque::new();
        for (i, batch) in job.batches.iter().enumerate() {
            if under_way.len() == SLOTS
                && let Some((oldest, pending)) = under_way.pop_front()
            {
                (job.take)(oldest, self.finish_in(slots, pending).await?)?;
            }
            job.cancel.check()?;
            self.check_turns(batch)?;
            match self.make_room(&mut slots[i % SLOTS], batch).await {
                Ok(()) => {}
                // What is under way takes memory too.
                Err(Error::Device(DeviceError::OutOfMemory { .. })) => {
                    for (i, pending) in under_way.drain(..) {
                        (job.take)(i, self.finish_in(slots, pending).await?)?;
                    }
                    *slots = Slots::default();
                    if let Err(problem) = self.make_room(&mut slots[i % SLOTS], batch).await {
                        (job.take)(i, self.run_halves(slots, batch, job, problem).await?)?;
                        continue;
                    }
                }
                Err(problem) => return Err(problem),
            }
            if let Some(arena) = &slots[i % SLOTS] {
                under_way.push_back((i, self.submit(arena, i % SLOTS, batch, job.outputs)?));
            }
        }
        for (i, pending) in under_way {
            (job.take)(i, self.finish_in(slots, pending).await?)?;
        }
        Ok(())
    }

    /// Refuses a text whose loops the driver would end before they are done.
    fn check_turns(&self, batch: &RaggedBatch) -> Result<()> {
        let Some(most) = self.most_turns else { return Ok(()) };
        let longest = batch.ranges().map(|range| range.len()).max().unwrap_or(0);
        turns::check(&self.gpu, &self.plan, self.queries, longest, most)
    }

    /// A batch that does not fit, in two.
    async fn run_halves(
        &self,
        slots: &mut Slots,
        batch: &RaggedBatch,
        job: &Job<'_>,
        problem: Error,
    ) -> Result<Results> {
        let Some(halves) = batch.halves() else { return Err(problem) };
        let whole: Mutex<Results> = Mutex::new(vec![Vec::new(); job.outputs.len()]);
        let take = |_, half: Results| {
            let mut whole = whole.lock().unwrap_or_else(PoisonError::into_inner);
            whole.iter_mut().zip(half).for_each(|(whole, half)| whole.extend(half));
            Ok(())
        };
        for half in halves.chunks(1) {
            let job = Job { batches: half, take: &take, ..*job };
            Box::pin(self.run_all(slots, &job)).await?; // calls itself
        }
        Ok(whole.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// An arena that has room for a batch.
    pub(super) async fn make_room(&self, arena: &mut Option<Arena>, batch: &RaggedBatch) -> Result<()> {
        if arena.as_ref().is_some_and(|arena| arena.fits(batch)) {
            return Ok(());
        }
        // Powers of two, and no less than there was, so that it soon is large enough for good.
        let most = self.batch_tokens(usize::MAX).max(batch.tokens());
        let (had_tokens, had_texts) = arena.as_ref().map_or((0, 0), Arena::room);
        let tokens = batch.tokens().next_power_of_two().max(64).min(most).max(had_tokens);
        let texts = batch.pools().next_power_of_two().max(had_texts);
        *arena = None; // its memory is free before the larger one is made
        *arena = Some(Arena::new(&self.lowered(), tokens, texts)?);
        self.gpu.settle().await
    }

    /// Hands a batch to the device.
    pub(super) fn submit(
        &self,
        arena: &Arena,
        slot: usize,
        batch: &RaggedBatch,
        outputs: &[usize],
    ) -> Result<Pending> {
        let lowered = self.lowered();
        let tiles = arena.write_batch(&lowered, batch);
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.encode(&mut encoder, arena, batch, tiles, outputs);
        let (mut results, mut bytes) = (Vec::with_capacity(outputs.len()), 0);
        for &output in outputs {
            let id = self.plan.outputs[output].output.0;
            let size = lowered.result_bytes(output, batch.tokens(), batch.pools());
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
        let (mapped, on_mapped) = Callback::new();
        arena.readback.map_async(wgpu::MapMode::Read, 0..bytes as u64, on_mapped);
        Ok(Pending { slot, submission, results, bytes, mapped })
    }

    fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        arena: &Arena,
        batch: &RaggedBatch,
        tiles: usize,
        outputs: &[usize],
    ) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let dispatches = self.plan.steps_for(outputs).flat_map(|(place, _)| self.of_steps[place].clone());
        for (dispatch, bind_group) in dispatches.map(|i| (&self.dispatches[i], &arena.bind_groups[i])) {
            let rows = self.tiled_rows(&dispatch.variants, batch);
            let Some(variant) = linear::variant_for(&dispatch.variants, rows) else { continue };
            let (x, y) = self.groups(variant, batch, tiles);
            pass.set_pipeline(&variant.pipeline);
            pass.set_bind_group(0, bind_group, &[]);
            pass.dispatch_workgroups(x as u32, y as u32, 1);
        }
    }

    /// Workgroups of a dispatch for a batch with this many tiles of queries.
    pub(super) fn groups(&self, variant: &Prepared, batch: &RaggedBatch, tiles: usize) -> (usize, usize) {
        let most = self.gpu.most_groups();
        let rows = |rows| if rows == Rows::Tokens { batch.tokens() } else { batch.pools() };
        match variant.grid {
            Grid::PerRow(kind, groups) => fold(rows(kind) * groups, most),
            Grid::Threads(kind, threads) => fold((rows(kind) * threads).div_ceil(64), most),
            Grid::PerQueryTile(groups) => fold(tiles * groups, most),
            Grid::Tiles { rows: kind, columns, tile } => {
                (columns.div_ceil(tile[1]), rows(kind).div_ceil(tile[0]))
            }
        }
    }

    /// Waits for a batch that ran in one of the slots.
    async fn finish_in(&self, slots: &Slots, pending: Pending) -> Result<Results> {
        match &slots[pending.slot] {
            Some(arena) => self.finish(arena, pending).await,
            None => Err(self.gpu.explain("the buffers of a batch are gone".to_owned())),
        }
    }

    /// Waits for a batch and copies its results.
    pub(super) async fn finish(&self, arena: &Arena, pending: Pending) -> Result<Results> {
        let failed = |problem: String| self.gpu.explain(problem);
        self.gpu.wait(pending.submission)?;
        pending.mapped.await.map_err(|e| failed(format!("results cannot be read: {e}")))?;
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
fn formats(gpu: &GpuContext, plan: &Plan, precision: Precision) -> Result<Formats> {
    let half = Formats { values: Values::F16, weights: Weights::F16 };
    let refused = |expected: String| {
        Err(RequestError::InvalidOption { option: "precision", found: precision.name().to_owned(), expected }
            .into())
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

impl Backend for Gpu {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Gpu
    }

    fn name(&self) -> String {
        let precision = match self.formats {
            Formats { values: Values::F16, .. } => ", f16",
            Formats { weights: Weights::Bf16, .. } => ", bf16 weights",
            _ => "",
        };
        format!("gpu ({}{precision})", self.gpu.name)
    }

    fn batch_tokens(&self, _: usize) -> usize {
        let lowered = self.lowered();
        let widest = (0..self.plan.buffers.len()).map(|id| lowered.row_bytes(id)).max().unwrap_or(4);
        let most = self.gpu.max_buffer_bytes() as usize / widest.max(16);
        BATCH_TOKENS.min(most).max(1)
    }

    fn lose(&self) {
        self.gpu.device.destroy();
    }

    fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    fn batch_bytes(&self, tokens: usize, texts: usize) -> usize {
        SLOTS * self.lowered().arena_bytes(tokens, texts)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn measure(&self, batch: &RaggedBatch) -> Result<GpuMeasurement> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        block_on(self.measured(batch))
    }

    fn run<'a>(&'a self, job: &'a Job<'a>) -> Running<'a> {
        Box::pin(async move {
            // Natively a device is waited for where it is: nothing in there yields to another call.
            match cfg!(target_arch = "wasm32") {
                true => self.run_in_slots(job).await,
                false => self.run_in_turn(job),
            }
        })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
