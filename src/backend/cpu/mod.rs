//! The CPU backend: each step on the SIMD kernels of `taskvec-kernels`, with threads.
//!
//! Two ways to use the cores. Many batches, or calls from many threads: each thread carries a batch of its
//! own through the whole network, with nothing to wait for inside; a short call beside others stays on its
//! caller's thread. Fewer batches than threads: one after the other, led by the caller's thread, the columns of
//! each linear layer and the heads of each attention shared with threads that stay awake from the first layer to
//! the last (`workers.rs`).

mod attention;
mod embed;
mod experts;
mod pairs;
mod pool;
mod short_conv;
mod weights;
mod workers;

use super::{Backend, Job, Results, Running};
use crate::backend::threads::Threads;
use crate::batch::RaggedBatch;
use crate::device::DeviceKind;
use crate::error::{ModelResult, Result};
use crate::model::NormKind;
use crate::plan::{BufferId, Plan, RotaryTable, Rows, Step};
use crate::precision::Precision;
use attention::{AttentionKernel, HeadScratch};
use pool::pool;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use taskvec_kernels::{
    Epilogue, GemmScratch, Isa, Matrix, MatrixMut, Storage, gemm, layer_norm, rms_norm, rotate_half,
};
use weights::{LinearWeights, NormWeights, Packer, StepWeights};
use workers::Workers;

/// Multiply-adds that are worth another thread for a batch: some 0.2 ms of a core in f32, where waking a thread
/// costs some 5 µs.
const WORKER_MACS: usize = 20_000_000;

/// Tokens of a batch, where there are enough: each weight is used that often, and a BERT-sized layer's
/// widest activations (192 · 1536 values) stay within reach of the L2 cache. Of 64 to 512, measured on the
/// built-in model, 192 was the fastest in int8 by up to a fifth; in f32 it made no difference.
const BATCH_TOKENS: usize = 192;

pub(crate) struct Cpu {
    plan: Arc<Plan>,
    isa: Isa,
    precision: Precision,
    attention: AttentionKernel,
    threads: Arc<Threads>,
    /// The weights of each step, in the kernels' layout.
    weights: Vec<StepWeights>,
    /// How many calls of `run` are under way, and how many of them run on their callers' threads.
    calls: AtomicUsize,
    guests: AtomicUsize,
    /// Memory of finished batches, kept for the next.
    workspaces: Mutex<Vec<Workspace>>,
}

/// What one batch works in.
#[derive(Default)]
struct Workspace {
    /// As in [`Plan::buffers`].
    buffers: Vec<Vec<f32>>,
    /// One for each thread that shares the batch's products.
    products: Vec<GemmScratch>,
    /// One for each thread that shares the batch's attention.
    heads: Vec<HeadScratch>,
    /// Room for a row.
    row: Vec<f32>,
}

impl Cpu {
    /// Packs the plan's weights, in parallel.
    pub(crate) fn new(
        plan: Arc<Plan>,
        isa: Isa,
        precision: Precision,
        threads: Arc<Threads>,
    ) -> ModelResult<Cpu> {
        let storage = match precision {
            Precision::F32 | Precision::F16 | Precision::Auto => Storage::F32,
            Precision::Bf16 => isa.bf16_storage(),
            Precision::Int8 => Storage::Int8,
        };
        let packer = Packer::new(isa, storage, &plan.steps);
        let pack = |step| StepWeights::read(step, &packer);
        let weights = threads.install(|| plan.steps.iter().map(pack).collect::<ModelResult<_>>())?;
        Ok(Cpu {
            plan,
            isa,
            precision,
            attention: AttentionKernel::new(isa, storage),
            threads,
            weights,
            calls: AtomicUsize::new(0),
            guests: AtomicUsize::new(0),
            workspaces: Mutex::default(),
        })
    }

