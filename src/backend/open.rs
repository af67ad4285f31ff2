//! Opening the backend that is asked for.

use super::Backend;
use super::cpu::{Cpu, instruction_sets};
use super::reference::Reference;
use super::threads::Threads;
use crate::device::{Device, GpuSelector};
#[cfg(not(feature = "gpu"))]
use crate::error::DeviceError;
use crate::error::{RequestError, Result};
use crate::options::ModelOptions;
use crate::plan::Plan;
use crate::precision::Precision;
use std::sync::Arc;
use taskvec_kernels::Isa;

/// A backend, and why that one, where the options settle it.
pub(crate) struct Opened {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) reason: Option<String>,
}

/// Opens the backend that the options ask for.
pub(crate) async fn open(options: &ModelOptions, plan: &Arc<Plan>, threads: &Arc<Threads>) -> Result<Opened> {
    let precision = options.precision;
    let asked = |backend| Ok(Opened { backend, reason: None });
    match (&options.device, precision) {
        (Device::Cpu | Device::Reference, Precision::F16) => Err(RequestError::InvalidOption {
            option: "precision",
            found: precision.name().to_owned(),
            expected: "f32, bf16 or int8 on the CPU; f16 is for GPUs".to_owned(),
        }
        .into()),
        (Device::Reference, _) => asked(Arc::new(Reference::new(plan.clone(), precision)?)),
        (Device::Cpu, _) => asked(open_cpu(options, plan, threads)?),
        (Device::Gpu(selector), _) => asked(open_gpu(plan, selector, precision).await?),
        (Device::Gpus(selectors), _) => asked(open_gpus(plan, selectors, precision).await?),
        (Device::Auto, Precision::Int8) => {
            let backend = open_cpu(options, plan, threads)?;
            Ok(Opened { backend, reason: Some("int8 is for the CPU".to_owned()) })
        }
        (Device::Auto, Precision::F16) => {
            let backend = open_hardware_gpu(plan, precision).await?;
            Ok(Opened { backend, reason: Some("f16 is for GPUs".to_owned()) })
        }
        (Device::Auto, _) => open_auto(options, plan, threads),
    }
}

#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
fn open_auto(options: &ModelOptions, plan: &Arc<Plan>, threads: &Arc<Threads>) -> Result<Opened> {
    let cpu = open_cpu(options, plan, threads)?;
    let (of_gpu, precision) = (plan.clone(), options.precision);
    let open = move || crate::wait::block_on(open_hardware_gpu(&of_gpu, precision));
    let backend = Arc::new(super::auto::Auto::new(plan.clone(), cpu, Box::new(open)));
    Ok(Opened { backend, reason: None })
}

/// Without threads there is nothing to time a GPU on while the CPU answers: a GPU is used where it is asked for.
#[cfg(all(feature = "gpu", target_arch = "wasm32"))]
fn open_auto(options: &ModelOptions, plan: &Arc<Plan>, threads: &Arc<Threads>) -> Result<Opened> {
    let reason = Some("in a browser a GPU is used where it is asked for by name".to_owned());
    Ok(Opened { backend: open_cpu(options, plan, threads)?, reason })
}

#[cfg(not(feature = "gpu"))]
fn open_auto(options: &ModelOptions, plan: &Arc<Plan>, threads: &Arc<Threads>) -> Result<Opened> {
    let reason = Some(DeviceError::GpuNotBuilt.to_string());
    Ok(Opened { backend: open_cpu(options, plan, threads)?, reason })
}

fn open_cpu(options: &ModelOptions, plan: &Arc<Plan>, threads: &Arc<Threads>) -> Result<Arc<dyn Backend>> {
    let isa = match &options.instruction_set {
        None => Isa::best(),
        Some(name) => Isa::by_name(name).ok_or_else(|| RequestError::InvalidOption {
            option: "instruction_set",
            found: name.clone(),
            expected: format!("one that this CPU has: {}", instruction_sets().join(", ")),
        })?,
    };
    Ok(Arc::new(Cpu::new(plan.clone(), isa, options.precision, threads.clone())?))
}

#[cfg(feature = "gpu")]
async fn open_gpu(
    plan: &Arc<Plan>,
    selector: &GpuSelector,
    precision: Precision,
) -> Result<Arc<dyn Backend>> {
    Ok(Arc::new(super::gpu::Gpu::new(plan.clone(), selector, precision).await?))
}

#[cfg(feature = "gpu")]
async fn open_hardware_gpu(plan: &Arc<Plan>, precision: Precision) -> Result<Arc<dyn Backend>> {
    Ok(Arc::new(super::gpu::Gpu::on_hardware(plan.clone(), precision).await?))
}

#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
async fn open_gpus(
    plan: &Arc<Plan>,
    selectors: &[GpuSelector],
    precision: Precision,
) -> Result<Arc<dyn Backend>> {
    if selectors.is_empty() {
        return Err(RequestError::InvalidOption {
            option: "Device::Gpus",
            found: "an empty list".to_owned(),
            expected: "one GPU or more".to_owned(),
        }
        .into());
    }
    let mut gpus = Vec::with_capacity(selectors.len());
    for selector in selectors {
        gpus.push(open_gpu(plan, selector, precision).await?);
    }
    Ok(Arc::new(super::multi_gpu::MultiGpu::new(gpus)))
}

#[cfg(all(feature = "gpu", target_arch = "wasm32"))]
async fn open_gpus(_: &Arc<Plan>, _: &[GpuSelector], _: Precision) -> Result<Arc<dyn Backend>> {
    Err(RequestError::InvalidOption {
        option: "device",
        found: "several GPUs".to_owned(),
        expected: "one: in a browser there are no threads to drive more".to_owned(),
    }
    .into())
}

#[cfg(not(feature = "gpu"))]
async fn open_gpu(_: &Arc<Plan>, _: &GpuSelector, _: Precision) -> Result<Arc<dyn Backend>> {
    Err(DeviceError::GpuNotBuilt.into())
}

#[cfg(not(feature = "gpu"))]
async fn open_hardware_gpu(_: &Arc<Plan>, _: Precision) -> Result<Arc<dyn Backend>> {
    Err(DeviceError::GpuNotBuilt.into())
}

#[cfg(not(feature = "gpu"))]
async fn open_gpus(_: &Arc<Plan>, _: &[GpuSelector], _: Precision) -> Result<Arc<dyn Backend>> {
    Err(DeviceError::GpuNotBuilt.into())
}
