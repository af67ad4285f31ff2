//! The GPU backend: each step is a dispatch of a shader in `shaders/`, through wgpu.
//!
//! Weights, parameters, pipelines and bind groups are made once. A batch is a handful of small
//! uploads, one command buffer with one compute pass, one submission, and one read of the vectors. Two
//! batches are under way at a time: while the device runs one, the host makes the next ready.

mod arena;
pub(crate) mod cache;
mod callback;
mod check;
mod context;
mod dispatch;
mod linear;
mod lowering;
mod measure;
mod measurement;
mod peaks;
mod pipeline_cache;
mod pipelines;
mod runner;
mod select;
mod shader;
mod turns;
mod upload;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use measurement::not_a_gpu;
pub use measurement::{GpuKernel, GpuMeasurement};
pub use peaks::GpuPeaks;
pub(crate) use runner::Gpu;
pub use select::{GpuAdapter, gpu_adapters};