    /// Runs one batch.
    fn run_batch(&self, batch: &RaggedBatch, outputs: &[usize], workers: &Workers) -> Results {
        let mut workspaces = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let mut workspace = workspaces.pop().unwrap_or_default();
        drop(workspaces);
        workspace.fit(&self.plan, batch, workers.count());
        for (place, step) in self.plan.steps_for(outputs) {
            self.run_step(step, &self.weights[place], batch, &mut workspace, workers);
        }
        let result = |&output: &usize| workspace.buffers[self.plan.outputs[output].output.0].clone();
        let results = outputs.iter().map(result).collect();
        self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
        results
    }

    fn run_step(
        &self,
        step: &Step,
        weights: &StepWeights,
        batch: &RaggedBatch,
        workspace: &mut Workspace,
        workers: &Workers,
    ) {
        let isa = self.isa;
        let width = |id: BufferId| self.plan.width(id);
        // The output leaves the list while the step reads the others.
        let Workspace { buffers, products, heads, row: spare } = workspace;
        let (Step::Embed { output, .. }
        | Step::Norm { output, .. }
        | Step::Linear { output, .. }
        | Step::HeadNorm { buffer: output, .. }
        | Step::Rotary { buffer: output, .. }
        | Step::Attention { output, .. }
        | Step::ShortConv { output, .. }
        | Step::Pool { output, .. }
        | Step::Route { output, .. }
        | Step::ExpertUp { output, .. }
        | Step::ExpertDown { output, .. }
        | Step::Normalize { output, .. }) = step;
        let mut out = std::mem::take(&mut buffers[output.0]);
        match (step, weights) {
            (Step::Embed { word, scale, position, .. }, StepWeights::Embed { token_type }) => {
                embed::embed(isa, batch, (word, *scale), position.as_ref(), token_type, &mut out, spare);
            }
            (Step::Norm { input, residual, scale, .. }, StepWeights::Norm(norm)) => {
                let (rows, size) = (out.len() / width(*output), width(*output));
                let x = Matrix::new(&buffers[input.0], rows, size, size);
                normalize_rows(isa, norm, x, MatrixMut::new(&mut out, rows, size, size));
                if let Some(residual) = residual {
                    out.iter_mut().zip(&buffers[residual.0]).for_each(|(o, r)| *o += r);
                }
                if *scale != 1.0 {
                    out.iter_mut().for_each(|o| *o *= scale);
                }
            }
            (Step::HeadNorm { columns, .. }, StepWeights::Norm(norm)) => {
                let (heads, size) = (columns.len() / norm.weight.len(), norm.weight.len());
                for row in out.chunks_exact_mut(width(*output)) {
                    let row = &mut row[columns.clone()];
                    spare.clear();
                    spare.extend_from_slice(row);
                    let x = Matrix::new(spare, heads, size, size);
                    normalize_rows(isa, norm, x, MatrixMut::new(row, heads, size, size));
                }
            }
            (Step::Linear { input, factor, residual, .. }, StepWeights::Linear(linear)) => {
                let rows = out.len() / width(*output);
                let matrix = |id: BufferId| Matrix::new(&buffers[id.0], rows, width(id), width(id));
                let factor = factor.map(|(id, first)| matrix(id).column_range(first, width(*output)));
                let epilogue = Epilogue { factor, residual: residual.map(matrix), ..linear.epilogue() };
                let out = MatrixMut::new(&mut out, rows, width(*output), width(*output));
                run_linear(
                    isa,
                    linear,
                    matrix(*input),
                    &epilogue,
                    out,
                    (workers, &mut products[..workers.count()]),
                );
            }
            (Step::Rotary { table, columns, .. }, _) => {
                rotate(isa, table, batch, &mut out, width(*output), columns)
            }
            (Step::Attention { input, .. }, weights) => {
                let positions = match weights {
                    StepWeights::Positions(positions) => Some(positions),
                    _ => None,
                };
                let input = Matrix::new(&buffers[input.0], batch.tokens(), width(*input), width(*input));
                let out = MatrixMut::new(&mut out, batch.tokens(), width(*output), width(*output));
                attention::run(
                    self.attention,
                    (step, positions),
                    batch,
                    input,
                    out,
                    (workers, &mut heads[..workers.count()]),
                );
            }
            (Step::ShortConv { before, input, .. }, StepWeights::ShortConv(taps)) => {
                short_conv::convolve(taps, *before, batch, &buffers[input.0], &mut out, width(*output));
            }
            (Step::Pool { modes, input, .. }, _) => {
                let size = width(*input);
                for (part, out) in batch.pools.iter().zip(out.chunks_exact_mut(width(*output))) {
                    let hidden = &buffers[input.0][part.start * size..part.tokens.end * size];
                    for (mode, out) in modes.iter().zip(out.chunks_exact_mut(size)) {
                        pool(*mode, hidden, size, part.tokens.start - part.start, out);
                    }
                }
            }
            (Step::Route { top, input, .. }, _) => {
                let rows = buffers[input.0].chunks_exact(width(*input));
                rows.zip(out.chunks_exact_mut(2 * top)).for_each(|(row, out)| experts::route(row, out));
            }
            (Step::ExpertUp { choices, input, .. }, StepWeights::Experts(weights)) => {
                let choices = &buffers[choices.0];
                experts::up(isa, weights, choices, &buffers[input.0], &mut out, &mut products[0]);
            }
            (Step::ExpertDown { choices, input, residual, .. }, StepWeights::Experts(weights)) => {
                out.copy_from_slice(&buffers[residual.0]);
                let (choices, input) = (&buffers[choices.0], &buffers[input.0]);
                experts::down(isa, weights, choices, input, &mut out, &mut products[0]);
            }
            (Step::Normalize { input, .. }, _) => {
                out.copy_from_slice(&buffers[input.0]);
                out.chunks_exact_mut(width(*input)).for_each(crate::vector::normalize);
            }
            _ => unreachable!("weights are read for the step they are run with"),
        }
        buffers[output.0] = out;
    }
}

