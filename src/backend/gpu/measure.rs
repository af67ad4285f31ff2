//! How much of a GPU's best the kernels of a model reach.

use super::arena::Arena;
use super::dispatch::{Grid, Prepared};
use super::linear;
use super::measurement::{GpuKernel, GpuMeasurement};
use super::peaks::{GpuPeaks, LONG_ENOUGH, seconds_of};
use super::runner::Gpu;
use super::shader::Weights;
use crate::batch::RaggedBatch;
use crate::error::Result;
use crate::plan::{Rows, Step};
use std::time::Instant;

/// Kernels are timed in passes of this many runs at most.
const MOST_RUNS: usize = 64;

impl Gpu {
    /// Peaks, and each kernel of this batch.
    pub(super) async fn measured(&self, batch: &RaggedBatch) -> Result<GpuMeasurement> {
        let mut slot = None;
        self.make_room(&mut slot, batch).await?;
        let (mut host, mut whole, mut vectors, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for _ in 0..6 {
            let Some(arena) = &slot else { break };
            let start = Instant::now();
            let pending = self.submit(arena, 0, batch, &[0])?;
            host.push(start.elapsed().as_secs_f64());
            bytes = pending.bytes;
            vectors = self.finish(arena, pending).await?.concat();
            whole.push(start.elapsed().as_secs_f64());
        }
        let median = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let kernels = match &slot {
            Some(arena) => self.kernels(arena, batch).await?,
            None => Vec::new(),
        };
        let dispatches = self.plan.steps_for(&[0]).map(|(place, _)| self.of_steps[place].len()).sum();
        Ok(GpuMeasurement {
            device: self.gpu.name.clone(),
            peaks: self.measured_peaks().await?,
            kernels,
            texts: batch.keys.len(),
            tokens: batch.tokens(),
            dispatches,
            bytes_read_back: bytes,
            host_seconds: median(host),
            batch_seconds: median(whole),
            vectors,
        })
    }

    /// The device's peaks, measured at the first call.
    async fn measured_peaks(&self) -> Result<GpuPeaks> {
        if let Some(peaks) = self.peaks.get() {
            return Ok(peaks.clone());
        }
        let peaks = GpuPeaks::measure(&self.gpu).await?;
        Ok(self.peaks.get_or_init(|| peaks).clone())
    }

    /// Each kernel of a batch that was run in this arena, once for each of its sizes.
    async fn kernels(&self, arena: &Arena, batch: &RaggedBatch) -> Result<Vec<GpuKernel>> {
        let tiles = arena.write_batch(&self.lowered(), batch);
        let mut kernels: Vec<GpuKernel> = Vec::new();
        for (place, step) in self.plan.steps_for(&[0]) {
            for i in self.of_steps[place].clone() {
                let dispatch = &self.dispatches[i];
                let Some(variant) =
                    linear::variant_for(&dispatch.variants, self.tiled_rows(&dispatch.variants, batch))
                else {
                    continue;
                };
                let mut kernel = self.work(step, variant, batch);
                if kernels.iter().any(|known| known.name == kernel.name) {
                    continue;
                }
                let (x, y) = self.groups(variant, batch, tiles);
                let times = |runs: usize| {
                    seconds_of(&self.gpu, move |pass| {
                        pass.set_pipeline(&variant.pipeline);
                        pass.set_bind_group(0, &arena.bind_groups[i], &[]);
                        (0..runs).for_each(|_| pass.dispatch_workgroups(x as u32, y as u32, 1));
                    })
                };
                let once = times(1).await?;
                let runs = (LONG_ENOUGH.as_secs_f64() / once.max(1e-9)) as usize;
                let runs = runs.clamp(1, MOST_RUNS);
                kernel.seconds = times(runs).await? / runs as f64;
                kernels.push(kernel);
            }
        }
        Ok(kernels)
    }

    /// What a step computes and moves.
    fn work(&self, step: &Step, variant: &Prepared, batch: &RaggedBatch) -> GpuKernel {
        let lowered = self.lowered();
        let row_bytes = |buffer: crate::plan::BufferId| lowered.row_bytes(buffer.0) as f64;
        let rows_of = |buffer: crate::plan::BufferId| match self.plan.buffers[buffer.0].rows {
            Rows::Tokens => batch.tokens(),
            Rows::Texts => batch.pools(),
        };
        let name_of = |buffer: crate::plan::BufferId| self.plan.buffers[buffer.0].name;
        let weight_bytes = if self.formats.weights == Weights::F32 { 4.0 } else { 2.0 };
        let (name, operations, bytes) = match step {
            Step::Linear { linear, gate, input, output, residual, .. } => {
                let (rows, outputs, inputs) = (rows_of(*output), linear.outputs(), linear.inputs());
                let matrices = if gate.is_some() { 2.0 } else { 1.0 };
                let moved =
                    rows as f64 * (row_bytes(*input) + row_bytes(*output) + residual.map_or(0.0, row_bytes));
                let product = (outputs * inputs) as f64 * matrices;
                (
                    format!("product {} {rows}x{outputs}x{inputs}", name_of(*output)),
                    2.0 * rows as f64 * product,
                    moved + product * weight_bytes,
                )
            }
            Step::Attention { heads, kv_heads, head_dim, input, output, .. } => {
                let pairs: f64 = batch.ranges().map(|range| (range.len() as f64).powi(2)).sum();
                (
                    format!(
                        "attention {} tokens, {heads} heads ({kv_heads}) of {head_dim}, window {}",
                        batch.tokens(),
                        window(step)
                    ),
                    4.0 * pairs * (heads * head_dim) as f64,
                    batch.tokens() as f64 * (row_bytes(*input) + row_bytes(*output)),
                )
            }
            other => {
                let written = other.writes();
                let read: f64 = other.reads().into_iter().map(row_bytes).sum();
                let rows = rows_of(written);
                let kind = format!("{:?}", variant.shader).to_lowercase();
                let bytes = rows as f64 * (read.max(row_bytes(written)) + row_bytes(written));
                (format!("{kind} {rows}x{}", self.plan.width(written)), 0.0, bytes)
            }
        };
        let on_matrices = variant.shader.is_on_matrices();
        GpuKernel { name, on_matrices, seconds: f64::NAN, operations, bytes }
    }

    /// Rows of what is computed in tiles.
    pub(super) fn tiled_rows(&self, variants: &[Prepared], batch: &RaggedBatch) -> usize {
        match variants.first().map(|variant| variant.grid) {
            Some(Grid::Tiles { rows: Rows::Texts, .. }) => batch.pools(),
            _ => batch.tokens(),
        }
    }
}

/// How far a query sees, where that is not everywhere.
fn window(step: &Step) -> String {
    let Step::Attention { window, .. } = step else { return String::new() };
    let side = |count: Option<usize>| count.map_or("all".to_owned(), |count| count.to_string());
    format!("{}:{}", side(window.before), side(window.after))
}
