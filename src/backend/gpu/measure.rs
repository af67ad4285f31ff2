//! What a GPU does at best, and how much of it the kernels of a model reach: timed on the device where it
//! has timestamps, else on the host.

use super::adapter::Opened;
use super::arena::Arena;
use super::dispatch::{Grid, Prepared};
use super::pipelines::{compile, layout};
use super::shader::{Form, Formats, Shader, Values, Weights};
use super::upload::upload;
use super::{Gpu, fold, linear};
use crate::error::{Error, Result};
use crate::plan::{Rows, Step};
use crate::tokens::RaggedBatch;
use std::time::{Duration, Instant};
use wgpu::BufferUsages;

/// Passes are made longer until they take this much: the clock's steps and the start of a pass are then
/// little of it.
const LONG_ENOUGH: Duration = Duration::from_millis(10);

/// Kernels are timed in passes of this many runs at most.
const MOST_RUNS: usize = 64;

/// What a device does at best: [`Embedder::measure_gpu`](crate::Embedder::measure_gpu).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GpuPeaks {
    /// Additions and multiplications in f32, by multiply-adds in registers, per second.
    pub f32_operations: f64,
    /// Those in f16 with sums in f32, by cooperative matrices in registers, per second; `None`: the device has
    /// none that taskvec uses.
    pub matrix_operations: Option<f64>,
    /// Bytes read and written by a large copy, per second.
    pub copied_bytes: f64,
}

/// A kernel at the size that a model runs it with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GpuKernel {
    /// What it computes, with its sizes.
    pub name: String,
    /// Whether it runs on cooperative matrices.
    pub on_matrices: bool,
    /// Seconds of one run.
    pub seconds: f64,
    /// Additions and multiplications of products; 0 where there are only a few for each value.
    pub operations: f64,
    /// Bytes read and written at least.
    pub bytes: f64,
}

/// Peaks and kernels of a device, and what a batch takes as a whole.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GpuMeasurement {
    /// The adapter's name and driver.
    pub device: String,
    /// What it does at best.
    pub peaks: GpuPeaks,
    /// Each kernel once for each of its sizes.
    pub kernels: Vec<GpuKernel>,
    /// Texts of the batch.
    pub texts: usize,
    /// Tokens of the batch.
    pub tokens: usize,
    /// Dispatches of the batch.
    pub dispatches: usize,
    /// Bytes that come back to the host.
    pub bytes_read_back: usize,
    /// Seconds that the host needs to hand the batch over: the median of some.
    pub host_seconds: f64,
    /// Seconds from handing over to having the vectors: the median of some.
    pub batch_seconds: f64,
    /// The vectors that the batch gave, one after the other.
    pub vectors: Vec<f32>,
}

impl GpuPeaks {
    fn measure(gpu: &Opened) -> Result<GpuPeaks> {
        Ok(GpuPeaks {
            f32_operations: fma_peak(gpu)?,
            matrix_operations: match gpu.matrices {
                true => Some(matrix_peak(gpu)?),
                false => None,
            },
            copied_bytes: copy_peak(gpu)?,
        })
    }
}

/// The hardware adapter with the most multiply-adds in f32 per second; a software one if that is all.
pub(super) fn fastest(adapters: Vec<wgpu::Adapter>) -> Option<wgpu::Adapter> {
    let hardware = |adapter: &wgpu::Adapter| adapter.get_info().device_type != wgpu::DeviceType::Cpu;
    if adapters.len() < 2 || !adapters.iter().any(hardware) {
        return adapters.into_iter().next();
    }
    let speed = |adapter: &wgpu::Adapter| Opened::open(adapter).and_then(|gpu| fma_peak(&gpu)).unwrap_or(0.0);
    let timed = adapters.into_iter().filter(hardware).map(|adapter| (speed(&adapter), adapter));
    timed.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, adapter)| adapter)
}

/// Seconds of a pass that `work` records, once it was run to warm up.
fn seconds_of(gpu: &Opened, mut work: impl FnMut(&mut wgpu::ComputePass<'_>)) -> Result<f64> {
    let mut run = |queries: Option<&Timestamps>| -> Result<Duration> {
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let timestamp_writes = queries.map(|queries| wgpu::ComputePassTimestampWrites {
                query_set: &queries.set,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            });
            let mut pass =
                encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
            work(&mut pass);
        }
        if let Some(queries) = queries {
            encoder.resolve_query_set(&queries.set, 0..2, &queries.resolved, 0);
            encoder.copy_buffer_to_buffer(&queries.resolved, 0, &queries.readback, 0, 16);
        }
        let start = Instant::now();
        let submission = gpu.queue.submit([encoder.finish()]);
        gpu.wait(submission)?;
        Ok(start.elapsed())
    };
    run(None)?;
    let timestamps = Timestamps::new(gpu)?;
    let mut seconds = Vec::new();
    for _ in 0..3 {
        let on_host = run(timestamps.as_ref())?;
        seconds.push(match &timestamps {
            Some(queries) => queries.read(gpu)?,
            None => on_host.as_secs_f64(),
        });
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[1])
}

