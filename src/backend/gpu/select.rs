//! Finding the GPU that is asked for.

use super::context::has_matrices;
use super::peaks;
use crate::device::GpuSelector;
use crate::error::{DeviceError, Result};
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
    /// How it computes products: `f32`, `bf16 weights`, `f16`, `f16 on matrix units`.
    pub products: Vec<&'static str>,
}

/// All GPUs of this machine, software ones included. Empty where there is no driver.
pub fn gpu_adapters() -> Vec<GpuAdapter> {
    let adapters = crate::wait::block_on(all_adapters());
    adapters.iter().enumerate().map(|(index, adapter)| describe(index, adapter)).collect()
}

async fn all_adapters() -> Vec<Adapter> {
    let mut descriptor = InstanceDescriptor::new_without_display_handle();
    descriptor.backends = Backends::VULKAN | Backends::METAL | Backends::DX12 | Backends::BROWSER_WEBGPU;
    descriptor.flags = InstanceFlags::empty();
    Instance::new(descriptor).enumerate_adapters(Backends::all()).await
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
pub(super) async fn select(selector: &GpuSelector) -> Result<Adapter> {
    let adapters = all_adapters().await;
    let names = adapters.iter().map(|adapter| adapter.get_info().name).collect::<Vec<_>>().join(", ");
    let found = if names.is_empty() {
        "this machine has none".to_owned()
    } else {
        format!("this machine has {names}")
    };
    let (asked, chosen) = match selector {
        GpuSelector::Best => ("any GPU".to_owned(), adapters.into_iter().min_by_key(rank)),
        GpuSelector::Fastest => ("any GPU".to_owned(), peaks::fastest(adapters).await),
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
    chosen.ok_or_else(|| DeviceError::NoAdapter { asked, found }.into())
}

/// The best adapter that is not software.
pub(super) async fn select_hardware() -> Result<Adapter> {
    let adapter = select(&GpuSelector::Best).await?;
    if rank(&adapter) < 3 {
        return Ok(adapter);
    }
    let found = format!("only a software one, {}", adapter.get_info().name);
    Err(DeviceError::NoAdapter { asked: "a hardware GPU".to_owned(), found }.into())
}
