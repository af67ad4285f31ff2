//! Finding a GPU and opening it.

use super::measure;
use super::pipelines::PipelineCache;
use super::shader::{Shader, Sums};
use crate::device::GpuSelector;
use crate::error::{Error, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wgpu::{Adapter, Backends, DeviceType, Instance, InstanceDescriptor, InstanceFlags};

/// A batch that takes longer has hung. Software adapters need minutes for large models.
fn longest_batch(kind: DeviceType) -> Duration {
    Duration::from_secs(if kind == DeviceType::Cpu { 600 } else { 60 })
}

/// A GPU of this machine: what `taskvec devices` lists.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GpuAdapter {
    /// Its position, for [`GpuSelector::Index`].
    pub index: usize,
    /// Its name, for [`GpuSelector::Name`].
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// The driver and its version.
    pub driver: String,
    /// What it can do beyond the minimum, of what matters for kernels.
    pub features: Vec<String>,
    /// The most bytes that a shader can reach through one binding.
    pub max_binding_bytes: u64,
    /// How it computes products: `f32`, `bf16 weights`, `f16`, `f16 on matrix units`.
    pub products: Vec<&'static str>,
}

/// All GPUs of this machine, software ones included. Empty where there is no driver.
pub fn gpu_adapters() -> Vec<GpuAdapter> {
    all_adapters().iter().enumerate().map(|(index, adapter)| describe(index, adapter)).collect()
}

fn all_adapters() -> Vec<Adapter> {
    let mut descriptor = InstanceDescriptor::new_without_display_handle();
    descriptor.backends = Backends::VULKAN | Backends::METAL | Backends::DX12;
    descriptor.flags = InstanceFlags::empty();
    pollster::block_on(Instance::new(descriptor).enumerate_adapters(Backends::all()))
}

fn describe(index: usize, adapter: &Adapter) -> GpuAdapter {
    let info = adapter.get_info();
    let features = [
        (wgpu::Features::SUBGROUP, "subgroups"),
        (wgpu::Features::SHADER_F16, "f16"),
        (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
        (wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, "cooperative matrices"),
    ];
    let features = features.into_iter().filter(|(flag, _)| adapter.features().contains(*flag));
    GpuAdapter {
        index,
        name: info.name,
        backend: info.backend.to_str().to_owned(),
        kind: match info.device_type {
            DeviceType::DiscreteGpu => "discrete",
            DeviceType::IntegratedGpu => "integrated",
            DeviceType::VirtualGpu => "virtual",
            DeviceType::Cpu => "software",
            DeviceType::Other => "other",
        },
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        features: features.map(|(_, name)| name.to_owned()).collect(),
        max_binding_bytes: adapter.limits().max_storage_buffer_binding_size,
        products: match (adapter.features().contains(wgpu::Features::SHADER_F16), has_matrices(adapter)) {
            (_, true) => vec!["f32", "bf16 weights", "f16 on matrix units"],
            (true, false) => vec!["f32", "bf16 weights", "f16"],
            (false, false) => vec!["f32", "bf16 weights"],
        },
    }
}

/// Discrete before integrated before the rest; software last.
fn rank(adapter: &Adapter) -> u8 {
    match adapter.get_info().device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu | DeviceType::Other => 2,
        DeviceType::Cpu => 3,
    }
}

/// The adapter that is asked for.
pub(super) fn select(selector: &GpuSelector) -> Result<Adapter> {
    let adapters = all_adapters();
    let names = adapters.iter().map(|adapter| adapter.get_info().name).collect::<Vec<_>>().join(", ");
    let found = if names.is_empty() {
        "this machine has none".to_owned()
    } else {
        format!("this machine has {names}")
    };
    let (asked, chosen) = match selector {
        GpuSelector::Best => ("any GPU".to_owned(), adapters.into_iter().min_by_key(rank)),
        GpuSelector::Fastest => ("any GPU".to_owned(), measure::fastest(adapters)),
        GpuSelector::Backend(name) => {
            let fits = |adapter: &Adapter| adapter.get_info().backend.to_str().eq_ignore_ascii_case(name);
            let chosen = adapters.into_iter().filter(fits).min_by_key(rank);
            (format!("the backend `{name}` (vulkan, metal or dx12)"), chosen)
        }
        GpuSelector::Index(index) => (format!("index {index}"), adapters.into_iter().nth(*index)),
        GpuSelector::Name(name) => {
            let wanted = name.to_lowercase();
            let fits = |adapter: &Adapter| adapter.get_info().name.to_lowercase().contains(&wanted);
            (format!("the name `{name}`"), adapters.into_iter().find(fits))
        }
    };
    chosen.ok_or(Error::NoAdapter { asked, found })
}