/// Two points in time on the device.
struct Timestamps {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readback: wgpu::Buffer,
}

impl Timestamps {
    fn new(gpu: &Opened) -> Result<Option<Timestamps>> {
        if !gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Ok(None);
        }
        let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: 2 };
        Ok(Some(Timestamps {
            set: gpu.device.create_query_set(&descriptor),
            resolved: gpu.buffer("times", 16, BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC)?,
            readback: gpu.buffer("times", 16, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?,
        }))
    }

    fn read(&self, gpu: &Opened) -> Result<f64> {
        let bytes = gpu.read(&self.readback)?;
        let times: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
        let ticks = times[1].saturating_sub(times[0]) as f64;
        Ok(ticks * f64::from(gpu.queue.get_timestamp_period()) * 1e-9)
    }
}

/// Seconds and loops of a shader whose work grows with a number of loops.
fn long_enough(gpu: &Opened, form: &Form, bound: &[&wgpu::Buffer], groups: u32) -> Result<(f64, u32)> {
    let layout = layout(gpu, bound.len() + 2);
    let pipeline = compile(gpu, &form.name(), form.source(), &layout)?;
    let mut loops = 16u32;
    loop {
        let params = upload(gpu, "parameters", bytemuck::cast_slice(&[loops; 4]), BufferUsages::UNIFORM)?;
        let mut all = vec![&params, &params];
        all.extend(bound);
        let group = gpu.bind(&layout, &all);
        let seconds = seconds_of(gpu, |pass| {
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(groups, 1, 1);
        })?;
        if seconds >= LONG_ENOUGH.as_secs_f64() || loops >= 1 << 24 {
            return Ok((seconds, loops));
        }
        loops *= 2;
    }
}

fn peak_form(shader: Shader) -> Form {
    let values = if shader == Shader::PeakMatrix { Values::F16 } else { Values::F32 };
    let formats = Formats { values, weights: Weights::F32 };
    Form::new(shader, formats, Vec::new())
}

fn fma_peak(gpu: &Opened) -> Result<f64> {
    const GROUPS: u32 = 2048;
    let out = gpu.buffer("peak", u64::from(GROUPS) * 64 * 4, BufferUsages::STORAGE)?;
    let (seconds, loops) = long_enough(gpu, &peak_form(Shader::PeakFma), &[&out], GROUPS)?;
    Ok(f64::from(loops) * f64::from(GROUPS) * 64.0 * 64.0 / seconds)
}

fn matrix_peak(gpu: &Opened) -> Result<f64> {
    const GROUPS: u32 = 2048;
    let source = upload(gpu, "peak", &[0; 512], BufferUsages::STORAGE)?;
    let out = gpu.buffer("peak", u64::from(GROUPS) * 256 * 4, BufferUsages::STORAGE)?;
    let (seconds, loops) = long_enough(gpu, &peak_form(Shader::PeakMatrix), &[&source, &out], GROUPS)?;
    Ok(f64::from(loops) * f64::from(GROUPS) * 4.0 * 2.0 * 16.0 * 16.0 * 16.0 / seconds)
}

fn copy_peak(gpu: &Opened) -> Result<f64> {
    let bytes = (128u64 << 20).min(gpu.max_buffer_bytes()) / 16 * 16;
    let source = gpu.buffer("peak", bytes, BufferUsages::STORAGE)?;
    let out = gpu.buffer("peak", bytes, BufferUsages::STORAGE)?;
    let fours = (bytes / 16) as u32;
    let params = upload(gpu, "parameters", bytemuck::cast_slice(&[fours; 4]), BufferUsages::UNIFORM)?;
    let form = peak_form(Shader::PeakCopy);
    let layout = layout(gpu, 4);
    let pipeline = compile(gpu, &form.name(), form.source(), &layout)?;
    let group = gpu.bind(&layout, &[&params, &params, &source, &out]);
    let (x, y) = fold(fours.div_ceil(64) as usize, gpu.most_groups());
    let seconds = seconds_of(gpu, |pass| {
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(x as u32, y as u32, 1);
    })?;
    Ok(2.0 * bytes as f64 / seconds)
}

