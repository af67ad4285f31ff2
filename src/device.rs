//! Where to compute, as data: what a caller asks for, and what came of it.

use crate::error::{Error, RequestError};
use crate::names::{named, serialized_as_name};
use std::fmt;
use std::str::FromStr;

/// Where to compute.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
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
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
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
    /// The adapter at this position of `gpu_adapters` (feature `gpu`).
    Index(usize),
    /// The first adapter whose name contains this, in any case.
    Name(String),
}

impl fmt::Display for Device {
    /// `auto`, `cpu`, `reference`, `gpu`, or `gpu:` and the [`GpuSelector`]s with commas between.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Reference => f.write_str("reference"),
            Device::Gpu(GpuSelector::Best) => f.write_str("gpu"),
            Device::Gpu(selector) => write!(f, "gpu:{selector}"),
            Device::Gpus(selectors) => {
                let names: Vec<String> = selectors.iter().map(ToString::to_string).collect();
                write!(f, "gpu:{}", names.join(","))
            }
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Device, Error> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => return Ok(Device::Auto),
            "cpu" => return Ok(Device::Cpu),
            "reference" => return Ok(Device::Reference),
            "gpu" => return Ok(Device::Gpu(GpuSelector::Best)),
            _ => {}
        }
        let selectors: Option<Result<Vec<GpuSelector>, Error>> =
            text.strip_prefix("gpu:").map(|list| list.split(',').map(str::parse).collect());
        match selectors.transpose()? {
            Some(mut selectors) if selectors.len() == 1 => Ok(Device::Gpu(selectors.swap_remove(0))),
            Some(selectors) => Ok(Device::Gpus(selectors)),
            None => Err(RequestError::InvalidOption {
                option: "device",
                found: format!("`{text}`"),
                expected: "auto, cpu, gpu, gpu:ADAPTER, gpu:ADAPTER,ADAPTER or reference".to_owned(),
            }
            .into()),
        }
    }
}

serialized_as_name!(Device);

impl fmt::Display for GpuSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GpuSelector::Best => f.write_str("best"),
            GpuSelector::Fastest => f.write_str("fastest"),
            GpuSelector::Index(index) => write!(f, "{index}"),
            GpuSelector::Backend(name) | GpuSelector::Name(name) => f.write_str(name),
        }
    }
}

impl FromStr for GpuSelector {
    type Err = Error;

    /// A number is an index, `best`, `fastest`, `vulkan`, `metal` and `dx12` are what they say, anything else is a part
    /// of a name.
    fn from_str(text: &str) -> Result<GpuSelector, Error> {
        let text = text.trim();
        Ok(match (text.parse(), text.to_ascii_lowercase().as_str()) {
            (Ok(index), _) => GpuSelector::Index(index),
            (_, "best") => GpuSelector::Best,
            (_, "fastest") => GpuSelector::Fastest,
            (_, backend @ ("vulkan" | "metal" | "dx12")) => GpuSelector::Backend(backend.to_owned()),
            (_, "") => {
                return Err(RequestError::InvalidOption {
                    option: "GPU adapter",
                    found: "an empty name".to_owned(),
                    expected: "a number, a part of a name, best, fastest, vulkan, metal or dx12".to_owned(),
                }
                .into());
            }
            _ => GpuSelector::Name(text.to_owned()),
        })
    }
}

serialized_as_name!(GpuSelector);

/// What kind of device computes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum DeviceKind {
    /// The CPU's SIMD kernels.
    Cpu,
    /// One GPU.
    Gpu,
    /// Several GPUs.
    Gpus,
    /// The CPU for short calls and a GPU for long ones ([`Device::Auto`] once a GPU turned out to be faster).
    CpuAndGpu,
    /// Plain scalar code.
    Reference,
}

named!(DeviceKind, "kind of device", {
    Cpu => "cpu",
    Gpu => "gpu",
    Gpus => "gpus",
    CpuAndGpu => "cpu-and-gpu",
    Reference => "reference",
});

/// The device in use, and how it was chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DeviceReport {
    /// What kind of device it is.
    pub kind: DeviceKind,
    /// What runs the model: `cpu (avx512, 2 threads)`.
    pub name: String,
    /// Why [`Device::Auto`] took this device; `None` where it was asked for by name.
    pub reason: Option<String>,
    /// Why a GPU was given up: by [`Device::Auto`], which did its work on the CPU, or by
    /// [`Device::Gpus`], whose others did it.
    pub fault: Option<String>,
}

impl DeviceReport {
    /// No device is open.
    pub(crate) fn none() -> DeviceReport {
        DeviceReport { kind: DeviceKind::Cpu, name: "none".to_owned(), reason: None, fault: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        let name = GpuSelector::Name("radeon rx".to_owned());
        let devices = [
            Device::Auto,
            Device::Cpu,
            Device::Reference,
            Device::Gpu(GpuSelector::Best),
            Device::Gpu(GpuSelector::Fastest),
            Device::Gpu(name.clone()),
            Device::Gpus(vec![GpuSelector::Index(1), GpuSelector::Backend("vulkan".to_owned()), name]),
        ];
        for device in devices {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
        for wrong in ["", "tpu", "gpu:", "gpu:0,,1"] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
    }
}