impl Workspace {
    /// Sizes the buffers for a batch. What they hold is left over from another: each step writes
    /// all of its output.
    fn fit(&mut self, plan: &Plan, batch: &RaggedBatch, workers: usize) {
        self.buffers.resize_with(plan.buffers.len(), Vec::new);
        for (values, buffer) in self.buffers.iter_mut().zip(&plan.buffers) {
            let rows = if buffer.rows == Rows::Tokens { batch.tokens() } else { batch.pools() };
            values.resize(rows * buffer.width, 0.0);
        }
        if self.heads.len() < workers {
            self.heads.resize_with(workers, HeadScratch::default);
            self.products.resize_with(workers, GemmScratch::default);
        }
    }
}

impl Backend for Cpu {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Cpu
    }

    fn name(&self) -> String {
        let precision = match self.precision {
            Precision::F32 | Precision::F16 | Precision::Auto => "",
            Precision::Bf16 => ", bf16",
            Precision::Int8 => ", int8",
        };
        format!("cpu ({}{precision}, {} threads)", self.isa.name(), self.threads.count())
    }

    /// Enough rows to use each weight often, few enough that their activations stay in the cache
    /// and that each thread gets some.
    fn batch_tokens(&self, total: usize) -> usize {
        total.div_ceil(self.threads.count()).clamp(1, BATCH_TOKENS)
    }

    fn weight_bytes(&self) -> usize {
        self.weights.iter().map(StepWeights::bytes).sum()
    }

    fn batch_bytes(&self, tokens: usize, texts: usize) -> usize {
        self.plan.buffer_bytes(tokens, texts)
    }

    fn run<'a>(&'a self, job: &'a Job<'a>) -> Running<'a> {
        Box::pin(async move { self.run_job(job) })
    }
}

