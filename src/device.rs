//! Choosing where to compute.

use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::backend::reference::Reference;
use crate::error::{Error, Result};
use crate::options::{EmbedderBuilder, Precision};
use crate::plan::Plan;
use crate::threads::Threads;
use std::sync::Arc;
use taskvec_kernels::Isa;

/// Where to compute.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum Device {
    /// The CPU, and for calls of many tokens a hardware GPU, if there is one that is faster on this machine
    /// with this model: both are timed when a call first has many, and what came out is remembered in
    /// the user's cache folder (or the one that the environment variable `TASKVEC_CACHE` names). The
    /// GPU's vectors differ from the CPU's by rounding; ask for one device to have the same bits always. A
    /// GPU that fails is given up, and its work is done on the CPU. What is used and why is in
    /// [`DeviceReport`].
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU, or an error.
    Gpu(GpuSelector),
    /// Several GPUs, each with the whole model: batches go to whichever is free. One that fails leaves its work
    /// to the others. GPUs of different kinds give vectors that differ by rounding.
    Gpus(Vec<GpuSelector>),
    /// Plain scalar code: slow, and what the other devices are tested against.
    Reference,
}

/// Which GPU.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum GpuSelector {
    /// The first hardware adapter, discrete before integrated; a software one if that is all.
    #[default]
    Best,
    /// The hardware adapter that does the most multiply-adds a second, which takes a moment to find out
    /// where there are several.
    Fastest,
    /// The best adapter of this backend: `vulkan`, `metal` or `dx12`.
    Backend(String),
    /// The adapter at this position of [`gpu_adapters`](crate::gpu_adapters).
    Index(usize),
    /// The first adapter whose name contains this, in any case.
    Name(String),
}

/// The device in use, and how it was chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DeviceReport {
    /// What runs the model: `cpu (avx512, 2 threads)`.
    pub name: String,
    /// Why [`Device::Auto`] took this device; `None` where it was asked for by name.
    pub reason: Option<String>,
    /// Why a GPU was given up: by [`Device::Auto`], which did its work on the CPU, or by
    /// [`Device::Gpus`], whose others did it.
    pub fault: Option<String>,
}

impl DeviceReport {
    pub(crate) fn none() -> DeviceReport {
        DeviceReport { name: "none".to_owned(), reason: None, fault: None }
    }
}

/// Starts the device that the options ask for. Returns why that, where it is settled by them.
pub(crate) fn start(
    options: &EmbedderBuilder,
    plan: &Arc<Plan>,
    threads: &Arc<Threads>,
) -> Result<(Box<dyn Backend>, Option<String>)> {
    let precision = options.precision;
    let refused = |expected: &str| Error::InvalidOption {
        option: "precision",
        found: precision.name().to_owned(),
        expected: expected.to_owned(),
    };
    match (&options.device, precision) {
        (Device::Cpu | Device::Reference, Precision::F16) => {
            Err(refused("f32, bf16 or int8 on the CPU; f16 is for GPUs"))
        }
        (Device::Reference, _) => Ok((Box::new(Reference::new(plan.clone(), precision)?), None)),
        (Device::Cpu, _) => Ok((start_cpu(options, plan, threads)?, None)),
        (Device::Gpu(selector), _) => Ok((start_gpu(plan, selector, precision)?, None)),
        (Device::Gpus(selectors), _) => Ok((start_gpus(plan, selectors, precision)?, None)),
        (Device::Auto, Precision::Int8) => {
            Ok((start_cpu(options, plan, threads)?, Some("int8 is for the CPU".to_owned())))
        }
        (Device::Auto, Precision::F16) => {
            Ok((start_hardware_gpu(plan, precision)?, Some("f16 is for GPUs".to_owned())))
        }
        (Device::Auto, _) => start_auto(options, plan, threads),
    }
}

#[cfg(feature = "gpu")]
fn start_auto(
    options: &EmbedderBuilder,
    plan: &Arc<Plan>,
    threads: &Arc<Threads>,
) -> Result<(Box<dyn Backend>, Option<String>)> {
    let cpu = start_cpu(options, plan, threads)?;
    let (of_gpu, precision) = (plan.clone(), options.precision);
    let open = move || Ok(start_hardware_gpu(&of_gpu, precision)?.into());
    Ok((Box::new(crate::backend::auto::Auto::new(plan.clone(), cpu, Box::new(open))), None))
}

#[cfg(not(feature = "gpu"))]
fn start_auto(
    options: &EmbedderBuilder,
    plan: &Arc<Plan>,
    threads: &Arc<Threads>,
) -> Result<(Box<dyn Backend>, Option<String>)> {
    Ok((start_cpu(options, plan, threads)?, Some(Error::GpuNotBuilt.to_string())))
}

fn start_cpu(
    options: &EmbedderBuilder,
    plan: &Arc<Plan>,
    threads: &Arc<Threads>,
) -> Result<Box<dyn Backend>> {
    let isa = match &options.instruction_set {
        None => Isa::best(),
        Some(name) => Isa::by_name(name).ok_or_else(|| Error::InvalidOption {
            option: "instruction_set",
            found: name.clone(),
            expected: format!("one that this CPU has: {}", instruction_sets().join(", ")),
        })?,
    };
    Ok(Box::new(Cpu::new(plan.clone(), isa, options.precision, threads.clone())?))
}

/// The instruction sets of this CPU that taskvec has kernels for, slowest first.
pub fn instruction_sets() -> Vec<&'static str> {
    Isa::available().into_iter().map(Isa::name).collect()
}

#[cfg(feature = "gpu")]
fn start_gpu(plan: &Arc<Plan>, selector: &GpuSelector, precision: Precision) -> Result<Box<dyn Backend>> {
    Ok(Box::new(crate::backend::gpu::Gpu::new(plan.clone(), selector, precision)?))
}

#[cfg(feature = "gpu")]
fn start_gpus(plan: &Arc<Plan>, selectors: &[GpuSelector], precision: Precision) -> Result<Box<dyn Backend>> {
    if selectors.is_empty() {
        return Err(Error::InvalidOption {
            option: "Device::Gpus",
            found: "an empty list".to_owned(),
            expected: "one GPU or more".to_owned(),
        });
    }
    let gpus: Result<Vec<_>> =
        selectors.iter().map(|selector| start_gpu(plan, selector, precision)).collect();
    Ok(Box::new(crate::backend::gpus::Gpus::new(gpus?)))
}

#[cfg(not(feature = "gpu"))]
fn start_gpus(_: &Arc<Plan>, _: &[GpuSelector], _: Precision) -> Result<Box<dyn Backend>> {
    Err(Error::GpuNotBuilt)
}

#[cfg(feature = "gpu")]
fn start_hardware_gpu(plan: &Arc<Plan>, precision: Precision) -> Result<Box<dyn Backend>> {
    Ok(Box::new(crate::backend::gpu::Gpu::on_hardware(plan.clone(), precision)?))
}

#[cfg(not(feature = "gpu"))]
fn start_gpu(_: &Arc<Plan>, _: &GpuSelector, _: Precision) -> Result<Box<dyn Backend>> {
    Err(Error::GpuNotBuilt)
}

#[cfg(not(feature = "gpu"))]
fn start_hardware_gpu(_: &Arc<Plan>, _: Precision) -> Result<Box<dyn Backend>> {
    Err(Error::GpuNotBuilt)
}