impl Gpu {
    /// Peaks, and each kernel of this batch.
    pub(super) fn measured(&self, batch: &RaggedBatch) -> Result<GpuMeasurement> {
        let mut arenas = self.arenas.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.make_room(&mut arenas[0], batch)?;
        let (mut host, mut whole, mut vectors, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for _ in 0..6 {
            let Some(arena) = &arenas[0] else { break };
            let start = Instant::now();
            let pending = self.submit(arena, 0, batch, &[0])?;
            host.push(start.elapsed().as_secs_f64());
            bytes = pending.bytes;
            vectors = self.finish(&arenas, pending)?.concat();
            whole.push(start.elapsed().as_secs_f64());
        }
        let median = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let kernels = match &arenas[0] {
            Some(arena) => self.kernels(arena, batch)?,
            None => Vec::new(),
        };
        let dispatches = self.plan.steps_for(&[0]).map(|(place, _)| self.of_steps[place].len()).sum();
        Ok(GpuMeasurement {
            device: self.gpu.name.clone(),
            peaks: self.measured_peaks()?,
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
    fn measured_peaks(&self) -> Result<GpuPeaks> {
        let mut known = self.peaks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let peaks = match known.take() {
            Some(peaks) => peaks,
            None => GpuPeaks::measure(&self.gpu)?,
        };
        Ok(known.insert(peaks).clone())
    }

    /// Each kernel of a batch that was run in this arena, once for each of its sizes.
    fn kernels(&self, arena: &Arena, batch: &RaggedBatch) -> Result<Vec<GpuKernel>> {
        let tiles = arena.write_batch(&self.layout(), batch);
        let mut kernels: Vec<GpuKernel> = Vec::new();
        for (place, step) in self.plan.steps_for(&[0]) {
            for i in self.of_steps[place].clone() {
                let dispatch = &self.dispatches[i];
                let Some(form) = linear::form_for(&dispatch.forms, self.tiled_rows(&dispatch.forms, batch))
                else {
                    continue;
                };
                let mut kernel = self.work(step, form, batch);
                if kernels.iter().any(|known| known.name == kernel.name) {
                    continue;
                }
                let (x, y) = self.groups(form, batch, tiles);
                let times = |runs: usize| {
                    seconds_of(&self.gpu, |pass| {
                        pass.set_pipeline(&form.pipeline);
                        pass.set_bind_group(0, &arena.bind_groups[i], &[]);
                        (0..runs).for_each(|_| pass.dispatch_workgroups(x as u32, y as u32, 1));
                    })
                };
                let once = times(1)?;
                let runs = (LONG_ENOUGH.as_secs_f64() / once.max(1e-9)) as usize;
                let runs = runs.clamp(1, MOST_RUNS);
                kernel.seconds = times(runs)? / runs as f64;
                kernels.push(kernel);
            }
        }
        Ok(kernels)
    }

    /// What a step computes and moves.
    fn work(&self, step: &Step, form: &Prepared, batch: &RaggedBatch) -> GpuKernel {
        let layout = self.layout();
        let row_bytes = |buffer: crate::plan::BufferId| layout.row_bytes(buffer.0) as f64;
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
                        visible(step)
                    ),
                    4.0 * pairs * (heads * head_dim) as f64,
                    batch.tokens() as f64 * (row_bytes(*input) + row_bytes(*output)),
                )
            }
            other => {
                let written = other.writes();
                let read: f64 = other.reads().into_iter().map(row_bytes).sum();
                let rows = rows_of(written);
                let kind = format!("{:?}", form.shader).to_lowercase();
                let bytes = rows as f64 * (read.max(row_bytes(written)) + row_bytes(written));
                (format!("{kind} {rows}x{}", self.plan.width(written)), 0.0, bytes)
            }
        };
        let on_matrices = form.shader.is_on_matrices();
        GpuKernel { name, on_matrices, seconds: f64::NAN, operations, bytes }
    }

    /// Rows of what is computed in tiles.
    pub(super) fn tiled_rows(&self, forms: &[Prepared], batch: &RaggedBatch) -> usize {
        match forms.first().map(|form| form.grid) {
            Some(Grid::Tiles { rows: Rows::Texts, .. }) => batch.pools(),
            _ => batch.tokens(),
        }
    }
}

/// How far a query sees, where that is not everywhere.
fn visible(step: &Step) -> String {
    let Step::Attention { visible, .. } = step else { return String::new() };
    let side = |count: Option<usize>| count.map_or("all".to_owned(), |count| count.to_string());
    format!("{}:{}", side(visible.before), side(visible.after))
}

/// The error where something other than a GPU is to be measured.
pub(crate) fn not_a_gpu(name: String) -> Error {
    Error::InvalidOption {
        option: "the device to be measured",
        found: name,
        expected: "a GPU, asked for as such: Device::Gpu".to_owned(),
    }
}
