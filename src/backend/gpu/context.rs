//! An opened GPU: its device and queue, its limits, and what it said went wrong.

use super::callback::{Callback, now_or_never};
use super::pipeline_cache::PipelineCache;
use super::shader::{Shader, Sums};
use crate::error::{DeviceError, Error, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wgpu::{Adapter, DeviceType};

/// A batch that takes longer has hung. Software adapters need minutes for large models.
fn longest_batch(kind: DeviceType) -> Duration {
    Duration::from_secs(if kind == DeviceType::Cpu { 600 } else { 60 })
}

/// An opened GPU, and what it said went wrong.
pub(super) struct GpuContext {
    pub(super) name: String,
    pub(super) kind: DeviceType,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    /// Whether shaders may use f16.
    pub(super) f16: bool,
    /// Whether shaders may use subgroup operations.
    pub(super) subgroups: bool,
    /// Whether there are cooperative matrices of the one kind that linear_matrix.wgsl uses.
    pub(super) matrices: bool,
    limits: wgpu::Limits,
    /// Compiled shaders of earlier processes, where the adapter can keep them.
    pub(super) cache: Option<PipelineCache>,
    faults: Arc<Mutex<Faults>>,
    /// Errors that the device has not reported yet: see [`GpuContext::settle`].
    unsettled: Mutex<Vec<Unsettled>>,
    /// Buffers and bind groups made so far.
    made: AtomicUsize,
    /// After how long a batch has hung.
    pub(super) patience: Duration,
    /// As if the adapter's bindings were of this many bytes at most.
    #[cfg(test)]
    pub(super) most_bound: std::sync::atomic::AtomicU64,
    /// Buffers of more bytes fail, as if memory were short.
    #[cfg(test)]
    pub(super) shortage: std::sync::atomic::AtomicU64,
}

/// Whether the adapter multiplies 16 × 16 blocks of f16 into f32, with subgroups of 32.
pub(super) fn has_matrices(adapter: &Adapter) -> bool {
    let wanted = wgpu::CooperativeScalarType::F16;
    let sums = wgpu::CooperativeScalarType::F32;
    let info = adapter.get_info();
    adapter.features().contains(MATRIX_FEATURES)
        && (info.subgroup_min_size, info.subgroup_max_size) == (32, 32)
        && adapter.cooperative_matrix_properties().iter().any(|kind| {
            (kind.m_size, kind.n_size, kind.k_size) == (16, 16, 16)
                && kind.ab_type == wanted
                && kind.cr_type == sums
        })
}

const MATRIX_FEATURES: wgpu::Features =
    wgpu::Features::SHADER_F16.union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);

/// Something made on the device that may still turn out to have failed, and the error for that.
struct Unsettled {
    found: Callback<Option<String>>,
    error: Box<dyn FnOnce(String) -> DeviceError + Send>,
}

/// What an error scope reports when it ends: at once on a native device, later in a browser.
fn reported(scope: wgpu::ErrorScopeGuard) -> Callback<Option<String>> {
    let (found, on_found) = Callback::new();
    let report = async move { on_found(scope.pop().await.map(|problem| problem.to_string())) };
    #[cfg(target_arch = "wasm32")]
    wasm_bindgen_futures::spawn_local(report);
    #[cfg(not(target_arch = "wasm32"))]
    crate::wait::block_on(report);
    found
}

#[derive(Default)]
struct Faults {
    /// The first error that no error scope caught.
    error: Option<String>,
    /// Why the device was lost.
    lost: Option<String>,
}

