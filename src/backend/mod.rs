//! Backends: interpreters of a [`Plan`](crate::plan::Plan).

#[cfg(feature = "gpu")]
pub(crate) mod auto;
pub(crate) mod cpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpus;
pub(crate) mod reference;

use crate::device::DeviceReport;
use crate::error::Result;
use crate::tokens::RaggedBatch;

/// The results of one batch, one for each end that was asked for.
pub(crate) type Results = Vec<Vec<f32>>;

/// Runs a plan on batches of texts.
pub(crate) trait Backend: Send + Sync {
    /// What runs it, for reports: `cpu (avx512, 2 threads)`.
    fn name(&self) -> String;

    /// What runs it, and how that was chosen.
    fn report(&self) -> DeviceReport {
        DeviceReport { name: self.name(), reason: None, fault: None }
    }

    /// Tokens that a batch should have at most when there are `total` to run; a longer text is a
    /// batch by itself.
    fn batch_tokens(&self, total: usize) -> usize;

    /// Bytes of memory that it holds for weights.
    fn weight_bytes(&self) -> usize;

    /// Bytes of memory that batches of up to this many tokens and texts need beside the weights.
    fn batch_bytes(&self, tokens: usize, texts: usize) -> usize;

    /// What the device does at best, and how the kernels of a batch do beside it. For GPUs.
    #[cfg(feature = "gpu")]
    fn measure(&self, _: &RaggedBatch) -> Result<gpu::GpuMeasurement> {
        Err(gpu::not_a_gpu(self.name()))
    }

    /// The results of each batch, one for each of `ends` (places in
    /// [`Plan::ends`](crate::plan::Plan::ends)), row after row.
    fn run(&self, batches: &[RaggedBatch], ends: &[usize]) -> Result<Vec<Results>>;
}
