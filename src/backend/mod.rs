//! Backends: interpreters of a [`Plan`](crate::plan::Plan).

#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
pub(crate) mod auto;
pub(crate) mod cpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
pub(crate) mod multi_gpu;
pub(crate) mod open;
mod positions;
pub(crate) mod reference;
mod reference_attention;
pub(crate) mod threads;

use crate::batch::RaggedBatch;
use crate::cancel::CancelToken;
use crate::device::{DeviceKind, DeviceReport};
use crate::error::Result;
use std::pin::Pin;
use std::sync::Arc;

/// The results of one batch, one for each output that was asked for, row after row.
pub(crate) type Results = Vec<Vec<f32>>;

/// Batches to run.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) batches: &'a [RaggedBatch],
    /// Positions in [`Plan::outputs`](crate::plan::Plan::outputs).
    pub(crate) outputs: &'a [usize],
    /// Looked at between batches.
    pub(crate) cancel: &'a CancelToken,
    /// Takes the results of each batch, by its position in `batches`, when they are ready: in any order, on any thread.
    /// An error ends the job.
    pub(crate) take: &'a TakeResults<'a>,
}

/// What takes the results of a batch.
pub(crate) type TakeResults<'a> = dyn Fn(usize, Results) -> Result<()> + Sync + 'a;

/// A job under way.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// Runs a plan on batches of texts.
pub(crate) trait Backend: Send + Sync {
    /// What kind of device it is.
    fn kind(&self) -> DeviceKind;

    /// What runs it, for reports: `cpu (avx512, 2 threads)`.
    fn name(&self) -> String;

    /// What runs it, and how that was chosen.
    fn report(&self) -> DeviceReport {
        DeviceReport { kind: self.kind(), name: self.name(), reason: None, fault: None }
    }

    /// The backend for a call of this many tokens, where that is another one than this.
    fn for_call(&self, _tokens: usize) -> Option<Arc<dyn Backend>> {
        None
    }

    /// Tokens that a batch should have at most when there are `total` to run; a longer text is a
    /// batch by itself.
    fn batch_tokens(&self, total: usize) -> usize;

    /// Takes the device away, as a driver does that resets. For tests of what comes then; nothing happens on a CPU.
    fn lose(&self) {}

    /// Bytes of memory that it holds for weights.
    fn weight_bytes(&self) -> usize;

    /// Bytes of memory that batches of up to this many tokens and texts need beside the weights.
    fn batch_bytes(&self, tokens: usize, texts: usize) -> usize;

    /// What the device does at best, and how the kernels of a batch do beside it. For GPUs.
    #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
    fn measure(&self, _: &RaggedBatch) -> Result<gpu::GpuMeasurement> {
        Err(gpu::not_a_gpu(self.name()))
    }

    /// Runs the batches. Nothing is done before the future is waited for.
    fn run<'a>(&'a self, job: &'a Job<'a>) -> Running<'a>;
}

/// Runs batches for all of a test's outputs, and waits.
#[cfg(test)]
pub(crate) fn run_now(backend: &dyn Backend, batches: &[RaggedBatch]) -> Result<Vec<Results>> {
    let cancel = CancelToken::new();
    let results = std::sync::Mutex::new(vec![None; batches.len()]);
    let take = |batch: usize, of_batch: Results| {
        let before = results.lock().unwrap()[batch].replace(of_batch);
        assert!(before.is_none(), "results of a batch come once");
        Ok(())
    };
    crate::wait::block_on(backend.run(&Job { batches, outputs: &[0], cancel: &cancel, take: &take }))?;
    Ok(results
        .into_inner()
        .unwrap()
        .into_iter()
        .map(|results| results.expect("each batch has results"))
        .collect())
}
