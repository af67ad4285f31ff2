//! Finding a GPU and opening it.

use crate::device::GpuSelector;
use crate::error::{Error, Result};
use std::sync::{Arc, Mutex, PoisonError};
use wgpu::{Adapter, Backends, DeviceType, Instance, InstanceDescriptor, InstanceFlags};

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
    faults: Arc<Mutex<Faults>>,
}

#[derive(Default)]
struct Faults {
    /// The first error that no error scope caught.
    error: Option<String>,
    /// Why the device was lost.
    lost: Option<String>,
}

impl Opened {
    pub(super) fn open(adapter: &Adapter) -> Result<Opened> {
        let name = adapter.get_info().name;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("taskvec"),
            required_limits: adapter.limits(),
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|e| Error::Gpu { adapter: name.clone(), problem: e.to_string() })?;
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
        Ok(Opened { name, device, queue, faults })
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

    /// Checks that a buffer of `bytes` can be made and bound whole.
    pub(super) fn check_size(&self, what: &str, bytes: u64) -> Result<()> {
        let limit = self.max_buffer_bytes();
        if bytes <= limit {
            return Ok(());
        }
        Err(Error::GpuLimit { adapter: self.name.clone(), what: what.to_owned(), needed: bytes, limit })
    }

    /// The most bytes of a buffer that a shader can reach whole.
    pub(super) fn max_buffer_bytes(&self) -> u64 {
        let limits = self.device.limits();
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
    }
}