/// The best adapter that is not software.
pub(super) fn select_hardware() -> Result<Adapter> {
    let adapter = select(&GpuSelector::Best)?;
    if rank(&adapter) < 3 {
        return Ok(adapter);
    }
    let found = format!("only a software one, {}", adapter.get_info().name);
    Err(Error::NoAdapter { asked: "a hardware GPU".to_owned(), found })
}

/// An opened GPU, and what it said went wrong.
pub(super) struct Opened {
    pub(super) name: String,
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
fn has_matrices(adapter: &Adapter) -> bool {
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

#[derive(Default)]
struct Faults {
    /// The first error that no error scope caught.
    error: Option<String>,
    /// Why the device was lost.
    lost: Option<String>,
}

impl Opened {
    pub(super) fn open(adapter: &Adapter) -> Result<Opened> {
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
                true => taskvec_kernels::gpu::experimental_features(),
                false => wgpu::ExperimentalFeatures::disabled(),
            },
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|e| Error::Gpu { adapter: name.clone(), problem: e.to_string() })?;
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
        Ok(Opened {
            name,
            device,
            queue,
            f16,
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            matrices,
            limits,
            cache,
            faults,
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
    pub(super) fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        let timeout = Some(self.patience);
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout };
        let waited = self.device.poll(wait);
        self.check()?;
        waited.map(drop).map_err(|e| self.explain(format!("a batch did not finish: {e}")))
    }

    /// The bytes of a buffer, when all that was submitted is done.
    pub(super) fn read(&self, buffer: &wgpu::Buffer) -> Result<Vec<u8>> {
        let (sender, mapped) = std::sync::mpsc::channel();
        buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            // Who receives waits below.
            let _ = sender.send(result);
        });
        self.wait(self.queue.submit([]))?;
        let failed = |problem: String| self.explain(format!("results cannot be read: {problem}"));
        match mapped.try_recv() {
            Ok(result) => result.map_err(|e| failed(e.to_string()))?,
            Err(_) => return Err(failed("they were not ready".to_owned())),
        }
        let bytes = buffer.get_mapped_range(..).map_err(|e| failed(e.to_string()))?.to_vec();
        buffer.unmap();
        Ok(bytes)
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
            (_, Some(reason)) => Error::DeviceLost { adapter, reason },
            _ => Error::Gpu { adapter, problem },
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
        let problem = pollster::block_on(scope.pop()).map(|problem| problem.to_string());
        #[cfg(test)]
        let problem = problem.or_else(|| self.injected_shortage(bytes));
        match problem {
            Some(problem) => {
                let (adapter, what) = (self.name.clone(), name.to_owned());
                Err(Error::GpuOutOfMemory { adapter, what, needed: bytes, problem })
            }
            None => Ok(buffer),
        }
    }

    /// Checks that a buffer of `bytes` can be made and bound whole.
    pub(super) fn check_size(&self, what: &str, bytes: u64) -> Result<()> {
        if bytes <= self.max_buffer_bytes() { Ok(()) } else { Err(self.too_large(what, bytes)) }
    }

    /// The error for what does not fit a binding.
    pub(super) fn too_large(&self, what: &str, needed: u64) -> Error {
        let (adapter, limit) = (self.name.clone(), self.max_buffer_bytes());
        Error::GpuLimit { adapter, what: what.to_owned(), needed, limit }
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
        taskvec_kernels::gpu::own_shader(&self.device, descriptor)
    }
}
