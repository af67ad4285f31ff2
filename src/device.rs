//! Choosing where to compute.

use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::backend::reference::Reference;
use crate::error::{Error, Result};
use crate::options::{EmbedderBuilder, Precision};
use crate::plan::Plan;
use rayon::ThreadPool;
use std::sync::Arc;
use taskvec_kernels::Isa;

/// Where to compute.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum Device {
    /// A hardware GPU where there is one that can run the model, else the CPU. Which it was and
    /// why is in [`DeviceReport`].
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU, or an error.
    Gpu(GpuSelector),
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
    /// The adapter at this position of [`gpu_adapters`](crate::gpu_adapters).
    Index(usize),
    /// The first adapter whose name contains this, in any case.
    Name(String),
}

/// The device in use, and how it was chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceReport {
    /// What runs the model: `cpu (avx512, 2 threads)`.
    pub name: String,
    /// Why [`Device::Auto`] took this device; `None` where it was asked for by name.
    pub reason: Option<String>,
}

/// Starts the device that the options ask for.
pub(crate) fn start(
    options: &EmbedderBuilder,
    plan: &Arc<Plan>,
    threads: &Arc<ThreadPool>,
) -> Result<(Box<dyn Backend>, DeviceReport)> {
    let (backend, reason): (Box<dyn Backend>, _) = match &options.device {
        Device::Reference | Device::Cpu if options.precision == Precision::F16 => {
            return Err(Error::InvalidOption {
                option: "precision",
                found: options.precision.name().to_owned(),
                expected: "f32, bf16 or int8 on the CPU; f16 is for GPUs".to_owned(),
            });
        }
        Device::Reference => (Box::new(Reference::new(plan.clone(), options.precision)?), None),
        Device::Cpu => (start_cpu(options, plan, threads)?, None),
        Device::Auto if options.precision == Precision::Int8 => {
            let reason = "int8 is for the CPU".to_owned();
            (start_cpu(options, plan, threads)?, Some(reason))
        }
        Device::Gpu(selector) => (start_gpu(plan, selector, options.precision)?, None),
        Device::Auto => match start_hardware_gpu(plan, options.precision) {
            Ok(gpu) => (gpu, Some("a hardware GPU is there".to_owned())),
            Err(why_not) => (start_cpu(options, plan, threads)?, Some(why_not.to_string())),
        },
    };
    let report = DeviceReport { name: backend.name(), reason };
    Ok((backend, report))
}

fn start_cpu(
    options: &EmbedderBuilder,
    plan: &Arc<Plan>,
    threads: &Arc<ThreadPool>,
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