impl GpuContext {
    pub(super) async fn open(adapter: &Adapter) -> Result<GpuContext> {
        let wgpu::AdapterInfo { name, device_type, .. } = adapter.get_info();
        let (f16, matrices) =
            (adapter.features().contains(wgpu::Features::SHADER_F16), has_matrices(adapter));
        let wanted = wgpu::Features::SHADER_F16
            | wgpu::Features::SUBGROUP
            | wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::PIPELINE_CACHE;
        let mut features = adapter.features() & wanted;
        if matrices {
            features |= MATRIX_FEATURES;
        }
        let limits = adapter.limits();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("taskvec"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features: match matrices {
                true => taskvec_gpu_unsafe::experimental_features(),
                false => wgpu::ExperimentalFeatures::disabled(),
            },
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        };
        let (device, queue) = adapter
            .request_device(&descriptor)
            .await
            .map_err(|e| DeviceError::Gpu { adapter: name.clone(), problem: e.to_string() })?;
        let cache = PipelineCache::open(adapter, &device);
        let faults = Arc::new(Mutex::new(Faults::default()));
        let on_error = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let mut faults = on_error.lock().unwrap_or_else(PoisonError::into_inner);
            faults.error.get_or_insert(error.to_string());
        }));
        let on_lost = faults.clone();
        device.set_device_lost_callback(move |reason, message| {
            let mut faults = on_lost.lock().unwrap_or_else(PoisonError::into_inner);
            faults.lost.get_or_insert(format!("{reason:?}: {message}"));
        });
        Ok(GpuContext {
            name,
            kind: device_type,
            device,
            queue,
            f16,
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            matrices,
            limits,
            cache,
            faults,
            unsettled: Mutex::default(),
            made: AtomicUsize::new(0),
            patience: longest_batch(device_type),
            #[cfg(test)]
            most_bound: std::sync::atomic::AtomicU64::new(u64::MAX),
            #[cfg(test)]
            shortage: std::sync::atomic::AtomicU64::new(u64::MAX),
        })
    }

    /// How this device's shaders add up.
    pub(super) fn sums(&self, shader: Shader) -> Sums {
        if shader.has_sums() && self.subgroups { Sums::BySubgroup } else { Sums::InMemory }
    }

    /// Waits until what was submitted is done. A device that takes too long hangs.
    ///
    /// In a browser nothing may block: there this returns at once, and the callback that reads the results waits.
    pub(super) fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        if cfg!(target_arch = "wasm32") {
            return self.check();
        }
        let timeout = Some(self.patience);
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout };
        let waited = self.device.poll(wait);
        self.check()?;
        waited.map(drop).map_err(|e| self.explain(format!("a batch did not finish: {e}")))
    }

    /// The bytes of a buffer, when all that was submitted is done.
    pub(super) async fn read(&self, buffer: &wgpu::Buffer) -> Result<Vec<u8>> {
        let (mapped, on_mapped) = Callback::new();
        buffer.map_async(wgpu::MapMode::Read, .., on_mapped);
        self.wait(self.queue.submit([]))?;
        let failed = |problem: String| self.explain(format!("results cannot be read: {problem}"));
        mapped.await.map_err(|e| failed(e.to_string()))?;
        let bytes = buffer.get_mapped_range(..).map_err(|e| failed(e.to_string()))?.to_vec();
        buffer.unmap();
        Ok(bytes)
    }

    /// Waits for what error scopes report. Native devices have reported it by now; a browser does later, and until
    /// then goes on with what may have failed.
    pub(super) async fn settle(&self) -> Result<()> {
        let unsettled = std::mem::take(&mut *self.unsettled.lock().unwrap_or_else(PoisonError::into_inner));
        for Unsettled { found, error } in unsettled {
            if let Some(problem) = found.await {
                return Err(error(problem).into());
            }
        }
        Ok(())
    }

    /// Ends an error scope: an error if it has reported one, else it is looked at again in [`GpuContext::settle`].
    pub(super) fn end_scope(
        &self,
        scope: wgpu::ErrorScopeGuard,
        error: impl FnOnce(String) -> DeviceError + Send + 'static,
    ) -> Result<()> {
        let mut found = reported(scope);
        match now_or_never(&mut found) {
            Some(None) => Ok(()),
            Some(Some(problem)) => Err(error(problem).into()),
            None => {
                let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
                unsettled.push(Unsettled { found, error: Box::new(error) });
                Ok(())
            }
        }
    }

    /// Ties buffers to the bindings of a layout, in their order.
    pub(super) fn bind(&self, layout: &wgpu::BindGroupLayout, buffers: &[&wgpu::Buffer]) -> wgpu::BindGroup {
        self.made();
        let entries: Vec<wgpu::BindGroupEntry<'_>> = buffers
            .iter()
            .enumerate()
            .map(|(i, buffer)| wgpu::BindGroupEntry {
                binding: i as u32,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    }

    /// Counts something made on the device. A test holds that batches make nothing once there is room for
    /// them.
    pub(super) fn made(&self) {
        self.made.fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn count_made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    fn injected_shortage(&self, bytes: u64) -> Option<String> {
        let most = self.shortage.load(Ordering::Relaxed);
        (bytes > most).then(|| "injected: not enough memory".to_owned())
    }

    /// The error for what went wrong since the device was opened, if anything did.
    pub(super) fn check(&self) -> Result<()> {
        let (error, lost) = self.faults();
        match error.or(lost) {
            Some(problem) => Err(self.explain(problem)),
            None => Ok(()),
        }
    }

    /// The error behind a failure. The first sign of a lost device may be any failure of what was
    /// asked of it; that it was lost is only told to those who poll.
    pub(super) fn explain(&self, problem: String) -> Error {
        let _ = self.device.poll(wgpu::PollType::Poll);
        let adapter = self.name.clone();
        match self.faults() {
            (_, Some(reason)) => DeviceError::Lost { adapter, reason }.into(),
            _ => DeviceError::Gpu { adapter, problem }.into(),
        }
    }

    /// The first error, and why the device was lost.
    fn faults(&self) -> (Option<String>, Option<String>) {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        (faults.error.clone(), faults.lost.clone())
    }

    /// A buffer that can be bound whole, or an error: too large for the adapter, or for what memory is left.
    pub(super) fn buffer(&self, name: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        self.check_size(name, bytes)?;
        self.made();
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(name),
            size: bytes,
            usage,
            mapped_at_creation: false,
        });
        let (adapter, what) = (self.name.clone(), name.to_owned());
        let error = move |problem| DeviceError::OutOfMemory { adapter, what, needed: bytes, problem };
        #[cfg(test)]
        if let Some(problem) = self.injected_shortage(bytes) {
            return Err(error(problem).into());
        }
        self.end_scope(scope, error)?;
        Ok(buffer)
    }

    /// Checks that a buffer of `bytes` can be made and bound whole.
    pub(super) fn check_size(&self, what: &str, bytes: u64) -> Result<()> {
        if bytes <= self.max_buffer_bytes() { Ok(()) } else { Err(self.too_large(what, bytes)) }
    }

    /// The error for what does not fit a binding.
    pub(super) fn too_large(&self, what: &str, needed: u64) -> Error {
        let (adapter, limit) = (self.name.clone(), self.max_buffer_bytes());
        DeviceError::Limit { adapter, what: what.to_owned(), needed, limit }.into()
    }

    /// The most bytes of a buffer that a shader can reach whole.
    pub(super) fn max_buffer_bytes(&self) -> u64 {
        let most = self.limits.max_storage_buffer_binding_size.min(self.limits.max_buffer_size);
        #[cfg(test)]
        let most = most.min(self.most_bound.load(Ordering::Relaxed));
        most
    }

    /// Bytes of workgroup memory that a shader may have.
    pub(super) fn workgroup_bytes(&self) -> usize {
        self.limits.max_compute_workgroup_storage_size as usize
    }

    /// The most workgroups of one dimension of a dispatch.
    pub(super) fn most_groups(&self) -> usize {
        self.limits.max_compute_workgroups_per_dimension as usize
    }

    /// A shader of `shaders/`, made ready for a pipeline.
    pub(super) fn module(&self, descriptor: wgpu::ShaderModuleDescriptor<'_>) -> wgpu::ShaderModule {
        taskvec_gpu_unsafe::own_shader(&self.device, descriptor)
    }
}