impl Cpu {
    fn run_job(&self, job: &Job<'_>) -> Result<()> {
        let Job { batches, outputs, cancel, take } = *job;
        let threads = self.threads.count();
        let call = Call::start(&self.calls);
        let tokens: usize = batches.iter().map(RaggedBatch::tokens).sum();
        let run_batch = |(i, batch): (usize, &RaggedBatch), workers: &Workers| {
            cancel.check()?;
            take(i, self.run_batch(batch, outputs, workers))
        };
        let alone = |batch| run_batch(batch, &Workers::default());
        if call.others > 0 && tokens <= BATCH_TOKENS {
            // The pool's threads take up a batch when all of an earlier call are done. A query does not wait for those of a
            // corpus: its caller's thread, which the system lets run beside the others, carries it.
            let guest = Call::start(&self.guests);
            if guest.others < threads {
                return batches.iter().enumerate().try_for_each(alone);
            }
        }
        if batches.len() + call.others >= threads {
            self.threads.install(|| batches.par_iter().enumerate().with_max_len(1).try_for_each(alone))
        } else {
            let work = batches.iter().map(|batch| batch.tokens() * self.plan.macs_per_token()).max();
            let count = threads.min(1 + work.unwrap_or(0) / WORKER_MACS);
            self.threads.lead(|| {
                let workers = Workers::new(count, &self.threads);
                batches.iter().enumerate().try_for_each(|batch| run_batch(batch, &workers))
            })
        }
    }
}

/// One of the calls of [`Cpu::run_job`] that are under way.
struct Call<'a> {
    count: &'a AtomicUsize,
    /// How many others there were when it came.
    others: usize,
}

impl Call<'_> {
    fn start(count: &AtomicUsize) -> Call<'_> {
        Call { count, others: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

fn normalize_rows(isa: Isa, norm: &NormWeights, x: Matrix<'_>, out: MatrixMut<'_>) {
    match norm.kind {
        NormKind::LayerNorm => layer_norm(isa, x, &norm.weight, &norm.bias, norm.eps, out),
        NormKind::RmsNorm => rms_norm(isa, x, &norm.weight, norm.eps, out),
    }
}

/// One linear layer. Each worker takes a share of its columns and has a scratch of its own.
fn run_linear(
    isa: Isa,
    linear: &LinearWeights,
    x: Matrix<'_>,
    epilogue: &Epilogue<'_>,
    out: MatrixMut<'_>,
    (workers, scratches): (&Workers, &mut [GemmScratch]),
) {
    let weights = &linear.weights;
    let panels = weights.panels();
    let share = panels.div_ceil(scratches.len());
    let mut rest = Some(out);
    let parts = (0..panels).step_by(share).zip(scratches).map(|(first, scratch)| {
        let range = first..(first + share).min(panels);
        let all = rest.take()?;
        let columns = (range.len() * isa.panel_columns()).min(all.columns());
        let (part, others) = all.split_columns(columns);
        rest = Some(others);
        Some((range, part, scratch))
    });
    workers.share(parts.flatten(), |(range, part, scratch)| {
        gemm(isa, x, weights, range, epilogue, part, scratch);
    });
}

fn rotate(
    isa: Isa,
    table: &RotaryTable,
    batch: &RaggedBatch,
    values: &mut [f32],
    width: usize,
    columns: &Range<usize>,
) {
    let half = table.head_dim / 2;
    let of_tokens = table.is_dynamic().then(|| table.of_tokens(batch));
    for range in batch.ranges() {
        for t in range.clone() {
            let (table, place) = match &of_tokens {
                Some(of_tokens) => (of_tokens, t),
                None => (table, t - range.start),
            };
            let angles = place * half;
            let (cos, sin) = (&table.cos[angles..][..half], &table.sin[angles..][..half]);
            let row = &mut values[t * width..][..width][columns.clone()];
            row.chunks_exact_mut(table.head_dim).for_each(|head| rotate_half(isa, head, cos, sin));
        }
    }
}

/// The instruction sets of this CPU that taskvec has kernels for, slowest first.
pub fn instruction_sets() -> Vec<&'static str> {
    Isa::available().into_iter().map(Isa::name).collect()
}
