//! What is measured of a GPU with a model, as data.

use super::peaks::GpuPeaks;
#[cfg(not(target_arch = "wasm32"))]
use crate::error::{Error, RequestError};

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

/// The error where something other than a GPU is to be measured.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn not_a_gpu(name: String) -> Error {
    let expected = "a GPU, asked for as such: Device::Gpu".to_owned();
    RequestError::InvalidOption { option: "the device to be measured", found: name, expected }.into()
}
